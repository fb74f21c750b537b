"""InvokeModel, whole and as a stream: the body is in the form of the model's provider."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_bedrock.local.answers import Events, Payload
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.inference import ask, base_of_asked
from airflow_bedrock.local.work.invocation_delivery import Invocation, deliver
from airflow_bedrock.local.work.invoke_bodies import form_of, read_body, read_question


def invoke_model(bedrock: Bedrock, request: dict[str, Any]) -> Payload:
    """Answer a body with a body."""
    return Payload(_answer(bedrock, "InvokeModel", request))


def invoke_model_with_response_stream(bedrock: Bedrock, request: dict[str, Any]) -> Events:
    """Answer a body with a stream, which holds the whole answer in one chunk."""
    return Events([("chunk", {"bytes": _answer(bedrock, "InvokeModelWithResponseStream", request)})])


def _answer(bedrock: Bedrock, operation: str, request: dict[str, Any]) -> bytes:
    body = read_body(request.get("body"))
    form = form_of(base_of_asked(bedrock, request["modelId"]))
    reply = ask(bedrock, request["modelId"], read_question(form, body))
    answer = form.answer(reply)
    deliver(bedrock, Invocation(operation, request, body, answer, reply.asked, reply.said))
    return msgspec.json.encode(answer)
