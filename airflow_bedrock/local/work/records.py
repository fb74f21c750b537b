"""Training and validation records: the formats that base models are customized with, read line by line.

The forms are those of "Prepare data for fine-tuning" in the Amazon Bedrock User Guide and, where it is silent, of AWS's
validators for training data (``base_models.toml`` has the addresses); what a record may hold beyond its form is checked
in ``record_limits.py``. Where the service's own message is known it is used word for word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec

from airflow_bedrock.local.learning.training import Example


class DataError(Exception):
    """The data cannot be trained on; the message becomes the job's failureMessage."""


class RecordError(Exception):
    """What is wrong with one record; who reads the file adds where it stands."""


@dataclass(frozen=True)
class Media:
    """An image, a video or a document that a record refers to.

    :param kind: ``image``, ``video`` or ``document``.
    :param format: such as ``png``; empty where the record does not say.
    """

    kind: str
    uri: str
    format: str = ""


@dataclass(frozen=True)
class Record:
    """One record of any format.

    :param prompt: what the model is given: all turns before the last of the assistant's.
    :param completion: what it should say; None where a teacher or a grader is to decide.
    :param media: images and videos of all turns.
    :param fields: the record as it stands, where a grader is given it.
    :param asked: the system prompt and the user's turns, one by one.
    :param answers: the assistant's turns, one by one.
    """

    prompt: str
    completion: str | None = None
    media: tuple[Media, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

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


class _Media(msgspec.Struct):
    format: str
    source: _Source


class _Reasoning(msgspec.Struct):
    reasoningText: _Text


class _Block(msgspec.Struct):
    text: str | None = None
    image: _Media | None = None
    video: _Media | None = None
    document: _Media | None = None
    reasoningContent: _Reasoning | None = None


class _Message(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: Annotated[list[_Block], msgspec.Meta(min_length=1)]


class _Nova(msgspec.Struct):
    messages: list[_Message]
    schemaVersion: str | None = None
    system: list[_Text] | None = None


_ONE = msgspec.Meta(min_length=1, max_length=1)


class _Llama(msgspec.Struct):
    messages: list[_Message]
    schemaVersion: Literal["bedrock-conversation-2024"] = "bedrock-conversation-2024"
    system: Annotated[list[_Text], _ONE] = []


class _BareText(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class _BareBlock(_BareText, forbid_unknown_fields=True):
    type: str = "text"


class _BareMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: Annotated[list[_BareBlock], _ONE]


class _Distillation(msgspec.Struct, forbid_unknown_fields=True):
    messages: Annotated[list[_BareMessage], msgspec.Meta(min_length=1, max_length=2)]
    schemaVersion: Literal["bedrock-conversation-2024"]
    system: Annotated[list[_BareText], _ONE] = []


class _PlainMessage(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str


class _Claude(msgspec.Struct):
    messages: list[_PlainMessage]
    system: str | None = None


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


def conversation(system: Iterable[str], turns: Iterable[str]) -> str:
    """Return the prompt that a conversation comes to; training and answering see the same one."""
    return "\n".join([*system, *turns])


def read_records(
    lines: Iterable[bytes], file: str, form: str, check: Callable[[Record, bytes], None] | None = None
) -> Iterator[Record]:
    """Read records, one a line.

    :param file: the object's S3 URI, for messages.
    :param form: a form or, where a method has none, a format of ``base_models.toml``.
    :param check: raises a :class:`RecordError` for a record that keeps the form and yet cannot be used.
    :raises DataError: at the first line that is no such record.
    """
    decoder, read, shape = _FORMS[form]
    for number, line in enumerate(lines, start=1):
        try:
            record = read(decoder.decode(line))
            if form == "reinforcement":
                record = replace(record, fields=msgspec.json.decode(line))
            if check:
                check(record, line)
        except RecordError as error:
            raise DataError(f"{error} Amazon S3 file: {file}, line {number}") from error
        except msgspec.ValidationError as error:
            key = file.removeprefix("s3://").partition("/")[2]
            raise DataError(f"Input data at {key} must follow '{shape}' format. Line {number}: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"Unable to parse Amazon S3 file: {file}. Data files must conform to JSONL format. Line {number}: "
                f"{'it is blank' if not line.strip() else 'it is not a JSON object'}"
            ) from error
        yield record


def _nova(record: _Nova, kinds: Sequence[str] = ("text", "image", "video")) -> Record:
    for message in record.messages:
        for block in message.content:
            if all(getattr(block, kind) is None for kind in kinds):
                raise msgspec.ValidationError(f"a block of content must have one of {', '.join(kinds)}")
            if block.reasoningContent and message.role == "user":
                raise msgspec.ValidationError("the user's turn must hold no reasoningContent")
        if not _text(message) and not any(_media(message)):
            raise msgspec.ValidationError(f"the {message.role}'s turn must not be without text")
    _check_roles([message.role for message in record.messages])
    return _of_converse(record.system or [], record.messages)


def _llama(record: _Llama) -> Record:
    _check_roles([message.role for message in record.messages])
    return _of_converse(record.system, record.messages)


def _of_converse(system: Sequence[_Text], messages: Sequence[_Message]) -> Record:
    if any(any(_media(message)) for message in messages if message.role == "assistant"):
        raise msgspec.ValidationError("the assistant's turn must hold text only")
    media = tuple(one for message in messages for one in _media(message))
    return _conversation([one.text for one in system], [(one.role, _text(one)) for one in messages], media)


def _distillation(record: _Distillation) -> Record:
    _check_alternate([message.role for message in record.messages])
    return _conversation(
        [one.text for one in record.system], [(one.role, one.content[0].text) for one in record.messages]
    )


def _conversation(system: Sequence[str], turns: Sequence[tuple[str, str]], media: tuple[Media, ...] = ()) -> Record:
    texts = [text for _, text in turns]
    completion = texts.pop() if turns[-1][0] == "assistant" else None
    return Record(
        prompt=conversation(system, texts),
        completion=completion,
        media=media,
        asked=(*system, *(text for role, text in turns if role == "user")),
        answers=tuple(text for role, text in turns if role == "assistant"),
    )


def _text(message: _Message) -> str:
    return "\n".join(block.text for block in message.content if block.text is not None)


def _media(message: _Message) -> Iterator[Media]:
    for block in message.content:
        for kind, one in (("image", block.image), ("video", block.video), ("document", block.document)):
            if one:
                yield Media(kind, one.source.s3Location.uri, one.format)


def _claude(record: _Claude) -> Record:
    _check_roles([message.role for message in record.messages])
    turns = [(message.role, message.content) for message in record.messages]
    return _conversation([record.system] if record.system else [], turns)


def _prompt_completion(record: _PromptCompletion) -> Record:
    return Record(record.prompt, record.completion, asked=(record.prompt,), answers=(record.completion,))


def _pretraining(record: _Pretraining) -> Record:
    return Record("", record.input)


def _image(record: _Captioned) -> Record:
    return Record("", record.caption, (Media("image", record.image_ref),))


def _reinforcement(record: _Graded) -> Record:
    messages = record.messages
    turns = [
        turn.content if isinstance(turn.content, str) else "\n".join(block.text for block in turn.content)
        for turn in messages
    ]
    if not messages or messages[-1].role != "user":
        raise msgspec.ValidationError("the last message must be the user's")
    return Record(conversation([], turns))


def _check_roles(roles: Sequence[str]) -> None:
    if len(roles) < 2 or roles[0] != "user" or roles[-1] != "assistant":
        raise msgspec.ValidationError("the first message must be the user's and the last one the assistant's")
    _check_alternate(roles)


def _check_alternate(roles: Sequence[str]) -> None:
    if not roles or roles[0] != "user":
        raise msgspec.ValidationError("the first message must be the user's")
    if any(role == following for role, following in pairwise(roles)):
        raise msgspec.ValidationError("the roles of the messages must alternate between user and assistant")


_CONVERSE_SHAPE = (
    '{"schemaVersion": "bedrock-conversation-2024", "system": [{"text": "<system prompt>"}], "messages": '
    '[{"role": "user", "content": [{"text": "<input text>"}]}, '
    '{"role": "assistant", "content": [{"text": "<output text>"}]}]}'
)

_CLAUDE_SHAPE = (
    '{"system": "<system prompt>", "messages": [{"role": "user", "content": "<input text>"}, '
    '{"role": "assistant", "content": "<output text>"}]}'
)

_NOVA_2 = partial(_nova, kinds=("text", "image", "video", "document", "reasoningContent"))

# Made here, while one thread imports: msgspec 0.22 crashes where two threads are the first to use a type.
_FORMS: dict[str, tuple[msgspec.json.Decoder[Any], Callable[[Any], Record], str]] = {
    "nova": (msgspec.json.Decoder(_Nova), _nova, _CONVERSE_SHAPE),
    "nova-2": (msgspec.json.Decoder(_Nova), _NOVA_2, _CONVERSE_SHAPE),
    "llama": (msgspec.json.Decoder(_Llama), _llama, _CONVERSE_SHAPE),
    "distillation": (msgspec.json.Decoder(_Distillation), _distillation, _CONVERSE_SHAPE),
    "claude": (msgspec.json.Decoder(_Claude), _claude, _CLAUDE_SHAPE),
    "prompt-completion": (
        msgspec.json.Decoder(_PromptCompletion),
        _prompt_completion,
        # Recorded from the service (https://github.com/aws-samples/amazon-bedrock-workshop/issues/266); the others are
        # made after it.
        '{"prompt": "<input text>", "completion": "<output text>"}',
    ),
    "pre-training": (msgspec.json.Decoder(_Pretraining), _pretraining, '{"input": "<input text>"}'),
    "image": (msgspec.json.Decoder(_Captioned), _image, '{"image-ref": "<S3 URI>", "caption": "<caption>"}'),
    "reinforcement": (
        msgspec.json.Decoder(_Graded),
        _reinforcement,
        '{"messages": [{"role": "user", "content": "<input text>"}]}',
    ),
}
"""How each form is decoded and read, and how a message shows what was expected."""
