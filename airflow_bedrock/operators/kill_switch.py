"""What a worker does when Airflow ends its task: stop the job, but only where no other try will pick it up."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow_bedrock.customization.job import Job
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.hooks.stopping import TERMINAL_STATES, state_of, stop_job

log = logging.getLogger(__name__)

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
        return pool.submit(state_of, ti).result(timeout=_STATE_SECONDS) in TERMINAL_STATES
    except Exception:
        log.warning("Could not learn the state of this task", exc_info=True)
        return False
    finally:
        pool.shutdown(wait=False)
