"""What a try does about a moment that chance seldom makes: each would cost a job that nobody asked for, or lose one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from airflow_bedrock.customization.identity import TaskKey, identify
from airflow_bedrock.customization.waiters import Waiter, waiters
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs import own_jobs, submission
from airflow_bedrock.jobs.request_note import RequestNote
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.submission import DryRunError, Submission
from tests.paid_jobs import PAYS, PaidJob, PaidJobs, Strike, error, strike
from tests.state_store import Store

RETRIES = 2


class Account:
    """An account, in which one task asks: by its first try, an automatic retry, a Clear, an index or a run of it."""

    def __init__(self) -> None:
        self.jobs = PaidJobs()

    def ask(
        self, *, tries: int = 1, clears: int = 0, index: int = -1, run: str = "r", epochs: int = 1, **more: Any
    ) -> str:
        """Return the ARN of what a try has got.

        :param tries: of this ask, this one included.
        :param clears: earlier asks of one try each.
        """
        reuse, since, exact = more.pop("reuse", "run"), more.pop("since", None), more.pop("exact", False)
        store = more.pop("store", None)
        task_key = TaskKey(
            dag_id="d",
            task_id="t",
            run_id=run,
            map_index=index,
            ask=clears + RETRIES,
            try_number=clears + tries,
            retries=more.pop("retries", RETRIES),
            since=since,
        )
        request = {"jobName": "router", "customModelName": "router", "hyperParameters": {"epochCount": str(epochs)}}
        request |= more.pop("members", {})
        identity = identify(request, [], task_key, reuse, exact=exact)
        more = {"waiter": Waiter.of(task_key, waits=True), "note": RequestNote(store, task_key), **more}
        look = more.pop("look", Submission.find_or_create)
        found = look(Submission(service=self.service, request=request, identity=identity, **more))
        return found.arn if found else ""

    def waiting(self, arn: str) -> list[int]:
        """Return the map indexes that wait for a job, as its tags say."""
        return [waiter.map_index for waiter in waiters(self.jobs.by_arn(arn).tags) if waiter]

    @property
    def service(self) -> Service:
        return Service(CUSTOMIZATION_JOB, _Hook(self.jobs))

    def strike(self, around: Strike | None) -> None:
        """Let this happen around each call from now on, or nothing."""
        self.jobs.strikes = dict.fromkeys(range(1, 1000), around) if around else {}


class _Hook(BedrockHook):
    def __init__(self, client: PaidJobs) -> None:
        super().__init__(aws_conn_id=None)
        self._paid = client

    @property
    def conn(self) -> Any:
        return self._paid


@pytest.fixture
def account(slept: list[float]) -> Account:
    return Account()


def test_a_job_for_another_request_is_stopped_where_an_older_one_fits(account: Account) -> None:
    """Cleared with other epochs, and cleared again with those of before: the second job would run for nobody."""
    first = account.ask()
    account.jobs.by_arn(first).end("Completed")
    second = account.ask(clears=1, epochs=2)
    assert second != first
    assert account.ask(clears=2) == first
    assert account.jobs.by_arn(second).status == "Stopped"


def test_an_own_job_that_is_not_shown_yet_comes_before_a_sibling_s(account: Account, slept: list[float]) -> None:
    """The first try's answer was lost; adopting what another map index has made would leave its own job running."""
    account.jobs.looks_until_shown = account.jobs.lists_until_shown = 4
    account.strike(_at_create("no answer"))
    with pytest.raises(BedrockError, match="finds that job by its name"):
        account.ask(index=0)
    account.strike(None)
    (own,) = (job.arn for job in account.jobs.jobs)
    account.jobs.looks_until_shown = account.jobs.lists_until_shown = 0
    sibling = account.ask(index=1)
    assert sibling != own
    assert account.ask(index=0, tries=2) == own
    assert set(slept) == {30.0}


