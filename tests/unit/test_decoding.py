"""Decoders are made where one thread imports a module."""

from __future__ import annotations

import ast
from pathlib import Path

import airflow_bedrock
from airflow_bedrock.decoding import decoder

PACKAGE = Path(airflow_bedrock.__path__[0])


def test_a_module_makes_its_decoders_by_decoder() -> None:
    """So that what it is good for is written in one place, and a search for it finds them all."""
    made = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        for statement in ast.parse(file.read_text()).body
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and "msgspec.json.Decoder(" in ast.unparse(statement)
    }
    assert made == set()
    told = [file.name for file in PACKAGE.rglob("*.py") if "msgspec 0.22 crashes" in file.read_text()]
    assert told == ["decoding.py"]


def test_a_decoder_that_is_not_strict_reads_a_number_from_text() -> None:
    """As the parts of a query are."""
    assert decoder(int, strict=False).decode(b'"7"') == 7
