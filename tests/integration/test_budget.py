"""A budget that holds: what a job may cost is reserved before Create, and settled when the job has ended."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from airflow.sdk.api.datamodels._generated import DagRunType
from botocore.exceptions import ClientError

from airflow_bedrock import configuration
from airflow_bedrock.cli import main
from airflow_bedrock.compat import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow_bedrock.customization.identity import TaskKey, identify
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks import BedrockHook
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.submission import Submission
from airflow_bedrock.json_store import JsonStore
from airflow_bedrock.local import LocalBedrock, Quotas
from airflow_bedrock.notifications import message
from airflow_bedrock.operators import (
    BedrockDeleteProvisionedModelThroughputOperator,
    BedrockModelCustomizationOperator,
    BedrockModelEvaluationOperator,
    BedrockProvisionedModelThroughputOperator,
)
from airflow_bedrock.spend.bill import Bill
from airflow_bedrock.spend.books import Books
from airflow_bedrock.spend.budget import Budget, BudgetError
from airflow_bedrock.spend.ledger import Cost, Ledger, Limits, committed, month_of, next_month
from airflow_bedrock.spend.settling import DEAD_AFTER, settled
from tests.integration.test_customization_operator import (
    BASE_MODEL,
    Account,
    context,
    name,
    operator,
    records,
    time_passes,
)
from tests.integration.test_evaluation_answers import MICRO, arguments

__all__ = ["name"]

pytestmark = pytest.mark.local_bedrock(
    clock="manual", job_seconds=100, quotas=Quotas(scheduled_jobs=100, model_units=5)
)


@pytest.fixture(scope="module")
def local(local_bedrock_module: LocalBedrock) -> LocalBedrock:
    return local_bedrock_module


@pytest.fixture
def account(local: LocalBedrock) -> Iterator[Account]:
    account = Account(local)
    yield account
    account.close()
    local.clock.advance(1000)


@pytest.fixture
def ledger_uri(local: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> str:
    """A ledger of the test's own."""
    uri = f"s3://{local.bucket}/{uuid.uuid4().hex}/spend"
    monkeypatch.setenv("AIRFLOW__BEDROCK__LEDGER_URI", uri)
    return uri


