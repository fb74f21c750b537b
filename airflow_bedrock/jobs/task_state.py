"""Ask Airflow whether another try of a task will come and adopt its job. For worker and triggerer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_bedrock.customization.waiters import Waiter

# airflow.sdk.api.datamodels: TerminalTIState. In any other state another try will adopt the job. A DAG run
# ends in one of the first two.
TERMINAL_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


def state_of(ti: Any) -> str | None:
    """Return the current state of the task instance; None if it has none, as after a Clear.

    :raises LookupError: the task instance no longer exists.
    """
    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    of_run = states[ti.run_id]
    state = of_run[ti.task_id] if ti.task_id in of_run else of_run[f"{ti.task_id}_{ti.map_index}"]
    return None if state is None else str(getattr(state, "value", state))


def run_state(dag_id: str, run_id: str) -> str:
    """Return the current state of the DAG run."""
    state = RuntimeTaskInstance.get_dagrun_state(dag_id, run_id)
    return str(getattr(state, "value", state))


def state_of_waiter(waiter: Waiter) -> str | None:
    """Return the state of a waiter's DAG run or task instance; ``removed`` if only the task instance was deleted.

    If the run is not found, an error is raised, and the job is kept: another Airflow may have asked for it.
    """
    if waiter.until == "task":
        with suppress(LookupError):
            return state_of(waiter)
    state = run_state(waiter.dag_id, waiter.run_id)
    return state if waiter.until == "run" else "removed"


def backfill_to_go(dag_id: str, task_id: str) -> list[str]:
    """Return the runs of a DAG's backfills in which the task has not ended, in order.

    Airflow creates all runs of a backfill at its beginning, and a DAG has one backfill at a time.
    """
    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, task_ids=[task_id])
    return sorted(
        run_id
        for run_id, of_run in states.items()
        if run_id.startswith("backfill__")
        and any(str(getattr(state, "value", state)) not in TERMINAL_STATES for state in of_run.values())
    )
