"""An evaluation of a large test set, all but the network: it is checked, priced, asked, scored and reported.

The models answer at once and the store keeps nothing, so that what is measured is this package: the time that a record
takes, and that memory does not grow with the records. There is no peer that keeps answers and compares models.

``python -m benchmarks evaluation`` measures at 10,000 and 100,000 records, ``python -m benchmarks.evaluation 1000000``
at as many as are given.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Figures, write_result
from tests.evaluated import evaluate, records

COUNTS = (10_000, 100_000)


def run(count: int) -> Figures:
    """Evaluate so many records by two models in this process."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        begun = time.perf_counter()
        result, _ = evaluate(Path(folder), records(count), roles=("candidate", "baseline"))
        wall = time.perf_counter() - begun
    assert result["verdict"] == "better"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"records": count, "wall, s": wall, "memory, MB": peak, "records a second": count / wall}


def measure(count: int) -> Figures:
    """Do it in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.evaluation", "--here", str(count)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(ended.stdout.splitlines()[-1])
    return figures


def main(rounds: int = 1, counts: tuple[int, ...] = COUNTS) -> None:
    """Measure and print; one round says it."""
    found = [measure(count) for count in counts]
    for figures in found:
        print("  ".join(f"{name} {value:,.0f}" for name, value in figures.items()), flush=True)
    write_result("evaluation", {"rounds": found})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("counts", type=int, nargs="*", default=list(COUNTS), help="records (default: %(default)s)")
    parser.add_argument("--here", action="store_true", help="one count, in this process; print the figures as JSON")
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(run(arguments.counts[0])))
    else:
        main(counts=tuple(arguments.counts))
