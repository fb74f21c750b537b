"""The tests that the documentation names are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

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
