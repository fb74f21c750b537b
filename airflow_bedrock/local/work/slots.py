"""The queue before training: so many jobs train at once, the others wait their turn in the order of creation."""

from __future__ import annotations

from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Job


def has_slot(bedrock: Bedrock, job: Job) -> bool:
    """Whether a job may begin to train, or trains already. Hold the world's lock."""
    return job.phases["training"].status != "NotStarted" or job in _next(bedrock)


def wake_next(bedrock: Bedrock) -> None:
    """Wake the jobs that have a slot now, because another job has ended. Hold the world's lock."""
    for job in _next(bedrock):
        bedrock.world.runner.wake(job.arn)


def _next(bedrock: Bedrock) -> list[Job]:
    """Return the jobs that wait and may go on."""
    active = [job for job in bedrock.jobs.values() if job.active]
    training = sum(job.phases["training"].status != "NotStarted" for job in active)
    waiting = [
        job
        for job in active
        if job.status == "InProgress"
        and job.phases["dataProcessing"].status == "Completed"
        and job.phases["training"].status == "NotStarted"
    ]
    return waiting[: max(0, bedrock.world.settings.quotas.training_jobs - training)]
