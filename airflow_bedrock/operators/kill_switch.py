"""What a worker does when Airflow ends its task: stop the job, but only where no other try will pick it up."""

from __future__ import annotations

import logging
from typing import Any

from airflow_bedrock.customization.job import Job
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.hooks.stopping import stop_job
from airflow_bedrock.hooks.task_state import ended_for_good

log = logging.getLogger(__name__)


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
