"""Waiting for a job inside a worker."""

from __future__ import annotations

import time

from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.hooks.lookout import Lookout


def wait_for_job(hook: BedrockHook, job_arn: str, *, delay: float, max_looks: int | None, silence_limit: float) -> Job:
    """Return the job once it has ended; errors that pass by themselves are waited out.

    :param delay: seconds between two looks.
    :param max_looks: looks after which the wait is given up; None for no limit.
    :param silence_limit: seconds without any answer of the service after which the wait is given up; 0 for never.
    :raises BedrockError: given up; the job may still run.
    :raises BedrockFatalError: the job does not exist.
    """
    lookout = Lookout(job_arn, silence_limit, exists=True)
    looks = 0
    while True:
        job = lookout.look(hook)
        if job is not None and job.outcome is not Outcome.RUNNING:
            return job
        looks += 1
        if max_looks is not None and looks >= max_looks:
            raise given_up(job_arn, f"after {looks} looks, {delay:g} s apart")
        time.sleep(delay)


def given_up(job_arn: str, when: str) -> BedrockError:
    """Return the error of a wait that has had enough of a job that still runs."""
    return BedrockError(
        f"Job {job_arn} still runs {when}. It was not stopped and is billed until it ends; another try of this task "
        "adopts it and waits again."
    )
