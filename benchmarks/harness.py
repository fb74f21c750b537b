"""What every benchmark shares: measuring programs in turn, in fresh processes, and comparing them pair by pair.

A machine's speed drifts, so absolute figures of two moments cannot be compared. Here each round measures every
subject once, one after the other; a comparison is the ratio within a round, and its median over the rounds.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

MEASURED = Path(__file__).parent / "measured"
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("airflow-bedrock", "apache-airflow", "apache-airflow-providers-amazon", "boto3")

Figures = dict[str, float]


@dataclass(frozen=True)
class Subject:
    """One side of a comparison: a program below ``measured/`` and its arguments.

    The program prints its figures as a JSON object, the unit in each name (``"import, s"``); less is better.
    """

    name: str
    program: str
    arguments: tuple[str, ...] = ()

    def measure(self, airflow_home: str) -> Figures:
        """Run the program in a fresh process and return its figures."""
        ended = subprocess.run(
            [sys.executable, str(MEASURED / self.program), *self.arguments],
            # An empty PYTHONDONTWRITEBYTECODE: both sides run from bytecode, as they do where they are installed.
            env=os.environ | {"AIRFLOW_HOME": airflow_home, "PYTHONDONTWRITEBYTECODE": ""},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        figures: Figures = json.loads(ended.stdout.splitlines()[-1])
        return figures


@dataclass(frozen=True)
class Comparison:
    """The figures of our subject and of its peer, round by round."""

    question: str
    ours: str
    peer: str
    rounds: Sequence[tuple[Figures, Figures]]

    def ratios(self, figure: str) -> list[float]:
        """Return ours / peer for a figure, of each round."""
        return [ours[figure] / peer[figure] for ours, peer in self.rounds]

    def table(self) -> str:
        """Return the comparison as text: medians, and the ratio with its smallest and largest value."""
        rows = [("", self.ours, self.peer, "ratio (min to max)")]
        for figure in self.rounds[0][0]:
            ratios = self.ratios(figure)
            rows.append(
                (
                    figure,
                    f"{median(ours[figure] for ours, _ in self.rounds):.3f}",
                    f"{median(peer[figure] for _, peer in self.rounds):.3f}",
                    f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        return "\n".join([f"{self.question} ({len(self.rounds)} rounds)", *lines])

    def as_json(self) -> dict[str, object]:
        """Return every figure of every round, and the median ratios, for the results file."""
        return {
            "question": self.question,
            "ratios": {figure: round(median(self.ratios(figure)), 4) for figure in self.rounds[0][0]},
            "rounds": [{self.ours: ours, self.peer: peer} for ours, peer in self.rounds],
        }


def wait_until_idle(most: float) -> None:
    """Wait until the CPUs have been idle for two seconds, but for so many seconds at most."""
    end = time.monotonic() + most
    while time.monotonic() < end and psutil.cpu_percent(2) > 10:
        pass


def compare(question: str, ours: Subject, peer: Subject, rounds: int) -> Comparison:
    """Measure the two subjects in turn, after a round that is not counted and fills the machine's caches.

    Which of them goes first changes from round to round.
    """
    counted = []
    with tempfile.TemporaryDirectory() as airflow_home:
        for number in range(-1, rounds):
            order = (ours, peer) if number % 2 else (peer, ours)
            figures = {subject.name: subject.measure(airflow_home) for subject in order}
            if number >= 0:
                counted.append((figures[ours.name], figures[peer.name]))
    return Comparison(question, ours.name, peer.name, counted)


def report(name: str, comparisons: Sequence[Comparison]) -> None:
    """Print the comparisons of a benchmark and write them to ``results/<name>.json``."""
    print("\n\n".join(comparison.table() for comparison in comparisons), flush=True)
    write_result(name, {"comparisons": [comparison.as_json() for comparison in comparisons]})


def write_result(name: str, figures: dict[str, Any]) -> None:
    """Write the figures of a benchmark to ``results/<name>.json``, with the command, the commit and the time."""
    module = sys.modules["__main__"].__spec__.name.removesuffix(".__main__")  # type: ignore[union-attr]  # by -m, always
    result = {
        "benchmark": name,
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "commit": _commit(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "load": os.getloadavg()[0],
        "versions": {package: version(package) for package in PACKAGES},
        **figures,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


def _commit() -> str:
    """Return the commit that is measured, and whether the tree has changes of its own."""
    git = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(git, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
