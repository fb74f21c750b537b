"""Decide when a wait without a response ends, and when to believe that a resource does not exist.

Workers and triggerers share this policy for all kinds of resources.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from airflow_bedrock.customization.job import duration

POLLS_UNTIL_MISSING = 5
SECONDS_UNTIL_MISSING = 120.0  # a new job was observed to stay hidden for a minute


class Absence:
    """Decides whether to believe a "not found" response. Times are as for :class:`NoResponseTimeout`.

    :param known: whether the resource is known to exist: the service may take a while to show a new one.
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


class NoResponseTimeout:
    """Ends a wait that has had no response for too long. Times are seconds of any monotonic clock.

    :param limit: seconds without a response after which to give up; 0 for never.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._silent_since: float | None = None
        self._logged_at = -math.inf

    def answered(self) -> None:
        """Note a response."""
        self._silent_since = None
        self._logged_at = -math.inf

    def gives_up(self, now: float, about: str, error: object, log: Callable[..., object]) -> str | None:
        """Note a failed poll. Return why to give up if all polls have failed for as long as the limit, else None.

        Time before the first failed poll does not count. The failure is logged at once, and again after each quarter of
        the limit.

        :param about: the subject of the poll, with its preposition.
        :param log: a method of a logger.
        """
        if self._silent_since is None:
            self._silent_since = now
        silence = now - self._silent_since
        if self._limit and silence >= self._limit:
            return f"no response for {duration(silence)}; the latest error: {error}"
        if now - self._logged_at >= (self._limit or 3600.0) / 4:
            self._logged_at = now
            log("No response %s for %s; trying again. The latest error: %s", about, duration(silence), error)
        return None
