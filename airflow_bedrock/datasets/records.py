"""The texts of a record, and when two of them count as equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import NamedTuple
from unicodedata import is_normalized, normalize

from airflow_bedrock.base_models import by_script, of_script
from airflow_bedrock.datasets import blocks
from airflow_bedrock.datasets.errors import DatasetError

DIGEST_BYTES = 16  # 128 bits: a clash among a billion texts has a chance of 1 in 10^21


_UPPER, _LOWER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\t\n\v\f\r\x1c\x1d\x1e\x1f", b"abcdefghijklmnopqrstuvwxyz         "
# Most texts need no more than this, and it is many times as fast as what it stands for.
_ASCII = bytes.maketrans(_UPPER, _LOWER)
_CAPITALS = bytes(code for code in range(0xC0, 0xDF) if code != 0xD7)  # À to Þ in Latin-1, without the times sign
_LATIN = bytes.maketrans(_UPPER + _CAPITALS, _LOWER + bytes(code + 32 for code in _CAPITALS))
_SPACES = tuple(one.encode() for one in "\x85\u1680\u2028\u2029")  # beyond ASCII, those that NFKC makes no space
# Punctuation of Chinese and Japanese texts, which NFKC makes narrow, slowly.
_WIDE = tuple(zip("\uff0c\uff01\uff1f\uff1a\uff1b\uff08\uff09\u3000", ",!?:;() ", strict=True))


class _Alone(NamedTuple):
    """Characters that, with ASCII, suffice for most texts of a language.

    :param written: all bytes of such a text in UTF-8.
    :param first: the first byte of one of them.
    :param width: bytes of a character.
    :param fold: applies NFKC and case folding to a text and its bytes, except for ASCII letters and spaces.
    """

    written: bytes
    first: int
    width: int
    fold: Callable[[str, bytes], bytes]


_FOLDS: dict[tuple[bytes, int], Callable[[str, bytes], bytes]] = {
    (b"\xc3", 2): lambda text, _: (
        text.encode("latin-1").translate(_LATIN).replace(b"\xdf", b"ss").decode("latin-1").encode()
    ),
    (b"\xd0\xd1", 2): lambda text, _: text.lower().encode(),
    (b"\xe0", 3): lambda text, data: data if is_normalized("NFKC", text) else normalize("NFKC", text).encode(),
    (b"\xe4\xe5\xe6\xe7\xe8\xe9", 3): lambda _, data: data,
}
"""By the first bytes of the characters, and how many bytes one has: À to ÿ, Cyrillic, the scripts from India to Tibet,
which have no case, and Chinese characters, which NFKC leaves as they are whatever stands beside them."""

_ALONE = {
    bytes([first]): _Alone(bytes(range(0xC0)) + firsts, firsts[0], width, fold)
    for (firsts, width), fold in _FOLDS.items()
    for first in firsts
}
_ASCII_BYTES = bytes(range(0x80))


def not_json(line: bytes) -> str:
    """Return why a line cannot be read as a JSON object."""
    if len(line) >= blocks.LONGEST_LINE:
        return f"longer than {blocks.LONGEST_LINE >> 20} MiB"
    if blocks.without_bom(line) != line:
        return "not JSON: it begins with a byte order mark"
    if b"\0" in line:
        return "not JSON: it holds a NUL byte, as texts in UTF-16 do"
    try:
        lenient = json.loads(line.decode())
    except UnicodeDecodeError:
        return "not in UTF-8"
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        is_json = not isinstance(error, json.JSONDecodeError)
        return "not strict JSON: it holds a number of thousands of digits" if is_json else "not a JSON object"
    if isinstance(lenient, list) and lenient and isinstance(lenient[0], dict):
        return "an array: end the name of a file that is one array of records with .json"
    is_object = isinstance(lenient, dict)
    return "not strict JSON: it holds half of a surrogate pair, NaN or Infinity" if is_object else "not a JSON object"


def text_digest(text: str) -> bytes:
    """Return the 128-bit digest of the normalised text."""
    return blake2b(normalised(text), digest_size=DIGEST_BYTES).digest()


def counted(prompt: str, answer: str) -> tuple[bytes, bytes, list[int] | None]:
    """Return the normalised prompt, the answer as it is, and the characters of both by script; None if all are ASCII.

    Normalising and counting share their common work.
    """
    if prompt.isascii() and answer.isascii():
        return _clean(prompt.encode()), answer.encode(), None
    data, said = _encoded(prompt), _encoded(answer)
    alone = _script(data)
    if alone and not said.translate(None, alone.written):
        length = len(prompt) + len(answer)
        beyond = (len(data) + len(said) - length) // (alone.width - 1)
        counts = of_script(alone.first, beyond, length - beyond)
    else:
        counts = by_script(prompt + answer, data + said)
    return _clean(_folded(prompt, data, alone)), said, counts


def normalised(text: str) -> bytes:
    """Return the text as it is compared, in UTF-8: Unicode NFKC, case folded, each run of white space one space.

    Texts that differ only in these respects count as the same: they are duplicates, and never lie in two splits.
    """
    if text.isascii():
        return _clean(text.encode())
    data = _encoded(text)
    return _clean(_folded(text, data, _script(data)))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _clean(data: bytes) -> bytes:
    """Return a text whose ASCII letters are lower, and each run of white space is one space."""
    data = data.translate(_ASCII)
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data.strip(b" ")


def _script(data: bytes) -> _Alone | None:
    """Return the only set of characters that a text uses besides ASCII; None for any other text."""
    alone = _ALONE.get(data.lstrip(_ASCII_BYTES)[:1])
    return alone if alone and not data.translate(None, alone.written) else None


def _folded(text: str, data: bytes, alone: _Alone | None) -> bytes:
    """Return a text after NFKC and case folding, except for its ASCII letters and spaces."""
    if alone is not None:
        return alone.fold(text, data)
    if text.isascii():
        return data
    if "\uff0c" in text or "\uff01" in text or "\uff1f" in text:
        for wide, narrow in _WIDE:
            text = text.replace(wide, narrow)
    data = _encoded(normalize("NFKC", normalize("NFKC", text).casefold()))
    for space in _SPACES:
        data = data.replace(space, b" ")
    return data


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
