"""How long a wait goes on without a response from the service, and when it believes that a resource does not exist.

Worker and triggerer, and all kinds of resources, have this one policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from airflow_bedrock.customization.job import duration

POLLS_UNTIL_MISSING = 5
SECONDS_UNTIL_MISSING = 120.0  # a new job has been seen to be hidden for a minute


class Absence:
    """Whether a "not found" response is believed. Times are as for :class:`Patience`.

    :param known: whether the thing is known to exist: the service may not show a new one at once.
    """

    def __init__(self, *, known: bool) -> None:
        self._known = known
        self._polls = 0
        self._since = 0.0

    def missed(self, now: float) -> bool:
        """Note that a poll has not found it, and return whether that is believed."""
        if not self._polls:
            self._since = now
        self._polls += 1
        long_enough = self._polls >= POLLS_UNTIL_MISSING and now - self._since >= SECONDS_UNTIL_MISSING
        return long_enough or not self._known

    def seen(self) -> None:
        """Note that a poll has found it."""
        self._known = True
        self._polls = 0


class Patience:
    """How long one wait goes on without a response. Times are seconds of any monotonic clock.

    :param limit: seconds without a response after which to give up; 0 for never.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._silent_since: float | None = None
        self._told_at = -math.inf

    def answered(self) -> None:
        """Note a response."""
        self._silent_since = None
        self._told_at = -math.inf

    def gives_up(self, now: float, about: str, error: object, tell: Callable[..., object]) -> str | None:
        """Note a poll that failed, and return why to give up: all have failed for the limit. None to poll again.

        Time before the first failed poll does not count. The log says it at once, then each quarter of the limit.

        :param about: what has no response, after those words.
        :param tell: takes a line for the log, and what stands in it.
        """
        if self._silent_since is None:
            self._silent_since = now
        silence = now - self._silent_since
        if self._limit and silence >= self._limit:
            return f"no response for {duration(silence)}; the latest error: {error}"
        if now - self._told_at >= (self._limit or 3600.0) / 4:
            self._told_at = now
            tell("No response %s for %s; trying again. The latest error: %s", about, duration(silence), error)
        return None
