"""The bodies of InvokeModel: each provider has its own form of questions and answers.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from airflow_bedrock.datasets.rules.record import joined
from airflow_bedrock.decoding import decoder
from airflow_bedrock.local.errors import ServiceError, invalid, unsupported
from airflow_bedrock.local.work import invoke_streams
from airflow_bedrock.local.work.inference import (
    IMPORTED,
    MAX_TOKENS,
    Question,
    Reply,
    converse_answer,
    converse_question,
)

Body = Mapping[str, Any]

_QUESTION = decoder(Question)


@dataclass(frozen=True)
class Form:
    """The form of a provider's requests and responses."""

    question: Callable[[Body], Question]
    answer: Callable[[Reply], dict[str, Any]]
    chunks: Callable[[Reply], Iterable[dict[str, Any]]]


def form_of(base_model_id: str) -> Form:
    """Return the form of a model's bodies.

    :raises ServiceError: ValidationException for a model whose form is unknown here.
    """
    for prefix, form in _FORMS.items():
        if base_model_id.startswith(prefix):
            return form
    raise invalid(f"Local Bedrock does not know the body of {base_model_id}: use Converse.")


def read_body(body: bytes | None) -> Any:
    """Return the JSON of a body.

    :raises ServiceError: ValidationException for a body that is not JSON.
    """
    try:
        return msgspec.json.decode(body or b"")
    except (ValueError, RecursionError) as error:
        raise invalid("Malformed input request: the body is not JSON. Please reformat your input.") from error


def read_question(form: Form, body: Any) -> Question:
    """Return the question in a body.

    :raises ServiceError: ValidationException for a body of another form.
    """
    try:
        question = _QUESTION.decode(msgspec.json.encode(form.question(body)))  # its members are of the right types
        if question.max_tokens < 1:
            raise ValueError("the number of tokens is less than 1")
        return question
    except ServiceError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise invalid(
            f"Malformed input request: {error!r} in the body. Please reformat your input and try again."
        ) from error


def _nova(body: Body) -> Question:
    wanted = body.get("inferenceConfig", {})
    limit = wanted.get("maxTokens", wanted.get("max_new_tokens", MAX_TOKENS))
    return converse_question({**body, "inferenceConfig": {**wanted, "maxTokens": limit}})


def _titan(body: Body) -> Question:
    wanted = body.get("textGenerationConfig", {})
    return Question(body["inputText"], wanted.get("maxTokenCount", MAX_TOKENS), wanted.get("stopSequences", []))


def _titan_answer(reply: Reply) -> dict[str, Any]:
    reason = "LENGTH" if reply.reason == "max_tokens" else "FINISH"
    result = {"tokenCount": reply.output_tokens, "outputText": reply.text, "completionReason": reason}
    return {"inputTextTokenCount": reply.input_tokens, "results": [result]}


def _claude(body: Body) -> Question:
    body["anthropic_version"]  # it is required
    if "tools" in body:
        raise unsupported("tools in Claude's own body: use Converse")
    turns = [_claude_text(message["content"]) for message in body["messages"]]
    if not turns or body["messages"][-1]["role"] != "user":
        raise invalid("messages: the final message must be the user's.")
    system = _claude_text(body.get("system", ""))
    prompt = joined([system, *turns] if system else turns)
    return Question(prompt, body["max_tokens"], body.get("stop_sequences", []))


def _claude_text(content: str | Sequence[Body]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def _claude_answer(reply: Reply) -> dict[str, Any]:
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": reply.text}],
        "stop_reason": reply.reason,
        "stop_sequence": None,
        "usage": {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens},
    }


def _llama(body: Body) -> Question:
    return Question(body["prompt"], body.get("max_gen_len", MAX_TOKENS))


def _llama_answer(reply: Reply) -> dict[str, Any]:
    return {
        "generation": reply.text,
        "prompt_token_count": reply.input_tokens,
        "generation_token_count": reply.output_tokens,
        "stop_reason": "length" if reply.reason == "max_tokens" else "stop",
    }


def _cohere(body: Body) -> Question:
    return Question(body["prompt"], body.get("max_tokens", MAX_TOKENS), body.get("stop_sequences", []))


def _cohere_answer(reply: Reply) -> dict[str, Any]:
    reason = "MAX_TOKENS" if reply.reason == "max_tokens" else "COMPLETE"
    return {"generations": [{"text": reply.text, "finish_reason": reason}]}


def _imported(body: Body) -> Question:
    return Question(body["prompt"], body.get("max_tokens", body.get("max_gen_len", MAX_TOKENS)), body.get("stop", []))


CONVERSE = Form(converse_question, converse_answer, invoke_streams.nova)
"""The form of Converse, not a provider's."""

_FORMS = {
    "amazon.nova": Form(_nova, converse_answer, invoke_streams.nova),
    "amazon.titan-text": Form(_titan, _titan_answer, invoke_streams.titan),
    "anthropic.": Form(_claude, _claude_answer, invoke_streams.claude),
    "meta.": Form(_llama, _llama_answer, invoke_streams.llama),
    IMPORTED: Form(_imported, _llama_answer, invoke_streams.llama),
    "cohere.command": Form(_cohere, _cohere_answer, invoke_streams.cohere),
}
