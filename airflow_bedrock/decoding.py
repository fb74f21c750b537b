"""Make JSON decoders while a module is imported."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def decoder(kind: type[T], *, strict: bool = True) -> msgspec.json.Decoder[T]:
    """Return a decoder of JSON text into a type. A module must call it while it is imported, so in one thread.

    msgspec 0.22 crashes if two threads use a type for the first time at once; making the decoder uses it.

    :param strict: reject text in place of a number.
    """
    return msgspec.json.Decoder(kind, strict=strict)
