"""A record of any format as the rules see it, and the problems that it can have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

Role = Literal["system", "user", "assistant"]


_OF_THE_RECORD = re.compile(r"\b(count|has|holds) \d+|(?<=\bthe )(image|video|document) .*? (?=is |has )")


class Problem(NamedTuple):
    """What is wrong with one record, without any of its texts.

    :param rule: the stable name of the broken rule, such as ``roles`` or ``reserved-word``.
    :param where: where in the record, as a JSONPath.
    :param message: the rule in a sentence; the service's own if it is known.
    """

    rule: str
    where: str
    message: str

    @property
    def of_any(self) -> str:
        """The message without this record's numbers and URIs."""
        where = f"{re.sub('[0-9]+', '', self.where)}: " if self.rule == "shape" else ""
        said = _OF_THE_RECORD.sub(lambda found: f"{found[1]} …" if found[1] else f"{found[2]} … ", self.message)
        return where + said


class Text(NamedTuple):
    """One text of a record: its role and its place."""

    role: Role
    text: str
    where: str = "$"


class Media(msgspec.Struct, frozen=True):
    """An image, a video or a document that a record refers to.

    :param kind: ``image``, ``video`` or ``document``.
    :param format: such as ``png``; empty if the record does not say.
    """

    kind: str
    uri: str
    format: str = ""
    where: str = "$"


class Record(msgspec.Struct, frozen=True):
    """One record of any format.

    :param prompt: the model's input: all turns before the assistant's last one.
    :param completion: the expected answer; None if a teacher or a grader decides.
    :param media: images, videos and documents of all turns.
    :param texts: every text, in order.
    :param fields: the unchanged record, for a grader.
    """

    prompt: str
    completion: str | None = None
    media: tuple[Media, ...] = ()
    texts: tuple[Text, ...] = ()
    fields: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """The key of its question: the prompt, the image, or the text itself."""
        return self.prompt or "\n".join(one.uri for one in self.media) or self.completion or ""


def conversation(texts: Sequence[Text], media: Sequence[Media] = (), *, answered: int = 0) -> Record:
    """Return a conversation as a record.

    :param answered: the number of texts, at the end, that are the answer; 0 for a record without an answer.
    """
    asked = texts[:-answered] if answered else texts
    return Record(
        prompt=joined(one.text for one in asked),
        completion=joined(one.text for one in texts[-answered:]) if answered else None,
        media=tuple(media),
        texts=tuple(texts),
    )


def joined(texts: Any) -> str:
    """Return the prompt of a conversation's texts; training and inference use the same one."""
    return "\n".join(texts)
