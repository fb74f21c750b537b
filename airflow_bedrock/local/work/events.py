"""The events that Bedrock sends to EventBridge: every change of a job's status, from source ``aws.bedrock``.

https://docs.aws.amazon.com/bedrock/latest/userguide/monitoring-eventbridge.html
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Job

log = logging.getLogger(__name__)

CUSTOMIZATION = "Model Customization Job State Change"
BATCH = "Batch Inference Job State Change"


def emit_job_event(bedrock: Bedrock, job: Job) -> None:
    """Emit an event with a customization job's current status."""
    detail = {"version": "0.0", **described(job), "jobStatus": job.status, "baseModelArn": job.base_model_arn}
    emit(bedrock, CUSTOMIZATION, job.arn, detail)


def described(job: Job) -> dict[str, Any]:
    """Return the members that events and GetModelCustomizationJob have in common."""
    wanted = job.request
    return {
        "jobArn": job.arn,
        "jobName": job.name,
        "outputModelName": job.model_name,
        "outputModelArn": job.model_arn,
        "roleArn": wanted["roleArn"],
        "failureMessage": job.failure_message,
        "creationTime": job.creation_time,
        "lastModifiedTime": job.last_modified_time,
        "endTime": job.end_time,
        "hyperParameters": job.hyperparameters,
        "trainingDataConfig": wanted["trainingDataConfig"],
        "validationDataConfig": wanted.get("validationDataConfig"),
        "outputDataConfig": wanted["outputDataConfig"],
    }


def emit(bedrock: Bedrock, kind: str, arn: str, detail: Mapping[str, Any]) -> None:
    """Put an event onto the default bus, from the runner's thread, so that the caller need not wait.

    :param kind: the event's ``detail-type``.
    """
    content = {name: _time(value) for name, value in detail.items() if value is not None}
    entry = {
        "Source": "aws.bedrock",
        "DetailType": kind,
        "Resources": [arn],
        "Detail": msgspec.json.encode(content).decode(),
    }
    bedrock.world.runner.add(f"event {uuid.uuid4()}", _send(bedrock, entry))


def _time(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value


def _send(bedrock: Bedrock, entry: dict[str, Any]) -> Work:
    try:
        bedrock.client("events").put_events(Entries=[entry])
    except Exception:  # an error of a target must not fail the job
        log.exception("Local Bedrock: an event of %s could not be sent", entry["Resources"][0])
    yield from ()
