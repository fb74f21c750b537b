"""Waiting for a job from a worker, and taking up one that has ended: success as a result, all else as an error."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_bedrock.aws_errors import is_about_credentials, is_denied, is_transient
from airflow_bedrock.customization.failure import failure_message
from airflow_bedrock.customization.job import Job, Outcome, changes, duration
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.patience import Absence, Patience
from airflow_bedrock.jobs.places import read_losses

log = logging.getLogger(__name__)


class Lookout:
    """What a worker knows of the job that it waits for.

    :param job_identifier: the job's ARN or name.
    :param no_response_timeout: seconds without any answer of the service after which to give up; 0 for never.
    :param exists: whether the job is known to exist: the service may not show a new one at once.
    :param goes_on: whether somebody has looked before: then only an end is news, since what was seen is not known here.
    """

    def __init__(
        self, job_identifier: str, no_response_timeout: float, *, exists: bool = False, goes_on: bool = False
    ) -> None:
        self.job_identifier = job_identifier
        self.seen: Job | None = None
        self._patience = Patience(no_response_timeout)
        self._absence = Absence(known=exists)
        self._goes_on = goes_on

    def look(self, hook: BedrockHook) -> Job | None:
        """Return the job as it is now; None where the service did not tell.

        :raises BedrockFatalError: there is no such job.
        :raises BedrockError: no look has had an answer for ``no_response_timeout``, or the caller may not look at the
            job.
        """
        try:
            job = hook.get_customization_job(self.job_identifier)
        except Exception as error:
            self._failed(hook, error)
            return None
        self._patience.answered()
        if job is None:
            self._missing(hook)
            return None
        self._absence.seen()
        if job.outcome is not Outcome.RUNNING or not self._goes_on:
            for line in changes(self.seen, job):
                log.info(line)
        self.seen = job
        return job

    def _failed(self, hook: BedrockHook, error: Exception) -> None:
        if is_denied(error):
            raise BedrockError(may_not_look(self.job_identifier, str(error))) from error
        if is_about_credentials(error):
            hook.forget_client()  # the connection may have better ones by now
        elif not is_transient(error):
            raise error
        now = time.monotonic()
        silent = duration(self._patience.silence(now))
        if self._patience.is_over(now):
            why = f"no answer for {silent}, last with: {error}"
            raise BedrockError(unknown_health(self.job_identifier, why)) from error
        if self._patience.should_tell(now):
            log.warning("No answer about job %s for %s, will look again: %s", self.job_identifier, silent, error)

    def _missing(self, hook: BedrockHook) -> None:
        if not self._absence.missed(time.monotonic()):
            log.warning("Bedrock does not show job %s, will look again", self.job_identifier)
            return
        raise BedrockFatalError(
            f"There is no Bedrock model customization job {self.job_identifier} in region {hook.conn_region_name}. "
            "Jobs cannot be deleted: check the region and the account of the connection, and the name, to which "
            "BedrockModelCustomizationOperator adds a digest: take its output, job_identifier=customize.output."
        )


def unknown_health(job_identifier: str, why: str) -> str:
    """Return the error text for a job of which it is not known how it fares."""
    return (
        f"The health of Bedrock model customization job {job_identifier} is unknown: {why}. The job was not stopped; "
        "it may still run and be billed. Another try of this task waits for it again."
    )


def may_not_look(job_identifier: str, why: str) -> str:
    """Return the error text for a job that the caller may not look at."""
    return (
        f"{unknown_health(job_identifier, why)} Allow bedrock:GetModelCustomizationJob to the role of the connection."
    )


def wait_for_job(
    hook: BedrockHook, job_arn: str, *, delay: float, max_looks: int | None, no_response_timeout: float
) -> Job:
    """Return the job once it has ended; errors that pass by themselves are waited out.

    :param delay: seconds between two looks.
    :param max_looks: looks after which the wait is given up; None for no limit.
    :param no_response_timeout: seconds without any answer of the service after which the wait is given up; 0 for never.
    :raises BedrockError: given up; the job may still run.
    :raises BedrockFatalError: the job does not exist.
    """
    lookout = Lookout(job_arn, no_response_timeout, exists=True)
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


_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between two looks at a job that is said to have ended; then the last again
_LOOKS = 5  # that find it running all the same


def job_of_event(hook: BedrockHook, event: Mapping[str, Any] | None, no_response_timeout: float) -> Job:
    """Return the job that the trigger's event speaks of, as it is now: it runs no longer.

    :param no_response_timeout: seconds without any answer of the service after which to give up; 0 for never.
    :raises BedrockFatalError: there is no such job.
    :raises BedrockError: nothing was heard of the job for too long, or the caller may not look at it.
    """
    if not event or "kind" not in event:
        raise BedrockError(f"The trigger sent no event that this version understands: {event!r}")
    identifier, message = event["job_identifier"], event["message"]
    if event["kind"] == "silent":
        raise BedrockError(unknown_health(identifier, message))
    if event["kind"] == "refused":
        raise BedrockError(may_not_look(identifier, message))
    lookout = Lookout(identifier, no_response_timeout, exists=event["kind"] == "ended", goes_on=True)
    running = pauses = 0
    while True:
        # The service may answer a moment later with what was a moment earlier, or be busy: then look again.
        job = lookout.look(hook)
        if job is not None and job.outcome is not Outcome.RUNNING:
            return job
        running += job is not None
        if job is not None and running >= _LOOKS:
            told = f"the triggerer was told that {message}, and the worker that it is {job.status}"
            raise BedrockError(unknown_health(identifier, told))
        time.sleep(_PAUSES[min(pauses, len(_PAUSES) - 1)])
        pauses += 1


def result_of(job: Job, s3: S3Hook) -> dict[str, Any]:
    """Return the result mapping of a completed job, with its losses by epoch.

    :raises BedrockFatalError: the job ended in any other way, or its status is not known.
    """
    if job.outcome is not Outcome.SUCCEEDED:
        raise BedrockFatalError(failure_message(job))
    return {**job.result(), "losses_by_epoch": read_losses(s3, job)}
