"""What cannot be settled fails no task whose thing is paid for; its log says so."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.job import Job
from airflow_bedrock.spend.settling import Spent, settled, settled_of, standing

NOT_ASKED: Any = None
JOB = Job(arn="arn:aws:bedrock:us-east-1:1:job/a", name="a", status="Completed")


def task_key(number: int) -> TaskKey:
    return TaskKey(dag_id="dag", task_id="task", run_id="run", try_number=number)


@pytest.fixture
def _no_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget without a place for its ledger: each read of it fails."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__MONTHLY_BUDGET", "1")


@pytest.mark.usefixtures("_no_ledger")
def test_a_ledger_that_cannot_be_read_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Of the thing that has ended, of those of earlier tries, and of the month."""
    assert settled(NOT_ASKED, JOB, NOT_ASKED) == Spent()
    settled_of(task_key(2), NOT_ASKED, NOT_ASKED)
    assert standing(NOT_ASKED) is None
    said = [message.partition(": A budget needs a ledger")[0] for message in caplog.messages]
    assert said == [
        f"The cost of {JOB.arn} was not settled",
        "The cost of earlier tries of this task was not settled",
        "Could not read the state of the budget",
    ]


@pytest.mark.usefixtures("_no_ledger")
def test_a_first_try_has_no_earlier_ones(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is read for it."""
    settled_of(task_key(1), NOT_ASKED, NOT_ASKED)
    assert caplog.messages == []


def test_without_a_budget_nothing_is_settled(caplog: pytest.LogCaptureFixture) -> None:
    """And nothing is read."""
    assert settled(NOT_ASKED, JOB, NOT_ASKED) == Spent()
    settled_of(task_key(2), NOT_ASKED, NOT_ASKED)
    assert standing(NOT_ASKED) is None
    assert caplog.messages == []
