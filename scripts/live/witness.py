"""Which process of ours has a task, and until when: workers and triggerers record it themselves.

A person may end a task in a moment in which no process of ours has it; only these records show such moments.
Airflow's processes import this by their local settings.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "witness"


def settings(home: Path) -> str:
    """Return the local settings of an Airflow whose processes attend."""
    return f"import pathlib\nfrom {__name__} import attend\nattend(pathlib.Path({str(home)!r}))\n"


def attend(home: Path) -> None:
    """Record, in this process, from when and until when a worker or a triggerer can stop the job of a task."""
    from airflow_bedrock.jobs.on_kill import KillSwitch
    from airflow_bedrock.triggers.resource import ResourceTrigger

    init, wait, watched = KillSwitch.__init__, KillSwitch.wait, ResourceTrigger._wait

    @functools.wraps(init)
    def made(self: Any, ti: Any) -> None:
        init(self, ti)
        _write(home, ti, "+")

    @functools.wraps(wait)
    def waited(self: Any, seconds: float | None = None) -> None:
        wait(self, seconds)
        if seconds is None:  # the end of execute()
            _write(home, self._ti, "-")

    @functools.wraps(watched)
    async def waits(self: Any, watch: Any) -> Any:
        with _having(home, self.task_instance):
            return await watched(self, watch)

    for owner, name, method in ((KillSwitch, "__init__", made), (KillSwitch, "wait", waited)):
        setattr(owner, name, method)
    setattr(ResourceTrigger, "_wait", waits)  # noqa: B010  # a method of a class of ours, for as long as this process


@contextmanager
def _having(home: Path, ti: Any) -> Iterator[None]:
    _write(home, ti, "+")
    try:
        yield
    finally:
        _write(home, ti, "-")


def _write(home: Path, ti: Any, sign: str) -> None:
    folder = home / FOLDER
    folder.mkdir(exist_ok=True)
    with (folder / ti.run_id).open("a") as file:
        file.write(f"{time.time()} {sign} {os.getpid()} {ti.task_id}\n")


def lived(home: Path, run_id: str, since: float, until: float) -> bool:
    """Whether one process of ours had a task of the run from the one moment to the other."""
    file = home / FOLDER / run_id
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    open_since: dict[tuple[str, str], float] = {}
    for at, sign, *who in lines:
        key = (who[0], who[1])
        if sign == "+":
            open_since[key] = float(at)
        elif open_since.pop(key, until) <= since and float(at) >= until:
            return True
    return any(began <= since for began in open_since.values())
