"""Claude's format: messages with a string as content, and a system prompt beside them.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from airflow_bedrock.datasets.rules.converse import roles
from airflow_bedrock.datasets.rules.form import Form, Plain
from airflow_bedrock.datasets.rules.record import Problem, Record, Text, conversation


class _Message(msgspec.Struct, gc=False):
    role: Literal["user", "assistant"]
    content: str


class _Claude(msgspec.Struct, gc=False):
    messages: list[_Message]
    system: str | None = None


def _problems(record: _Claude) -> Iterator[Problem]:
    messages: Any = record.messages
    return roles(messages)


def _read(record: _Claude) -> Record:
    texts = [Text("system", record.system, "$.system")] if record.system else []
    texts += [
        Text(one.role, one.content, f"$.messages[{number}].content") for number, one in enumerate(record.messages)
    ]
    return conversation(texts, answered=1)


def _flat(record: _Claude) -> Plain | None:
    messages = record.messages
    if len(messages) != 2 or messages[0].role != "user" or messages[1].role != "assistant":
        return None
    prompt = messages[0].content
    return f"{record.system}\n{prompt}" if record.system else prompt, messages[1].content


CLAUDE = Form(
    _Claude,
    '{"system": "<system prompt>", "messages": [{"role": "user", "content": "<input text>"}, '
    '{"role": "assistant", "content": "<output text>"}]}',
    _problems,
    _read,
    plain=(_Claude, _flat),
)
