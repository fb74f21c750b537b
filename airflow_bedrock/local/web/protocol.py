"""AWS's REST-JSON protocol, driven by botocore's service models.

It turns a request into an operation and its parameters, checked as the service checks them; and a result or an error
into a response with the status, the names and the formats that the model declares.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from botocore.utils import parse_timestamp
from werkzeug.wrappers import Request

from airflow_bedrock.local import moto
from airflow_bedrock.local.api import Answer
from airflow_bedrock.local.errors import ServiceError, invalid
from airflow_bedrock.local.moto import OperationModel, RequestDict, encode_message, parse_rest_json
from airflow_bedrock.local.web.reading import check_json, serialization
from airflow_bedrock.shapes import describe, problems

SERVICES = ("bedrock", "bedrock-runtime")
"""Both sign their requests as ``bedrock``; the path distinguishes them."""

_EVENT_STREAM = "application/vnd.amazon.eventstream"


@dataclass(frozen=True)
class HttpResponse:
    """A response to send."""

    status: int
    headers: dict[str, str]
    body: bytes
    error: str | None = None


def operation_of(environ: dict[str, Any]) -> tuple[OperationModel, dict[str, str]]:
    """Return the operation that a request is for, and the parameters in its path.

    :raises ServiceError: UnknownOperationException (404), if no operation has that method and path.
    """
    for service in SERVICES:
        if found := moto.operation_of(service, environ):
            return found
    operation = f"{environ['REQUEST_METHOD']} {environ['RAW_URI'].partition('?')[0]}"
    raise ServiceError("UnknownOperationException", f"Amazon Bedrock has no operation {operation}.", status=404)


def parse(operation: OperationModel, request: Request, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the operation's parameters, checked against its input shape.

    :raises ServiceError: SerializationException if they cannot be read, ValidationException if they break a rule.
    """
    body = request.get_data()
    if body and not operation.has_streaming_input:
        check_json(body)
    raw: RequestDict = {
        "body": body,
        "headers": request.headers,
        "method": request.method,
        "url_params": dict(labels),
        "url_path": request.path,
        "values": request.args,
    }
    try:
        parameters = parse_rest_json(operation, raw, _timestamp)
    except Exception as error:
        # moto's parser trusts its input, and raises on a member of another type or an impossible time.
        raise serialization("A member of the request has the wrong type.") from error
    if operation.input_shape is not None and (found := problems(operation.input_shape, parameters)):
        raise invalid(describe(found))
    return parameters


def respond(operation: OperationModel, result: Answer) -> HttpResponse:
    """Return the response for an operation's result, whose members have the names of the output shape.

    All of them go into the body, as in every operation that is implemented. (moto's serializer also handles headers,
    but walks the shapes: 0.1 s for a page of 1000 jobs; this takes a few milliseconds.)
    """
    content_type = "application/json"
    if isinstance(result, list):
        content_type, body = _EVENT_STREAM, b"".join(encode_event(*event) for event in result)
    else:
        body = result if isinstance(result, bytes) else msgspec.json.encode(present(result))
    return HttpResponse(
        status=operation.http["responseCode"], headers={"Content-Type": content_type, **_request_id()}, body=body
    )


def present(members: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out missing values, in descriptions and in lists: the service does not return nulls."""
    return {
        name: [present(one) if isinstance(one, dict) else one for one in value] if isinstance(value, list) else value
        for name, value in members.items()
        if value is not None
    }


def respond_error(
    error: ServiceError, status: int | None = None, operation: OperationModel | None = None
) -> HttpResponse:
    """Return the response for an error.

    :param status: the HTTP status; None for the one that the service model declares for the error.
    """
    body = {"__type": error.code, "message": error.message}
    return HttpResponse(
        status=status or _status(error, operation),
        headers={"Content-Type": "application/json", "x-amzn-ErrorType": error.code, **_request_id()},
        body=json.dumps(body).encode(),
        error=error.code,
    )


def _status(error: ServiceError, operation: OperationModel | None) -> int:
    model: Any = operation.service_model if operation else None  # its stubs declare codes as numbers
    shape = model.shape_for_error_code(error.code) if model else None
    status: int = shape.metadata["error"]["httpStatusCode"] if shape else error.status
    return status


def _request_id() -> dict[str, str]:
    return {"x-amzn-RequestId": str(uuid.uuid4())}


def _timestamp(value: str) -> datetime:
    parsed: datetime = parse_timestamp(value)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def encode_event(name: str, members: Mapping[str, Any]) -> bytes:
    """Return one event of a streamed response as a message; bytes among its members are encoded in base64."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return encode_message(headers, msgspec.json.encode(members))
