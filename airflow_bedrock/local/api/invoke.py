"""InvokeModel, whole and as a stream: the body is in the form of the model's provider."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_bedrock.local.answers import Events, Payload
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.inference import Reply, ask, base_of_asked
from airflow_bedrock.local.work.invocation_delivery import Invocation, deliver
from airflow_bedrock.local.work.invoke_bodies import Form, form_of, read_body, read_question


def invoke_model(bedrock: Bedrock, request: dict[str, Any]) -> Payload:
    """Answer a body with a body."""
    form, reply = _reply(bedrock, "InvokeModel", request)
    return Payload(msgspec.json.encode(form.answer(reply)))


def invoke_model_with_response_stream(bedrock: Bedrock, request: dict[str, Any]) -> Events:
    """Answer a body with a stream of chunks, in the form of the model's provider."""
    form, reply = _reply(bedrock, "InvokeModelWithResponseStream", request)
    return Events([("chunk", {"bytes": msgspec.json.encode(chunk)}) for chunk in form.chunks(reply)])


def _reply(bedrock: Bedrock, operation: str, request: dict[str, Any]) -> tuple[Form, Reply]:
    body = read_body(request.get("body"))
    form = form_of(base_of_asked(bedrock, request["modelId"]))
    reply = ask(bedrock, request["modelId"], read_question(form, body))
    deliver(bedrock, Invocation(operation, request, body, form.answer(reply), reply.asked, reply.said))
    return form, reply