@pytest.mark.parametrize(("minutes", "taken"), [(10, True), (0, True), (-14, True), (-16, False), (None, True)])
def test_a_retry_takes_up_what_it_has_adopted_and_what_has_ended_since(
    account: Account, minutes: int | None, taken: bool
) -> None:
    """From another run, and although the template has changed: it is paid for. Clocks differ by 15 minutes.

    A job that ended before this run began cannot have been adopted by it: its tags need not be read.
    """
    began = datetime(2026, 1, 1, tzinfo=UTC)
    made = account.ask(run="other", reuse="dag")
    assert account.ask(reuse="dag", since=began) == made

    def ended(operation: str, work: Any) -> Any:
        answer = work()
        for summary in answer.get("modelCustomizationJobSummaries", ()) if answer else ():
            summary["endTime"] = began + timedelta(minutes=minutes or 0)
        return answer

    if minutes is not None:  # else it runs
        account.jobs.by_arn(made).end("Completed")
        account.strike(ended)
    got = account.ask(reuse="dag", since=began, tries=2, epochs=2)
    assert (got == made) is taken
    assert len(account.jobs.jobs) == 1 + (not taken)


@pytest.mark.parametrize("shown", [True, False])
def test_a_create_that_names_no_job_costs_one(account: Account, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service answers to a token that it has seen is not said; the job is there, or the next try finds it."""
    monkeypatch.setattr(submission, "SECONDS_UNTIL_MISSING", 0.0)
    account.jobs.looks_until_shown = 4 if shown else 6

    def unnamed(operation: str, work: Any) -> Any:
        return {"status": work()["jobArn"]} if operation == PAYS else work()

    account.strike(unnamed)
    if shown:
        assert account.ask() == account.jobs.jobs[0].arn
    else:
        with pytest.raises(BedrockError, match="exists, but does not show it yet") as failed:
            account.ask()
        assert not isinstance(failed.value, BedrockFatalError)
    assert account.ask(tries=2) == account.jobs.jobs[0].arn
    assert len(account.jobs.jobs) == 1


def test_a_name_that_an_earlier_ask_takes_at_the_same_moment_is_retried(account: Account) -> None:
    """Its job is for another request: the next try settles what becomes of it, as of any that was there before."""
    others: list[str] = []

    def rival(operation: str, work: Any) -> Any:
        if operation == PAYS and not others:
            others.append("")
            others[0] = account.ask(epochs=2)
        return work()

    account.strike(rival)
    with pytest.raises(BedrockError, match=r"is used up.*for another request\. It still runs and is billed") as failed:
        account.ask(clears=1)
    assert not isinstance(failed.value, BedrockFatalError)
    assert "currently in use" in str(failed.value)
    mine = account.ask(clears=1, tries=2)
    assert [job.status for job in account.jobs.jobs] == ["Stopped", "InProgress"]
    assert mine == account.jobs.jobs[1].arn


def test_a_completed_job_without_a_model_arn_is_neither_taken_nor_made_again(
    account: Account, slept: list[float]
) -> None:
    """The service contradicts itself; three reads, two seconds apart."""
    made = account.ask()
    account.jobs.by_arn(made).end("Completed")
    account.strike(strike("no model's ARN", print))
    with pytest.raises(BedrockError, match=r"but not which model it made\. This try made no other and spent nothing"):
        account.ask(clears=1)
    assert slept == [2.0, 2.0]
    account.strike(None)
    assert account.ask(clears=1) == made


class Ledger:
    """A budget that records its calls, and refuses on request."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.said: list[str] = []
        self._refusal = refusal

    def reserve(self, name: str) -> None:
        self.said.append("reserve")
        if self._refusal:
            raise self._refusal

    def made(self, name: str, arn: str) -> None:
        self.said.append("made")

    def release(self, name: str) -> None:
        self.said.append("release")


@pytest.mark.parametrize(
    ("strikes", "said"),
    [
        (None, ["reserve", "made"]),
        ("throttled", ["reserve"]),
        ("no answer", ["reserve"]),
        ("refused", ["reserve", "release"]),
    ],
)
def test_money_is_reserved_before_it_is_paid_and_released_where_nothing_was_made(
    account: Account, strikes: str | None, said: list[str]
) -> None:
    """What may have been made keeps it; what was there before costs none."""
    ledger = Ledger()

    def refuse(operation: str, work: Any) -> Any:
        if operation == PAYS:
            raise error("ValidationException", "The role is not of this account.")
        return work()

    if strikes:
        account.strike(refuse if strikes == "refused" else _at_create(strikes))
        with pytest.raises(BedrockError):
            account.ask(budget=ledger)
    else:
        account.ask(budget=ledger)
        account.ask(budget=ledger, tries=2)
    assert ledger.said == said


def test_a_budget_that_is_used_up_keeps_the_money_and_what_runs(account: Account) -> None:
    """Nothing is stopped for a job that is not made, and the error says what runs on."""
    running = account.ask(epochs=2)
    ledger = Ledger(BedrockFatalError("The budget is used up."))
    with pytest.raises(
        BedrockFatalError, match=rf"used up\. Still running from an earlier ask.*: {running}, which is billed.*\."
    ):
        account.ask(clears=1, budget=ledger)
    assert ledger.said == ["reserve"]
    assert [job.status for job in account.jobs.jobs] == ["InProgress"]


def test_a_job_in_an_unknown_status_is_neither_taken_nor_paid_for_again(account: Account) -> None:
    """It may run, and become the model that was asked for."""
    account.jobs.by_arn(account.ask()).status = "Hibernating"
    for tries, clears in ((2, 0), (1, 1)):
        with pytest.raises(BedrockFatalError, match=r"has an unknown status: Hibernating\. It was neither reused nor"):
            account.ask(tries=tries, clears=clears)
    assert len(account.jobs.jobs) == 1


def test_a_retry_takes_no_job_of_another_run(account: Account) -> None:
    """With reuse="run", though another run's map index has made just the same."""
    other = account.ask(index=0, run="other")
    assert account.ask(index=0, tries=2) != other


def test_a_job_of_an_earlier_try_is_found_behind_one_that_has_failed(account: Account) -> None:
    """Also by who cannot know what is asked for, such as a task that may no longer read its data."""
    first = account.ask()
    account.jobs.by_arn(first).end("Failed", "An internal error occurred. Please try again later.")
    second = account.ask(tries=2)
    assert second != first
    assert account.ask(tries=3, epochs=2, look=Submission.of_earlier_try) == second
    assert account.ask(clears=3, look=Submission.of_earlier_try) == ""


def test_a_role_of_another_account_fails_before_anything_is_made_or_stopped(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bedrock would refuse it, after the earlier job was stopped for it."""

    def check(hook: object, role_arn: str) -> None:
        raise BedrockFatalError(f"{role_arn} is of another account")

    monkeypatch.setattr("airflow_bedrock.jobs.submission.check_account", check)
    for again in (0, 1):
        with pytest.raises(BedrockFatalError, match="arn:role is of another account"):
            account.ask(members={"roleArn": "arn:role"}, clears=again, epochs=1 + again)
        account.ask()
    assert [job.status for job in account.jobs.jobs] == ["InProgress"]


def test_a_killed_task_pays_for_nothing(account: Account) -> None:
    """Until the call itself."""

    def killed() -> None:
        raise BedrockError("killed")

    with pytest.raises(BedrockError, match="killed"):
        account.ask(before_paying=killed)
    assert account.jobs.jobs == []


def test_with_reuse_never_a_sibling_s_job_is_left_alone(account: Account) -> None:
    """Neither taken nor stopped, whatever List shows to a retry."""
    made = account.ask(index=0, reuse="never")
    tags = dict(account.jobs.by_arn(made).tags)
    assert account.ask(index=1, reuse="never", tries=2) != made
    assert [job.status for job in account.jobs.jobs] == ["InProgress", "InProgress"]
    assert account.jobs.by_arn(made).tags == tags


@pytest.mark.parametrize(
    ("index", "reuse", "pauses"), [(-1, "dag", []), (0, "dag", [60.0]), (0, "run", [60.0]), (0, "never", [])]
)
def test_only_map_indexes_wait_for_each_other_before_they_stop_what_they_no_longer_want(
    account: Account, slept: list[float], index: int, reuse: str, pauses: list[float]
) -> None:
    """A minute, in which a sibling may adopt it; a task that is not mapped has no siblings, nor who reuses nothing."""
    account.ask(index=index, reuse=reuse)
    slept.clear()
    account.ask(index=index, reuse=reuse, clears=1, epochs=2)
    assert slept == pauses
    assert [job.status for job in account.jobs.jobs] == ["Stopped", "InProgress"]


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_exact_name_that_is_another_s_ends_a_retry(account: Account, epochs: int) -> None:
    """There is no other name to try: it does not search for ever, nor take the same from another run."""
    account.ask(exact=True, run="other", epochs=epochs)

    def looked(operation: str, work: Any) -> Any:
        assert account.jobs.calls < 50, "it looks without end"
        return work()

    account.strike(looked)
    with pytest.raises(BedrockFatalError, match="The job name router is used up"):
        account.ask(exact=True, tries=2)


def test_without_tag_resources_no_tag_is_written_or_read(account: Account) -> None:
    """Its role may not be allowed to; nor does it say that it has left what it never said that it waits for."""
    account.strike(_denied_tags)
    made = account.ask(reuse="dag", tagged=False)
    assert account.ask(reuse="dag", run="later", tagged=False) == made
    assert account.ask(reuse="dag", run="later", tries=2, tagged=False) == made
    assert account.jobs.by_arn(made).tags == {}


def test_without_tag_resources_no_tag_is_left_on_a_shared_job(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    """A tag that it has left a job would say that it has waited for it."""
    made = account.ask(index=0, tagged=False)
    assert account.ask(index=1) == made
    account.ask(index=0, clears=1, epochs=2, tagged=False)
    assert account.waiting(made) == [1]
    assert len(account.jobs.by_arn(made).tags) == 1
    assert f"{made} still runs and is billed: d.t[1] in run r may wait for it" in caplog.text


def test_a_role_that_was_just_made_is_waited_for_a_minute(account: Account, slept: list[float]) -> None:
    """It is known everywhere by then; nothing is paid for after a kill meanwhile."""
    unknown = iter([True, True, False])

    def around(operation: str, work: Any) -> Any:
        if operation == PAYS and next(unknown, True):
            raise error("ValidationException", "Could not assume provided IAM role.")
        return work()

    account.strike(around)
    assert account.ask() == account.jobs.jobs[0].arn
    assert slept == [5.0, 10.0]
    slept.clear()
    with pytest.raises(BedrockError, match=r"could not assume the role.*nothing was created or spent") as failed:
        account.ask(run="later")
    assert not isinstance(failed.value, BedrockFatalError)
    assert slept == [5.0, 10.0, 15.0, 30.0]
    killed = iter([None])

    def before_paying() -> None:
        if next(killed, True):
            raise BedrockError("killed")

    with pytest.raises(BedrockError, match="killed"):
        account.ask(run="later", before_paying=before_paying)
    assert len(account.jobs.jobs) == 1


def test_a_cleared_task_leaves_what_an_earlier_ask_has_adopted(account: Account) -> None:
    """Also where a job of its own has ended, or runs on for others: else the job runs on when those have ended."""
    own = account.ask(index=1)
    assert account.ask(index=0) == own
    adopted = account.ask(index=2, epochs=2)
    assert account.ask(index=1, clears=1, epochs=2) == adopted
    assert (account.waiting(own), account.waiting(adopted)) == ([0], [1, 2])
    account.ask(index=1, clears=2, epochs=3)
    assert (account.waiting(own), account.waiting(adopted)) == ([0], [2])
    again = account.ask(index=2, clears=1, epochs=3)
    account.jobs.by_arn(own).end("Completed")
    account.ask(index=2, clears=2)
    assert account.waiting(again) == [1]


@pytest.mark.parametrize("superseded", ["stop", "keep", "fail"])
def test_a_task_that_takes_another_job_stops_the_adopted_one_or_says_that_it_runs(
    account: Account, superseded: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody else waits for it by then; what is taken again runs on."""
    adopted = account.ask(index=0)
    assert account.ask(index=1) == account.ask(index=1, clears=1) == adopted
    other = account.ask(index=2, epochs=2)
    account.ask(index=0, clears=1, epochs=3)
    assert account.waiting(adopted) == [1]
    assert account.ask(index=1, clears=2, epochs=2, superseded=superseded) == other
    assert account.jobs.by_arn(adopted).status == ("Stopped" if superseded == "stop" else "InProgress")
    assert adopted in caplog.messages[-1]


def test_a_dry_run_says_what_would_be_stopped_and_changes_nothing(account: Account) -> None:
    """What an earlier ask has adopted too; and it does not wait for what it finds."""
    made = account.ask(index=0)
    assert account.ask(index=1, dry_run=True) == made
    assert account.waiting(made) == [0]
    account.ask(index=1)
    with pytest.raises(DryRunError) as dry:
        account.ask(index=1, clears=1, epochs=2, dry_run=True)
    assert [job.arn for job in dry.value.superseded] == [made]
    assert account.waiting(made) == [0, 1]


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_retry_says_where_it_adopts_what_differs(
    account: Account, epochs: int, caplog: pytest.LogCaptureFixture
) -> None:
    """And only there."""
    made = account.ask()
    assert account.ask(tries=2, epochs=epochs) == made
    assert ("request or data differs" in caplog.text) is (epochs == 2)


def test_a_retry_finds_the_job_made_with_another_reuse(account: Account) -> None:
    """The DAG was edited between the tries; the job's name does not hold the run."""
    for index in (-1, 0):
        made = account.ask(index=index, reuse="dag")
        assert account.ask(index=index, tries=2) == made


@pytest.mark.parametrize(("reuse", "tagged"), [("run", True), ("dag", True), ("dag", False)])
def test_a_retry_waits_for_what_was_made_until_it_is_shown_and_no_longer(
    account: Account, slept: list[float], reuse: str, tagged: bool
) -> None:
    """The response was lost, and the request has changed since: List shows the job after half a minute."""
    made = _lost(account, reuse=reuse, tagged=tagged)
    made.unlisted = 1 if reuse == "dag" else 99
    assert account.ask(reuse=reuse, tries=2, epochs=2, tagged=tagged) == made.arn
    assert slept == ([30.0] if reuse == "dag" else [])


def test_a_retry_waits_for_its_own_job_before_it_takes_that_of_an_earlier_ask(account: Account) -> None:
    """The request came out again as before the Clear; its own job, for another one, would run on for nobody."""
    account.ask(reuse="dag")
    own = _lost(account, reuse="dag", clears=1, epochs=2, superseded="keep")
    own.unlisted = 1
    assert account.ask(reuse="dag", clears=1, tries=2, superseded="keep") == own.arn


def test_a_retry_waits_once_for_what_may_not_be_shown_yet(account: Account, slept: list[float]) -> None:
    """Two minutes: before it takes a job whose model turns out to be gone, and not again before it makes its own."""
    made = account.jobs.by_arn(account.ask(reuse="dag"))
    made.end("Completed")
    made.has_model = False
    assert account.ask(reuse="dag", clears=1, tries=2) != made.arn
    assert slept.count(30.0) == 4


@pytest.mark.parametrize(("store", "waits"), [(None, 4), (Store(), 0)], ids=["no store", "no note"])
def test_a_retry_that_has_requested_nothing_makes_its_job_at_once(
    account: Account, slept: list[float], store: Store | None, waits: int
) -> None:
    """Else tries that Airflow ends sooner than after two minutes, on a busy machine, would never make it."""
    assert account.ask(reuse="dag", store=store, tries=2)
    assert slept.count(30.0) == waits


def test_a_retry_takes_what_the_store_names_before_any_list_shows_it(account: Account) -> None:
    """With ``dag``, if the request has changed since: its name is another one."""
    store = Store()
    made = _lost(account, reuse="dag", store=store)
    made.unlisted, made.hidden = 99, 2
    assert account.ask(reuse="dag", store=store, tries=2, epochs=2) == made.arn


def test_a_note_of_another_format_says_that_something_may_have_been_requested(account: Account) -> None:
    """Another release wrote it before the upgrade: its job, which List does not show yet, is waited for."""
    store = Store()
    made = _lost(account, reuse="dag", store=store)
    made.unlisted = 1
    store["airflow_bedrock_job"] = {"requested": made.name}
    assert account.ask(reuse="dag", store=store, tries=2, epochs=2) == made.arn


def test_what_the_store_names_and_another_run_has_made_is_not_a_retry_s(account: Account) -> None:
    """The task was throttled, and the other run has made just that since; the request differs."""
    store = Store()
    account.strike(_at_create("throttled"))
    with pytest.raises(BedrockError, match="did not confirm"):
        account.ask(reuse="dag", store=store)
    account.strike(None)
    other = account.ask(reuse="dag", run="other")
    assert account.ask(reuse="dag", store=store, tries=2, epochs=2) != other


def test_the_store_identifies_a_retry_where_the_tries_do_not(account: Account) -> None:
    """The task's retries were edited between its tries: its second try counts like the first one after a Clear."""
    store = Store()
    made = account.ask(reuse="dag", run="other")
    assert account.ask(reuse="dag", store=store) == made
    assert account.ask(reuse="dag", store=store, tries=2, epochs=2, retries=RETRIES - 1) == made


def test_what_another_run_makes_at_the_same_moment_is_waited_for_together(account: Account) -> None:
    """Although it has completed by the time it is read."""

    def rival(operation: str, work: Any) -> Any:
        if operation == PAYS:
            account.strike(None)
            account.jobs.by_arn(account.ask(reuse="dag", index=0)).end("Completed")
        return work()

    account.strike(rival)
    got = account.ask(reuse="dag", index=1)
    assert [job.arn for job in account.jobs.jobs] == [got]
    assert account.waiting(got) == [0, 1]


def test_what_runs_for_a_task_is_what_it_has_made_or_else_adopted(account: Account, slept: list[float]) -> None:
    """That is what is stopped with it: no job that has ended, no sibling's, and with ``this_ask`` of no earlier ask."""

    def running(*, this_ask: bool = False, **asked: Any) -> list[str]:
        found: list[str] = []
        look = partial(own_jobs.running_jobs_of, account.service, this_ask=this_ask)
        account.ask(look=lambda submission: found.extend(look(submission.identity)), **asked)
        return found

    own = account.ask(index=1)
    sibling = account.ask(index=0, epochs=2)
    assert (running(index=1, epochs=9), running(index=2)) == ([own], [])
    account.jobs.by_arn(own).end("Completed")
    assert running(index=1) == []
    assert account.ask(index=1, clears=1, epochs=2) == sibling
    for asked, this_ask, found in (
        ({"clears": 1}, False, [sibling]),
        ({"clears": 1}, True, [sibling]),
        ({"clears": 2}, False, [sibling]),
        ({"clears": 2}, True, []),
    ):
        assert running(index=1, this_ask=this_ask, **asked) == found
    assert running(index=0, run="other") == []
    account.jobs.by_arn(sibling).end("Completed")
    assert running(index=1, clears=1) == []


def test_a_job_that_no_poll_shows_cannot_be_stopped(account: Account, slept: list[float]) -> None:
    """Three reads, two seconds apart: the service may be slow to show it, or not answer at all."""

    def silent(operation: str, work: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://bedrock")

    made = account.ask()
    name = account.jobs.by_arn(made).name
    assert own_jobs.job_named(account.service, name) == made
    account.strike(silent)
    assert own_jobs.job_named(account.service, name) is None
    assert slept == [2.0, 2.0]


def _denied_tags(operation: str, work: Any) -> Any:
    if operation in ("tag_resource", "list_tags_for_resource"):
        raise error("AccessDeniedException", "Not allowed.", 403)
    return work()


def _at_create(kind: str) -> Strike:
    def around(operation: str, work: Any) -> Any:
        return strike(kind, print)(operation, work) if operation == PAYS else work()

    return around


def _lost(account: Account, **ask: Any) -> PaidJob:
    """Return the one job of a try whose response was lost."""
    before = len(account.jobs.jobs)
    account.strike(_at_create("no answer"))
    with pytest.raises(BedrockError, match="finds that job by its name"):
        account.ask(**ask)
    account.strike(None)
    [made] = account.jobs.jobs[before:]
    return made
