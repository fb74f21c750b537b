"""InvokeModel, whole and as a stream: the body is in the form of the model's provider."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_bedrock.local.answers import Events, Payload
from airflow_bedrock.local.errors import invalid
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.inference import ask, base_of_asked
from airflow_bedrock.local.work.invoke_bodies import form_of, read_question


def invoke_model(bedrock: Bedrock, request: dict[str, Any]) -> Payload:
    """Answer a body with a body."""
    return Payload(_answer(bedrock, request))


def invoke_model_with_response_stream(bedrock: Bedrock, request: dict[str, Any]) -> Events:
    """Answer a body with a stream, which holds the whole answer in one chunk."""
    return Events([("chunk", {"bytes": _answer(bedrock, request)})])


def _answer(bedrock: Bedrock, request: dict[str, Any]) -> bytes:
    try:
        body = msgspec.json.decode(request.get("body") or b"")
    except msgspec.DecodeError as error:
        raise invalid("Malformed input request: the body is not JSON. Please reformat your input.") from error
    form = form_of(base_of_asked(bedrock, request["modelId"]))
    return msgspec.json.encode(form.answer(ask(bedrock, request["modelId"], read_question(form, body))))
