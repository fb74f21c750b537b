"""A trigger that only sleeps: what is measured of it is Airflow's own, and nobody's trigger can cost less."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class SleepingTrigger(BaseTrigger):
    """Send an event after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow does not type it
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments from which a triggerer makes this trigger again."""
        return "sleeping.SleepingTrigger", {"seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep, then send the event."""
        await asyncio.sleep(self.seconds)
        yield TriggerEvent(None)
