"""What each fault costs: the same faults under this package's operator and under the amazon provider's.

Prints the rows; with ``--write FILE`` puts it into the documentation. Workers are real processes that are really
killed; the service is Local Bedrock over HTTP, and what was paid for is counted on its side (tests/faults/).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import write_result
from scripts.tables import Table, line
from tests.faults.scenarios import PACKAGES, SCENARIOS, play

COLUMNS = ("fault", *(f"{what} ({name})" for name in PACKAGES for what in ("jobs paid", "left running", "task")))


def main(rounds: int, page: Path | None = None) -> None:
    """Play, print, write. What is counted is the same in each round: one is enough."""
    rows, faults = [], {}
    for scenario in SCENARIOS:
        outcomes = [play(scenario, package) for package in PACKAGES]
        rows.append(line(scenario.name, *(cell for one in outcomes for cell in (one.paid, one.running, one.end))))
        faults[scenario.name] = dict(zip(PACKAGES, map(asdict, outcomes), strict=True))
        print(rows[-1], flush=True)
    write_result("faults", {"faults": faults})
    if page is not None:
        Table(page, "python -m benchmarks.faults", COLUMNS).write(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page with a place for the table")
    main(1, parser.parse_args().write)
