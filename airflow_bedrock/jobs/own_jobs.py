"""Find what a task has made or waits for, by name, identity and tags, when the task itself does not know.

A worker can be killed, and a task can time out, after the service has accepted a job and before its response arrives.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from airflow_bedrock.aws_errors import CALL_ERRORS
from airflow_bedrock.customization.identity import Identity, Token
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.customization.waiters import has_asked, is_waiter, was_waited_for
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.jobs.no_response import SECONDS_UNTIL_MISSING
from airflow_bedrock.jobs.service import Service

T = TypeVar("T")
log = logging.getLogger(__name__)

_ASK_AGAIN_SECONDS = 5.0
_POLLS = 3  # until a new job that Bedrock does not show counts as missing
_PAUSE = 2.0  # seconds between them


def with_retries(service: Service, search: Callable[[], T]) -> T:
    """Search for what a task has made; if the service fails, retry for as long as it may hide a new job.

    A task often times out because the service is slow or does not respond.
    """
    began = time.monotonic()
    while True:
        try:
            return search()
        except (*CALL_ERRORS, BedrockError) as error:
            retryable = isinstance(error, BedrockError) or service.can_retry(error)
            if not retryable or time.monotonic() - began >= SECONDS_UNTIL_MISSING:
                raise
            log.info("%s Retrying.", error)
            time.sleep(_ASK_AGAIN_SECONDS)


def job_named(service: Service, name: str) -> str | None:
    """Return the ARN of the job with the name; the service may take a while to show a new one. Never raises for AWS."""
    found = _search(partial(shown, service, name))
    return found.arn if found else None


def shown(service: Service, name: str) -> Seen | None:
    """Return the job; None if it does not exist or Bedrock does not respond."""
    try:
        return service.find(name)
    except CALL_ERRORS:
        return None


def running_jobs_of(service: Service, identity: Identity, *, this_ask: bool) -> list[str]:
    """Return the ARNs of the running jobs that this task instance made, or else adopted, in earlier tries.

    The current request does not matter. The service may take a while to show a new job.

    :param this_ask: leave out the jobs of its earlier asks that a Clear kept running.
    :raises BotoCoreError: the service did not respond.
    :raises ClientError: the same.
    """
    return _search(partial(_running_jobs_of, service, identity, this_ask))


def _search(find: Callable[[], T]) -> T:
    """Return the result of the search, after at most three tries: the service may take a while to show a new job."""
    for _ in range(_POLLS - 1):
        if found := find():
            return found
        time.sleep(_PAUSE)
    return find()


def _running_jobs_of(service: Service, identity: Identity, this_ask: bool) -> list[str]:
    named = list(_by_name(service, identity))
    listed = [] if identity.exact else service.list_all(identity.family_part)
    named += [job for job in listed if f"-{identity.who_part}-" in f"{job.name}-{job.model_name}-"]
    running = {job.arn: job for job in named if job.outcome is Outcome.RUNNING and service.resource.is_unused(job)}
    if made := [arn for arn, job in running.items() if _is_own(service, job, identity, this_ask)]:
        return made
    asks = has_asked if this_ask else is_waiter
    others = [job.arn for job in listed if job.outcome is Outcome.RUNNING and job.arn not in running]
    return [arn for arn in others if asks(service.tags_of(arn), identity.task_key)]


def _is_own(service: Service, job: Seen, identity: Identity, this_ask: bool) -> bool:
    """Whether a job with a name of this task is its own: another run of the same partition has the same names.

    Its tags decide, or its token if it has no tags.
    """
    tags = service.tags_of(job.arn)
    if not this_ask:
        return is_waiter(tags, identity.task_key) or not was_waited_for(tags)
    found = job if job.token else service.find(job.arn)
    return has_asked(tags, identity.task_key) or (found is not None and identity.is_of_ask(Token.read(found.token)))


def _by_name(service: Service, identity: Identity) -> Iterator[Seen]:
    """Get the task's jobs by their names: List may show them later."""
    for name in identity.job_names():
        found = service.find(name)
        if found is None or not identity.is_of_who(Token.read(found.token)):
            return
        yield found
