"""The journal: every call that came in, for assertions and for people who want to see what their DAG does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, overload

KEPT = 100_000
"""Calls kept; older ones are forgotten."""


@dataclass(frozen=True)
class Call:
    """One call.

    :param service: as it is named in the request's signature (``bedrock``, ``s3``, ``iam``).
    :param operation: ``CreateModelCustomizationJob``; for services that moto answers, what the request tells of it.
    :param status: the HTTP status.
    :param parameters: of calls to Bedrock; those of its runtime without the conversation.
    :param error: the error code of a call to Bedrock that failed.
    """

    time: datetime
    service: str
    operation: str
    status: int
    region: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class Journal(Sequence[Call]):
    """The calls, the oldest first."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT)
        self._lock = threading.Lock()

    def add(self, call: Call) -> None:
        """Write a call down."""
        with self._lock:
            self._calls.append(call)

    def of(self, operation: str) -> list[Call]:
        """Return the calls of one operation."""
        return [call for call in self if call.operation == operation]

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._calls.clear()

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        with self._lock:
            return iter(list(self._calls))

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> list[Call]: ...
    def __getitem__(self, index: int | slice) -> Call | list[Call]:
        with self._lock:
            return list(self._calls)[index]
