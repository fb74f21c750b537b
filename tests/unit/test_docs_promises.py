"""The tests and the metrics that the documentation names are there."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from airflow_bedrock.jobs.planner import Trouble

ROOT = Path(__file__).parents[2]
NAMED = sorted(
    {
        (page.name, *named)
        for page in (ROOT / "docs").rglob("*.md")
        for named in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text())
    }
)


@pytest.mark.parametrize("page", ["exactly-once.md", "waiting.md"])
def test_a_page_that_promises_names_what_shows_it(page: str) -> None:
    """In a table of promises and tests."""
    assert sum(named[0] == page for named in NAMED) > 10


@pytest.mark.parametrize(("page", "file", "name"), NAMED)
def test_a_named_test_exists(page: str, file: str, name: str) -> None:
    """In that file; where the page names no test, the file has one."""
    tree = ast.parse((ROOT / file).read_bytes())
    defined = [
        node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    assert name in defined if name else any(one.startswith("test_") for one in defined)


@pytest.mark.parametrize("file", sorted((ROOT / "dags").glob("*.py")), ids=lambda file: file.name)
def test_each_example_has_what_the_readme_promises(file: Path) -> None:
    """A form, a picture of its flow, and what it costs."""
    code = file.read_text()
    assert "params=" in code
    documentation = code.partition("doc_md=")[2]
    assert re.search(r"```\n[^`]*[▶→][^`]*```", documentation)
    assert "**What it costs" in documentation


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_an_environment_of_its_own_gets_the_package_from_the_checkout(page: Path) -> None:
    """The package index does not have it; by its name, pip finds only the extras of what is installed already."""
    made = [line for line in page.read_text().splitlines() if "-m venv" in line and "pip install" in line]
    assert not [line for line in made if "airflow-bedrock[" in line]


RESULTS = ROOT / "benchmarks" / "results"
QUOTED = sorted(
    {
        (str(page.relative_to(ROOT)), name)
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        for name in re.findall(r"`benchmarks/results/(\w+)\.json`", page.read_text())
    }
)


@pytest.mark.parametrize(("page", "name"), QUOTED)
def test_a_page_that_quotes_a_benchmark_names_its_commit_and_date(page: str, name: str) -> None:
    """Those of the committed results; what is measured again is written anew."""
    result, text = json.loads((RESULTS / f"{name}.json").read_text()), (ROOT / page).read_text()
    assert result["commit"].removesuffix("-dirty") in text
    assert result["measured"][:10] in text


def _waits() -> Iterator[tuple[str, list[dict[str, float]]]]:
    """Yield what begins a table of docs/waiting.md, and the figures of its columns."""
    counts = json.loads((RESULTS / "triggers.json").read_text())["figures"]
    thousand, more = counts["1000"], counts["10000"]
    ours, theirs = thousand["airflow-bedrock"], thousand["upstream"]
    ratios = {name: figure / ours[name] for name, figure in theirs.items()}
    sleeping = [one["only sleeping"] for one in (thousand, more)]
    yield "| | N = 1,000, ours |", [ours, theirs, ratios, sleeping[0], more["airflow-bedrock"], sleeping[1]]
    one, each, upstream = json.loads((RESULTS / "intervals.json").read_text())["figures"].values()
    yield "| 100 jobs |", [one, each, {name: figure / one[name] for name, figure in each.items()}, upstream]


@pytest.mark.parametrize(("head", "columns"), [*_waits()], ids=["numbers", "intervals"])
def test_a_table_of_the_waits_has_the_figures_of_the_benchmark(head: str, columns: list[dict[str, float]]) -> None:
    """Each of them as its digits round it."""
    table = (ROOT / "docs/waiting.md").read_text().partition(head)[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([\w ,]+) \|(( [\d.]* ?\|)+)$", table, re.M)
    names = {"CPU, waiting and ends, s": "CPU, both, s", "longest block of the event loop, s": "longest block, s"}
    assert len(rows) >= 4
    for name, cells, _ in rows:
        for shown, column in zip(map(str.strip, cells.split("|")), columns, strict=False):
            if shown:
                digits = len(shown.partition(".")[2])
                expected = pytest.approx(column[names.get(name, name)], abs=0.5 * 10**-digits + 1e-9)
                assert float(shown) == expected, (name, shown)


def _emitted() -> set[str]:
    """The names of the metrics, as the package's code has them."""
    return {
        str(call.args[0].value)
        for file in (ROOT / "airflow_bedrock").rglob("*.py")
        if (text := file.read_text()).count("Stats.")
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "Stats"
        and isinstance(call.args[0], ast.Constant)
    }


def test_the_metrics_page_names_what_is_emitted() -> None:
    """No more and no less; and its alerts ask for nothing else."""
    page = (ROOT / "docs/metrics.md").read_text()
    emitted = _emitted()
    assert emitted
    assert set(re.findall(r"^\| `(bedrock\.\w+)`", page, re.M)) == emitted
    (rules,) = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    asked = {
        name
        for group in yaml.safe_load(rules)["groups"]
        for rule in group["rules"]
        for name in re.findall(r"airflow_\w+", rule["expr"])
    }
    assert asked == {f"airflow_{name.replace('.', '_')}" for name in emitted}


def test_the_metrics_page_names_each_kind_of_error() -> None:
    """As the tag ``kind`` has them."""
    (kinds,) = re.findall(r"`kind` \(([^)]*)\)", (ROOT / "docs/metrics.md").read_text())
    assert set(re.findall(r"`(\w+)`", kinds)) == {trouble.name.lower() for trouble in Trouble}
