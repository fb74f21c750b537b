"""The tables in docs/live.md: a row a scenario, or a row a component that was killed, each with its commit and date."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from scripts.live.scenario import Outcome, Scenario
from scripts.stack import PROJECT, exit_code, home_or_temporary
from scripts.tables import Table, line

PAGE = PROJECT / "docs" / "live.md"
LIVE = Table(
    PAGE,
    "make live",
    ("scenario", "what is done", "jobs made / asked for", "left running", "verdict", "seconds", "commit, date"),
)
UI = Table(PAGE, "make live ARGS=ui", ("what a person does", "verdict", "seconds", "commit, date"))
RETRAINING = Table(
    PAGE,
    "make live ARGS=retraining",
    ("what is done", "jobs made / asked for", "left running", "verdict", "seconds", "commit, date"),
)
YEAR = Table(
    PAGE,
    "make live ARGS=year",
    (
        *("period", "runs", "jobs paid", "models reused", "promoted", "approved by", "would have cost at most"),
        *("left over", "verdict", "seconds", "commit, date"),
    ),
)
DISTRIBUTED = Table(
    PAGE,
    "make live ARGS=distributed",
    (
        *("killed", "runs / jobs in progress then", "seconds", "runs that succeeded", "jobs accepted / asked for"),
        *("left running", "verdict", "commit, date"),
    ),
)


def row(scenario: Scenario, outcome: Outcome) -> str:
    """Return a row of the table of scenarios."""
    return signed(
        scenario.name,
        scenario.told,
        f"{outcome.accepted} / {'≤ ' if scenario.at_most else ''}{scenario.asked_for}",
        outcome.left,
        " ".join(outcome.verdict.split()),
        f"{outcome.seconds:.0f}",
    )


def rows(table: Table = LIVE) -> dict[str, str]:
    """Return the rows that stand in the page, by the scenarios' names."""
    return {row.split(" | ")[0].removeprefix("| "): row for row in table.rows()}


def write(scenarios: Iterable[Scenario], played: dict[str, str], table: Table = LIVE) -> None:
    """Write the rows of what was played; those of the others stay, in the scenarios' order."""
    known = rows(table) | played
    table.write([known[one.name] for one in scenarios if one.name in known])


def program(
    table: Table,
    name: str,
    told: str | None,
    play: Callable[[Path], Iterator[str]],
    prepare: Callable[[], None] = lambda: None,
) -> int:
    """Run a play from the command line; return 0 where no row is wrong, else 1.

    :param told: what the program reports about itself.
    :param play: yields the rows, given a directory for all logs.
    :param prepare: called before there is such a directory.
    """
    parser = argparse.ArgumentParser(prog=f"make live ARGS={name}", description=told)
    parser.add_argument("--write", action="store_true", help="write the table into docs/live.md")
    parser.add_argument("--home", type=Path, help="keep all logs in this new directory")
    arguments = parser.parse_args()

    def run() -> int:
        prepare()
        print(line(*table.columns))
        played = []
        with home_or_temporary(arguments.home, f"airflow-bedrock-{name}-") as home:
            for one in play(home):
                print(one, flush=True)
                played.append(one)
        if arguments.write:
            table.write(played)
        return int(any("WRONG" in one for one in played))

    return exit_code(run)


def signed(*cells: object) -> str:
    """Return a row that ends with the commit and the date."""
    return line(*cells, f"{commit()}, {datetime.now(UTC):%Y-%m-%d}")


def commit() -> str:
    """Return the short name of the package's latest commit, with a plus where the work tree's is another one."""
    name = _git("log", "-1", "--abbrev=10", "--format=%h", "--", "airflow_bedrock")
    return f"{name}+" if _git("status", "--porcelain", "--", "airflow_bedrock") else name


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout.strip()
