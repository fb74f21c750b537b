"""The chunks of InvokeModelWithResponseStream: each provider has its own form, with a chunk for each token.

https://docs.aws.amazon.com/nova/latest/userguide/using-invoke-api.html
https://docs.anthropic.com/en/docs/build-with-claude/streaming
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from airflow_bedrock.local.learning.tokens import tokenize
from airflow_bedrock.local.work.inference import Reply, converse_answer

Chunk = dict[str, Any]


def converse(reply: Reply, metadata: dict[str, Any]) -> Iterator[tuple[str, Chunk]]:
    """Stream the events of ConverseStream: the name of each and its members."""
    yield "messageStart", {"role": "assistant"}
    if reply.call:
        start = {"toolUse": {"toolUseId": reply.call["toolUseId"], "name": reply.call["name"]}}
        yield "contentBlockStart", {"start": start, "contentBlockIndex": 0}
        given = msgspec.json.encode(reply.call["input"]).decode()
        yield "contentBlockDelta", {"delta": {"toolUse": {"input": given}}, "contentBlockIndex": 0}
    else:
        for token in tokenize(reply.text):
            yield "contentBlockDelta", {"delta": {"text": token}, "contentBlockIndex": 0}
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": reply.reason}
    yield "metadata", {"usage": converse_answer(reply)["usage"], **metadata}


def nova(reply: Reply) -> Iterator[Chunk]:
    """Stream as ConverseStream does."""
    return ({name: members} for name, members in converse(reply, {"metrics": {}, "trace": {}}))


def claude(reply: Reply) -> Iterator[Chunk]:
    """Stream the events of Anthropic's Messages API."""
    message: Chunk = {"type": "message", "role": "assistant", "content": [], "stop_reason": None, "stop_sequence": None}
    usage = {"input_tokens": reply.input_tokens, "output_tokens": 0}
    yield {"type": "message_start", "message": {**message, "usage": usage}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for token in tokenize(reply.text):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": token}}
    yield {"type": "content_block_stop", "index": 0}
    ended = {"stop_reason": reply.reason, "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": reply.output_tokens}}
    yield {"type": "message_stop"}


def titan(reply: Reply) -> Iterator[Chunk]:
    """Stream pieces of the output text; the last one has the reason why it ended."""
    reason = "LENGTH" if reply.reason == "max_tokens" else "FINISH"
    for number, (token, last) in enumerate(_tokens(reply), start=1):
        yield {
            "outputText": token,
            "index": 0,
            "totalOutputTextTokenCount": number,
            "completionReason": reason if last else None,
            "inputTextTokenCount": reply.input_tokens if number == 1 else None,
        }


def llama(reply: Reply) -> Iterator[Chunk]:
    """Stream pieces of the generation; the last one has the reason why it stopped."""
    reason = "length" if reply.reason == "max_tokens" else "stop"
    for number, (token, last) in enumerate(_tokens(reply), start=1):
        yield {
            "generation": token,
            "prompt_token_count": reply.input_tokens if number == 1 else None,
            "generation_token_count": number,
            "stop_reason": reason if last else None,
        }


def cohere(reply: Reply) -> Iterator[Chunk]:
    """Stream pieces of the text, and then the reason why it is finished."""
    for token in tokenize(reply.text):
        yield {"text": token, "is_finished": False}
    yield {"is_finished": True, "finish_reason": "MAX_TOKENS" if reply.reason == "max_tokens" else "COMPLETE"}


def _tokens(reply: Reply) -> list[tuple[str, bool]]:
    """Return the tokens of an answer, each with whether it is the last; an empty answer has one empty token."""
    tokens = tokenize(reply.text) or [""]
    return [(token, number == len(tokens)) for number, token in enumerate(tokens, start=1)]
