"""Training and validation records: the formats that base models are customized with, read and checked line by line.

The rules are those of "Prepare data for fine-tuning" in the Amazon Bedrock User Guide. Where the service's own message
is known it is used word for word; others name the file and the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

import msgspec

from airflow_bedrock.local.learning.training import Example

RESERVED = ("User:", "Bot:", "Assistant:", "System:", "<image>", "<video>", "[EOS]")
"""Words that fail a Nova job."""


class DataError(Exception):
    """The data cannot be trained on; the message becomes the job's failureMessage."""


class Text(msgspec.Struct):
    """A text block of the Converse format."""

    text: str


class ConverseMessage(msgspec.Struct):
    """A turn of the Converse format; blocks that are not text (images, videos) have no ``text``."""

    role: Literal["user", "assistant"]
    content: list[dict[str, msgspec.Raw]]


class ConverseRecord(msgspec.Struct):
    """A record of the Converse format (Nova, Llama 3.2 and 3.3)."""

    messages: list[ConverseMessage]
    schema_version: Literal["bedrock-conversation-2024"] = msgspec.field(name="schemaVersion")
    system: list[Text] = []


class ClaudeMessage(msgspec.Struct):
    """A turn of the Claude format."""

    role: Literal["user", "assistant"]
    content: str


class ClaudeRecord(msgspec.Struct):
    """A record of the Claude format."""

    messages: list[ClaudeMessage]
    system: str = ""


class PromptCompletionRecord(msgspec.Struct):
    """A record of the prompt and completion format."""

    prompt: str
    completion: str


class PretrainingRecord(msgspec.Struct):
    """A record of continued pre-training."""

    input: str


def conversation(system: Iterable[str], turns: Iterable[str]) -> str:
    """Return the prompt that a conversation comes to; training and answering see the same one."""
    return "\n".join([*system, *turns])


def examples(lines: Iterable[bytes], file: str, record_format: str) -> Iterator[Example]:
    """Read records, one a line.

    :param file: the object's S3 URI, for messages.
    :param record_format: ``converse``, ``claude``, ``prompt-completion`` or ``pre-training``.
    :raises DataError: at the first line that is no such record.
    """
    read = _READERS[record_format]
    for number, line in enumerate(lines, start=1):
        try:
            yield read(line)
        except msgspec.ValidationError as error:
            raise DataError(f"Invalid record in Amazon S3 file: {file}, line {number}: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"Unable to parse Amazon S3 file: {file}. Data files must conform to JSONL format. Line {number}: "
                f"{'it is blank' if not line.strip() else 'it is not a JSON object'}"
            ) from error


def check_count(count: int, limits: tuple[int, int]) -> None:
    """Check the number of records, training and validation together.

    :raises DataError: when there are too few or too many.
    """
    low, high = limits
    if not low <= count <= high:
        raise DataError(
            f"The number of records in training and validation data is {count}; it must be between {low} and {high}"
        )


def _converse(line: bytes) -> Example:
    record = msgspec.json.decode(line, type=ConverseRecord)
    turns = [_block_text(message.content) for message in record.messages]
    system = [block.text for block in record.system]
    _check_roles([message.role for message in record.messages])
    _check_reserved([*system, *turns])
    return Example(conversation(system, turns[:-1]), turns[-1])


def _block_text(content: Sequence[dict[str, msgspec.Raw]]) -> str:
    if not content:
        raise msgspec.ValidationError("a message has no content")
    return "\n".join(msgspec.json.decode(block["text"], type=str) for block in content if "text" in block)


def _claude(line: bytes) -> Example:
    record = msgspec.json.decode(line, type=ClaudeRecord)
    turns = [message.content for message in record.messages]
    _check_roles([message.role for message in record.messages])
    return Example(conversation([record.system] if record.system else [], turns[:-1]), turns[-1])


def _prompt_completion(line: bytes) -> Example:
    record = msgspec.json.decode(line, type=PromptCompletionRecord)
    return Example(record.prompt, record.completion)


def _pretraining(line: bytes) -> Example:
    return Example("", msgspec.json.decode(line, type=PretrainingRecord).input)


def _check_roles(roles: Sequence[str]) -> None:
    if len(roles) < 2 or roles[0] != "user" or roles[-1] != "assistant":
        raise msgspec.ValidationError("the first message must be the user's and the last one the assistant's")
    if any(role == following for role, following in pairwise(roles)):
        raise msgspec.ValidationError("the roles of the messages must alternate between user and assistant")


def _check_reserved(texts: Iterable[str]) -> None:
    for text in texts:
        if found := next((word for word in RESERVED if word in text), None):
            raise msgspec.ValidationError(f"the text holds the reserved word {found}")


_READERS: dict[str, Callable[[bytes], Example]] = {
    "converse": _converse,
    "claude": _claude,
    "prompt-completion": _prompt_completion,
    "pre-training": _pretraining,
}
