"""Find the running jobs of an Airflow deployment, of every kind, that no task waits for.

A job is orphaned if every task that may wait for it ended at a moment when no process held it: for example, a person
marks a task failed between a killed worker and the next try. The job's tags say which tasks these are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from airflow_bedrock.aws_errors import CALL_ERRORS, is_not_found
from airflow_bedrock.customization.identity import Token
from airflow_bedrock.customization.job import Seen
from airflow_bedrock.customization.tags import is_of
from airflow_bedrock.customization.waiters import Waiter, waiters, was_waited_for
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.resources import declared
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.stopping import why_kept


@dataclass(frozen=True)
class RunningJob:
    """A job that runs and is billed.

    :param service: stops it.
    :param waiters: the tasks that may wait for it, if its tags can be read.
    :param kept: why it must not be stopped; None if it is orphaned.
    """

    service: Service
    job: Seen
    waiters: tuple[Waiter, ...] = ()
    kept: str | None = None


def running_jobs(hook: BedrockHook, environment: str, state_of: Callable[[Waiter], str | None]) -> Iterator[RunningJob]:
    """Yield the running jobs that this deployment of Airflow requested, and those whose tags cannot be read.

    :param environment: the name of this deployment of Airflow.
    :param state_of: returns the state of a waiter's task instance or DAG run; if it raises, the job is kept.
    :raises botocore.exceptions.ClientError: the jobs of one kind could not be listed; those of the other kinds were
        yielded.
    """
    failed: Exception | None = None
    for resource in declared():
        if not resource.names_waiters:
            continue
        service = Service(resource, hook)
        try:
            listed = service.list_running()
        except CALL_ERRORS as error:
            failed = error
            continue
        for job in listed:
            yield from _running(service, job, environment, state_of)
    if failed:
        raise failed


def _running(
    service: Service, job: Seen, environment: str, state_of: Callable[[Waiter], str | None]
) -> Iterator[RunningJob]:
    try:
        tags = service.tags_of(job.arn)
    except CALL_ERRORS as error:
        if not is_not_found(error):
            yield RunningJob(service, job, kept=f"its tags, which say who waits for it, could not be read: {error}")
        return
    if not is_of(tags, environment):
        return
    known = waiters(tags)
    lasts = service.resource.lasts
    reasons = [why for waiter in known if (why := why_kept(waiter, state_of, lasts=lasts))]
    if not was_waited_for(tags):
        reasons = ["it has no tag that says who waits for it"]
    if not reasons and (why := _why_not_ours(service, job)):
        reasons = [why]
    yield RunningJob(service, job, tuple(filter(None, known)), "; ".join(reasons) or None)


def _why_not_ours(service: Service, job: Seen) -> str | None:
    """Return why a job with the tags of a task may not be the task's; None if its token is of this package."""
    try:
        found = service.find(job.arn)
    except CALL_ERRORS as error:
        return f"its token, which says who made it, could not be read: {error}"
    if found is None or Token.read(found.token):
        return None
    return "this package did not make it: its tags were copied from another job"
