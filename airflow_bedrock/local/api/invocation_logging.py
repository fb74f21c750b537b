"""Model invocation logging: put, get and delete its configuration; one for each account and region."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from airflow_bedrock.local.errors import invalid
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import CONFIGURATION
from airflow_bedrock.local.work.invocation_logs import PROBE, log_folder


def put_model_invocation_logging_configuration(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Begin to log, or log otherwise. Each bucket gets an empty object, as AWS leaves one there."""
    config = request["loggingConfig"]
    large = config.get("cloudWatchConfig", {}).get("largeDataDeliveryS3Config")
    for place in filter(None, (config.get("s3Config"), large)):
        _check_writable(bedrock, place)
    with bedrock.world.lock:
        bedrock.logging[CONFIGURATION] = config
    return {}


def get_model_invocation_logging_configuration(bedrock: Bedrock, _: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration as it was put; nothing where there is none."""
    return {"loggingConfig": bedrock.logging.get(CONFIGURATION)}


def delete_model_invocation_logging_configuration(bedrock: Bedrock, _: dict[str, Any]) -> dict[str, Any]:
    """Log no more; it is no error that nothing was logged."""
    with bedrock.world.lock:
        bedrock.logging.pop(CONFIGURATION, None)
    return {}


def _check_writable(bedrock: Bedrock, place: dict[str, str]) -> None:
    bucket = place["bucketName"]
    try:
        bedrock.client("s3").put_object(Bucket=bucket, Key=f"{log_folder(bedrock, place)}/{PROBE}", Body=b"")
    except (ClientError, ParamValidationError) as error:
        raise invalid(
            f"Failed to validate permissions for S3 bucket: {bucket}. Verify that the bucket exists and that its "
            "policy lets bedrock.amazonaws.com put objects."
        ) from error
