"""Converse and ConverseStream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from airflow_bedrock.local.answers import Events
from airflow_bedrock.local.learning.tokens import tokenize
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.inference import ask, check_conversation, converse_answer, converse_question
from airflow_bedrock.local.work.invocation_delivery import Invocation, deliver


def converse(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Answer the last message of a conversation."""
    return _answer(bedrock, "Converse", request)


def converse_stream(bedrock: Bedrock, request: dict[str, Any]) -> Events:
    """Answer the last message of a conversation, token by token."""
    return Events(list(_events(_answer(bedrock, "ConverseStream", request))))


def _answer(bedrock: Bedrock, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    check_conversation(bedrock, request["modelId"])
    started = time.perf_counter()
    answer = converse_answer(ask(bedrock, request["modelId"], converse_question(request)))
    answer["metrics"] = {"latencyMs": round((time.perf_counter() - started) * 1000)}
    body = {name: value for name, value in request.items() if name not in ("modelId", "requestMetadata")}
    usage = answer["usage"]
    deliver(bedrock, Invocation(operation, request, body, answer, usage["inputTokens"], usage["outputTokens"]))
    return answer


def _events(answer: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    message = answer["output"]["message"]
    yield "messageStart", {"role": message["role"]}
    (block,) = message["content"]
    if call := block.get("toolUse"):
        start = {"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}}
        yield "contentBlockStart", {"start": start, "contentBlockIndex": 0}
        given = msgspec.json.encode(call["input"]).decode()
        yield "contentBlockDelta", {"delta": {"toolUse": {"input": given}}, "contentBlockIndex": 0}
    for token in tokenize(block.get("text", "")):
        yield "contentBlockDelta", {"delta": {"text": token}, "contentBlockIndex": 0}
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": answer["stopReason"]}
    yield "metadata", {"usage": answer["usage"], "metrics": answer["metrics"]}
