"""Play scenarios in a running Airflow, against Local Bedrock, and print or write a row for each."""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

from scripts.live import page
from scripts.live.cluster import Cluster
from scripts.live.scenario import AS_IT_SHOULD, play
from scripts.live.scenarios import SCENARIOS
from scripts.live.witness import settings
from scripts.postgres import postgres
from scripts.stack import exit_code, home_or_temporary

OF_THEIR_OWN = ("retraining", "year", "ui", "distributed")
"""Not scenarios of that Airflow: the retraining DAGs, and docker-compose.yaml's services in namespaces of their own."""


def main() -> int:
    """Play the requested scenarios; return 0 if all were as they should be."""
    names = [*(one.name for one in SCENARIOS), *OF_THEIR_OWN]
    parser = argparse.ArgumentParser(prog="make live", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=f"any of: {', '.join(names)} (default: all)")
    parser.add_argument("--write", action="store_true", help="write the rows into docs/live.md")
    parser.add_argument("--home", type=Path, help="keep Airflow's home, with all logs, in this new directory")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    of_one = not arguments.names or set(arguments.names) - set(OF_THEIR_OWN)
    wrong = exit_code(partial(_play, arguments)) if of_one else 0
    for name in OF_THEIR_OWN:
        if not wrong and (not arguments.names or name in arguments.names):
            program = [sys.executable, "-m", f"scripts.live.{name}", *(["--write"] if arguments.write else [])]
            wrong = subprocess.run(program, check=False).returncode
    return wrong


def _play(arguments: argparse.Namespace) -> int:
    chosen = [one for one in SCENARIOS if not arguments.names or one.name in arguments.names]
    wrong = 0
    with home_or_temporary(arguments.home, "airflow-bedrock-live-") as home, postgres() as database:
        cluster = Cluster(home, database, settings=settings(home))
        with cluster.running([dag for one in chosen for dag in one.dags]):
            for one in chosen:
                outcome = play(one, cluster)
                wrong += not outcome.verdict.startswith(AS_IT_SHOULD)
                row = page.row(one, outcome)
                print(row, flush=True)
                if arguments.write:
                    page.write(SCENARIOS, {one.name: row})
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
