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

    :param rule: the rule that is broken: a name that stays, such as ``roles`` or ``reserved-word``.
    :param where: where in the record, as a JSONPath.
    :param message: the rule in a sentence; the service's own where it is known.
    """

    rule: str
    where: str
    message: str

    @property
    def of_any(self) -> str:
        """The message as it is of any record: without this one's numbers and URIs."""
        where = f"{re.sub('[0-9]+', '', self.where)}: " if self.rule == "shape" else ""
        said = _OF_THE_RECORD.sub(lambda found: f"{found[1]} …" if found[1] else f"{found[2]} … ", self.message)
        return where + said


class Text(NamedTuple):
    """One text of a record: who says it, and where it stands."""

    role: Role
    text: str
    where: str = "$"


class Media(msgspec.Struct, frozen=True):
    """An image, a video or a document that a record refers to.

    :param kind: ``image``, ``video`` or ``document``.
    :param format: such as ``png``; empty where the record does not say.
    """

    kind: str
    uri: str
    format: str = ""
    where: str = "$"


class Record(msgspec.Struct, frozen=True):
    """One record of any format.

    :param prompt: what the model is given: all turns before the last of the assistant's.
    :param completion: what it should say; None where a teacher or a grader is to decide.
    :param media: images, videos and documents of all turns.
    :param texts: every text, in order.
    :param fields: the record as it stands, where a grader is given it.
    """

    prompt: str
    completion: str | None = None
    media: tuple[Media, ...] = ()
    texts: tuple[Text, ...] = ()
    fields: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """What makes it the same question: the prompt, or else the image, or else the text itself."""
        return self.prompt or "\n".join(one.uri for one in self.media) or self.completion or ""


def conversation(texts: Sequence[Text], media: Sequence[Media] = (), *, answered: int = 0) -> Record:
    """Return a conversation as a record.

    :param answered: how many texts, at the end, are the answer; 0 for a record without an answer.
    """
    asked = texts[:-answered] if answered else texts
    return Record(
        prompt=joined(one.text for one in asked),
        completion=joined(one.text for one in texts[-answered:]) if answered else None,
        media=tuple(media),
        texts=tuple(texts),
    )


def joined(texts: Any) -> str:
    """Return the prompt that the texts of a conversation come to; training and answering see the same one."""
    return "\n".join(texts)
