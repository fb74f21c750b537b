"""How long a waiter goes without an answer of the service."""

from __future__ import annotations

import math


class Patience:
    """How long one waiter goes without an answer. Times are seconds of any clock that does not run backwards.

    :param limit: seconds without any answer after which to give up; 0 for never.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._silent_since: float | None = None
        self._told_at = -math.inf

    def answered(self) -> None:
        """Note an answer."""
        self._silent_since = None
        self._told_at = -math.inf

    def silence(self, now: float) -> float:
        """Note a look that failed, and return for how many seconds all have."""
        if self._silent_since is None:
            self._silent_since = now
        return now - self._silent_since

    def is_over(self, now: float) -> bool:
        """Whether the silence has lasted for the limit. Time before the first look that failed does not count."""
        return bool(self._limit) and self._silent_since is not None and now - self._silent_since >= self._limit

    def should_tell(self, now: float) -> bool:
        """Whether it is time for another log line about the silence: at once, then each quarter of the limit."""
        if now - self._told_at < (self._limit or 3600.0) / 4:
            return False
        self._told_at = now
        return True
