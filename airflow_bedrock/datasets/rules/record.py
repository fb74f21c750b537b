"""What a format declares: its type, its own rules, and how its records are read; a record, and its problems."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from airflow_bedrock.decoding import decoder

Role = Literal["system", "user", "assistant"]


_OF_THE_RECORD = re.compile(r"\b(count|has|holds) \d+|(?<=\bthe )(image|video|document) .*? (?=is |has )")


class Problem(NamedTuple):
    """What is wrong with one record, without any of its texts.

    :param rule: the stable name of the broken rule, such as ``roles`` or ``reserved-word``.
    :param where: the place in the record, as a JSONPath.
    :param message: the rule in a sentence; the service's own if it is known.
    """

    rule: str
    where: str
    message: str

    @property
    def of_any(self) -> str:
        """The message without this record's numbers and URIs."""
        where = f"{re.sub('[0-9]+', '', self.where)}: " if self.rule == "shape" else ""
        message = _OF_THE_RECORD.sub(lambda found: f"{found[1]} …" if found[1] else f"{found[2]} … ", self.message)
        return where + message


class Text(NamedTuple):
    """One text of a record: its role and its place."""

    role: Role
    text: str
    where: str = "$"


class Media(msgspec.Struct, frozen=True):
    """An image, a video or a document that a record refers to.

    :param kind: ``image``, ``video`` or ``document``.
    :param format: such as ``png``; None where records do not say it.
    """

    kind: str
    uri: str
    format: str | None = None
    where: str = "$"


class Record(msgspec.Struct, frozen=True):
    """One record of any format.

    :param prompt: the model's input: all turns before the assistant's last one.
    :param completion: the expected answer; None if a teacher or a grader decides.
    :param media: images, videos and documents of all turns.
    :param texts: every text, in order.
    :param reasoning: the assistant's reasoning of all turns, whose tokens are trained on and billed like the answer's.
    :param fields: the unchanged record, for Local Bedrock's grader; the check leaves it empty.
    """

    prompt: str
    completion: str | None = None
    media: tuple[Media, ...] = ()
    texts: tuple[Text, ...] = ()
    reasoning: str = ""
    fields: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """The key of its question: the prompt, the image, or the text itself."""
        return self.prompt or "\n".join(one.uri for one in self.media) or self.completion or ""


def conversation(
    texts: Sequence[Text], media: Sequence[Media] = (), *, answered: int = 0, reasoning: Iterable[str] = ()
) -> Record:
    """Return a conversation as a record.

    :param answered: the number of texts, at the end, that are the answer; 0 for a record without an answer.
    :param reasoning: the assistant's reasoning, by turn.
    """
    question = texts[:-answered] if answered else texts
    return Record(
        prompt=joined(one.text for one in question),
        completion=joined(one.text for one in texts[-answered:]) if answered else None,
        media=tuple(media),
        texts=tuple(texts),
        reasoning=joined(reasoning),
    )


def joined(texts: Any) -> str:
    """Return the prompt of a conversation's texts; training and inference use the same one."""
    return "\n".join(texts)


Plain = tuple[str, str]
"""The question, with the system prompt first, and the answer."""


@dataclass(slots=True, eq=False)
class Form:
    """One format's declaration.

    :param type: what a record is decoded to.
    :param read: reads a record that follows the format.
    :param problems: the format's rules that a type cannot express.
    :param plain: a narrower type for records with only text, and how it is read. If that fails or returns None, the
        record is read as ``type``. It exists only for speed: ``type`` accepts everything that it accepts.
    """

    type: Any
    read: Callable[[Any], Record]
    problems: Callable[[Any], Iterable[Problem]] = lambda record: ()
    plain: tuple[Any, Callable[[Any], Plain | None]] | None = None
    decoder: msgspec.json.Decoder[Any] = field(init=False)
    plain_decoder: msgspec.json.Decoder[Any] | None = field(init=False)

    def __post_init__(self) -> None:
        self.decoder = decoder(self.type)
        self.plain_decoder = self.plain and decoder(self.plain[0])
