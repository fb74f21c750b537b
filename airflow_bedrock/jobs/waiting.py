"""Wait in a worker, and turn the end of a job into a result or an error.

What this module says about jobs holds for every kind of resource (:mod:`airflow_bedrock.jobs.resources`).
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_bedrock.aws_errors import CALL_ERRORS, is_denied
from airflow_bedrock.customization.job import Job, Outcome, Seen, changes
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs.no_response import Absence, NoResponseTimeout
from airflow_bedrock.jobs.resources import Resource
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.s3 import read_losses
from airflow_bedrock.jobs.service import Service

log = logging.getLogger(__name__)

_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between two polls of a job whose end is not settled; the last one repeats


class MissingError(BedrockFatalError):
    """There is no such job, or it no longer exists."""


class Poller:
    """Polls the job that a worker waits for.

    :param job_identifier: the job's ARN or name.
    :param no_response_timeout: seconds without a response from the service after which to give up; 0 for never.
    :param exists: whether the job is known to exist: the service may take a while to show a new one.
    :param goes_on: whether it continues a wait that began elsewhere: then only the end is logged.
    :param say: called with a line for each change of the job.
    """

    def __init__(
        self,
        service: Service,
        job_identifier: str,
        no_response_timeout: float,
        *,
        exists: bool = False,
        goes_on: bool = False,
        say: Callable[[str], object] = log.info,
    ) -> None:
        self.job_identifier = job_identifier
        self.seen: Seen | None = None
        self._service = service
        self._timeout = NoResponseTimeout(no_response_timeout)
        self._absence = Absence(known=exists)
        self._goes_on = goes_on
        self._say = say

    def poll(self) -> Seen | None:
        """Return the job as it is now; None if the service did not respond.

        :raises MissingError: there is no such job.
        :raises BedrockError: no poll had a response for ``no_response_timeout``, the caller is denied access to the
            job, or the service refused the poll for another reason.
        """
        try:
            job = self._service.get(self.job_identifier)
        except Exception as error:
            self._failed(error)
            return None
        self._timeout.answered()
        if job is None:
            self._missing()
            return None
        self._absence.seen()
        if job.outcome is Outcome.SUCCEEDED and not job.model_arn and self._service.resource.model_operation:
            job = self._with_model(job)
        line = changes(self.seen, job, self._service.resource.noun)
        if line and (job.outcome is not Outcome.RUNNING or not self._goes_on):
            self._say(line)
        self.seen = job
        return job

    def _with_model(self, job: Seen) -> Seen:
        """Read a completed job again until it names its model: the tasks after this one need it."""
        for pause in _PAUSES:
            time.sleep(pause)
            with suppress(*CALL_ERRORS):
                again = self._service.get(self.job_identifier)
                if again is not None and again.model_arn:
                    return again
        noun = self._service.resource.noun
        log.warning("%s %s has completed, but Bedrock does not say which model it made", noun.capitalize(), job.arn)
        return job

    def _failed(self, error: Exception) -> None:
        if is_denied(error):
            raise BedrockError(access_denied(self._service.resource, self.job_identifier, str(error))) from error
        resource = self._service.resource
        if not self._service.can_retry(error):
            raise BedrockError(unknown_state(resource, self.job_identifier, str(error))) from error
        about = f"about {resource.noun} {self.job_identifier}"
        if (why := self._timeout.gives_up(time.monotonic(), about, error, log.warning)) is not None:
            raise BedrockError(unknown_state(resource, self.job_identifier, why)) from error

    def _missing(self) -> None:
        resource = self._service.resource
        if not self._absence.missed(time.monotonic()):
            log.warning("Bedrock does not show %s %s yet; polling again", resource.noun, self.job_identifier)
            return
        where = f"in region {self._service.hook.at(self.job_identifier).conn_region_name}"
        elsewhere = (
            f"If connection {self._service.hook.aws_conn_id} now leads to another account, it may run there and be "
            "billed. "
            if resource.is_for_good(self.job_identifier)
            else ""
        )
        raise MissingError(
            f"There is no Bedrock {resource.kind} {self.job_identifier} {where}. {elsewhere}{resource.missing}"
        )


def unknown_state(resource: Resource, job_identifier: str, why: str) -> str:
    """Return the error text for a job in an unknown state."""
    return (
        f"The state of Bedrock {resource.kind} {job_identifier} is unknown: {why}. The {resource.noun} was not "
        "stopped; it may still run and be billed. A retry or a Clear waits for it again."
    )


def access_denied(resource: Resource, job_identifier: str, why: str) -> str:
    """Return the error text for a job that the caller is denied access to."""
    return (
        f"{unknown_state(resource, job_identifier, why)} Allow bedrock:{resource.get_operation} for the role of the "
        "connection."
    )


def wait_for(
    service: Service, job_arn: str, *, delay: float, max_polls: int | None, no_response_timeout: float
) -> Seen:
    """Return the job once it has ended; transient errors are retried.

    :param delay: seconds between two polls.
    :param max_polls: maximum number of polls; None for no limit.
    :param no_response_timeout: seconds without a response from the service after which the wait ends; 0 for never.
    :raises BedrockError: the wait ended, and the job may still run.
    :raises MissingError: the job does not exist.
    """
    poller = Poller(service, job_arn, no_response_timeout, exists=True)
    polls = 0
    while True:
        job = poller.poll()
        if job is not None and job.outcome is not Outcome.RUNNING:
            return job
        polls += 1
        if max_polls is not None and polls >= max_polls:
            state = f"is still {poller.seen.status}" if poller.seen else "still runs"
            raise given_up(service.resource, job_arn, f"after {polls} polls, {delay:g} s apart", state)
        time.sleep(delay)


def given_up(resource: Resource, job_arn: str, when: str, state: str = "still runs") -> BedrockError:
    """Return the error of a wait that ended while the job still runs."""
    return BedrockError(
        f"{resource.noun.capitalize()} {job_arn} {state} {when}. It was not stopped and {resource.billed}; a retry or "
        "a Clear of this task adopts it and waits again."
    )


_POLLS = 5  # number of polls that may still find it running


def job_of_event(service: Service, event: Mapping[str, Any] | None, no_response_timeout: float) -> Seen:
    """Return the job of the trigger's event in its current state: it no longer runs.

    :param no_response_timeout: seconds without a response from the service after which to give up; 0 for never.
    :raises MissingError: there is no such job.
    :raises BedrockError: no poll had a response for too long, or the caller is denied access to the job.
    """
    if not event or not {"kind", "job_identifier", "message"} <= event.keys():
        raise BedrockError(f"The trigger sent no event that this version understands: {event!r}")
    identifier, message = event["job_identifier"], event["message"]
    if event["kind"] == "silent":
        raise BedrockError(unknown_state(service.resource, identifier, message))
    if event["kind"] == "refused":
        raise BedrockError(access_denied(service.resource, identifier, message))
    if event["kind"] == "late":
        raise given_up(service.resource, identifier, message, "was not done")
    poller = Poller(service, identifier, no_response_timeout, exists=event["kind"] == "ended", goes_on=True)
    pauses, running = itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])), 0
    while (job := poller.poll()) is None or job.outcome is Outcome.RUNNING:
        # The service may return an older state, or be busy: then poll again.
        running += job is not None
        if job is not None and running >= _POLLS:
            why = f"the triggerer read that {message}, but the worker reads that it is {job.status}"
            raise BedrockError(unknown_state(service.resource, identifier, why))
        time.sleep(next(pauses))
    return job


def result_of(job: Seen, s3: S3Hook) -> dict[str, Any]:
    """Return the result mapping of a completed customization job, with its losses by epoch and by step.

    :raises BedrockFatalError: the job ended in any other way, or its status is unknown.
    """
    if job.outcome is not Outcome.SUCCEEDED or not isinstance(job, Job):
        raise BedrockFatalError(CUSTOMIZATION_JOB.failure_message(job))
    return {**job.result(), **read_losses(s3, job)}
