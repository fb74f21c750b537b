"""The texts of a record, and when two of them count as equal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from unicodedata import normalize

import msgspec

from airflow_bedrock.datasets import blocks
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.decoding import decoder

_OBJECT = decoder(dict[str, Any])
_PLACE = re.compile(r" \(byte \d+\)$| - at .*$", re.DOTALL)  # in the decoder's message


# A table of bytes is many times as fast as NFKC and casefold.
_ASCII = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\t\n\v\f\r\x1c\x1d\x1e\x1f", b"abcdefghijklmnopqrstuvwxyz         "
)
_SPACES = "\x85\u1680\u2028\u2029"  # white space beyond ASCII that NFKC does not turn into a space
# Chinese and Japanese punctuation, which NFKC turns into ASCII, but slowly.
_WIDE = tuple(zip("\uff0c\uff01\uff1f\uff1a\uff1b\uff08\uff09\u3000", ",!?:;() ", strict=True))


def not_json(line: bytes) -> str:
    """Return why a line cannot be read as a JSON object."""
    if len(line) >= blocks.LONGEST_LINE:
        return f"longer than {blocks.LONGEST_LINE >> 20} MiB"
    try:
        _OBJECT.decode(line)
    except UnicodeDecodeError:
        return "not in UTF-8"
    except (msgspec.MsgspecError, RecursionError) as error:
        return f"not a JSON object ({_PLACE.sub('', str(error))})"
    return "not a JSON object"


def normalised(text: str) -> bytes:
    """Return the text for comparison, in UTF-8: Unicode NFKC, case folded, each run of white space one space.

    Texts that differ only in these respects count as the same: they are duplicates, and never lie in two splits.
    """
    data = text.encode() if text.isascii() else _folded(text)
    data = data.translate(_ASCII)
    while data.rfind(b"  ") >= 0:  # which is faster than "in", where spaces are frequent
        data = data.replace(b"  ", b" ")
    return data.strip(b" ")


def _folded(text: str) -> bytes:
    """Return a text after NFKC and case folding, with no white space beyond ASCII."""
    if "\uff0c" in text or "\uff01" in text or "\uff1f" in text:
        for wide, narrow in _WIDE:
            text = text.replace(wide, narrow)
    text = normalize("NFKC", normalize("NFKC", text).casefold())
    for space in _SPACES:
        text = text.replace(space, " ")
    return text.encode("utf-8", "surrogatepass")


def value_of(record: Mapping[str, object], field: str) -> object:
    """Return a field of a source record, by its path with dots; None if it is missing."""
    found: object = record.get(field)
    if found is None and "." in field:
        found = record
        for name in field.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
    return found


def text_field(record: Mapping[str, object], field: str) -> str:
    """Return a field of a source record as text; a whole number, such as a class label, is written in digits.

    :raises DatasetError: the field is missing, empty, or neither text nor a whole number.
    """
    text = text_or_empty(record, field)
    if not text.strip():
        raise DatasetError(f"{field}: empty")
    return text


def text_or_empty(record: Mapping[str, object], field: str) -> str:
    """Like :func:`text_field`, but the field may be empty."""
    value = value_of(record, field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DatasetError(f"{field}: {'missing' if value is None else 'not text'}")
    return value
