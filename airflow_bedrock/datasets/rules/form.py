"""The declaration of a format: its type, its own rules, and how to read its records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from airflow_bedrock.datasets.rules.record import Problem, Record
from airflow_bedrock.decoding import decoder

Plain = tuple[str, str]
"""The question, with the system prompt first, and the answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """One format's declaration.

    :param type: what a record is decoded to.
    :param shape: the expected shape, for messages.
    :param problems: the format's rules that a type cannot express.
    :param read: reads a record that follows them.
    :param raw: whether the unchanged record is kept, for a grader.
    :param plain: a narrower type for records with only text, and how it is read. If that fails or returns None, the
        record is read as ``type``. It exists only for speed: ``type`` accepts everything that it accepts.
    """

    type: Any
    shape: str
    problems: Callable[[Any], Iterable[Problem]]
    read: Callable[[Any], Record]
    raw: bool = False
    plain: tuple[Any, Callable[[Any], Plain | None]] | None = None
    decoder: msgspec.json.Decoder[Any] = field(init=False)
    plain_decoder: msgspec.json.Decoder[Any] | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", decoder(self.type))
        object.__setattr__(self, "plain_decoder", self.plain and decoder(self.plain[0]))


def nothing(_: Any) -> Iterable[Problem]:
    """Have no rules beyond the type."""
    return ()
