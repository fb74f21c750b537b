"""The tables in docs/live.md: a row a scenario, or a row a component that was killed, each with its commit and date."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from scripts.live.scenario import Outcome, Scenario
from scripts.stack import PROJECT

PAGE = PROJECT / "docs" / "live.md"
BEGIN, END = "<!-- begin: made by make live -->", "<!-- end -->"
DISTRIBUTED = "<!-- begin: made by make live ARGS=distributed -->"
KILLED = (
    *("killed", "runs / jobs in progress then", "seconds", "runs that succeeded", "jobs accepted / asked for"),
    *("left running", "verdict", "commit, date"),
)
RETRAINING = "<!-- begin: made by make live ARGS=retraining -->"
PLAYED = ("what is done", "jobs made / asked for", "left running", "verdict", "seconds", "commit, date")
YEAR = "<!-- begin: made by make live ARGS=year -->"
A_YEAR = (
    *("period", "runs", "jobs paid", "models reused", "promoted", "approved by", "would have cost at most"),
    *("left over", "verdict", "seconds", "commit, date"),
)
UI = "<!-- begin: made by make live ARGS=ui -->"
IN_THE_UI = ("what a person does", "verdict", "seconds", "commit, date")
COLUMNS = ("scenario", "what is done", "jobs made / asked for", "left running", "verdict", "seconds", "commit, date")


def row(scenario: Scenario, outcome: Outcome, commit: str) -> str:
    """Return a row of the table.

    :param commit: of what was played.
    """
    asked_for = f"{'≤ ' if scenario.at_most else ''}{scenario.asked_for}"
    cells = (
        scenario.name,
        scenario.told,
        f"{outcome.accepted} / {asked_for}",
        str(outcome.left),
        " ".join(outcome.verdict.split()).replace("|", "/"),
        f"{outcome.seconds:.0f}",
        f"{commit}, {datetime.now(UTC):%Y-%m-%d}",
    )
    return f"| {' | '.join(cells)} |"


def rows(page: Path = PAGE) -> dict[str, str]:
    """Return the rows that stand in the page, by the scenarios' names."""
    table = page.read_text().partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines[1:]}


def write(scenarios: Iterable[Scenario], played: dict[str, str], page: Path = PAGE) -> None:
    """Write the rows of what was played; those of the others stay, in the scenarios' order."""
    known = rows(page) | played
    _write(page, BEGIN, COLUMNS, [known[one.name] for one in scenarios if one.name in known])


def write_distributed(played: Iterable[str], page: Path = PAGE) -> None:
    """Write the rows of the stack whose components were killed."""
    _write(page, DISTRIBUTED, KILLED, played)


def write_retraining(played: Iterable[str], page: Path = PAGE) -> None:
    """Write the rows of the retraining DAG's backfills."""
    _write(page, RETRAINING, PLAYED, played)


def write_year(played: Iterable[str], page: Path = PAGE) -> None:
    """Write the rows of a year of retraining."""
    _write(page, YEAR, A_YEAR, played)


def write_ui(played: Iterable[str], page: Path = PAGE) -> None:
    """Write the rows of what a person does in Airflow's UI."""
    _write(page, UI, IN_THE_UI, played)


def shown(rows: Iterable[str], write: Callable[[Sequence[str]], None] | None) -> int:
    """Print the rows of a table as they come; return 0 where none is wrong, else 1.

    :param write: writes them into the page at the end; None where nobody has asked for it.
    """
    played = []
    for one in rows:
        print(one, flush=True)
        played.append(one)
    if write:
        write(played)
    return int(any("WRONG" in one for one in played))


def _write(page: Path, begin: str, columns: Sequence[str], played: Iterable[str]) -> None:
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *played]
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.partition(END)[2]}")


def commit() -> str:
    """Return the short name of the package's latest commit, with a plus where the work tree's is another one."""
    name = _git("log", "-1", "--abbrev=10", "--format=%h", "--", "airflow_bedrock")
    return f"{name}+" if _git("status", "--porcelain", "--", "airflow_bedrock") else name


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout.strip()
