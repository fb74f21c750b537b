"""Limit the concurrent calls of a model to what its quota allows, which is not known in advance.

Additive increase, multiplicative decrease (AIMD), as in TCP: Chiu and Jain, Computer Networks and ISDN Systems 17
(1989). Pure: the caller passes each result with its time, and does the waiting.
"""

from __future__ import annotations

import math
from collections.abc import Callable

_FIRST = 4.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds


class Pace:
    """The limit for one model. Times are seconds of any monotonic clock.

    :param most: maximum number of calls in flight.
    :param jitter: a factor around 1 for each pause, so that throttled callers do not retry together.
    """

    def __init__(self, most: int, jitter: Callable[[], float] = lambda: 1.0) -> None:
        self._most = most
        self._jitter = jitter
        self._limit = min(_FIRST, most)
        self._cut_at = -math.inf
        self._paused_until = -math.inf
        self._pause = _FIRST_PAUSE

    @property
    def limit(self) -> int:
        """Number of calls that may be in flight."""
        return int(self._limit)

    def wait(self, now: float, in_flight: int) -> float:
        """Return the seconds until another call may start: 0 for now, infinity until a call in flight has ended."""
        if in_flight >= self.limit:
            return math.inf
        return max(0.0, self._paused_until - now)

    def answered(self) -> None:
        """Note an answer: allow about one more call for each round of answers."""
        self._limit = min(self._most, self._limit + 1 / self._limit)
        self._pause = _FIRST_PAUSE

    def refused(self, now: float, began: float) -> None:
        """Note a throttled call: allow half as many, after a pause.

        Calls that started before the last cut say nothing about the current limit, and do not cut it again.
        """
        if began <= self._cut_at:
            return
        self._cut_at = now
        self._limit = max(1.0, self._limit / 2)
        self._paused_until = now + self._pause * self._jitter()
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
