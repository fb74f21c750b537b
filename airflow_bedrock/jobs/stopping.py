"""Stopping a job that nobody will pick up again, from a worker and from the triggerer.

Airflow 3.3 calls a trigger's on_kill also where the task goes on elsewhere: for every trigger of a triggerer that had
stalled, and, when a task is cleared, perhaps after its next try has adopted the job. A worker's on_kill is called when
its pod is evicted. So the task instance's state decides.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from airflow.providers.common.compat.sdk import conf
from asgiref.sync import sync_to_async
from botocore.exceptions import BotoCoreError, ClientError

from airflow_bedrock.aws_errors import is_not_found
from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.task_state import TERMINAL_STATES, ended_for_good, state_of

T = TypeVar("T")
log = logging.getLogger(__name__)


def stop_job(hook: BedrockHook, job_arn: str) -> str:
    """Stop the job, and return a sentence on what became of it and of its bill; never raises for an AWS error."""
    try:
        hook.conn.stop_model_customization_job(jobIdentifier=job_arn)
    except (BotoCoreError, ClientError) as error:
        return _not_stopped(hook, job_arn, error)
    return f"Job {job_arn} is being stopped; the tokens trained until then are billed, and no model is made."


def _not_stopped(hook: BedrockHook, job_arn: str, error: Exception) -> str:
    """Tell why the job could not be stopped: most often because it had ended already."""
    if is_not_found(error):
        return f"Job {job_arn} does not exist; there was nothing to stop."
    try:
        job = hook.get_customization_job(job_arn)
    except (BotoCoreError, ClientError):
        job = None
    if job is not None and job.outcome is not Outcome.RUNNING:
        return f"Job {job_arn} had ended already: {job.status}."
    return f"Job {job_arn} COULD NOT BE STOPPED and may run and be billed on; stop it in the AWS console: {error}"


class KillSwitch:
    """What a worker does when Airflow ends its task: nothing, unless the task has ended for good.

    Airflow calls ``on_kill`` from a signal handler, at any line; also between the service's acceptance of a job and
    our knowing of it. A kill that comes so early is remembered, and takes effect when the job is known.
    """

    def __init__(self) -> None:
        self._ti: Any = None
        self._target: tuple[BedrockHook, Job] | None = None
        self._pulled = False

    def arm(self, ti: Any) -> None:
        """Say which task instance this is; one that is taken up again starts anew."""
        self._ti, self._target, self._pulled = ti, None, False

    def aim(self, hook: BedrockHook, job: Job) -> None:
        """Say which job the task has; stop it at once if the task was killed already."""
        self._target = (hook, job)
        if self._pulled:
            self.pull()

    def pull(self) -> None:
        """Stop the job if no other try of the task will pick it up."""
        self._pulled = True
        if self._target is None:
            return
        hook, job = self._target
        if ended_for_good(self._ti):
            log.info("This task was ended for good. %s", stop_job(hook, job.arn))
        else:
            log.info("Job %s was left running: another try of this task adopts it", job.arn)


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
