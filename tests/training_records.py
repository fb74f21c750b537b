"""Writes and reads training records of one question and its answer: for tests that give such, or read what was made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from airflow_bedrock.datasets import RecordFormat
from airflow_bedrock.datasets.formats import write
from airflow_bedrock.datasets.reading import Conversation, Turn


@dataclass(frozen=True)
class Example:
    """A question and its answer."""

    prompt: str
    completion: str
    system: str | None = None


def encode(example: Example, record_format: RecordFormat) -> bytes:
    """Write a record."""
    turns = [Turn("user", [example.prompt]), Turn("assistant", [example.completion])]
    return write(Conversation(example.system, turns), record_format)


def decode(line: bytes) -> Example:
    """Read a record of the Converse format, Claude's, or prompt and completion."""
    record: dict[str, Any] = json.loads(line)
    if "prompt" in record:
        return Example(**record)
    asked, said = (_text(turn["content"]) for turn in record["messages"])
    return Example(asked, said, _text(record["system"]) if "system" in record else None)


def _text(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)
