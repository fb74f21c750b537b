"""Waiting in a test for what other processes do. The limit is for a test that hangs, not for a machine that is slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 300


def until(true: Callable[[], object], what: str, *, seconds: float = SECONDS, logs: Path | None = None) -> None:
    """Wait until it is true.

    :param what: what is waited for, for the failure.
    :param logs: a folder whose logs' ends the failure shows, such as an Airflow home.
    """
    deadline = time.monotonic() + seconds
    pause = 0.1
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}\n{_ends(logs)}"
        time.sleep(pause)
        pause = min(1.0, 1.25 * pause)  # what takes long needs its CPU for itself


def _ends(logs: Path | None) -> str:
    """Return the end of each process's log."""
    return "\n".join(
        f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        for log in sorted(logs.glob("*.log") if logs else ())
    )
