"""The journal records every call, for assertions and for people who want to see what their DAG does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, overload

import msgspec

KEPT = 100_000
"""Number of calls kept; older ones are removed."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call.

    :param number: counts all calls since the journal began, from 1.
    :param time: on Local Bedrock's clock, when the response was ready.
    :param service: its name in the service model (``bedrock``, ``bedrock-runtime``, ``s3``, ``iam``).
    :param operation: such as ``CreateModelCustomizationJob``; method and path if the operation is unknown.
    :param status: the HTTP status; 0 if the connection was dropped without a response.
    :param parameters: for calls to Bedrock, those without the conversation; for S3, bucket and key.
    :param error: the error code of a failed call.
    :param fault: the effects of the faults that struck the call, such as ``error`` or ``delay, drop``.
    """

    number: int
    time: datetime
    service: str
    operation: str
    status: int
    region: str = ""
    parameters: dict[str, Any] = {}
    error: str | None = None
    fault: str | None = None


class Journal(Sequence[Call]):
    """The calls, the oldest first."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT)
        self._count = 0
        self._lock = threading.Lock()

    def add(self, **details: Any) -> None:
        """Record a call."""
        with self._lock:
            self._count += 1
            self._calls.append(Call(number=self._count, **details))

    def of(self, operation: str, **parameters: Any) -> list[Call]:
        """Return the calls of one operation; with ``parameters``, only those that have them."""
        wanted = parameters.items()
        return [call for call in self if call.operation == operation and wanted <= call.parameters.items()]

    def clear(self) -> None:
        """Remove all calls, and count from 1 again."""
        with self._lock:
            self._calls.clear()
            self._count = 0

    def all(self) -> list[Call]:
        """Return the calls as they are now."""
        with self._lock:
            return list(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self.all())

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> list[Call]: ...
    def __getitem__(self, index: int | slice) -> Call | list[Call]:
        return self.all()[index]


class Filter(msgspec.Struct, forbid_unknown_fields=True):
    """Which calls the admin API returns.

    :param operation: as in a fault: a pattern (``Create*``) means Bedrock's operations, unless ``service`` is given.
    :param fault: whether a fault struck them.
    :param after: only those with a greater number, to continue an earlier request.
    :param limit: maximum number: the first after ``after``, or else the latest.
    """

    service: str | None = None
    operation: str | None = None
    status: int | None = None
    error: str | None = None
    fault: bool | None = None
    after: int | None = None
    limit: int = 1000

    def apply(self, calls: Sequence[Call]) -> list[Call]:
        """Return the calls that pass the filter, the oldest first."""
        found = [
            call
            for call in calls
            if call.number > (self.after or 0)
            and self._names(call)
            and self.status in (None, call.status)
            and self.error in (None, call.error)
            and self.fault in (None, call.fault is not None)
        ]
        return found[: self.limit] if self.after is not None else found[max(0, len(found) - self.limit) :]

    def _names(self, call: Call) -> bool:
        operation, service = self.operation or "*", self.service or "*"
        if not self.service and self.operation and ("*" in operation or "?" in operation):
            service = "bedrock*"
        return fnmatchcase(call.operation, operation) and fnmatchcase(call.service, service)
