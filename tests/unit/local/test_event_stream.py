"""The encoding of streamed answers, read back by botocore."""

from __future__ import annotations

import json
from typing import Any

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.web.protocol import encode_event


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=50), max_size=5))
def test_botocore_reads_the_event(members: dict[str, str]) -> None:
    """The SDK finds the event's name and members, and its checksums right."""
    buffer = EventStreamBuffer()
    buffer.add_data(encode_event("contentBlockDelta", members))
    (message,) = buffer
    headers: Any = message.headers  # its stubs say int
    assert headers[":event-type"] == "contentBlockDelta"
    assert headers[":message-type"] == "event"
    assert json.loads(message.payload) == members


def test_bytes_are_base64() -> None:
    """Bytes go out as base64, which is how JSON has blobs."""
    buffer = EventStreamBuffer()
    buffer.add_data(encode_event("chunk", {"bytes": b"hi"}))
    assert json.loads(next(buffer).payload) == {"bytes": "aGk="}
