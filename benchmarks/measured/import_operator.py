"""Measure what importing an operator costs in a new process.

usage: import_operator.py MODULE CLASS
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path


def peak_memory() -> float:
    """Return the most memory that this process held so far, in MiB.

    Linux's ru_maxrss counts what the process held that started this one; VmHWM does not.
    """
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def main(module: str, name: str) -> None:
    """Import the operator, and print the figures."""
    start = time.perf_counter()
    getattr(importlib.import_module(module), name)
    print(json.dumps({"import, s": time.perf_counter() - start, "import, MiB": peak_memory()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
