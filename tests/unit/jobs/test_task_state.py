"""Whom Airflow is asked about to know whether somebody still waits."""

from __future__ import annotations

from typing import Literal

import pytest

from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.jobs import task_state


@pytest.mark.parametrize(("until", "state"), [("run", "state of run"), ("task", "state of task")])
def test_a_waiter_waits_as_long_as_its_run_or_its_task(
    until: Literal["run", "task"], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that does not wait itself has ended long before what waits in its run."""
    monkeypatch.setattr(task_state, "run_state", lambda dag_id, run_id: f"state of {run_id}")
    monkeypatch.setattr(task_state, "state_of", lambda ti: f"state of {ti.task_id}")
    waiter = Waiter(until=until, dag_id="dag", task_id="task", map_index=-1, run_id="run")
    assert task_state.state_of_waiter(waiter) == state


def test_a_deleted_task_instance_no_longer_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """If its run is not found either, nothing is known: another Airflow may have the same environment."""
    runs = {"run": "running"}
    monkeypatch.setattr(task_state, "run_state", lambda dag_id, run_id: runs[run_id])
    monkeypatch.setattr(task_state, "state_of", lambda ti: {}[ti.task_id])
    waiter = Waiter(until="task", dag_id="dag", task_id="task", map_index=-1, run_id="run")
    assert task_state.state_of_waiter(waiter) == "removed"
    runs.clear()
    with pytest.raises(KeyError, match="run"):
        task_state.state_of_waiter(waiter)
