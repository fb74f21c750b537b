"""Model invocation logs as training data: the conversations that the filters of a job let through.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from airflow_bedrock.local.work.records import DataError, Record, conversation


class _Body(msgspec.Struct):
    inputBodyJson: dict[str, Any] = {}
    outputBodyJson: dict[str, Any] = {}


class _Log(msgspec.Struct):
    input: _Body
    output: _Body = msgspec.field(default_factory=_Body)
    requestMetadata: dict[str, str] = {}


# Made here, while one thread imports: msgspec 0.22 crashes where two threads are the first to use a type.
_LOG = msgspec.json.Decoder(_Log)


def read_logs(lines: Iterable[bytes], file: str, config: Mapping[str, Any]) -> Iterator[Record]:
    """Read the logs of conversations that the filters let through; those of other kinds are passed over.

    :param config: the request's ``invocationLogsConfig``.
    :raises DataError: at a line that is no log.
    """
    answers = config.get("usePromptResponse", False)
    for number, line in enumerate(lines, start=1):
        try:
            entry = _LOG.decode(line)
        except msgspec.MsgspecError as error:
            raise DataError(f"Invalid invocation log in Amazon S3 file: {file}, line {number}: {error}") from error
        if passes(config.get("requestMetadataFilters"), entry.requestMetadata) and (record := _record(entry, answers)):
            yield record


def passes(filters: Mapping[str, Any] | None, metadata: Mapping[str, str]) -> bool:
    """Whether a request's metadata pass ``requestMetadataFilters``; a key that is missing differs from every value."""
    if not filters:
        return True
    if "andAll" in filters:
        return all(passes(one, metadata) for one in filters["andAll"])
    if "orAll" in filters:
        return any(passes(one, metadata) for one in filters["orAll"])
    return all(metadata.get(key) == value for key, value in filters.get("equals", {}).items()) and all(
        metadata.get(key) != value for key, value in filters.get("notEquals", {}).items()
    )


def _record(entry: _Log, with_answer: bool) -> Record | None:
    messages = entry.input.inputBodyJson.get("messages") or []
    turns = [_text(message.get("content")) for message in messages]
    if not any(turns):
        return None
    answer = _text(entry.output.outputBodyJson.get("output", {}).get("message", {}).get("content")) or None
    system = _text(entry.input.inputBodyJson.get("system"))
    return Record(conversation([system] if system else [], turns), answer if with_answer else None)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content or [] if "text" in block)
