"""Asking Airflow whether another try of a task will come, which then adopts its job. For worker and triggerer."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow_bedrock.customization.waiters import Waiter

log = logging.getLogger(__name__)

# airflow.sdk.api.datamodels: TerminalTIState. In any other state another try will come, and adopt the job.
TERMINAL_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
ENDED_RUN_STATES = frozenset({"success", "failed"})  # airflow.utils.state: DagRunState, those that are final
_STATE_SECONDS = 3.0  # Airflow kills a worker 5 s after it has asked it to end


def state_of(ti: Any) -> str | None:
    """Ask for the state that the task instance has now; None where it has none, as after a Clear.

    :raises LookupError: there is no such task instance any more.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    of_run = states[ti.run_id]
    state = of_run[ti.task_id] if ti.task_id in of_run else of_run[f"{ti.task_id}_{ti.map_index}"]
    return None if state is None else str(getattr(state, "value", state))


def run_state(dag_id: str, run_id: str) -> str:
    """Ask for the state that the DAG run has now."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    state = RuntimeTaskInstance.get_dagrun_state(dag_id, run_id)
    return str(getattr(state, "value", state))


def state_of_waiter(waiter: Waiter) -> str | None:
    """Ask for the state of what a waiter waits in: its DAG run, or its task instance."""
    return run_state(waiter.dag_id, waiter.run_id) if waiter.until == "run" else state_of(waiter)


def ended_for_good(ti: Any) -> bool | None:
    """Whether the task instance is in a terminal state, so that no other try of it will pick its job up. In a worker.

    None where the state cannot be learnt now: then the job is left alone, until it can.
    """
    # In a thread with a time limit: on_kill runs in a signal handler, which may have interrupted the main thread
    # while that held the lock of the very channel that the question needs.
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        return pool.submit(state_of, ti).result(timeout=_STATE_SECONDS) in TERMINAL_STATES
    except Exception:
        log.warning("Could not learn the state of this task", exc_info=True)
        return None
    finally:
        pool.shutdown(wait=False)
