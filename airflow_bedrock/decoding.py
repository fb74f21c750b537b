"""Make JSON decoders while a module is imported."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def decoder(kind: type[T], *, strict: bool = True) -> msgspec.json.Decoder[T]:
    """Return a decoder of JSON text into a type. To be called by a module while it is imported, thus by one thread.

    msgspec 0.22 crashes where two threads are the first to use a type; the decoder has used it.

    :param strict: refuse a text in the place of a number.
    """
    return msgspec.json.Decoder(kind, strict=strict)
