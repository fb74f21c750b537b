"""The format of model invocation logs as a source of distillation: which records count, and what is learned from them.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from airflow_bedrock.datasets.records import value_of
from airflow_bedrock.datasets.rules.record import Problem, Record, Text, conversation
from airflow_bedrock.datasets.rules.shape import decoded
from airflow_bedrock.decoding import decoder


class _Body(msgspec.Struct):
    inputBodyJson: dict[str, Any] = {}
    outputBodyJson: dict[str, Any] = {}


class _Log(msgspec.Struct):
    input: _Body
    output: _Body = msgspec.field(default_factory=_Body)
    requestMetadata: dict[str, str] = {}


_LOG = decoder(_Log)


def read_log(line: bytes, config: Mapping[str, Any]) -> tuple[Record | None, list[Problem]]:
    """Return the conversation in a log; None if the filters or the kind of the log exclude it.

    :param config: the request's ``invocationLogsConfig``.
    """
    entry, problems = decoded(_LOG, line)
    if problems:
        return None, problems
    if not passes(config.get("requestMetadataFilters"), entry.requestMetadata):
        return None, []
    return _record(entry, answered=bool(config.get("usePromptResponse"))), []


def passes(filters: Mapping[str, Any] | None, metadata: Mapping[str, str]) -> bool:
    """Whether a request's metadata pass ``requestMetadataFilters``; a missing key differs from every value."""
    if not filters:
        return True
    if "andAll" in filters:
        return all(passes(one, metadata) for one in filters["andAll"])
    if "orAll" in filters:
        return any(passes(one, metadata) for one in filters["orAll"])
    return all(metadata.get(key) == value for key, value in filters.get("equals", {}).items()) and all(
        metadata.get(key) != value for key, value in filters.get("notEquals", {}).items()
    )


def _record(entry: _Log, *, answered: bool) -> Record | None:
    body, output = entry.input.inputBodyJson, entry.output.outputBodyJson
    system = _text(body.get("system"))
    texts = [Text("system", system, "$.input.inputBodyJson.system")] if system else []
    messages = body.get("messages")
    for number, message in enumerate(messages if isinstance(messages, list) else []):
        content = message.get("content") if isinstance(message, dict) else None
        role = "assistant" if isinstance(message, dict) and message.get("role") == "assistant" else "user"
        if text := _text(content):
            texts.append(Text(role, text, f"$.input.inputBodyJson.messages[{number}].content"))  # type: ignore[arg-type]
    if not any(one.role != "system" for one in texts):
        return None
    answer = _text(value_of(output, "output.message.content")) if answered else ""
    if answer:
        texts.append(Text("assistant", answer, "$.output.outputBodyJson.output.message.content"))
    return conversation(texts, answered=int(bool(answer)))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = (block.get("text") for block in blocks if isinstance(block, dict))
    return "\n".join(text for text in texts if isinstance(text, str))
