"""Training and validation records: the formats that base models are customized with, read line by line.

The forms are those of "Prepare data for fine-tuning" in the Amazon Bedrock User Guide; what a record may hold beyond
its form is checked in ``record_limits.py``. Where the service's own message is known it is used
word for word; others name the file and the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import msgspec

from airflow_bedrock.local.learning.training import Example


class DataError(Exception):
    """The data cannot be trained on; the message becomes the job's failureMessage."""


class RecordError(Exception):
    """What is wrong with one record; who reads the file adds where it stands."""


@dataclass(frozen=True)
class Media:
    """An image or a video that a record refers to.

    :param kind: ``image`` or ``video``.
    """

    kind: str
    uri: str


@dataclass(frozen=True)
class Record:
    """One record of any format.

    :param prompt: what the model is given: all turns before the last of the assistant's.
    :param completion: what it should say; None where a teacher or a grader is to decide.
    :param media: images and videos of all turns.
    :param fields: the record as it stands, where a grader is given it.
    """

    prompt: str
    completion: str | None = None
    media: tuple[Media, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def example(self) -> Example:
        """The record as the model learns it."""
        return Example(self.prompt, self.completion or "")


class _Text(msgspec.Struct):
    text: str


class _Location(msgspec.Struct):
    uri: str
    bucketOwner: str | None = None


class _Source(msgspec.Struct):
    s3Location: _Location


class _Image(msgspec.Struct):
    format: Literal["png", "jpeg", "gif", "webp"]
    source: _Source


class _Video(msgspec.Struct):
    format: Literal["mp4", "mov", "mkv", "webm"]
    source: _Source


class _Block(msgspec.Struct):
    text: str | None = None
    image: _Image | None = None
    video: _Video | None = None


class _Message(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: list[_Block]


class _Converse(msgspec.Struct):
    messages: list[_Message]
    schemaVersion: Literal["bedrock-conversation-2024"]
    system: list[_Text] = []


class _PlainMessage(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str


class _Claude(msgspec.Struct):
    messages: list[_PlainMessage]
    system: str = ""


class _PromptCompletion(msgspec.Struct):
    prompt: str
    completion: str


class _Pretraining(msgspec.Struct):
    input: str


class _Captioned(msgspec.Struct, rename={"image_ref": "image-ref"}):
    image_ref: str
    caption: str


class _GradedMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Text]


class _Graded(msgspec.Struct):
    messages: list[_GradedMessage]


# Made here, while one thread imports: msgspec 0.22 crashes where two threads are the first to use a type.
_CONVERSE = msgspec.json.Decoder(_Converse)
_CLAUDE = msgspec.json.Decoder(_Claude)
_PROMPT_COMPLETION = msgspec.json.Decoder(_PromptCompletion)
_PRETRAINING = msgspec.json.Decoder(_Pretraining)
_CAPTIONED = msgspec.json.Decoder(_Captioned)
_GRADED = msgspec.json.Decoder(_Graded)


def conversation(system: Iterable[str], turns: Iterable[str]) -> str:
    """Return the prompt that a conversation comes to; training and answering see the same one."""
    return "\n".join([*system, *turns])


def read_records(
    lines: Iterable[bytes], file: str, record_format: str, check: Callable[[Record, bytes], None] | None = None
) -> Iterator[Record]:
    """Read records, one a line.

    :param file: the object's S3 URI, for messages.
    :param record_format: of ``base_models.toml``, or ``prompt``: a conversation whose last turn may be the user's.
    :param check: raises a :class:`RecordError` for a record that keeps the form and yet cannot be used.
    :raises DataError: at the first line that is no such record.
    """
    read = _READERS[record_format]
    for number, line in enumerate(lines, start=1):
        try:
            record = read(line)
            if check:
                check(record, line)
        except RecordError as error:
            raise DataError(f"{error} Amazon S3 file: {file}, line {number}") from error
        except msgspec.ValidationError as error:
            raise DataError(f"Invalid record in Amazon S3 file: {file}, line {number}: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"Unable to parse Amazon S3 file: {file}. Data files must conform to JSONL format. Line {number}: "
                f"{'it is blank' if not line.strip() else 'it is not a JSON object'}"
            ) from error
        yield record


def _converse(line: bytes) -> Record:
    record = _CONVERSE.decode(line)
    _check_roles([message.role for message in record.messages])
    return _of_converse(record)


def _prompt(line: bytes) -> Record:
    record = _CONVERSE.decode(line)
    _check_alternate([message.role for message in record.messages])
    return _of_converse(record)


def _of_converse(record: _Converse) -> Record:
    turns = [_block_text(message.content) for message in record.messages]
    if any(block.image or block.video for block in record.messages[-1].content if _is_answer(record.messages[-1])):
        raise msgspec.ValidationError("the assistant's turn must hold text only")
    completion = turns.pop() if _is_answer(record.messages[-1]) else None
    media = tuple(one for message in record.messages for block in message.content for one in _media(block))
    return Record(conversation([block.text for block in record.system], turns), completion, media)


def _is_answer(message: _Message) -> bool:
    return message.role == "assistant"


def _block_text(content: Sequence[_Block]) -> str:
    if not content:
        raise msgspec.ValidationError("a message has no content")
    return "\n".join(block.text for block in content if block.text is not None)


def _media(block: _Block) -> Iterator[Media]:
    if block.image:
        yield Media("image", block.image.source.s3Location.uri)
    if block.video:
        yield Media("video", block.video.source.s3Location.uri)


def _claude(line: bytes) -> Record:
    record = _CLAUDE.decode(line)
    _check_roles([message.role for message in record.messages])
    turns = [message.content for message in record.messages]
    return Record(conversation([record.system] if record.system else [], turns[:-1]), turns[-1])


def _prompt_completion(line: bytes) -> Record:
    record = _PROMPT_COMPLETION.decode(line)
    return Record(record.prompt, record.completion)


def _pretraining(line: bytes) -> Record:
    return Record("", _PRETRAINING.decode(line).input)


def _image(line: bytes) -> Record:
    record = _CAPTIONED.decode(line)
    return Record("", record.caption, (Media("image", record.image_ref),))


def _reinforcement(line: bytes) -> Record:
    messages = _GRADED.decode(line).messages
    turns = [
        turn.content if isinstance(turn.content, str) else "\n".join(block.text for block in turn.content)
        for turn in messages
    ]
    if not messages or messages[-1].role != "user":
        raise msgspec.ValidationError("the last message must be the user's")
    return Record(conversation([], turns), fields=msgspec.json.decode(line))


def _check_roles(roles: Sequence[str]) -> None:
    if len(roles) < 2 or roles[0] != "user" or roles[-1] != "assistant":
        raise msgspec.ValidationError("the first message must be the user's and the last one the assistant's")
    _check_alternate(roles)


def _check_alternate(roles: Sequence[str]) -> None:
    if not roles or roles[0] != "user":
        raise msgspec.ValidationError("the first message must be the user's")
    if any(role == following for role, following in pairwise(roles)):
        raise msgspec.ValidationError("the roles of the messages must alternate between user and assistant")


_READERS: dict[str, Callable[[bytes], Record]] = {
    "bedrock-conversation-2024": _converse,
    "prompt": _prompt,
    "claude": _claude,
    "prompt-completion": _prompt_completion,
    "pre-training": _pretraining,
    "image": _image,
    "reinforcement": _reinforcement,
}
