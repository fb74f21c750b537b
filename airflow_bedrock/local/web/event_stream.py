"""The ``application/vnd.amazon.eventstream`` encoding, in which streamed answers go out.

https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html describes it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import msgspec

CONTENT_TYPE = "application/vnd.amazon.eventstream"

_STRING = 7
"""The type of a header's value."""


def encode_event(name: str, members: Mapping[str, Any]) -> bytes:
    """Return one event as a message; bytes among its members are written in base64."""
    headers = b"".join(
        _header(key, value)
        for key, value in (
            (":event-type", name),
            (":content-type", "application/json"),
            (":message-type", "event"),
        )
    )
    payload = msgspec.json.encode(members)
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return message + struct.pack(">I", crc32(message))


def _header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + struct.pack(">BH", _STRING, len(value)) + value.encode()
