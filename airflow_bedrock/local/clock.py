"""The time that Local Bedrock lives by; tests give it another."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """The computer's own clock."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def now(self) -> datetime:
        """Return the time as AWS shows it: UTC, to the millisecond."""
        moment = datetime.fromtimestamp(self.time(), UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
