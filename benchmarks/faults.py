"""What each fault costs: the same faults under this package's operator and under the amazon provider's.

Prints the table; with ``--write FILE`` puts it into the documentation. Workers are real processes that are really
killed; the service is Local Bedrock over HTTP, and what was paid for is counted on its side (tests/faults/).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import write_result
from tests.faults.scenarios import PACKAGES, SCENARIOS, Outcome, play

BEGIN, END = "<!-- begin: made by python -m benchmarks.faults -->", "<!-- end -->"


def table(rows: list[tuple[str, list[Outcome]]]) -> str:
    """Return the table in Markdown."""
    head = ["fault", *(f"{column} ({name})" for name in PACKAGES for column in ("jobs paid", "left running", "task"))]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, outcomes in rows:
        cells = [str(cell) for outcome in outcomes for cell in (outcome.paid, outcome.running, outcome.end)]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def main(rounds: int, page: Path | None = None) -> None:
    """Play, print, write. What is counted is the same in each round: one is enough."""
    rows = []
    for scenario in SCENARIOS:
        outcomes = [play(scenario, package) for package in PACKAGES]
        rows.append((scenario.name, outcomes))
        print(scenario.name, *outcomes, sep="\n  ", flush=True)
    made = table(rows)
    print(made)
    faults = {name: dict(zip(PACKAGES, map(asdict, outcomes), strict=True)) for name, outcomes in rows}
    write_result("faults", {"faults": faults})
    if page is not None:
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page with a place for the table")
    main(1, parser.parse_args().write)
