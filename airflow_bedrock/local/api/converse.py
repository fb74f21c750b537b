"""Converse: a deployment answers with the model that was trained, a base model as one that was not."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_bedrock.local.catalog import catalog, foundation_model_id
from airflow_bedrock.local.errors import ServiceError, invalid, not_found
from airflow_bedrock.local.learning.model import Answer, LanguageModel
from airflow_bedrock.local.learning.tokens import tokenize
from airflow_bedrock.local.learning.untrained import untrained_answer
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.records import conversation

MAX_TOKENS = 512
"""The longest answer when the request does not say."""


def converse(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Answer the last message of a conversation."""
    started = time.perf_counter()
    prompt = _prompt(request)
    wanted = request.get("inferenceConfig", {})
    answer = _answer(bedrock, request["modelId"], prompt, wanted.get("maxTokens", MAX_TOKENS))
    text, reason = _cut(answer, wanted.get("stopSequences", []))
    asked = len(tokenize(prompt))
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": reason,
        "usage": {"inputTokens": asked, "outputTokens": answer.tokens, "totalTokens": asked + answer.tokens},
        "metrics": {"latencyMs": round((time.perf_counter() - started) * 1000)},
    }


def _prompt(request: Mapping[str, Any]) -> str:
    messages = request.get("messages", [])
    if not messages:
        raise invalid("The messages of the request must not be empty.")
    if messages[0]["role"] != "user" or messages[-1]["role"] != "user":
        raise invalid("A conversation must start and end with a user message. Try again with such a conversation.")
    return conversation(_texts(request.get("system", [])), ["\n".join(_texts(one["content"])) for one in messages])


def _texts(blocks: Sequence[Mapping[str, Any]]) -> list[str]:
    return [block["text"] for block in blocks if "text" in block]


def _answer(bedrock: Bedrock, model_id: str, prompt: str, max_tokens: int) -> Answer:
    if ":custom-model-deployment/" in model_id:
        return _deployed(bedrock, model_id).complete(prompt, max_tokens)
    if model_id.startswith("arn:") and ":foundation-model/" not in model_id and ":inference-profile/" not in model_id:
        raise invalid(f"The provided model identifier {model_id} cannot be asked: deploy the custom model first.")
    foundation_model = foundation_model_id(model_id)
    if not catalog().knows(foundation_model):
        raise invalid("The provided model identifier is invalid.")
    return untrained_answer(foundation_model, prompt)


def _deployed(bedrock: Bedrock, arn: str) -> LanguageModel:
    with bedrock.world.lock:
        deployment = bedrock.deployments.get(arn)
        if deployment is None:
            raise not_found(f"The provided custom model deployment {arn} was not found.")
        if deployment.status != "Active":
            raise ServiceError("ModelNotReadyException", f"The custom model deployment is {deployment.status}.")
        return bedrock.world.weights[deployment.model_arn]


def _cut(answer: Answer, stop_sequences: Sequence[str]) -> tuple[str, str]:
    places = [(answer.text.find(stop), stop) for stop in stop_sequences if stop in answer.text]
    if places:
        return answer.text[: min(places)[0]], "stop_sequence"
    return answer.text, "end_turn" if answer.ended else "max_tokens"
