"""Measure what importing an operator costs in a new process.

usage: import_operator.py MODULE CLASS
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time

# Linux counts in KiB, macOS in bytes.
MIB = 1024 * 1024 if sys.platform == "darwin" else 1024


def peak_memory() -> float:
    """Return the most memory that this process held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def main(module: str, name: str) -> None:
    """Import the operator, and print the figures."""
    start = time.perf_counter()
    getattr(importlib.import_module(module), name)
    print(json.dumps({"import, s": time.perf_counter() - start, "import, MiB": peak_memory()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
