"""Waits for other processes. The limit is for processes that hang, not for a slow machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 600.0


class LateError(RuntimeError):
    """The condition did not come true, or no longer can."""


def until(true: Callable[[], object], what: str, seconds: float = SECONDS, *, logs: Path | None = None) -> float:
    """Wait until it is true, and return for how many seconds.

    :param what: the condition, for the error.
    :param logs: a folder whose logs' ends the error shows, such as an Airflow home.
    :raises LateError: it is not, after so many seconds.
    """
    began, pause = time.monotonic(), 0.02
    while not true():
        if time.monotonic() - began > seconds:
            raise LateError(f"not within {seconds:g} s: {what}\n{_ends(logs)}".rstrip())
        time.sleep(pause)
        pause = min(0.5, 1.25 * pause)  # what takes long needs its CPU for itself
    return time.monotonic() - began


def _ends(logs: Path | None) -> str:
    """Return the end of each process's log."""
    return "\n".join(
        f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        for log in sorted(logs.glob("*.log") if logs else ())
    )
