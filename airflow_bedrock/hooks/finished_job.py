"""How a worker takes up a job that it, or the triggerer for it, waited for: success as a result, all else an error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_bedrock.customization.failure import failure_message
from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.hooks.customization_data import read_losses
from airflow_bedrock.hooks.lookout import Lookout, may_not_look, unknown_health

_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between two looks at a job that is said to have ended; then the last again
_LOOKS = 5  # that find it running all the same


def job_of_event(hook: BedrockHook, event: Mapping[str, Any] | None, silence_limit: float) -> Job:
    """Return the job that the trigger's event speaks of, as it is now: it runs no longer.

    :param silence_limit: seconds without any answer of the service after which to give up; 0 for never.
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
    lookout = Lookout(identifier, silence_limit, exists=event["kind"] == "ended", goes_on=True)
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
