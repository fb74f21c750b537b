"""One example of a text dataset, and when two texts count as the same."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_bedrock.datasets.errors import DatasetError

DIGEST_BYTES = 16  # 128 bits: a clash among a thousand million texts has a chance of 1 in 10^21


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the completion that the model should learn to give.

    :param prompt: what the user says.
    :param completion: what the model should answer.
    :param system: the system prompt; None for none.
    """

    prompt: str
    completion: str
    system: str | None = None


def normalise(text: str) -> str:
    """Return the text as it is compared: Unicode NFKC, case folded, each run of white space one space.

    Texts that differ only in these respects count as the same: they are duplicates, and never lie in two splits.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def text_digest(text: str) -> bytes:
    """Return the 128-bit digest of the normalised text."""
    return hashlib.blake2b(normalise(text).encode(), digest_size=DIGEST_BYTES).digest()


def text_field(record: Mapping[str, object], field: str) -> str:
    """Return a field of a source record as text; a whole number, such as a class label, is written in digits.

    :raises DatasetError: the field is missing, empty, or neither text nor a whole number.
    """
    value = record.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DatasetError(f"{field}: {'missing' if value is None else 'not text'}")
    if not value.strip():
        raise DatasetError(f"{field}: empty")
    return value
