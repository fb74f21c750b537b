"""Reads training records, for tests that look at what was written."""

from __future__ import annotations

import json
from typing import Any

from airflow_bedrock.datasets import Example


def decode(line: bytes) -> Example:
    """Read a record of the Converse format, Claude's, or prompt and completion: one question and its answer."""
    record: dict[str, Any] = json.loads(line)
    if "prompt" in record:
        return Example(**record)
    asked, said = (_text(turn["content"]) for turn in record["messages"])
    return Example(asked, said, _text(record["system"]) if "system" in record else None)


def _text(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)
