"""What to do about a job that bears the derived name."""

from __future__ import annotations

import pytest

from airflow_bedrock.customization.decision import Decision, decide
from airflow_bedrock.customization.identity import Identity
from airflow_bedrock.customization.job import Job

OURS = Identity(digest="d1", ask="this", job_prefix="router", model_prefix="router")
EARLIER = Identity(digest="d1", ask="last", job_prefix="router", model_prefix="router")
THEIRS = Identity(digest="d2", ask="this", job_prefix="router", model_prefix="router")
INTERNAL = "An internal error occurred. Please try again later."


def job(status: str, made_by: Identity = OURS, said: str | None = None) -> Job:
    return Job(arn="arn", name="name", status=status, token=made_by.token(1), failure_message=said)


@pytest.mark.parametrize("made_by", [OURS, EARLIER], ids=["this ask", "an earlier ask"])
@pytest.mark.parametrize(
    ("status", "decision"),
    [("InProgress", Decision.ADOPT), ("Completed", Decision.REUSE), ("Hibernating", Decision.UNKNOWN)],
)
def test_a_job_that_runs_or_has_a_model_is_taken_up(status: str, decision: Decision, made_by: Identity) -> None:
    """Whoever asked for it; a status that is not known leads to neither reuse nor another paid job."""
    assert decide(job(status, made_by), OURS) is decision


@pytest.mark.parametrize("status", ["Failed", "Stopping", "Stopped"])
def test_an_ask_is_not_paid_for_twice_where_no_retry_can_mend_it(status: str) -> None:
    """An automatic retry finds what its predecessor came to; only a new ask makes the next generation."""
    assert decide(job(status, OURS, "Unable to parse Amazon S3 file"), OURS) is Decision.FAIL
    assert decide(job(status, EARLIER, "Unable to parse Amazon S3 file"), OURS) is Decision.NEXT_GENERATION


def test_a_failure_of_the_service_may_be_retried() -> None:
    """It says so itself."""
    assert decide(job("Failed", OURS, INTERNAL), OURS) is Decision.NEXT_GENERATION


@pytest.mark.parametrize("status", ["InProgress", "Completed", "Failed", "Stopped", "Hibernating"])
def test_a_job_of_somebody_else_is_never_taken_up(status: str) -> None:
    """The name alone proves nothing; the token does."""
    assert decide(job(status, THEIRS), OURS) is Decision.CLASH


def test_no_job_is_created() -> None:
    """A free name is taken."""
    assert decide(None, OURS) is Decision.CREATE
