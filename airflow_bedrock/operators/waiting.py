"""Waiting for a job inside a worker."""

from __future__ import annotations

import logging
import time

from airflow_bedrock.aws_errors import is_transient
from airflow_bedrock.customization.job import Job, Outcome, changes
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.hooks.finished_job import look_at_job

log = logging.getLogger(__name__)


def wait_for_job(hook: BedrockHook, job: Job, delay: float, max_looks: int | None) -> Job:
    """Return the job once it has ended; errors that pass by themselves are waited out.

    :param delay: seconds between two looks.
    :param max_looks: looks after which the wait is given up; None for no limit.
    :raises BedrockError: given up; the job still runs.
    :raises BedrockFatalError: the job does not exist.
    """
    seen: Job | None = None
    looks = 0
    while True:
        try:
            now = look_at_job(hook, job.arn)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("Could not look at job %s, will look again: %s", job.arn, error)
        else:
            for line in changes(seen, now):
                log.info(line)
            if now.outcome is not Outcome.RUNNING:
                return now
            seen = now
        looks += 1
        if max_looks is not None and looks >= max_looks:
            raise BedrockError(
                f"Job {job.arn} still runs after {looks} looks, {delay} s apart. It was not stopped and is billed "
                "until it ends; another try of this task adopts it and waits again."
            )
        time.sleep(delay)
