"""Which part of Local Bedrock imports which: the arrows point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

LOCAL = Path(__file__).parents[3] / "airflow_bedrock" / "local"
BELOW = {
    "learning": set[str](),
    "state": {"learning"},
    "work": {"learning", "state"},
    "api": {"learning", "state", "work"},
    "web": {"api", "learning", "state", "work"},
}
"""What each folder may import of the others."""


def imported(folder: str) -> set[str]:
    nodes = [node for path in (LOCAL / folder).glob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    modules = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    parts = [module.split(".") for module in modules if module.startswith("airflow_bedrock.local.")]
    return {part[2] for part in parts if part[2] in BELOW} - {folder}


@pytest.mark.parametrize("folder", BELOW)
def test_each_folder_imports_only_what_lies_below_it(folder: str) -> None:
    """State knows no work, work no API, and the API no HTTP."""
    assert imported(folder) <= BELOW[folder]


def test_every_folder_has_its_place() -> None:
    """A new folder has to be put into the table above."""
    assert {path.parent.name for path in LOCAL.glob("*/__init__.py")} == set(BELOW)
