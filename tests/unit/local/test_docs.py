"""docs/local-bedrock.md is right: each test that it names exists, each option and setting is in it."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest
from botocore.session import get_session

from airflow_bedrock.local.api import handler
from airflow_bedrock.local.settings import Settings

CHECKOUT = Path(__file__).parents[3]
DOCS = (CHECKOUT / "docs" / "local-bedrock.md").read_text()
COMPARISON = DOCS[DOCS.index("## Beside moto and LocalStack") :]
ROWS = [line.strip("| \n").split(" | ") for line in COMPARISON.splitlines() if line.startswith("| ")][1:]
DIFFERENCES = "tests/integration/local/test_moto_differences.py"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_names_a_test_that_exists(row: list[str]) -> None:
    """The comparison's rows have five cells, the last of which is a test of this suite."""
    assert len(row) == 5
    file, _, name = row[4].strip("`").rpartition("::")
    tree = ast.parse((CHECKOUT / (file or DIFFERENCES)).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_difference_of_moto_has_its_row() -> None:
    """No test of the differences is left out of the table."""
    tree = ast.parse((CHECKOUT / DIFFERENCES).read_text())
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert tests <= {row[4].strip("`") for row in ROWS}


def test_the_numbers_of_operations_are_right() -> None:
    """The table counts the operations that are built, and those that there are."""
    session = get_session()
    counts = [
        f"{sum(handler(name) is not None for name in names)} of {len(names)}"
        for names in (session.get_service_model(one).operation_names for one in ("bedrock", "bedrock-runtime"))
    ]
    assert ROWS[0][3] == ", and ".join(counts)


def test_every_setting_is_documented() -> None:
    """The table of settings has each of them."""
    told = set(re.findall(r"^\|[^|]*\| `(\w+)` \|", DOCS, flags=re.MULTILINE))
    assert {one.name for one in dataclasses.fields(Settings)} <= told
