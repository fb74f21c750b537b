"""The runtime: Converse and InvokeModel, with and without streams, and CountTokens."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from airflow_bedrock.local.api.invocation_logging import Invocation, deliver
from airflow_bedrock.local.catalog import check_alive, invocable
from airflow_bedrock.local.errors import invalid
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work import invoke_streams
from airflow_bedrock.local.work.inference import (
    Reply,
    ask,
    base_model_behind,
    check_conversation,
    converse_answer,
    converse_question,
)
from airflow_bedrock.local.work.invoke_bodies import form_of, read_body, read_question

Event = tuple[str, dict[str, Any]]
"""One event of a stream: its name in the service model and its members."""


def converse(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Answer the last message of a conversation."""
    _, answer = _answer(bedrock, "Converse", request)
    return answer


def converse_stream(bedrock: Bedrock, request: dict[str, Any]) -> list[Event]:
    """Answer the last message of a conversation, token by token."""
    reply, answer = _answer(bedrock, "ConverseStream", request)
    return list(invoke_streams.converse(reply, {"metrics": answer["metrics"]}))


def invoke_model(bedrock: Bedrock, request: dict[str, Any]) -> bytes:
    """Answer a question in the form of the model's provider."""
    return msgspec.json.encode(_invoked(bedrock, "InvokeModel", request))


def invoke_model_with_response_stream(bedrock: Bedrock, request: dict[str, Any]) -> list[Event]:
    """Answer a question with a stream of chunks in the form of the model's provider."""
    chunks = _invoked(bedrock, "InvokeModelWithResponseStream", request)
    return [("chunk", {"bytes": msgspec.json.encode(chunk)}) for chunk in chunks]


def count_tokens(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Count the tokens of a Converse or InvokeModel request, as its response would.

    AWS counts for Claude by its foundation model id only, and rejects other models and inference profiles.
    """
    model_id, wanted = request["modelId"], request["input"]
    if not model_id.startswith("anthropic."):
        raise invalid("The provided model doesn't support counting tokens.")
    check_alive(invocable(bedrock.region, model_id), bedrock.today)
    if "converse" in wanted:
        return {"inputTokens": converse_question(wanted["converse"]).tokens}
    body = read_body(wanted["invokeModel"]["body"])
    return {"inputTokens": read_question(form_of(model_id), body).tokens}


def _answer(bedrock: Bedrock, operation: str, request: dict[str, Any]) -> tuple[Reply, dict[str, Any]]:
    check_conversation(bedrock, request["modelId"])
    started = time.perf_counter()
    reply = ask(bedrock, request["modelId"], converse_question(request))
    metrics = {"latencyMs": round((time.perf_counter() - started) * 1000)}
    answer = {**converse_answer(reply), "metrics": metrics}
    body = {name: value for name, value in request.items() if name not in ("modelId", "requestMetadata")}
    deliver(bedrock, Invocation(operation, request, body, answer, reply.input_tokens, reply.output_tokens))
    return reply, answer


def _invoked(bedrock: Bedrock, operation: str, request: dict[str, Any]) -> Any:
    body = read_body(request.get("body"))
    form = form_of(base_model_behind(bedrock, request["modelId"]))
    reply = ask(bedrock, request["modelId"], read_question(form, body))
    answer = form.answer(reply) if operation == "InvokeModel" else list(form.chunks(reply))
    deliver(bedrock, Invocation(operation, request, body, answer, reply.input_tokens, reply.output_tokens))
    return answer
