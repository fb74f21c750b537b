"""What a trigger does when its task is killed: stop the job, but only where nobody will pick it up.

Airflow 3.3 calls on_kill also where the task goes on elsewhere: for every trigger of a triggerer that had stalled, and,
when a task is cleared, perhaps after its next try has adopted the job. So the task instance's state decides.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from airflow.providers.common.compat.sdk import conf
from asgiref.sync import sync_to_async

from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.hooks.stopping import stop_job
from airflow_bedrock.hooks.task_state import TERMINAL_STATES, state_of

T = TypeVar("T")
log = logging.getLogger(__name__)

# Airflow gives on_kill this long; what is begun before that is finished all the same.
_SECONDS = conf.getint("triggerer", "on_kill_timeout", fallback=30) - 1

_running: set[asyncio.Task[Any]] = set()  # the event loop itself does not keep a task alive


async def stop_unless_wanted(make_hook: Callable[[], BedrockHook], job_identifier: str, ti: Any) -> None:
    """Stop the job if its task instance has come to an end for good, and log what was done, and why.

    Never raises; a job whose task's state cannot be learnt is left alone.

    :param ti: the task instance: its dag_id, run_id, task_id and map_index are used.
    """
    await to_its_end(sync_to_async(_stop_unless_wanted, thread_sensitive=False)(make_hook, job_identifier, ti))


async def to_its_end(work: Awaitable[T]) -> None:
    """Await the work although Airflow cancels the waiting again each second, for as long as on_kill may take."""
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    deadline = time.monotonic() + _SECONDS
    while not task.done() and (left := deadline - time.monotonic()) > 0:
        try:
            await asyncio.wait({task}, timeout=left)  # which, unlike `await task`, leaves the task alone when cancelled
        except asyncio.CancelledError:
            continue


def _stop_unless_wanted(make_hook: Callable[[], BedrockHook], job_identifier: str, ti: Any) -> None:
    try:
        state = state_of(ti)
        if state in TERMINAL_STATES:
            log.info(
                "The task is %s: stopping job %s. %s", state, job_identifier, stop_job(make_hook(), job_identifier)
            )
        else:
            log.info("Job %s is left running: the task is %s, so that it goes on", job_identifier, state)
    except Exception:
        log.exception(
            "Could not learn whether job %s is still wanted, so it was NOT stopped and may run and be billed on; stop "
            "it in the AWS console if nobody needs it",
            job_identifier,
        )
