"""One example of a text dataset, and when two texts count as the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from unicodedata import normalize

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


# Most texts need no more than this, and it is many times as fast as what it stands for.
_ASCII = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\t\n\v\f\r\x1c\x1d\x1e\x1f", b"abcdefghijklmnopqrstuvwxyz         "
)
# The bytes of characters that NFKC leaves as they are, whatever stands beside them: ASCII, and in UTF-8 what begins so,
# À to ÿ (C3), Cyrillic (D0, D1), Chinese characters (E4 to E9).
_INERT = bytes([*range(0xC0), 0xC3, 0xD0, 0xD1, *range(0xE4, 0xEA)])
_SPACES = tuple(one.encode() for one in "\x85\u1680\u2028\u2029")  # beyond ASCII, those that NFKC makes no space
# Punctuation of Chinese and Japanese texts, which NFKC makes narrow, slowly.
_WIDE = tuple(zip("\uff0c\uff01\uff1f\uff1a\uff1b\uff08\uff09\u3000", ",!?:;() ", strict=True))


def normalise(text: str) -> str:
    """Return the text as it is compared: Unicode NFKC, case folded, each run of white space one space.

    Texts that differ only in these respects count as the same: they are duplicates, and never lie in two splits.
    """
    return normalised(text).decode("utf-8", "surrogatepass")


def digest(text: str, size: int) -> bytes:
    """Return the digest of the normalised text, of so many bytes."""
    return blake2b(normalised(text), digest_size=size).digest()


def text_digest(text: str) -> bytes:
    """Return the 128-bit digest of the normalised text."""
    return digest(text, DIGEST_BYTES)


def normalised_pair(first: str, second: str) -> tuple[bytes, bytes]:
    """Return two normalised texts for the price of one."""
    if "\x01" in first:
        return normalised(first), normalised(second)
    one, _, other = normalised(f"{first}\x01{second}").partition(b"\x01")
    return one.rstrip(b" "), other.lstrip(b" ")


def normalised(text: str) -> bytes:
    """Return the normalised text in UTF-8."""
    if text.isascii():
        data = text.encode()
    else:
        if "\uff0c" in text or "\uff01" in text or "\uff1f" in text:
            for wide, narrow in _WIDE:
                text = text.replace(wide, narrow)
        data = text.casefold().encode("utf-8", "surrogatepass")
        if data.translate(None, _INERT):
            data = normalize("NFKC", normalize("NFKC", text).casefold()).encode("utf-8", "surrogatepass")
            for space in _SPACES:
                data = data.replace(space, b" ")
    data = data.translate(_ASCII)
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data.strip(b" ")


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
