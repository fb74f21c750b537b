"""The formats whose contents are strings: prompt and completion, a text, a caption, Claude's and reinforcement's chats.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html and, for reinforcement
fine-tuning, https://docs.aws.amazon.com/bedrock/latest/userguide/rft-prepare-data.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from airflow_bedrock.datasets.rules.converse import roles
from airflow_bedrock.datasets.rules.record import (
    Form,
    Media,
    Plain,
    Problem,
    Record,
    Text,
    conversation,
    joined,
    nothing,
)


class _PromptCompletion(msgspec.Struct, gc=False):
    prompt: str
    completion: str


class _Pretraining(msgspec.Struct, gc=False):
    input: str


class _Captioned(msgspec.Struct, rename={"image_ref": "image-ref"}):
    image_ref: str
    caption: str


def _read_pair(record: _PromptCompletion) -> Record:
    texts = (Text("user", record.prompt, "$.prompt"), Text("assistant", record.completion, "$.completion"))
    return Record(record.prompt, record.completion, texts=texts)


def _flat_pair(record: _PromptCompletion) -> Plain:
    return record.prompt, record.completion


def _read_text(record: _Pretraining) -> Record:
    return Record("", record.input, texts=(Text("assistant", record.input, "$.input"),))


def _read_caption(record: _Captioned) -> Record:
    media = (Media("image", record.image_ref, where="$.image-ref"),)
    return Record("", record.caption, media, (Text("assistant", record.caption, "$.caption"),))


PROMPT_COMPLETION = Form(
    _PromptCompletion,
    # Recorded from the service (https://github.com/aws-samples/amazon-bedrock-workshop/issues/266); the others follow
    # its pattern.
    '{"prompt": "<input text>", "completion": "<output text>"}',
    nothing,
    _read_pair,
    plain=(_PromptCompletion, _flat_pair),
)
PRE_TRAINING = Form(_Pretraining, '{"input": "<input text>"}', nothing, _read_text)
CAPTION = Form(_Captioned, '{"image-ref": "<S3 URI>", "caption": "<caption>"}', nothing, _read_caption)


class _ClaudeMessage(msgspec.Struct, gc=False):
    role: Literal["user", "assistant"]
    content: str


class _Claude(msgspec.Struct, gc=False):
    messages: list[_ClaudeMessage]
    system: str | None = None


def _claude_problems(record: _Claude) -> Iterator[Problem]:
    messages: Any = record.messages
    return roles(messages)


def _read_claude(record: _Claude) -> Record:
    texts = [Text("system", record.system, "$.system")] if record.system else []
    texts += [
        Text(one.role, one.content, f"$.messages[{number}].content") for number, one in enumerate(record.messages)
    ]
    return conversation(texts, answered=1)


def _flat_claude(record: _Claude) -> Plain | None:
    messages = record.messages
    if len(messages) != 2 or messages[0].role != "user" or messages[1].role != "assistant":
        return None
    prompt = messages[0].content
    return f"{record.system}\n{prompt}" if record.system else prompt, messages[1].content


CLAUDE = Form(
    _Claude,
    '{"system": "<system prompt>", "messages": [{"role": "user", "content": "<input text>"}, '
    '{"role": "assistant", "content": "<output text>"}]}',
    _claude_problems,
    _read_claude,
    plain=(_Claude, _flat_claude),
)


class _Text(msgspec.Struct):
    text: str


class _GradedMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Text]


class _Graded(msgspec.Struct):
    messages: list[_GradedMessage]
    reference_answer: Any = None


def _graded_problems(record: _Graded) -> Iterator[Problem]:
    if not record.messages or record.messages[-1].role != "user":
        yield Problem("roles", "$.messages", "the last message must be the user's")


def _read_graded(record: _Graded) -> Record:
    texts = [
        Text("assistant" if one.role == "assistant" else "user", text, f"$.messages[{number}].content")
        for number, one in enumerate(record.messages)
        for text in ([one.content] if isinstance(one.content, str) else [block.text for block in one.content])
    ]
    return Record(joined(one.text for one in texts), texts=tuple(texts))


REINFORCEMENT = Form(
    _Graded, '{"messages": [{"role": "user", "content": "<input text>"}]}', _graded_problems, _read_graded, raw=True
)
