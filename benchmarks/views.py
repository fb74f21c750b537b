"""How long the list of a DAG's 1,000 jobs takes to open, against Airflow's own list of XComs, which asks as often."""

from __future__ import annotations

from benchmarks.harness import Subject, compare, report

OURS = Subject("view of jobs", "views.py", ("view",))
AIRFLOW = Subject("Airflow's XComs", "views.py", ("xcoms",))


def main(rounds: int) -> None:
    """Compare the two pages and report."""
    report("views", [compare("Opening a page of 1,000 jobs: 15 rows, against 50 XComs", OURS, AIRFLOW, rounds)])
