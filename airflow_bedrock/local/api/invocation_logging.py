"""Model invocation logging: its configuration (put, get, delete), one for each region, and the logs.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html
"""

from __future__ import annotations

import gzip
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from botocore.exceptions import ClientError, ParamValidationError

from airflow_bedrock.local.errors import invalid
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import CONFIGURATION
from airflow_bedrock.local.work.s3 import write

log = logging.getLogger(__name__)

PROBE = "amazon-bedrock-logs-permission-check"
"""The object with which AWS tests whether it can write logs; it stays."""


@dataclass(frozen=True)
class Invocation:
    """One call of the runtime that was answered.

    :param request: its parameters; ``modelId`` and ``requestMetadata`` go into the log.
    :param input_tokens: number of input tokens.
    :param output_tokens: number of output tokens.
    """

    operation: str
    request: Mapping[str, Any]
    body: Any
    answer: Any
    input_tokens: int
    output_tokens: int


def put_model_invocation_logging_configuration(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Turn logging on, or change it. Each bucket gets an empty object, as AWS leaves one there."""
    config = request["loggingConfig"]
    large = config.get("cloudWatchConfig", {}).get("largeDataDeliveryS3Config")
    for place in filter(None, (config.get("s3Config"), large)):
        _check_writable(bedrock, place)
    with bedrock.world.lock:
        bedrock.logging[CONFIGURATION] = config
    return {}


def get_model_invocation_logging_configuration(bedrock: Bedrock, _: dict[str, Any]) -> dict[str, Any]:
    """Return the stored configuration, or nothing."""
    return {"loggingConfig": bedrock.logging.get(CONFIGURATION)}


def delete_model_invocation_logging_configuration(bedrock: Bedrock, _: dict[str, Any]) -> dict[str, Any]:
    """Turn logging off; it is not an error if it is already off."""
    with bedrock.world.lock:
        bedrock.logging.pop(CONFIGURATION, None)
    return {}


def _check_writable(bedrock: Bedrock, place: dict[str, str]) -> None:
    bucket = place["bucketName"]
    try:
        bedrock.client("s3").put_object(Bucket=bucket, Key=f"{_log_folder(bedrock, place)}/{PROBE}", Body=b"")
    except (ClientError, ParamValidationError) as error:
        raise invalid(
            f"Failed to validate permissions for S3 bucket: {bucket}. Verify that the bucket exists and that its "
            "policy lets bedrock.amazonaws.com put objects."
        ) from error


def _log_folder(bedrock: Bedrock, place: Mapping[str, str]) -> str:
    """Return the folder of a bucket for the logs."""
    prefix = place.get("keyPrefix", "").strip("/")
    return f"{prefix}/AWSLogs/{bedrock.account}/BedrockModelInvocationLogs".lstrip("/")


def deliver(bedrock: Bedrock, invocation: Invocation) -> None:
    """Log a call, if logging is on, before its response is sent.

    A bucket that was deleted since it was configured does not fail the call.
    """
    with bedrock.world.lock:
        config = bedrock.logging.get(CONFIGURATION, {})
    if "s3Config" not in config or not config.get("textDataDeliveryEnabled", True):
        return
    place, now = config["s3Config"], bedrock.world.clock.now()
    name = f"{now:%Y/%m/%d/%H}/{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}Z_{uuid.uuid4().hex[:16]}.json.gz"
    uri = f"s3://{place['bucketName']}/{_log_folder(bedrock, place)}/{bedrock.region}/{name}"
    try:
        content = gzip.compress(msgspec.json.encode(_described(bedrock, invocation, now)) + b"\n")
        write(bedrock.client("s3"), uri, content, "application/json")
    except Exception:
        log.exception("Local Bedrock: an invocation log could not be written to %s", uri)


def _described(bedrock: Bedrock, invocation: Invocation, now: datetime) -> dict[str, Any]:
    described = {
        "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "accountId": bedrock.account,
        "identity": {"arn": f"arn:aws:iam::{bedrock.account}:root"},
        "region": bedrock.region,
        "requestId": str(uuid.uuid4()),
        "operation": invocation.operation,
        "modelId": invocation.request["modelId"],
        "input": {
            "inputContentType": "application/json",
            "inputBodyJson": invocation.body,
            "inputTokenCount": invocation.input_tokens,
        },
        "output": {
            "outputContentType": "application/json",
            "outputBodyJson": invocation.answer,
            "outputTokenCount": invocation.output_tokens,
        },
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
    }
    if metadata := invocation.request.get("requestMetadata"):
        described["requestMetadata"] = metadata
    return described
