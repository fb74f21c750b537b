"""A Lambda function's Python in a process of its own, with limits, and without network where the system can forbid it.

It runs as the user who runs Local Bedrock, and reads whatever that user may read: the limits are for code that goes
wrong, and no wall against code that means harm.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

log = logging.getLogger(__name__)

MEMORY = 2 << 30
"""Bytes of address space of each process."""

FILE_SIZE = 64 << 20
"""Bytes of each file, and of what the function answers and prints."""

CODE_SIZE = 250 << 20
"""Bytes of the unpacked code; AWS Lambda's limit."""

PROCESSES = 256
"""Processes and threads, where they are counted apart from all others of the user."""

_RUN = """
import importlib, json, os, resource, sys, zipfile
asked = json.load(sys.stdin)
for name, most in asked["limits"].items():
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))
with zipfile.ZipFile("function.zip") as code:
    if sum(one.file_size for one in code.infolist()) > asked["code_size"]:
        sys.exit("its code is larger than 250 MB when it is unpacked")
    code.extractall()
sys.path.insert(0, os.getcwd())
os.environ.update(asked["environment"])
out, sys.stdout = sys.stdout, sys.stderr
module, _, name = asked["handler"].rpartition(".")
handler = getattr(importlib.import_module(module.replace("/", ".")), name)
json.dump([handler(event, None) for event in asked["events"]], out)
"""


class SandboxError(Exception):
    """The function failed, or met a limit; the message says which."""


class Sandbox:
    """One run of a function, on some events.

    :param code: the zip file.
    :param handler: such as ``module.function``.
    :param environment: all the environment variables that the function sees.
    :param seconds: how long it may take, by the wall and of the CPU.
    """

    def __init__(
        self, code: bytes, handler: str, environment: Mapping[str, str], events: Sequence[Any], seconds: float
    ) -> None:
        self._code = code
        self._seconds = seconds
        self._asked = {
            "handler": handler,
            "environment": dict(environment),
            "events": events,
            "limits": _limits(seconds),
            "code_size": CODE_SIZE,
        }
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End it; called from another thread."""
        self._cancelled.set()

    def run(self) -> Any:
        """Run it to its end, and return its answer to each event.

        :raises SandboxError: it gave no answer.
        """
        # Files, not pipes, take what it says: the limit of a file's size holds for them. They have no name, so that it
        # cannot put another file in their place.
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            tempfile.TemporaryFile() as asked,
            tempfile.TemporaryFile() as answered,
            tempfile.TemporaryFile() as errors,
        ):
            (Path(folder) / "function.zip").write_bytes(self._code)
            asked.write(json.dumps(self._asked).encode())
            asked.seek(0)
            status = self._wait(_start(folder, asked, answered, errors))
            if status:
                raise SandboxError(_last_line(errors) or f"it ended with status {status}")
            answered.seek(0)
            try:
                return json.load(answered)
            except (ValueError, RecursionError) as error:
                raise SandboxError("its answer is not JSON") from error

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        deadline = time.monotonic() + self._seconds
        while process.poll() is None and time.monotonic() < deadline and not self._cancelled.wait(0.02):
            pass
        in_time = process.poll() is not None
        with suppress(ProcessLookupError, PermissionError):  # nobody is left of the group
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        if not in_time:
            raise SandboxError(f"it ran for more than {self._seconds:g} seconds")
        return status


def _start(folder: str, asked: IO[bytes], answered: IO[bytes], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # the user allowed this function to run
        [*_namespaces(), sys.executable, "-I", "-c", _RUN],
        stdin=asked,
        stdout=answered,
        stderr=errors,
        cwd=folder,
        env={},
        start_new_session=True,
    )


def _limits(seconds: float) -> dict[str, int]:
    limits = {"RLIMIT_CPU": int(seconds) + 1, "RLIMIT_FSIZE": FILE_SIZE, "RLIMIT_CORE": 0}
    if sys.platform == "linux":  # macOS has the name, and does not keep to it
        limits["RLIMIT_AS"] = MEMORY
    if _namespaces():  # elsewhere it would count all that the user runs
        limits["RLIMIT_NPROC"] = PROCESSES
    return limits


@cache
def _namespaces() -> tuple[str, ...]:
    """Return the command that starts another one without network, and whose end is the end of all it has started.

    It is empty if there is no such command, or the system forbids it, as most containers do.
    """
    program = shutil.which("unshare")
    if program is not None:
        options = ("--user", "--map-current-user", "--net", "--pid", "--fork", "--kill-child", "--")
        trial = [program, *options, sys.executable, "-I", "-c", ""]
        if subprocess.run(trial, capture_output=True, check=False).returncode == 0:  # noqa: S603  # our own
            return (program, *options)
    log.warning(
        "Local Bedrock: graders can reach the network and leave processes behind, because this system does not allow "
        "user namespaces (unshare --user --net --pid)."
    )
    return ()


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read(FILE_SIZE).decode(errors="replace").strip().splitlines()
    return lines[-1][:1000] if lines else ""
