"""Run the benchmarks in turn: all of them, or those named. ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse

from benchmarks import dag_parse, datasets, evaluation, faults, local_bedrock, paid_faults, triggers, views

BENCHMARKS = {
    "dag_parse": dag_parse,
    "triggers": triggers,
    "local_bedrock": local_bedrock,
    "datasets": datasets,
    "evaluation": evaluation,
    "faults": faults,
    "paid_faults": paid_faults,
    "views": views,
}


def main() -> None:
    """Read the command line and run what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of: {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--rounds", type=int, default=11, help="rounds that count (default: %(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    for name in arguments.names or BENCHMARKS:
        print(f"\n## {name}\n", flush=True)
        BENCHMARKS[name].main(arguments.rounds)


if __name__ == "__main__":
    main()
