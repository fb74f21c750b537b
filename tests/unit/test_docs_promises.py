"""The tests and the metrics that the documentation names are there."""

from __future__ import annotations

import ast
import re
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
    assert sum(named[0] == page for named in NAMED) > 10


@pytest.mark.parametrize(("page", "file", "name"), NAMED)
def test_a_named_test_exists(page: str, file: str, name: str) -> None:
    """In that file; where the page names no test, the file has one."""
    tree = ast.parse((ROOT / file).read_bytes())
    defined = [
        node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    assert name in defined if name else any(one.startswith("test_") for one in defined)


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
