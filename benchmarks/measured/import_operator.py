"""Measure what importing an operator costs, and how much of that comes on top of the amazon provider's base operator.

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
    """Import the base operator, then the operator, and print the figures."""
    start = time.perf_counter()
    importlib.import_module("airflow.providers.amazon.aws.operators.base_aws")
    base, memory = time.perf_counter(), peak_memory()
    getattr(importlib.import_module(module), name)
    end = time.perf_counter()
    figures = {
        "import, s": end - start,
        "import, MiB": peak_memory(),
        "of which beyond the base operator, s": end - base,
        "of which beyond the base operator, MiB": peak_memory() - memory,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
