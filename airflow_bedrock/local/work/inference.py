"""Calls models: deployments and throughput answer as they were trained, base models as untrained ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec

from airflow_bedrock.datasets.rules.record import joined
from airflow_bedrock.local.catalog import check_alive, check_profile, invocable
from airflow_bedrock.local.errors import ServiceError, invalid
from airflow_bedrock.local.learning.model import Answer, LanguageModel, untrained_answer
from airflow_bedrock.local.learning.tokens import tokenize
from airflow_bedrock.local.state.bedrock import Bedrock, get
from airflow_bedrock.local.state.resources import Deployment, ImportedModel, Throughput
from airflow_bedrock.local.work.tools import Tools, tools_of

MAX_TOKENS = 512
"""The default for the maximum number of tokens in an answer."""

IMPORTED = "imported"
"""The identifier of imported models instead of a base model's id."""

_IMPORTED = ":imported-model/"
_FOUNDATION = (":foundation-model/", ":inference-profile/")


@dataclass(frozen=True)
class Question:
    """A question to a model, from any form of request.

    :param stop: texts that end the answer.
    :param tools: the tools that the model may call instead of answering.
    """

    prompt: str
    max_tokens: int = MAX_TOKENS
    stop: Sequence[str] = ()
    tools: Tools | None = None

    @property
    def tokens(self) -> int:
        """The number of input tokens."""
        return len(tokenize(self.prompt))


@dataclass(frozen=True)
class Reply:
    """The answer of a model.

    :param reason: ``end_turn``, ``max_tokens``, ``stop_sequence`` or ``tool_use``.
    :param input_tokens: number of input tokens.
    :param output_tokens: number of output tokens.
    :param call: the ``toolUse`` block that replaces the text of the answer.
    """

    text: str
    reason: str
    input_tokens: int
    output_tokens: int
    call: Mapping[str, Any] | None = None


def ask(bedrock: Bedrock, model_id: str, question: Question) -> Reply:
    """Call a model.

    :raises ServiceError: it cannot be called, or not yet.
    """
    base, model = _behind(bedrock, model_id)
    check_alive(base, bedrock.today)
    if isinstance(model, str):
        return _reply(untrained_answer(model, question.prompt), question)
    return reply_of(model, question)


def reply_of(model: LanguageModel, question: Question) -> Reply:
    """Return the answer of a trained model."""
    return _reply(model.complete(question.prompt, question.max_tokens), question)


def _reply(answer: Answer, question: Question) -> Reply:
    text, reason = _cut(answer, question.stop)
    call = question.tools.call(text) if question.tools else None
    return Reply(text, "tool_use" if call else reason, question.tokens, answer.tokens, call)


def converse_question(body: Mapping[str, Any]) -> Question:
    """Return the question in a Converse request.

    :raises ServiceError: ValidationException for a conversation that does not alternate between user and assistant, or
        has no text.
    """
    messages = body.get("messages", [])
    _check_turns(messages)
    wanted = body.get("inferenceConfig", {})
    return Question(
        joined([*_texts(body.get("system", [])), *(text for one in messages for text in _texts(one["content"]))]),
        wanted.get("maxTokens", MAX_TOKENS),
        wanted.get("stopSequences", []),
        tools_of(body),
    )


def converse_answer(reply: Reply) -> dict[str, Any]:
    """Return a reply in the form of Converse, without its metrics."""
    content = {"toolUse": reply.call} if reply.call else {"text": reply.text}
    return {
        "output": {"message": {"role": "assistant", "content": [content]}},
        "stopReason": reply.reason,
        "usage": {
            "inputTokens": reply.input_tokens,
            "outputTokens": reply.output_tokens,
            "totalTokens": reply.input_tokens + reply.output_tokens,
        },
    }


def base_model_behind(bedrock: Bedrock, model_id: str) -> str:
    """Return the id of the base model behind an identifier.

    :raises ServiceError: there is no such model.
    """
    return _behind(bedrock, model_id)[0]


def check_conversation(bedrock: Bedrock, model_id: str) -> None:
    """Check that a model accepts conversations: an imported one without a template for them does not.

    :raises ServiceError: ValidationException.
    """
    if _IMPORTED in model_id:
        with bedrock.world.lock:
            if not _imported(bedrock, model_id).instruct:
                raise invalid(
                    "This action doesn't support the model that you provided. "
                    "Try again with a supported text or chat model."
                )


def _check_turns(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise invalid("The messages of the request must not be empty.")
    roles = [message["role"] for message in messages]
    for end, role in (("start", roles[0]), ("end", roles[-1])):
        if role != "user":
            raise invalid(
                f"A conversation must {end} with a user message. "
                f"Try again with a conversation that {end}s with a user message."
            )
    if any(one == other for one, other in pairwise(roles)):
        raise invalid(
            "A conversation must alternate between user and assistant roles. "
            "Make sure the conversation alternates between user and assistant roles and try again."
        )
    for number, message in enumerate(messages):
        for place, block in enumerate(message["content"]):
            if "text" in block and not block["text"].strip():
                raise invalid(
                    f"The text field in the ContentBlock object at messages.{number}.content.{place} is blank. "
                    "Add text to the text field, and try again."
                )


def _texts(blocks: Sequence[Mapping[str, Any]]) -> list[str]:
    results = [found for block in blocks for found in block.get("toolResult", {}).get("content", [])]
    values = [msgspec.json.encode(found["json"]).decode() for found in results if "json" in found]
    return [block["text"] for block in [*blocks, *results] if "text" in block] + values


def _behind(bedrock: Bedrock, identifier: str) -> tuple[str, LanguageModel | str]:
    """Return the id of the base model, and the model that answers, or the seed of an untrained one: the id, or the
    checkpoint.
    """
    with bedrock.world.lock:
        if _IMPORTED in identifier:
            return IMPORTED, _imported(bedrock, identifier).checkpoint
        served = _served(bedrock, identifier)
        if served != identifier and (custom := bedrock.models.get(served)):
            return custom.base_model, bedrock.world.weights.get(served) or custom.checkpoint or ""
    if served.startswith("arn:") and not any(kind in served for kind in _FOUNDATION):
        raise invalid(f"The provided model identifier {identifier} cannot be called: deploy the custom model first.")
    if served == identifier:
        check_profile(identifier)
    model_id = invocable(bedrock.region, served, provisioned=served != identifier)
    return model_id, model_id


def _imported(bedrock: Bedrock, arn: str) -> ImportedModel:
    return get(bedrock.imported, arn, "imported model")


def _served(bedrock: Bedrock, identifier: str) -> str:
    """Return the ARN of the model behind a deployment or throughput; any other identifier unchanged. Hold the
    world's lock.
    """
    serving: Deployment | Throughput
    if ":custom-model-deployment/" in identifier:
        kind = "custom model deployment"
        serving = get(bedrock.deployments, identifier, kind)
    elif ":provisioned-model/" in identifier:
        kind = "provisioned model"
        serving = get(bedrock.throughputs, identifier, kind)
    else:
        return identifier
    if serving.status not in ("Active", "InService", "Updating"):
        raise ServiceError("ModelNotReadyException", f"The {kind} is {serving.status}.")
    return serving.model_arn


def _cut(answer: Answer, stop_sequences: Sequence[str]) -> tuple[str, str]:
    places = [(answer.text.find(stop), stop) for stop in stop_sequences if stop in answer.text]
    if places:
        return answer.text[: min(places)[0]], "stop_sequence"
    return answer.text, "end_turn" if answer.ended else "max_tokens"
