"""What each fault leaves of everything else that is paid for: the same faults for each kind, and under upstream.

Prints the rows; with ``--write FILE`` puts it into the documentation. It is played in one process; the service is
Local Bedrock over HTTP, and what was made is counted on its side (tests/faults/paid.py).
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from benchmarks.harness import write_result
from scripts.tables import Table
from tests.faults.paid import KINDS, SCENARIOS, UPSTREAM, World, play, row


def main(rounds: int, page: Path | None = None) -> None:
    """Play, print, write. What is counted is the same in each round: one is enough."""
    logging.disable()
    kinds = (*KINDS, UPSTREAM)
    rows = []
    faults: dict[str, dict[str, str]] = {}
    world = World()
    for scenario in SCENARIOS:
        played = [str(play(scenario, kind, world)[0]) if scenario.concerns(kind) else "not played" for kind in kinds]
        rows.append(row(scenario, played))
        print(rows[-1], flush=True)
        faults[scenario.name] = dict(zip((kind.word for kind in kinds), played, strict=True))
    world.close()
    write_result("paid_faults", {"faults": faults})
    if page is not None:
        Table(page, "python -m benchmarks.paid_faults", ("fault", *(kind.word for kind in kinds))).write(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paid_faults", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page with a place for the table")
    main(1, parser.parse_args().write)
