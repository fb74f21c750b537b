"""Write a conversation as a JSONL record in the formats of text fine-tuning on Bedrock.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html
https://docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from airflow_bedrock.datasets.choices import RecordFormat
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.reading import Attachment, Conversation, Turn


def check_system_prompt(record_format: RecordFormat) -> None:
    """Check that a format supports a system prompt.

    :raises DatasetError: it does not.
    """
    if record_format not in (RecordFormat.CLAUDE, RecordFormat.CONVERSE, RecordFormat.REINFORCEMENT):
        raise DatasetError(
            f"the {record_format.value} format does not support a system prompt: make it part of the prompt"
        )


def write(conversation: Conversation, record_format: RecordFormat) -> bytes:
    """Return the record as one line of UTF-8 JSON, without its newline; JSON escapes the newlines within.

    :raises DatasetError: the format does not support a part of the conversation.
    """
    return _line(_WRITERS[record_format](conversation))


def _converse(conversation: Conversation) -> object:
    turns = [{"role": turn.role, "content": _blocks(turn)} for turn in conversation.turns]
    system = {} if conversation.system is None else {"system": [{"text": conversation.system}]}
    return {"schemaVersion": RecordFormat.CONVERSE.value, **system, "messages": turns}


def _blocks(turn: Turn) -> list[dict[str, object]]:
    blocks: list[dict[str, object]] = [{"reasoningContent": {"reasoningText": {"text": one}}} for one in turn.thoughts]
    blocks += map(_attached, turn.attachments)
    blocks += ({"text": text} for text in turn.texts)
    return blocks


def _attached(attachment: Attachment) -> dict[str, object]:
    location = {"uri": attachment.uri} | ({"bucketOwner": attachment.owner} if attachment.owner else {})
    return {attachment.kind: {"format": attachment.format, "source": {"s3Location": location}}}


def _claude(conversation: Conversation) -> object:
    _check_texts(conversation)
    system = {} if conversation.system is None else {"system": conversation.system}
    return {**system, "messages": [_text_message(turn) for turn in conversation.turns]}


def _text_message(turn: Turn) -> dict[str, str]:
    return {"role": turn.role, "content": "\n".join(turn.texts)}


def _pair(conversation: Conversation) -> object:
    _check_texts(conversation)
    if conversation.system is not None:
        raise DatasetError("holds a system prompt, which the prompt-completion format does not support")
    if [turn.role for turn in conversation.turns] != ["user", "assistant"]:
        raise DatasetError("is not one question and its answer, as the prompt-completion format requires")
    prompt, completion = ("\n".join(turn.texts) for turn in conversation.turns)
    return {"prompt": prompt, "completion": completion}


def _text_alone(conversation: Conversation) -> object:
    return {"input": "\n".join(conversation.turns[-1].texts)}


def _caption(conversation: Conversation) -> object:
    return {"image-ref": conversation.turns[0].attachments[0].uri, "caption": "\n".join(conversation.turns[-1].texts)}


def _graded(conversation: Conversation) -> object:
    _check_texts(conversation)
    system = [] if conversation.system is None else [{"role": "system", "content": conversation.system}]
    return {**conversation.fields, "messages": [*system, *map(_text_message, conversation.turns)]}


def _check_texts(conversation: Conversation) -> None:
    if conversation.has_attachments:
        raise DatasetError("holds images, videos or documents, which the format does not support")


_WRITERS: dict[RecordFormat, Callable[[Conversation], object]] = {
    RecordFormat.CONVERSE: _converse,
    RecordFormat.CLAUDE: _claude,
    RecordFormat.PROMPT_COMPLETION: _pair,
    RecordFormat.PRE_TRAINING: _text_alone,
    RecordFormat.IMAGE: _caption,
    RecordFormat.REINFORCEMENT: _graded,
}

# JSON may contain Unicode's line ends (NEL, LS, PS) unescaped, but many readers split lines there too.
_LINE_ENDS = {"\u0085".encode(): b"\\u0085", "\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}


_ENCODE = msgspec.json.Encoder().encode


def _line(record: object) -> bytes:
    line = _ENCODE(record)
    if not line.isascii():
        for end, escaped in _LINE_ENDS.items():
            line = line.replace(end, escaped)
    return line
