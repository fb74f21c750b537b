"""Stopping a job that nobody will pick up again, from a worker; and knowing whether that is so."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from airflow_bedrock.aws_errors import is_not_found
from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.hooks.bedrock import BedrockHook

log = logging.getLogger(__name__)

# airflow.sdk.api.datamodels: TerminalTIState. In any other state another try will come, and adopt the job.
TERMINAL_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
_STATE_SECONDS = 3.0  # Airflow kills a worker 5 s after it has asked it to end


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


def ended_for_good(ti: Any) -> bool:
    """Whether the task instance is in a terminal state, so that no other try of it will pick its job up.

    False where the state cannot be learnt: then the job is left alone.
    """
    # In a thread with a time limit: on_kill runs in a signal handler, which may have interrupted the main thread
    # while that held the lock of the very channel that the question needs.
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        return pool.submit(_state, ti).result(timeout=_STATE_SECONDS) in TERMINAL_STATES
    except Exception:
        log.warning("Could not learn the state of this task", exc_info=True)
        return False
    finally:
        pool.shutdown(wait=False)


def _state(ti: Any) -> str | None:
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index)
    found = states.get(ti.run_id, {})
    name = ti.task_id if ti.task_id in found else f"{ti.task_id}_{ti.map_index}"
    state = found.get(name)
    return None if state is None else str(getattr(state, "value", state))


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
