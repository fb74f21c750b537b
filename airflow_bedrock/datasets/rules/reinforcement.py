"""The format of reinforcement fine-tuning: a conversation for the model to continue, and the data for its grader.

https://docs.aws.amazon.com/bedrock/latest/userguide/rft-prepare-data.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from airflow_bedrock.datasets.rules.form import Form
from airflow_bedrock.datasets.rules.record import Problem, Record, Text, joined


class _Text(msgspec.Struct):
    text: str


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Text]


class _Graded(msgspec.Struct):
    messages: list[_Message]
    reference_answer: Any = None


def _problems(record: _Graded) -> Iterator[Problem]:
    if not record.messages or record.messages[-1].role != "user":
        yield Problem("roles", "$.messages", "the last message must be the user's")


def _read(record: _Graded) -> Record:
    texts = [
        Text("assistant" if one.role == "assistant" else "user", text, f"$.messages[{number}].content")
        for number, one in enumerate(record.messages)
        for text in ([one.content] if isinstance(one.content, str) else [block.text for block in one.content])
    ]
    return Record(joined(one.text for one in texts), texts=tuple(texts))


REINFORCEMENT = Form(_Graded, '{"messages": [{"role": "user", "content": "<input text>"}]}', _problems, _read, raw=True)