@pytest.fixture
def budget(ledger_uri: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the budget, in US dollars."""

    def to(usd: object, **of_dags: float) -> None:
        monkeypatch.setenv("AIRFLOW__BEDROCK__MONTHLY_BUDGET", str(usd))
        monkeypatch.setenv("AIRFLOW__BEDROCK__DAG_BUDGETS", json.dumps(of_dags))

    return to


@pytest.fixture
def ledger(account: Account, ledger_uri: str) -> Callable[[], Ledger]:
    return Books(ledger_uri, lambda: account.s3).read


def only(ledger: Ledger) -> Any:
    [entry] = ledger.entries.values()
    return entry


def test_a_job_is_reserved_before_it_is_made_and_settled_when_it_has_ended(
    account: Account,
    local: LocalBedrock,
    name: str,
    budget: Callable[..., None],
    ledger: Callable[[], Ledger],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the upper end of the estimate; by the epochs in the metrics file, for which the ledger is read once."""
    budget(1)
    data = account.put("train.jsonl", records())
    more = {"job_name": name, "hyperparameters": {"epochCount": "2"}, "wait_for_completion": False}
    arn = operator(account, local, data, **more).execute(context())
    entry = only(ledger())
    assert (entry.arn, entry.settled, entry.dag_id, entry.model) == (arn, None, "dag", "amazon.nova-micro-v1:0")
    assert 0 < entry.reserved < 1
    local.clock.advance(1000)
    after, reads, read = context(), list[str](), JsonStore.read

    def counted(store: JsonStore[Any], name: str) -> Any:
        reads.append(name)
        return read(store, name)

    with monkeypatch.context() as patch:
        patch.setattr(JsonStore, "read", counted)
        assert operator(account, local, data, **more).execute(after) == arn
    assert reads == ["ledger"]
    entry = only(ledger())
    assert (entry.settled, entry.basis) == (entry.reserved, "2 epochs of the estimate")
    shown = after["ti"].pushed["bedrock_job"]
    assert shown["bill"] == {"usd": float(entry.settled), "basis": entry.basis}
    spent = {"settled": float(entry.settled), "reserved": 0.0, "limit": 1.0}
    assert shown["budget"] == {"month": f"{datetime.now(UTC):%Y-%m}", **spent}
    assert shown["local_page"].endswith(f"/_local/#{arn}")
    assert all(isinstance(point, list) for point in shown["losses_by_step"])  # as plain JSON


def test_over_the_budget_no_job_is_made_and_the_message_says_by_how_much(
    account: Account, local: LocalBedrock, name: str, budget: Callable[..., None], ledger: Callable[[], Ledger]
) -> None:
    """A retry cannot help."""
    budget("0.000001")
    task = operator(account, local, account.put("train.jsonl", records()), job_name=name)
    with pytest.raises(BudgetError, match=r"more than is left\. Nothing was created.*over_budget='wait'") as caught:
        task.execute(context())
    assert isinstance(caught.value, AirflowFailException)
    assert (account.jobs(name), ledger()) == ([], Ledger())


def test_over_the_budget_a_task_may_wait_for_the_next_month_without_a_worker(
    account: Account,
    local: LocalBedrock,
    name: str,
    budget: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Deferred to the first of the month; one notification is sent; then it tries again."""
    budget("", dag=0.000001)
    told: list[Any] = []

    def broken(context: Any) -> None:
        raise ConnectionError

    more: Any = {"over_budget": "wait", "notifiers": [broken, told.append]}
    task = operator(account, local, account.put("train.jsonl", records()), job_name=name, **more)
    task.wait_for_completion = False
    logged: list[Any] = []
    monkeypatch.setattr(task.log, "exception", logged.append)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context())
    assert logged == ["A notifier failed to report that the task waits for the budget"]
    moment = deferred.value.trigger.moment  # of a DateTimeTrigger
    assert (moment.day, moment.hour, moment > datetime.now(UTC)) == (1, 0, True)
    assert len(told) == 1
    subject, text = message({**told[0], "ti": SimpleNamespace(dag_id="dag", task_id="customize", run_id="run")})
    assert subject == "dag.customize is over the budget"
    assert "more than is left. Nothing was created and nothing was spent." in text
    assert f"Waiting in the triggerer until {moment:%Y-%m-%d} 00:00 UTC." in text
    with pytest.raises(TaskDeferred):  # in the next month it is so still: the wait goes on
        getattr(task, deferred.value.method_name)(context(), moment)
    assert len(told) == 1
    budget(1)
    assert getattr(task, deferred.value.method_name)(context(), moment) == account.jobs(name)[0]["jobArn"]


def test_a_task_over_the_budget_checks_again_after_an_hour(
    account: Account, local: LocalBedrock, name: str, budget: Callable[..., None]
) -> None:
    """A job that fails before it trains costs nothing: nobody waits a month for it."""
    budget("1.5")
    data = account.put("train.jsonl", records())
    arguments = {"expected_cost": 1, "over_budget": "wait", "wait_for_completion": False}
    operator(account, local, data, job_name=name, **arguments).execute(context())
    with pytest.raises(TaskDeferred) as deferred:
        operator(account, local, data, job_name=f"{name}b", **arguments).execute(context("run-2"))
    assert deferred.value.trigger.moment <= datetime.now(UTC) + timedelta(hours=1)


def test_a_model_without_a_price_needs_an_estimate_of_the_users_own(
    account: Account, local: LocalBedrock, name: str, budget: Callable[..., None], ledger: Callable[[], Ledger]
) -> None:
    """Nothing is taken for free because nobody knows what it costs."""
    budget(100)
    data = account.put("train.jsonl", records())
    more = {"job_name": name, "base_model_id": "amazon.nova-pro-v1:0:300k", "wait_for_completion": False}
    with pytest.raises(BedrockFatalError, match=r"No price is known.*Or set expected_cost"):
        operator(account, local, data, **more).execute(context())
    assert ledger() == Ledger()
    operator(account, local, data, expected_cost="12.5", **more).execute(context())
    assert only(ledger()).reserved == Decimal("12.5")


def test_a_job_that_fails_before_it_trains_costs_nothing(
    account: Account, local: LocalBedrock, name: str, budget: Callable[..., None], ledger: Callable[[], Ledger]
) -> None:
    """Its data is bad, say."""
    budget(1)
    task = operator(account, local, account.put("train.jsonl", "no record"), job_name=name, expected_cost=1)
    task.wait_for_completion = False
    task.execute(context())
    local.clock.advance(1000)
    with pytest.raises(BedrockFatalError):
        task.execute(context())
    task = operator(account, local, account.put("good.jsonl", records()), job_name=f"{name}b", expected_cost=1)
    task.wait_for_completion = False
    with pytest.raises(BudgetError):  # its task has not settled it, and it is read after a minute
        task.execute(context("run-2"))
    [settled] = [one.settled for one in later(account, local, ledger, timedelta(minutes=2)).entries.values()]
    assert settled == 0


def test_the_ledger_is_encrypted_by_the_users_key(
    account: Account,
    local: LocalBedrock,
    name: str,
    budget: Callable[..., None],
    ledger_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As everything that is written to S3 can be."""
    budget(1)
    monkeypatch.setenv("AIRFLOW__BEDROCK__LEDGER_KMS_KEY_ID", "alias/ledger")
    data = account.put("train.jsonl", records())
    operator(account, local, data, job_name=name, wait_for_completion=False).execute(context())
    bucket, _, key = ledger_uri.removeprefix("s3://").partition("/")
    written = account.s3.head_object(Bucket=bucket, Key=f"{key}/ledger.json")
    assert (written["ServerSideEncryption"], written["SSEKMSKeyId"]) == ("aws:kms", "alias/ledger")


def later(account: Account, local: LocalBedrock, ledger: Callable[[], Ledger], by: timedelta) -> Ledger:
    """Read what became of reservations, as a task over the budget does after a while."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from airflow_bedrock.spend.settling import settle_open

    books = Books(configuration.ledger_uri(), lambda: account.s3)
    settle_open(books, BedrockHook(), local.role_arn.split(":")[4], S3Hook(), datetime.now(UTC) + by)
    return ledger()


class Killed(BaseException):
    """The worker is gone."""


@pytest.fixture(scope="module")
def hook(local: LocalBedrock) -> BedrockHook:
    """One client for all, since a hundred take a minute to make; boto3's may be shared by threads."""
    made = BedrockHook()
    made.conn  # noqa: B018  # it is made once
    return made


def submission(
    account: Account,
    local: LocalBedrock,
    job_name: str,
    limit: int,
    hook: BedrockHook | None = None,
    *,
    dag: tuple[str, int | None] = ("dag", None),
    **more: Any,
) -> Submission:
    """One of those that ask at once, each for a job of one dollar."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    task_key = TaskKey(dag_id=dag[0], task_id="customize", run_id=job_name, retries=2, ask=2, **more)
    service = Service(CUSTOMIZATION_JOB, hook or BedrockHook())
    request = {
        "jobName": job_name,
        "customModelName": job_name,
        "roleArn": local.role_arn,
        "baseModelIdentifier": BASE_MODEL,
        "trainingDataConfig": {"s3Uri": f"{account.prefix}/train.jsonl"},
        "outputDataConfig": {"s3Uri": f"{account.prefix}/output"},
        "hyperParameters": {},
    }
    return Submission(
        service=service,
        request=request,
        identity=identify(request, [], task_key, "run"),
        waiter=Waiter.of(task_key, waits=True),
        budget=Budget(
            books=Books(configuration.ledger_uri(), lambda: account.s3),
            limits=Limits(Decimal(limit), None if dag[1] is None else Decimal(dag[1])),
            task_key=task_key,
            kind=CUSTOMIZATION_JOB.kind,
            hook=service.hook,
            s3=S3Hook(),
            cost=lambda: Cost(usd=Decimal(1)),
            account=local.role_arn.split(":")[4],
        ),
    )


def created(one: Submission) -> str | None:
    try:
        return one.find_or_create().arn
    except BudgetError:
        return None


def test_a_hundred_at_once_against_a_budget_for_seven_make_seven(
    account: Account,
    local: LocalBedrock,
    name: str,
    ledger: Callable[[], Ledger],
    hook: BedrockHook,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In any order; the ledger, the account and ``spend`` say the same."""
    monkeypatch.setattr("airflow_bedrock.jobs.submission.check_account", lambda *_: None)  # it makes a client each time
    account.put("train.jsonl", records())
    asked = [submission(account, local, f"{name}-{number}", 7, hook) for number in range(100)]

    with ThreadPoolExecutor(100) as workers:
        made = [arn for arn in workers.map(created, asked) if arn]
    assert len(made) == 7
    assert {job["jobArn"] for job in account.jobs(name)} == set(made)
    assert {entry.arn for entry in ledger().entries.values()} == set(made)
    assert committed(ledger(), month_of(datetime.now(UTC))) == 7
    assert said(capsys) == (7, "7", "0")


def test_two_dags_that_share_a_ledger_hold_each_its_own_budget_and_the_common_one(
    account: Account,
    local: LocalBedrock,
    name: str,
    budget: Callable[..., None],
    ledger: Callable[[], Ledger],
    hook: BedrockHook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred ask at once; then the jobs of one DAG are settled while the other goes on asking, and none is lost."""
    monkeypatch.setattr("airflow_bedrock.jobs.submission.check_account", lambda *_: None)  # it makes a client each time
    account.put("train.jsonl", records())
    dags = {"small": 4, "large": 7}
    ask = partial(submission, account, local, hook=hook)
    asked = [ask(f"{name}-{n}-{dag}", limit=9, dag=(dag, most)) for n in range(50) for dag, most in dags.items()]
    with ThreadPoolExecutor(100) as workers:
        made = [arn for arn in workers.map(created, asked) if arn]
    spent = partial(committed, month=month_of(datetime.now(UTC)))
    assert (len(made), spent(ledger())) == (9, Decimal(9))
    assert all(spent(ledger(), dag_id=dag) <= most for dag, most in dags.items())
    assert {entry.arn for entry in ledger().entries.values()} == set(made)

    local.clock.advance(1000)
    budget(14)
    service, before, mine = Service(CUSTOMIZATION_JOB, hook), ledger().entries, cast("Budget", asked[0].budget)
    more = [ask(f"{name}-later-{n}", limit=14, dag=("large", None)) for n in range(30)]

    def settle(arn: str) -> None:
        seen = service.get(arn)
        assert seen is not None
        settled(service, seen, mine.s3)

    with ThreadPoolExecutor(40) as workers:
        settling = [workers.submit(settle, str(one.arn)) for one in before.values() if one.dag_id == "small"]
        later = {arn for arn in workers.map(created, more) if arn}
        for one in settling:
            one.result()
    now = ledger().entries
    assert (len(later), spent(ledger())) == (5, Decimal(14))
    assert {one.arn for one in now.values()} == {*made, *later}
    assert {one.dag_id for one in now.values() if one.settled is not None} == {"small"}
    assert all(one.settled is not None for one in now.values() if one.dag_id == "small")


@pytest.mark.parametrize("written", [0, 5, 9])
def test_a_ledger_that_is_denied_half_way_makes_no_job_that_is_not_in_it(
    account: Account,
    local: LocalBedrock,
    name: str,
    ledger: Callable[[], Ledger],
    hook: BedrockHook,
    monkeypatch: pytest.MonkeyPatch,
    written: int,
) -> None:
    """A policy was changed while thirty ask: what cannot be reserved is not made, and what was made is reserved."""
    monkeypatch.setattr("airflow_bedrock.jobs.submission.check_account", lambda *_: None)  # it makes a client each time
    account.put("train.jsonl", records())
    puts, denied = count(), ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")

    def put_object(**given: Any) -> Any:
        if next(puts) >= written:
            raise denied
        return account.s3.put_object(**given)

    s3: Any = SimpleNamespace(get_object=account.s3.get_object, put_object=put_object)
    asked: list[Any] = [submission(account, local, f"{name}-{number}", 7, hook) for number in range(30)]
    for one in asked:
        one.budget.books = Books(configuration.ledger_uri(), lambda: s3)

    refused: list[str] = []

    def create(one: Submission) -> str | None:
        try:
            return one.find_or_create().arn
        except BudgetError:
            return None
        except BedrockFatalError as error:
            refused.append(str(error))
            return None

    with ThreadPoolExecutor(30) as workers:
        made = [arn for arn in workers.map(create, asked) if arn]
    jobs, known = account.jobs(name), ledger().entries.values()
    assert {job["jobArn"] for job in jobs} == set(made)
    assert {job["jobName"] for job in jobs} <= {entry.name for entry in known}
    assert len(known) <= min(7, written)
    assert bool(made) == bool(written)
    assert all("Could not write the ledger" in said and "AccessDenied" in said for said in refused)


def said(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    """What ``airflow-bedrock spend`` says: how many things, what is reserved and what is settled, in US dollars."""
    capsys.readouterr()
    assert main(["spend", "--format", "json", *options]) == 0
    out = capsys.readouterr().out
    found = json.loads(out[out.index("{\n") :])  # after logs
    return found["things"], found["reserved_usd"], found["settled_usd"]


def kill_in(one: Submission, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker be killed before or after Create: nothing of it runs any more, not even what cleans up."""

    def killed(*_: object) -> None:
        one.in_flight = "killed"
        raise Killed

    if when == "before Create":
        one.before_paying = killed
    else:
        monkeypatch.setattr(one.budget, "made", killed)


def raises(error: BaseException) -> Callable[..., None]:
    """Return a function that fails, whatever it is given."""

    def fails(*_: object) -> None:
        raise error

    return fails


def kill_evaluation(operator: BedrockModelEvaluationOperator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run an evaluation whose worker is killed when all questions are answered."""
    with monkeypatch.context() as patch:
        patch.setattr("airflow_bedrock.spend.budget.Budget.settle_rest", raises(Killed()))
        with pytest.raises(Killed):
            operator.execute(context())


WORKERS = """
import os, signal, sys
from types import SimpleNamespace
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from tests.integration.test_budget import submission

prefix, role_arn, name = sys.argv[1:]
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
for when in ("before", "after"):
    if (child := os.fork()) == 0:
        account = SimpleNamespace(prefix=prefix, s3=S3Hook().conn)
        one = submission(account, SimpleNamespace(role_arn=role_arn), f"{name}-{when}", 2)
        if when == "before":
            one.before_paying = kill
        else:
            one.budget.made = kill
        one.find_or_create()
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
"""


def test_killed_processes_leave_a_correct_ledger(
    account: Account, local: LocalBedrock, name: str, ledger: Callable[[], Ledger], capsys: pytest.CaptureFixture[str]
) -> None:
    """By SIGKILL before Create and after it: both are reserved; later one is given back, and one is settled."""
    account.put("train.jsonl", records())
    command = [sys.executable, "-c", WORKERS, account.prefix, local.role_arn, name]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True)
    assert [job["jobName"].startswith(f"{name}-after") for job in account.jobs(name)] == [True]
    assert said(capsys) == (2, "2", "0")
    local.clock.advance(1000)
    later(account, local, ledger, timedelta(hours=1))
    assert said(capsys) == (1, "0", "1")


def backfilled(
    task: BedrockModelCustomizationOperator,
    states: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
    run_type: str = DagRunType.BACKFILL,
) -> Any:
    """Run the task in the first run of a backfill, and return its context.

    :param states: what Airflow answers for the states of the backfill's tasks.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(states))
    now = context("backfill__2026-01")
    now["dag_run"].run_type = run_type
    task.wait_for_completion = False
    task.execute(now)
    return now


@pytest.mark.parametrize("told", [True, False])
def test_a_backfill_says_before_its_first_job_what_all_of_it_costs(
    account: Account,
    local: LocalBedrock,
    name: str,
    budget: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    told: bool,
) -> None:
    """And how many runs the budget covers; it counts no runs that have ended, and says nothing outside backfills."""

    def states(**_: object) -> dict[str, dict[str, str | None]]:
        if not told:
            raise RuntimeError("no answer")
        runs: dict[str, dict[str, str | None]] = {
            f"backfill__2026-{month:02}": {"customize": None} for month in range(1, 13)
        }
        return {**runs, "backfill__2025-12": {"customize": "success"}, "manual__now": {"customize": None}}

    caplog.set_level("INFO", "airflow_bedrock.spend.budget")
    budget(8)
    run_type = DagRunType.BACKFILL if told else "backfill"  # as a task is given it; as 3.0 has it
    task = operator(account, local, account.put("train.jsonl", records()), job_name=name, expected_cost=1)
    backfilled(task, states, monkeypatch, run_type)
    assert ("12 runs" in caplog.text and "they cost 12.00 USD" in caplog.text) is told
    assert ("covers 8 of them, up to backfill__2026-08" in caplog.text) is told
    assert ("Airflow did not list its runs: no answer" in caplog.text) is not told


@pytest.mark.parametrize("when", ["before Create", "after Create"])
def test_a_writer_that_is_killed_is_followed_by_its_retry(
    account: Account,
    local: LocalBedrock,
    name: str,
    ledger: Callable[[], Ledger],
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """Which takes over what was reserved: one job, reserved once."""
    account.put("train.jsonl", records())
    first = submission(account, local, name, 1)
    kill_in(first, when, monkeypatch)
    with pytest.raises(Killed):
        first.find_or_create()
    assert (len(account.jobs(name)), only(ledger()).reserved) == (int(when == "after Create"), 1)
    arn = submission(account, local, name, 1, try_number=2).find_or_create().arn
    assert [job["jobArn"] for job in account.jobs(name)] == [arn]
    assert only(ledger()).reserved == 1
    found = later(account, local, ledger, timedelta(hours=1))
    assert (only(found).arn, only(found).settled) == (arn, None)


def test_a_reservation_that_nobody_takes_over_is_released_when_there_is_no_such_job(
    account: Account, local: LocalBedrock, name: str, ledger: Callable[[], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before its writer, and the service's List, have had their time; then another task has its place."""
    account.put("train.jsonl", records())
    first = submission(account, local, name, 1)
    kill_in(first, "before Create", monkeypatch)
    with pytest.raises(Killed):
        first.find_or_create()
    assert len(later(account, local, ledger, DEAD_AFTER - timedelta(minutes=1)).entries) == 1
    other = submission(account, local, f"{name}-other", 1)
    with pytest.raises(BudgetError):
        other.find_or_create()
    assert isinstance(other.budget, Budget)
    assert other.budget.retry_at
    assert other.budget.retry_at < datetime.now(UTC) + timedelta(hours=2)
    monkeypatch.setattr(other.budget, "now", lambda: datetime.now(UTC) + DEAD_AFTER)
    other.find_or_create()
    assert only(ledger()).name.startswith(f"{name}-other")


def test_a_refused_create_gives_its_reservation_back(
    account: Account, local: LocalBedrock, name: str, ledger: Callable[[], Ledger]
) -> None:
    """It was not made, so that it costs nothing."""
    one = submission(account, local, name, 1)
    one.request = {**one.request, "baseModelIdentifier": "amazon.nobody-v1:0"}
    with pytest.raises(BedrockFatalError):
        one.find_or_create()
    assert ledger() == Ledger()


def test_without_a_budget_nothing_is_asked(
    account: Account, local: LocalBedrock, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one call more: the ledger's prefix alone sets no budget."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__LEDGER_URI", f"s3://{local.bucket}/never")
    monkeypatch.setattr("airflow_bedrock.spend.books.Books.read", lambda self: pytest.fail("was read"))
    data = account.put("train.jsonl", records())
    operator(account, local, data, job_name=name, wait_for_completion=False).execute(context())
    assert "Contents" not in account.s3.list_objects_v2(Bucket=local.bucket, Prefix="never")


def test_the_configuration_of_the_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/cost.md, as Airflow reads it."""
    page = (Path(__file__).parents[2] / "docs" / "cost.md").read_text()
    [text] = [one for one in re.findall(r"```ini\n(.*?)```", page, flags=re.DOTALL) if "monthly_budget" in one]
    parser = ConfigParser(interpolation=None)
    parser.read_string(text)
    for option, value in parser["bedrock"].items():
        monkeypatch.setenv(f"AIRFLOW__BEDROCK__{option.upper()}", value)
    assert configuration.monthly_budget() == 500
    assert configuration.dag_budgets() == {"retrain": 100, "sweep": 250}
    assert (configuration.over_budget(), configuration.ledger_uri()) == ("fail", "s3://my-bucket/spend")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("MONTHLY_BUDGET", "much", "monthly_budget must be a number of US dollars"),
        ("DAG_BUDGETS", "[1]", "must be a JSON object of DAG ids"),
        ("LEDGER_URI", "", r"A budget needs a ledger.*Set ledger_uri .*AIRFLOW__BEDROCK__LEDGER_URI.* s3://my-bucket"),
        ("LEDGER_URI", "spend/ledger", r"ledger_uri must be s3://bucket/prefix.* or \[bedrock\] ledger_uri in"),
    ],
)
def test_a_budget_that_cannot_be_kept_makes_no_job(
    account: Account,
    local: LocalBedrock,
    name: str,
    budget: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    value: str,
    said: str,
) -> None:
    """It fails closed, and says what is wrong."""
    budget(1)
    monkeypatch.setenv(f"AIRFLOW__BEDROCK__{option}", value)
    task = operator(account, local, account.put("train.jsonl", records()), job_name=name)
    with pytest.raises(BedrockFatalError, match=said):
        task.execute(context())
    assert account.jobs(name) == []


@pytest.mark.parametrize(
    ("usd", "expected", "kind", "said"),
    [
        (3, 2, AirflowSkipException, ("ok", "3.00 USD are left this month; the job may cost 2.00")),
        (1, 2, BedrockFatalError, ("problem", "1.00 USD are left this month; the job may cost 2.00, 1.00 more")),
        (1, None, AirflowSkipException, ("ok", "1.00 USD are left this month; the job may cost 0.000714")),
    ],
)
def test_a_dry_run_says_what_is_left_and_reserves_nothing(
    account: Account,
    local: LocalBedrock,
    name: str,
    budget: Callable[..., None],
    ledger: Callable[[], Ledger],
    usd: int,
    expected: int | None,
    kind: type[Exception],
    said: tuple[str, str],
) -> None:
    """And whether it reaches for the job; without an expected cost, by the estimate."""
    budget(usd)
    data, now = account.put("train.jsonl", records()), context()
    with pytest.raises(kind, match=r"Dry run: (no check failed for the job\.|the job would not be made)"):
        operator(account, local, data, job_name=name, dry_run=True, expected_cost=expected).execute(now)
    lines = now["ti"].pushed["dry_run"]["lines"]
    assert [(one["verdict"], one["said"]) for one in lines if one["check"] == "budget"] == [said]
    assert ledger() == Ledger()


def test_a_ledger_that_cannot_be_read_makes_no_job(
    account: Account, local: LocalBedrock, name: str, budget: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bucket does not exist, say."""
    budget(1)
    monkeypatch.setenv("AIRFLOW__BEDROCK__LEDGER_URI", "s3://no-such-bucket-anywhere/spend")
    with pytest.raises(BedrockError, match="Could not read the ledger"):
        operator(account, local, account.put("train.jsonl", records()), job_name=name).execute(context())
    assert account.jobs(name) == []


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate without its plots, which take most of the time."""

    def empty(*arguments: Any) -> None:
        for file in ("report.md", "report.html"):
            (arguments[-1] / file).touch()

    monkeypatch.setattr(BedrockModelEvaluationOperator, "_report", empty)


def test_an_evaluation_reserves_what_it_may_ask_and_settles_what_it_has_asked(
    local: LocalBedrock, budget: Callable[..., None], ledger: Callable[[], Ledger], no_report: None
) -> None:
    """Over the budget it asks nothing; asked again, what is kept costs nothing."""
    pytest.importorskip("altair")
    given, before = arguments(local, 10), len(local.calls.of("Converse"))
    budget("0.0000001")
    with pytest.raises(BudgetError, match="more than is left"):
        BedrockModelEvaluationOperator(**given).execute(context())
    assert (len(local.calls.of("Converse")), ledger()) == (before, Ledger())
    budget(1)
    result = BedrockModelEvaluationOperator(**given).execute(context())
    entry = only(ledger())
    assert entry.settled == Decimal(str(result["cost"])) < entry.reserved
    assert BedrockModelEvaluationOperator(**given).execute(context("run-2"))["cost"] == 0
    assert len(ledger().entries) == 1


def test_an_evaluation_of_a_backfill_says_what_the_other_runs_may_cost(
    local: LocalBedrock,
    budget: Callable[..., None],
    no_report: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As a job does."""
    pytest.importorskip("altair")
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    runs = {f"backfill__2026-0{month}": {"evaluate": None} for month in range(1, 6)}
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(lambda **_: runs))
    caplog.set_level("INFO", "airflow_bedrock.spend.budget")
    budget(1)
    now = context("backfill__2026-01")
    now["dag_run"].run_type = DagRunType.BACKFILL
    BedrockModelEvaluationOperator(**arguments(local, 10)).execute(now)
    assert "This backfill has 5 runs to go. If the evaluation of each costs as much as this one may, 0.0" in caplog.text


@pytest.mark.parametrize(
    ("later", "judged", "months"),
    [(10, False, ["2026-11"]), (10, True, ["2026-11", "2026-11"]), (15, True, ["2026-11", "2026-12"])],
)
def test_a_killed_evaluation_counts_what_it_may_have_asked(
    later: int,
    judged: bool,
    months: list[str],
    local: LocalBedrock,
    budget: Callable[..., None],
    ledger: Callable[[], Ledger],
    no_report: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its retry reserves nothing more, and asks the rest; or anew, in the next month and with a metric that asks."""
    pytest.importorskip("altair")
    given = arguments(local, 10)
    budget(1)
    last = datetime(2026, 11, 30, 23, 45, tzinfo=UTC)
    monkeypatch.setattr("airflow_bedrock.spend.budget.datetime", SimpleNamespace(now=lambda _: last))
    if judged:
        given["max_cost"] = 0.5
        monkeypatch.setattr("airflow_bedrock.evaluation.run.Evaluation.asks_metrics", judged)
    retry = context()
    retry["ti"].try_number += 1
    kill_evaluation(BedrockModelEvaluationOperator(**given), monkeypatch)
    first = only(ledger())
    last += timedelta(minutes=later)
    result = BedrockModelEvaluationOperator(**given).execute(retry)
    assert (result["cost"], first.settled) == (0, None)
    assert ledger().entries[first.key].counts == first.reserved
    assert sorted(one.month for one in ledger().entries.values()) == months


def test_each_try_of_an_evaluation_that_fails_counts_what_it_has_asked(
    local: LocalBedrock,
    budget: Callable[..., None],
    ledger: Callable[[], Ledger],
    no_report: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its answers were lost, so its retry pays again: the ledger had only what one of the two has cost."""
    pytest.importorskip("altair")
    given = arguments(local, 10)
    budget(1)
    with monkeypatch.context() as patch:
        patch.setattr("airflow_bedrock.evaluation.answer_store.Store.keep", lambda *_: None)
        for _ in range(2):
            patch.setattr("airflow_bedrock.evaluation.run.Evaluation.score", raises(BedrockError("for the test")))
            with pytest.raises(BedrockError, match="for the test"):
                BedrockModelEvaluationOperator(**given).execute(context())
    result = BedrockModelEvaluationOperator(**given).execute(context())
    assert [one.settled for one in ledger().entries.values()] == 3 * [Decimal(str(result["cost"]))]


def test_a_killed_evaluation_whose_records_change_is_not_forgotten(
    local: LocalBedrock,
    budget: Callable[..., None],
    ledger: Callable[[], Ledger],
    no_report: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its retry asks other questions, so what it reserved is no rest; it is settled as reserved after its month."""
    pytest.importorskip("altair")
    given = arguments(local, 10)
    budget(1)
    kill_evaluation(BedrockModelEvaluationOperator(**given), monkeypatch)
    first = only(ledger())
    result = BedrockModelEvaluationOperator(**{**given, **arguments(local, 12)}).execute(context())
    assert result["cost"] > 0
    now = datetime.now(UTC)
    assert committed(ledger(), month_of(now)) == first.reserved + Decimal(str(result["cost"]))


def test_a_killed_evaluation_is_settled_as_reserved_when_its_month_is_over(
    account: Account,
    local: LocalBedrock,
    budget: Callable[..., None],
    ledger: Callable[[], Ledger],
    no_report: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A day later, since it may still run; its reservation stayed open for good."""
    pytest.importorskip("altair")
    budget(1)
    kill_evaluation(BedrockModelEvaluationOperator(**arguments(local, 10)), monkeypatch)
    first = only(ledger())
    over = next_month(first.at) - datetime.now(UTC)
    assert only(later(account, local, ledger, over + timedelta(hours=23))).settled is None
    assert only(later(account, local, ledger, over + timedelta(hours=25))).settled == first.reserved


def test_an_evaluation_without_a_price_is_not_free(
    local: LocalBedrock,
    budget: Callable[..., None],
    ledger: Callable[[], Ledger],
    no_report: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What it was expected to cost stays reserved, and its cost is unknown; it was settled at 0."""
    pytest.importorskip("altair")
    (tmp_path / "prices.toml").write_text("only = true\nsources = {}\nprices = []\n")
    monkeypatch.setenv("AIRFLOW__BEDROCK__PRICES", str(tmp_path / "prices.toml"))
    budget(1)
    result = BedrockModelEvaluationOperator(**arguments(local, 10), expected_cost=0.25).execute(context())
    assert "cost" not in result or result["cost"] is None  # an Airflow before 3.1 gets no None
    assert only(ledger()).counts == Decimal("0.25")


def test_a_killed_evaluation_of_an_expected_cost_is_not_forgotten(
    local: LocalBedrock,
    budget: Callable[..., None],
    ledger: Callable[[], Ledger],
    no_report: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each try may spend all of it: what the first one has may be more than its retry has left to ask."""
    pytest.importorskip("altair")
    given = {**arguments(local, 10), "expected_cost": 0.25}
    budget(1)
    kill_evaluation(BedrockModelEvaluationOperator(**given, max_records=5), monkeypatch)
    retry = context()
    retry["ti"].try_number += 1
    result = BedrockModelEvaluationOperator(**given).execute(retry)
    assert result["cost"] > 0
    assert committed(ledger(), month_of(datetime.now(UTC))) == Decimal("0.25") + Decimal(str(result["cost"]))


def test_provisioned_throughput_reserves_its_hours_and_is_settled_when_it_is_deleted(
    local: LocalBedrock, budget: Callable[..., None], ledger: Callable[[], Ledger]
) -> None:
    """Until the month ends, at the price of its base model."""
    given: dict[str, Any] = {"model_units": 1, "provisioned_model_name": "budgeted", "model_id": MICRO}
    budget(1)
    with pytest.raises(BudgetError, match="provisioned throughput budgeted may cost"):
        BedrockProvisionedModelThroughputOperator(task_id="provide", **given).execute(context())
    budget(100_000)
    with time_passes(local):
        arn = BedrockProvisionedModelThroughputOperator(task_id="provide", **given).execute(context())
        assert only(ledger()).reserved % Decimal("60.5") == 0
        bill = BedrockDeleteProvisionedModelThroughputOperator(
            task_id="delete", provisioned_model_id=arn, waiter_delay=0.1
        ).execute(context())
    entry = only(ledger())
    assert bill is not None
    assert (float(round(entry.settled, 2)), entry.basis) == (bill["usd"], f"{bill['hours']} hours")


def budget_of(account: Account, local: LocalBedrock, name: str, now: str, **more: Any) -> Budget:
    """A budget of one dollar for things of one dollar each, at a moment."""
    made: Any = submission(account, local, name, 1, **more).budget
    made.now = lambda: datetime.fromisoformat(now)
    return cast("Budget", made)


@pytest.mark.parametrize("zone", ["+00:00", "-05:00", "+09:00"])
def test_a_month_ends_by_utc_wherever_the_worker_is(
    account: Account, local: LocalBedrock, name: str, ledger: Callable[[], Ledger], zone: str
) -> None:
    """What is reserved in its last second counts in it; who is over it may ask again in the next second."""
    offset = timedelta(hours=int(zone[:3]))
    last = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    here = (last + offset).replace(tzinfo=None).isoformat() + zone
    budget_of(account, local, name, here).reserve(name)
    late = budget_of(account, local, f"{name}b", here)
    with pytest.raises(BudgetError, match=r"for 2026-11 is 1\.00 USD: 0\.00 are spent, 1\.00 reserved.* 1\.00 more"):
        late.reserve(f"{name}b")
    assert late.retry_at is not None
    assert late.retry_at == last + timedelta(seconds=1)
    budget_of(account, local, f"{name}b", late.retry_at.isoformat()).reserve(f"{name}b")
    assert {one.month for one in ledger().entries.values()} == {"2026-11", "2026-12"}


def test_a_month_that_ends_while_a_task_is_refused_is_not_waited_for_twice(
    account: Account, local: LocalBedrock, name: str, ledger: Callable[[], Ledger]
) -> None:
    """It was over the budget of November: it asks for December's at once, and not in January."""
    last = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    budget_of(account, local, name, last.isoformat()).reserve(name)
    late = budget_of(account, local, f"{name}b", last.isoformat())
    moments = iter([last])
    late.now = lambda: next(moments, last + timedelta(minutes=1))
    with pytest.raises(BudgetError, match="for 2026-11"):
        late.reserve(f"{name}b")
    assert late.retry_at == last + timedelta(seconds=1)


def put_ledger(account: Account, text: str | bytes) -> None:
    bucket, _, key = configuration.ledger_uri().removeprefix("s3://").partition("/")
    body = text if isinstance(text, bytes) else text.encode()
    account.s3.put_object(Bucket=bucket, Key=f"{key}/ledger.json", Body=body)


def test_a_ledger_that_a_person_has_edited_counts_as_it_is(
    account: Account, local: LocalBedrock, name: str, ledger: Callable[[], Ledger]
) -> None:
    """A lowered amount leaves more budget; an unknown member of an entry is ignored."""
    now = "2026-11-20T12:00:00+00:00"
    budget_of(account, local, name, now).reserve(name)
    edited = json.loads(msgspec.json.encode(ledger()))
    [entry] = edited["entries"].values()
    entry.update(reserved="0.25", note="half of it was a mistake")
    put_ledger(account, json.dumps(edited))
    with pytest.raises(BudgetError, match=r"0\.25 reserved.* 0\.25 more than is left"):
        budget_of(account, local, f"{name}b", now).reserve(f"{name}b")
    entry["reserved"] = "0"
    put_ledger(account, json.dumps(edited))
    budget_of(account, local, f"{name}b", now).reserve(f"{name}b")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"entries": {"a": {"reserved": "much"}}}', b'{"notes": {}}', b"\xff\xfe"]
)
def test_a_corrupt_ledger_makes_no_job(
    account: Account, local: LocalBedrock, name: str, budget: Callable[..., None], text: bytes
) -> None:
    """It is left unchanged, and the error says what to restore; ``spend`` says the same."""
    budget(1)
    put_ledger(account, text)
    one = submission(account, local, name, 1)
    with pytest.raises(BedrockFatalError, match=r"is not a ledger that this version understands.*Restore an earlier"):
        one.find_or_create()
    assert account.jobs(name) == []
    assert main(["spend"]) == 1


def test_a_ledger_that_may_not_be_read_makes_no_job(
    account: Account, local: LocalBedrock, name: str, ledger_uri: str
) -> None:
    """The error names what was refused, and what to check; no retry helps."""
    one: Any = submission(account, local, name, 1)
    denied = ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject")  # type: ignore[typeddict-item]  # enough of a response

    def refuse(**_: Any) -> Any:
        raise denied

    one.budget.books = Books(ledger_uri, lambda: SimpleNamespace(get_object=refuse))  # type: ignore[arg-type,return-value]  # all of S3 that is called
    with pytest.raises(BedrockFatalError, match=r"Could not read the ledger s3://.*AccessDenied.*Check the URI and"):
        one.find_or_create()
    assert account.jobs(name) == []


def test_two_environments_in_one_bucket_share_a_ledger_where_they_name_the_same(
    account: Account, local: LocalBedrock, name: str, ledger_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then each counts what the other has reserved; under prefixes of their own, neither does."""
    now = "2026-11-20T12:00:00+00:00"
    budget_of(account, local, name, now, environment="one").reserve(name)
    with pytest.raises(BudgetError):
        budget_of(account, local, f"{name}b", now, environment="two").reserve(f"{name}b")
    monkeypatch.setenv("AIRFLOW__BEDROCK__LEDGER_URI", f"{ledger_uri}-two")
    budget_of(account, local, f"{name}b", now, environment="two").reserve(f"{name}b")


def test_what_is_settled_twice_counts_once(
    account: Account, local: LocalBedrock, name: str, budget: Callable[..., None], ledger: Callable[[], Ledger]
) -> None:
    """By its task and by ``spend --settle``, say: the first bill stays."""
    budget(1)
    account.put("train.jsonl", records())
    one: Any = submission(account, local, name, 1)
    arn = one.find_or_create().arn
    local.clock.advance(1000)
    ended = one.service.get(arn)
    settled(one.service, ended, one.budget.s3, Bill(Decimal("0.5"), "what the first one knows"))
    settled(one.service, ended, one.budget.s3, Bill(Decimal("0.75"), "what the second one knows"))
    assert (only(ledger()).settled, only(ledger()).basis) == (Decimal("0.5"), "what the first one knows")


def test_what_was_settled_long_ago_is_in_the_archive_of_its_month(
    account: Account, local: LocalBedrock, name: str, budget: Callable[..., None], ledger: Callable[[], Ledger]
) -> None:
    """Where ``spend --month`` finds it."""
    budget(5)
    data = account.put("train.jsonl", records())
    operator(account, local, data, job_name=name, wait_for_completion=False, expected_cost=1).execute(context())
    books = Books(configuration.ledger_uri(), lambda: account.s3)
    old = msgspec.structs.replace(only(ledger()), at=datetime(2020, 3, 5, tzinfo=UTC), settled=Decimal(2))
    books.archive(books.change(lambda now: Ledger({**now.entries, old.key: old})))
    assert ledger() == Ledger()
    assert only(books.month("2020-03")) == old


def test_spend_says_what_a_month_has_cost(
    account: Account,
    local: LocalBedrock,
    name: str,
    budget: Callable[..., None],
    ledger: Callable[[], Ledger],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By DAG, model or run; ``--settle`` finds out what became of what is reserved."""
    budget(5)
    data = account.put("train.jsonl", records())
    for run in ("run-1", "run-2"):
        task = operator(account, local, data, job_name=name, wait_for_completion=False, expected_cost="1.5")
        task.execute(context(run))
    assert main(["spend"]) == 0
    assert "2.00 of 5.00 USD are left" in capsys.readouterr().out
    assert main(["spend", "--by", "run", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [line["run"] for line in found["lines"]] == ["dag run-1", "dag run-2"]
    assert (found["reserved_usd"], found["settled_usd"]) == ("3.0", "0")
    assert main(["spend", "--month", "2020-01", "--by", "model"]) == 0
    assert "5.00 of 5.00 USD are left in 2020-01" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["spend", "--month", "November"])
    assert main(["spend", "--settle", "--region", "eu-west-1"]) == 0
    account_id = local.role_arn.split(":")[4]
    assert f"Not checked: reservations in us-east-1 of account {account_id}, which this" in capsys.readouterr().err
    budget("")
    assert main(["spend"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("all ")


def test_a_backfill_whose_runs_the_budget_covers_says_so(
    account: Account,
    local: LocalBedrock,
    name: str,
    budget: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """To the dollar: two runs of one dollar each, with two dollars."""
    runs = {f"backfill__2026-0{month}": {"customize": None} for month in (1, 2)}
    caplog.set_level("INFO", "airflow_bedrock.spend.budget")
    budget(2)
    task = operator(account, local, account.put("train.jsonl", records()), job_name=name, expected_cost=1)
    now = backfilled(task, lambda **_: runs, monkeypatch)
    assert "2 runs" in caplog.text
    assert "all of them." in caplog.text
    shown = now["ti"].pushed["bedrock_job"]["budget"]
    assert shown == {"month": f"{datetime.now(UTC):%Y-%m}", "settled": 0.0, "reserved": 1.0, "limit": 2.0}
