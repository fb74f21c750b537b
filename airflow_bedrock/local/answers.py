"""Answers that are no JSON document: a body as it is, and a stream of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Payload:
    """A body that goes out as it is."""

    content: bytes
    content_type: str = "application/json"


@dataclass(frozen=True)
class Events:
    """A stream of events, each with its name in the service model and its members."""

    events: Sequence[tuple[str, Mapping[str, Any]]]


Answer = dict[str, Any] | Payload | Events
"""What an operation returns."""
