"""The declaration of a format: its type, its own rules, and how to read its records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from airflow_bedrock.datasets.rules.record import Problem, Record
from airflow_bedrock.decoding import decoder

Plain = tuple[str, str]
"""What is asked, the system prompt first, and the answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """One format's declaration.

    :param type: what a record is decoded to.
    :param shape: how a message shows what was expected.
    :param problems: the format's rules that a type cannot say.
    :param read: a record that keeps them.
    :param raw: whether the record as it stands is kept, for a grader.
    :param plain: a narrower type, for records of texts alone, and how one is read; None from it, or a refusal, means
        that the record has to be read as ``type``. It is only there because it is fast: what it takes, ``type`` takes.
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
