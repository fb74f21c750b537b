"""What to do about a job that has the derived name."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from airflow_bedrock.customization.decision import Decision, decide, decide_by_model, is_stopped_under
from airflow_bedrock.customization.identity import Identity, TaskKey
from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.customization.request import Reuse
from airflow_bedrock.jobs.resources import ResourceState

TASK_KEY = TaskKey(dag_id="d", task_id="t", run_id="r")
OURS = Identity(task_key=TASK_KEY, what="same", reuse="run", job_prefix="router", model_prefix="router")
FIRST_TRY = replace(OURS, what="other")  # whose template or data differs
RETRY = replace(OURS, task_key=replace(TASK_KEY, try_number=2))
EARLIER = replace(OURS, task_key=replace(TASK_KEY, ask=1))
SUPERSEDED = replace(EARLIER, what="other")
SIBLING = replace(OURS, task_key=replace(TASK_KEY, map_index=1))
OTHER_RUN = replace(OURS, task_key=replace(TASK_KEY, run_id="other"))
THEIRS = replace(OURS, task_key=replace(TASK_KEY, environment="other"))
INTERNAL = "An internal error occurred. Please try again later."


def job(status: str, made_by: Identity = OURS, said: str | None = None) -> Job:
    return Job(arn="arn", name="name", status=status, token=made_by.token(1), failure_message=said)


@pytest.mark.parametrize(
    "made_by", [OURS, FIRST_TRY, EARLIER], ids=["this ask", "this ask, other data", "an earlier ask"]
)
@pytest.mark.parametrize(
    ("status", "decision"),
    [("InProgress", Decision.ADOPT), ("Completed", Decision.REUSE), ("Hibernating", Decision.UNKNOWN)],
)
def test_a_job_that_runs_or_has_a_model_is_taken_up(status: str, decision: Decision, made_by: Identity) -> None:
    """By its own ask even if the request differs, by a later ask if the request is the same."""
    assert decide(job(status, made_by), RETRY) is decision


@pytest.mark.parametrize("status", ["InProgress", "Completed", "Failed", "Stopped"])
def test_a_first_try_takes_no_job_of_its_ask_for_another_request(status: str) -> None:
    """It has made none: that job is of a deleted run with the same id, or of another Airflow."""
    assert decide(job(status, FIRST_TRY), OURS) is Decision.CLASH


@pytest.mark.parametrize(
    ("status", "decision"),
    [("InProgress", Decision.SUPERSEDE), ("Completed", Decision.NEXT_GENERATION), ("Failed", Decision.NEXT_GENERATION)],
)
def test_a_later_ask_for_another_thing_gets_it(status: str, decision: Decision) -> None:
    """What becomes of the earlier job is settled first, while it runs."""
    assert decide(job(status, SUPERSEDED), OURS) is decision


def test_never_takes_only_the_job_of_its_own_ask() -> None:
    """A Clear pays anew."""
    never = replace(OURS, reuse="never")
    assert decide(job("Completed", OURS), never) is Decision.REUSE
    assert decide(job("Completed", EARLIER), never) is Decision.NEXT_GENERATION
    assert decide(job("InProgress", EARLIER), never) is Decision.SUPERSEDE


def test_a_job_that_is_being_stopped_is_waited_for_by_its_own_ask_alone() -> None:
    """A retry of the ask waits for its end; another ask goes on to the next name."""
    assert decide(job("Stopping", OURS), OURS) is Decision.ADOPT
    assert decide(job("Stopping", EARLIER), OURS) is Decision.NEXT_GENERATION


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_an_ask_is_not_paid_for_twice_where_no_retry_can_help(status: str) -> None:
    """An automatic retry finds what its predecessor came to; only a new ask makes the next generation."""
    assert decide(job(status, OURS, "Unable to parse Amazon S3 file"), OURS) is Decision.FAIL
    assert decide(job(status, EARLIER, "Unable to parse Amazon S3 file"), OURS) is Decision.NEXT_GENERATION


def test_a_job_that_a_person_has_stopped_is_not_made_again_by_a_retry() -> None:
    """Whatever the service says of it."""
    assert decide(job("Stopped", said=INTERNAL), OURS) is Decision.FAIL


def test_a_failure_of_the_service_may_be_retried() -> None:
    """It says so itself."""
    assert decide(job("Failed", OURS, INTERNAL), OURS) is Decision.NEXT_GENERATION


@pytest.mark.parametrize("reuse", ["run", "dag", "never"])
@pytest.mark.parametrize("status", ["InProgress", "Completed", "Failed", "Stopped", "Hibernating"])
def test_a_job_of_somebody_else_is_never_taken_up(status: str, reuse: Reuse) -> None:
    """The name alone proves nothing; the token does."""
    assert decide(job(status, THEIRS), replace(OURS, reuse=reuse)) is Decision.CLASH


@pytest.mark.parametrize("other", [SIBLING, OTHER_RUN], ids=["another map index", "another run"])
def test_another_task_s_job_is_taken_only_where_it_counts_and_what_is_equal(other: Identity) -> None:
    """With dag, or where List found it among those that count."""
    assert decide(job("InProgress", other), OURS) is Decision.CLASH
    assert decide(job("InProgress", other), replace(OURS, reuse="dag")) is Decision.ADOPT
    assert decide(job("InProgress", other), OURS, listed=True) is Decision.ADOPT
    assert decide(job("InProgress", replace(other, what="other")), OURS, listed=True) is Decision.CLASH


@pytest.mark.parametrize(
    ("status", "decision"),
    [
        ("InProgress", Decision.ADOPT),
        ("Completed", Decision.REUSE),
        ("Failed", Decision.FAIL),
        ("Stopping", Decision.NEXT_GENERATION),
        ("Stopped", Decision.NEXT_GENERATION),
    ],
)
def test_a_retry_takes_what_its_ask_has_adopted_unless_that_was_stopped(status: str, decision: Decision) -> None:
    """Even if the request differs; if another task has stopped it, a new one is made."""
    adopted = replace(SIBLING, what="other")
    assert decide(job(status, adopted, "Unable to parse Amazon S3 file"), OURS, adopted=True) is decision


@pytest.mark.parametrize(
    ("outcome", "decision"),
    [
        (Outcome.RUNNING, Decision.ADOPT),
        (Outcome.SUCCEEDED, Decision.REUSE),
        (Outcome.FAILED, Decision.FAIL),
        (Outcome.STOPPED, Decision.FAIL),
        (Outcome.UNKNOWN, Decision.UNKNOWN),
    ],
)
def test_what_serves_a_model_is_known_by_that_model_alone(outcome: Outcome, decision: Decision) -> None:
    """No matter who made it; one that serves another model is in the way, whatever its state."""
    found = ResourceState(arn="arn", name="name", status="any", outcome=outcome)
    assert decide_by_model(found, same=True) is decision
    assert decide_by_model(found, same=False) is Decision.CLASH


def test_only_what_another_ask_had_made_is_stopped_under_a_task() -> None:
    """A job of its own that was stopped is its end; what it had adopted it asks for anew."""
    assert is_stopped_under(job("Stopped", EARLIER), TASK_KEY)
    assert not is_stopped_under(job("Stopped", OURS), TASK_KEY)
    assert not is_stopped_under(job("Failed", EARLIER), TASK_KEY)
    assert not is_stopped_under(Job(arn="arn", name="name", status="Stopped"), TASK_KEY)
