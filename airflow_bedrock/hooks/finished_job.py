"""How a worker takes up a job that it, or the triggerer for it, waited for: success as a result, all else an error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import is_transient
from airflow_bedrock.customization.failure import failure_message
from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.hooks.customization_data import read_losses

_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between two looks at a job that is said to have ended


def look_at_job(hook: BedrockHook, job_identifier: str) -> Job:
    """Return the job.

    :raises BedrockFatalError: there is no such job.
    """
    job = hook.get_customization_job(job_identifier)
    if job is None:
        raise BedrockFatalError(
            f"There is no Bedrock model customization job {job_identifier} in region {hook.conn_region_name}. "
            "Jobs cannot be deleted: check the name, the region and the account of the connection."
        )
    return job


def job_of_event(hook: BedrockHook, event: Mapping[str, Any] | None) -> Job:
    """Return the job that the trigger's event speaks of, as it is now: it runs no longer.

    :raises BedrockFatalError: there is no such job.
    :raises BedrockError: nothing was heard of the job for too long, or the caller may not look at it.
    """
    if not event or "kind" not in event:
        raise BedrockError(f"The trigger sent no event that this version understands: {event!r}")
    identifier, message = event["job_identifier"], event["message"]
    if event["kind"] == "silent":
        raise BedrockError(unknown_health(identifier, message))
    if event["kind"] == "refused":
        raise BedrockError(
            f"{unknown_health(identifier, message)} Allow bedrock:GetModelCustomizationJob to the connection's role."
        )
    # The service may answer a moment later with what was a moment earlier, or be busy: then look again.
    for pause in (*_PAUSES, None):
        try:
            job = look_at_job(hook, identifier)
            if job.outcome is not Outcome.RUNNING:
                return job
            trouble = f"the triggerer was told that {message}, and the worker that it is {job.status}"
        except ClientError as error:
            if not is_transient(error):
                raise
            trouble = str(error)
        if pause is not None:
            time.sleep(pause)
    raise BedrockError(unknown_health(identifier, trouble))


def unknown_health(job_identifier: str, why: str) -> str:
    """Return the error text for a job of which it is not known how it fares."""
    return (
        f"The health of Bedrock model customization job {job_identifier} is unknown: {why}. The job was not stopped; "
        "it may still run and be billed. Another try of this task waits for it again."
    )


def result_of(job: Job, s3: S3Hook) -> dict[str, Any]:
    """Return the result mapping of a completed job, with its losses by epoch.

    :raises BedrockFatalError: the job ended in any other way, or its status is not known.
    """
    if job.outcome is not Outcome.SUCCEEDED:
        raise BedrockFatalError(failure_message(job))
    return {**job.result(), "losses_by_epoch": read_losses(s3, job)}
