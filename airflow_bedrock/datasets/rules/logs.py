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
    inputBodyJson: Any = None
    outputBodyJson: Any = None


class _Log(msgspec.Struct):
    input: _Body
    output: _Body | None = None
    requestMetadata: dict[str, str] | None = None


_LOG = decoder(_Log)


def is_log(uri: str) -> bool:
    """Whether a file in a folder of logs is a log: not the body of a large request or response, which has its own file.

    Bedrock writes such bodies to a folder ``data`` beside the logs.
    """
    return "/data/" not in uri.partition("/BedrockModelInvocationLogs/")[2]


def answer_in(output: object) -> Any:
    """Return the content of the answer in a log's ``outputBodyJson``: text, or blocks; None without an answer.

    InvokeModel has the model's own format, and InvokeModelWithResponseStream the list of its events.
    """
    if isinstance(output, list):
        return _streamed(output)
    if isinstance(output, dict):
        return value_of(output, "output.message.content") or output.get("content")
    return None


def _streamed(events: list[Any]) -> list[dict[str, Any]]:
    """Return the blocks of a streamed answer: whether it calls a tool, its reasoning, and its text."""
    deltas = [value_of(one, "contentBlockDelta.delta") or one.get("delta") for one in events if isinstance(one, dict)]
    found = [one for one in deltas if isinstance(one, dict)]
    thought, text = (
        "".join(one[name] for one in found if isinstance(one.get(name), str)) for name in ("thinking", "text")
    )
    calls = any("partial_json" in one or "toolUse" in one for one in found)
    return [
        *([{"toolUse": {}}] if calls else []),
        *([{"type": "thinking", "thinking": thought}] if thought else []),
        *([{"text": text}] if text else []),
    ]


def read_log(line: bytes, config: Mapping[str, Any], *, distilled: bool) -> tuple[Record | None, list[Problem]]:
    """Return the conversation in a log; None if the filters or the kind of the log exclude it.

    :param config: the request's ``invocationLogsConfig``.
    :param distilled: whether it is for a distillation, which takes one question in one text, and leaves others out:
        https://github.com/aws-samples/amazon-bedrock-samples custom-models/model_distillation/dataset-validation
    """
    entry, problems = decoded(_LOG, line)
    if problems:
        return None, problems
    if not passes(config.get("requestMetadataFilters"), entry.requestMetadata or {}):
        return None, []
    if distilled and not _is_one_text(value_of({"body": entry.input.inputBodyJson}, "body.messages")):
        return None, []
    return _record(entry, answered=bool(config.get("usePromptResponse"))), []


def _is_one_text(messages: object) -> bool:
    """Whether a conversation has one turn of the user, with one block of text."""
    turns = messages if isinstance(messages, list) else []
    asked = [one.get("content") for one in turns if isinstance(one, dict) and one.get("role") == "user"]
    return len(asked) == 1 and (not isinstance(asked[0], list) or len(asked[0]) == 1)


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
    body = entry.input.inputBodyJson
    if not isinstance(body, dict):
        return None
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
    answer = _text(answer_in(entry.output.outputBodyJson)) if answered and entry.output else ""
    if answer:
        texts.append(Text("assistant", answer, "$.output.outputBodyJson"))
    return conversation(texts, answered=int(bool(answer)))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = (block.get("text") for block in blocks if isinstance(block, dict))
    return "\n".join(text for text in texts if isinstance(text, str))
