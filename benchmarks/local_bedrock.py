"""Local Bedrock under load, against moto's own server for the operations that both have.

By default a short load, some seconds a side; ``python -m benchmarks.local_bedrock --full`` is the long one: 1000 jobs,
and 200 requests a second for a minute. Local Bedrock also runs the jobs meanwhile, which moto does not.
"""

from __future__ import annotations

import argparse

from benchmarks.harness import Subject, compare, report

QUESTION = "Latency under {rate} requests a second, with {jobs} customization jobs"


def measure(name: str, jobs: int, rate: int, seconds: int, rounds: int) -> None:
    """Compare the two under a load, and report."""
    arguments = (str(jobs), str(rate), str(seconds))
    ours = Subject("Local Bedrock", "load.py", ("local-bedrock", *arguments))
    peer = Subject("moto", "load.py", ("moto", *arguments))
    report(name, [compare(QUESTION.format(rate=rate, jobs=jobs), ours, peer, rounds)])


def main(rounds: int) -> None:
    """Compare the two under a short load."""
    measure("local_bedrock", jobs=50, rate=50, seconds=3, rounds=min(rounds, 3))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local_bedrock", description=__doc__)
    parser.add_argument("--full", action="store_true", help="1000 jobs, 200 requests a second for a minute")
    if parser.parse_args().full:
        measure("local_bedrock_full", jobs=1000, rate=200, seconds=60, rounds=1)
    else:
        main(3)
