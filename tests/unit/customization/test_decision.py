"""What to do about a job that bears the derived name."""

from __future__ import annotations

import pytest

from airflow_bedrock.customization.decision import Decision, decide
from airflow_bedrock.customization.job import Job


def job(status: str, token: str = "ours") -> Job:
    return Job(arn="arn", name="name", status=status, token=token)


@pytest.mark.parametrize(
    ("status", "decision"),
    [
        ("InProgress", Decision.ADOPT),
        ("Completed", Decision.REUSE),
        ("Failed", Decision.NEXT_GENERATION),
        ("Stopping", Decision.NEXT_GENERATION),
        ("Stopped", Decision.NEXT_GENERATION),
        ("Hibernating", Decision.UNKNOWN),
    ],
)
def test_our_own_job_is_taken_up_by_its_status(status: str, decision: Decision) -> None:
    """Only a status that is known to leave nothing running leads to another paid job."""
    assert decide(job(status), "ours") is decision


@pytest.mark.parametrize("status", ["InProgress", "Completed", "Failed", "Stopped", "Hibernating"])
def test_a_job_of_somebody_else_is_never_taken_up(status: str) -> None:
    """The name alone proves nothing; the token does."""
    assert decide(job(status, token="theirs"), "ours") is Decision.CLASH


def test_no_job_is_created() -> None:
    """A free name is taken."""
    assert decide(None, "ours") is Decision.CREATE
