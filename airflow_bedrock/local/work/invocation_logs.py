"""Model invocation logs: what was asked and answered goes to the configured S3 bucket, and models are trained on it.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html
"""

from __future__ import annotations

import gzip
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import CONFIGURATION
from airflow_bedrock.local.work.records import DataError, Record, conversation
from airflow_bedrock.local.work.s3 import write

log = logging.getLogger(__name__)

PROBE = "amazon-bedrock-logs-permission-check"
"""The object by which AWS sees whether it can write logs; it stays."""


@dataclass(frozen=True)
class Invocation:
    """One call of the runtime that was answered.

    :param request: its parameters; ``modelId`` and ``requestMetadata`` go into the log.
    :param asked: tokens of the question.
    :param said: tokens of the answer.
    """

    operation: str
    request: Mapping[str, Any]
    body: Any
    answer: Any
    asked: int
    said: int


def log_folder(bedrock: Bedrock, place: Mapping[str, str]) -> str:
    """Return the folder of a bucket that logs go below."""
    prefix = place.get("keyPrefix", "").strip("/")
    return f"{prefix}/AWSLogs/{bedrock.account}/BedrockModelInvocationLogs".lstrip("/")


def deliver(bedrock: Bedrock, invocation: Invocation) -> None:
    """Write a log of a call, if that is wanted, before the call is answered.

    A bucket that is gone since it was configured is not the caller's fault, and only entry.
    """
    with bedrock.world.lock:
        config = bedrock.logging.get(CONFIGURATION, {})
    if "s3Config" not in config or not config.get("textDataDeliveryEnabled", True):
        return
    place, now = config["s3Config"], bedrock.world.clock.now()
    name = f"{now:%Y/%m/%d/%H}/{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}Z_{uuid.uuid4().hex[:16]}.json.gz"
    uri = f"s3://{place['bucketName']}/{log_folder(bedrock, place)}/{bedrock.region}/{name}"
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
            "inputTokenCount": invocation.asked,
        },
        "output": {
            "outputContentType": "application/json",
            "outputBodyJson": invocation.answer,
            "outputTokenCount": invocation.said,
        },
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
    }
    if metadata := invocation.request.get("requestMetadata"):
        described["requestMetadata"] = metadata
    return described


class _Body(msgspec.Struct):
    inputBodyJson: dict[str, Any] = {}
    outputBodyJson: dict[str, Any] = {}


class _Log(msgspec.Struct):
    input: _Body
    output: _Body = msgspec.field(default_factory=_Body)
    requestMetadata: dict[str, str] = {}


# Made here, while one thread imports: msgspec 0.22 crashes where two threads are the first to use a type.
_LOG = msgspec.json.Decoder(_Log)


def read_logs(lines: Iterable[bytes], file: str, config: Mapping[str, Any]) -> Iterator[Record]:
    """Read the logs of conversations that the filters let through; those of other kinds are passed over.

    :param config: the request's ``invocationLogsConfig``.
    :raises DataError: at a line that is no log.
    """
    answers = config.get("usePromptResponse", False)
    for number, line in enumerate(lines, start=1):
        try:
            entry = _LOG.decode(line)
        except msgspec.MsgspecError as error:
            raise DataError(f"Invalid invocation log in Amazon S3 file: {file}, line {number}: {error}") from error
        if passes(config.get("requestMetadataFilters"), entry.requestMetadata) and (record := _record(entry, answers)):
            yield record


def passes(filters: Mapping[str, Any] | None, metadata: Mapping[str, str]) -> bool:
    """Whether a request's metadata pass ``requestMetadataFilters``; a key that is missing differs from every value."""
    if not filters:
        return True
    if "andAll" in filters:
        return all(passes(one, metadata) for one in filters["andAll"])
    if "orAll" in filters:
        return any(passes(one, metadata) for one in filters["orAll"])
    return all(metadata.get(key) == value for key, value in filters.get("equals", {}).items()) and all(
        metadata.get(key) != value for key, value in filters.get("notEquals", {}).items()
    )


def _record(entry: _Log, with_answer: bool) -> Record | None:
    messages = entry.input.inputBodyJson.get("messages") or []
    turns = [_text(message.get("content")) for message in messages]
    if not any(turns):
        return None
    answer = _text(entry.output.outputBodyJson.get("output", {}).get("message", {}).get("content")) or None
    system = _text(entry.input.inputBodyJson.get("system"))
    return Record(conversation([system] if system else [], turns), answer if with_answer else None)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content or [] if "text" in block)
