"""How long a waiter goes without an answer of the service, and when it believes that something does not exist.

Worker and triggerer, and all kinds of resources, have this one policy.
"""

from __future__ import annotations

import math

LOOKS_UNTIL_MISSING = 5
SECONDS_UNTIL_MISSING = 120.0  # a new job has been seen to be hidden for a minute


class Absence:
    """Whether the answer "there is no such thing" is believed. Times are as for :class:`Patience`.

    :param known: whether the thing is known to exist: the service may not show a new one at once.
    """

    def __init__(self, *, known: bool) -> None:
        self._known = known
        self._looks = 0
        self._since = 0.0

    def missed(self, now: float) -> bool:
        """Note that a look has not found it, and return whether that is believed."""
        if not self._looks:
            self._since = now
        self._looks += 1
        long_enough = self._looks >= LOOKS_UNTIL_MISSING and now - self._since >= SECONDS_UNTIL_MISSING
        return long_enough or not self._known

    def seen(self) -> None:
        """Note that a look has found it."""
        self._known = True
        self._looks = 0


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
