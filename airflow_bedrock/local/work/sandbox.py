"""Runs a Lambda function's Python in a separate process, with limits, and without network if the system can block it.

It runs with the permissions of the user who runs Local Bedrock, and can read that user's files: the limits protect
against bugs, not against malicious code.
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
"""Maximum address space of each process, in bytes."""

FILE_SIZE = 64 << 20
"""Maximum size of each file, and of the function's response and output, in bytes."""

CODE_SIZE = 250 << 20
"""Maximum size of the unpacked code, in bytes; AWS Lambda's limit."""

PROCESSES = 256
"""Maximum number of processes and threads, if the user's others are not counted."""

_RUN = """
import importlib, json, os, resource, sys, zipfile
request = json.load(sys.stdin)
for name, most in request["limits"].items():
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))
with zipfile.ZipFile("function.zip") as code:
    if sum(one.file_size for one in code.infolist()) > request["code_size"]:
        sys.exit("its code is larger than 250 MB when it is unpacked")
    code.extractall()
sys.path.insert(0, os.getcwd())
os.environ.update(request["environment"])
out, sys.stdout = sys.stdout, sys.stderr
module, _, name = request["handler"].rpartition(".")
handler = getattr(importlib.import_module(module.replace("/", ".")), name)
json.dump([handler(event, None) for event in request["events"]], out)
"""


class SandboxError(Exception):
    """The function failed, or exceeded a limit; the message says which."""


class Sandbox:
    """One run of a function, on some events.

    :param code: the zip file.
    :param handler: such as ``module.function``.
    :param environment: all environment variables of the function.
    :param seconds: maximum time, both wall and CPU.
    """

    def __init__(
        self, code: bytes, handler: str, environment: Mapping[str, str], events: Sequence[Any], seconds: float
    ) -> None:
        self._code = code
        self._seconds = seconds
        self._request = {
            "handler": handler,
            "environment": dict(environment),
            "events": events,
            "limits": _limits(seconds),
            "code_size": CODE_SIZE,
        }
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End it; for another thread."""
        self._cancelled.set()

    def run(self) -> Any:
        """Run it to its end, and return its response to each event.

        :raises SandboxError: it returned no response.
        """
        # Its output goes to files, not pipes, so that the limit of a file's size applies. They have no name, so that it
        # cannot replace them.
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            tempfile.TemporaryFile() as request,
            tempfile.TemporaryFile() as response,
            tempfile.TemporaryFile() as errors,
        ):
            (Path(folder) / "function.zip").write_bytes(self._code)
            request.write(json.dumps(self._request).encode())
            request.seek(0)
            status = self._wait(_start(folder, request, response, errors))
            if status:
                raise SandboxError(_last_line(errors) or f"it ended with status {status}")
            response.seek(0)
            try:
                return json.load(response)
            except (ValueError, RecursionError) as error:
                raise SandboxError("its response is not JSON") from error

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        deadline = time.monotonic() + self._seconds
        while process.poll() is None and time.monotonic() < deadline and not self._cancelled.wait(0.02):
            pass
        in_time = process.poll() is not None
        with suppress(ProcessLookupError, PermissionError):  # the group has no process left
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        if not in_time:
            raise SandboxError(f"it ran for more than {self._seconds:g} seconds")
        return status


def _start(folder: str, request: IO[bytes], response: IO[bytes], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # the user allowed this function to run
        [*_namespaces(), sys.executable, "-I", "-c", _RUN],
        stdin=request,
        stdout=response,
        stderr=errors,
        cwd=folder,
        env={},
        start_new_session=True,
    )


def _limits(seconds: float) -> dict[str, int]:
    limits = {"RLIMIT_CPU": int(seconds) + 1, "RLIMIT_FSIZE": FILE_SIZE, "RLIMIT_CORE": 0}
    if sys.platform == "linux":  # macOS has the limit, but does not enforce it
        limits["RLIMIT_AS"] = MEMORY
    if _namespaces():  # elsewhere it would count all processes of the user
        limits["RLIMIT_NPROC"] = PROCESSES
    return limits


@cache
def _namespaces() -> tuple[str, ...]:
    """Return a command that starts another one without network, and ends all its processes with it.

    It is empty if the command does not exist, or the system does not allow it, as most containers do not.
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
