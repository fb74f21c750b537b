"""The clock of Local Bedrock: the computer's time, a faster clock, or a manual one that a test advances.

It governs jobs, deployments, all timestamps of Bedrock, and faults with a duration.
"""

from __future__ import annotations

import math
import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Sleeper(Protocol):
    """A thread that waits for times of the clock: the runner."""

    def next_due(self) -> float | None:
        """Return the next time that it waits for, if any."""

    def settle(self) -> None:
        """Return once everything that was due has been done."""


class Clock:
    """The computer's clock, or a faster one.

    :param speed: seconds of this clock in one second of the computer's: with 60, an hour takes a minute. The clock
        starts at the computer's time, so a faster one runs ahead of it.
    :param start: another time to start at, in seconds since the epoch.
    """

    def __init__(self, speed: float = 1.0, start: float | None = None) -> None:
        if not 0 < speed < math.inf:
            raise ValueError(f"The speed of a clock must be a number, more than 0; got {speed}.")
        self._speed = speed
        self._began = time.time()
        self._ahead = 0.0 if start is None else start - self._began

    def time(self) -> float:
        """Return seconds since the epoch."""
        now = time.time()
        return now + self._ahead + (now - self._began) * (self._speed - 1)

    def now(self) -> datetime:
        """Return the time as AWS shows it: UTC, to the millisecond."""
        moment = datetime.fromtimestamp(self.time(), UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def seconds_until(self, moment: float) -> float | None:
        """Return how long to wait for a time, in seconds of the computer; None if only a notification ends the wait."""
        return max(0.0, moment - self.time()) / self._speed

    def catch_up(self, moment: float) -> None:
        """Continue from the time of an earlier run, so that time does not go backwards."""
        self._ahead += max(0.0, moment - self.time())

    def attach(self, sleeper: Sleeper) -> None:
        """Add a sleeper; this clock advances by itself, and ignores it."""

    def advance(self, seconds: float) -> None:
        """Advance the clock; only a manual clock allows it.

        :raises RuntimeError: this is not a manual clock.
        """
        raise RuntimeError('Only a manual clock can be moved: start Local Bedrock with clock="manual".')


_END = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""The latest time that ``datetime`` can represent."""

_ROUNDING = 1e-6
"""Tolerance in seconds: the due time at the end of an advance is a sum of floats."""


class ManualClock(Clock):
    """A clock that stands still until :meth:`advance` is called.

    :param start: seconds since the epoch. (default: the current time)
    """

    def __init__(self, start: float | None = None) -> None:
        super().__init__()
        # A whole second, so that the sums of whole durations are exact.
        self._time = float(int(time.time())) if start is None else start
        self._sleeper: Sleeper | None = None
        self._moving = threading.Lock()

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._time

    def seconds_until(self, moment: float) -> float | None:
        """Return 0 for a time in the past; None for a later one, which comes when the clock is advanced."""
        return 0.0 if moment <= self._time else None

    def catch_up(self, moment: float) -> None:
        """Continue from exactly that time."""
        self._time = moment

    def attach(self, sleeper: Sleeper) -> None:
        """Add a sleeper."""
        self._sleeper = sleeper

    def advance(self, seconds: float) -> None:
        """Advance the clock from one due time to the next, and return once everything that was due has been done.

        :param seconds: 0 runs what is already due.
        :raises ValueError: the number is negative, or too large.
        """
        if not seconds >= 0:
            raise ValueError(f"A clock can only be moved forward; got {seconds} seconds.")
        with self._moving:
            target = self._time + seconds
            if target > _END:
                raise ValueError(f"A clock cannot be moved beyond the year 9999, by {seconds} seconds.")
            if sleeper := self._sleeper:
                sleeper.settle()
                while (due := sleeper.next_due()) is not None and due <= target + _ROUNDING:
                    self._time = max(self._time, due)
                    sleeper.settle()
            self._time = max(self._time, target)
            if sleeper:
                sleeper.settle()
