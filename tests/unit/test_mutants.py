"""`make mutants`: what is changed, each change in its place, and the lines whose tests are to notice it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from scripts import mutants

SOURCE = b'''"""A docstring stays."""

def outer(limit: "int" = 3) -> "str":
    def inner(given):
        return f"{given}" if given else None
    if limit < 4 and not limit:
        raise ValueError
    return inner(limit)

class Thing(Base, frozen=True):
    kind = "thing"

    @decorated("stays")
    def method(self):
        """A docstring stays."""
        self.seen = True
'''
CHANGES = {
    ((3, 8), 'def outer(limit: "int" = (4)) -> "str":'),
    ((5, 5), "        return"),
    ((5, 5), "        return ('') if given else None"),
    ((5, 5), '        return f"{given}" if (not given) else None'),
    ((6, 6), "    if (limit < 4 or not limit):"),
    ((6, 6), "    if (limit >= 4) and not limit:"),
    ((6, 6), "    if (limit <= 4) and not limit:"),
    ((6, 6), "    if limit < (5) and not limit:"),
    ((6, 6), "    if limit < 4 and (limit):"),
    ((7, 7), "        pass"),
    ((8, 8), "    return"),
    ((0, sys.maxsize), "    kind = ('')"),
    ((16, 16), "        pass"),
    ((16, 16), "        self.seen = (False)"),
}


def test_what_is_changed() -> None:
    """Comparisons, conditions, constants, defaults, statements; no docstrings, no annotations, no decorators."""
    found = {
        (one.reach, one.applied(SOURCE).decode().splitlines()[one.line - 1]) for one in mutants.mutants("", SOURCE)
    }
    assert found == CHANGES


def test_without_a_record_it_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a new checkout."""
    monkeypatch.setattr(mutants, "RECORD", tmp_path / "tests.jsonl")
    monkeypatch.setattr("sys.argv", ["mutants", "airflow_bedrock/spend"])
    with pytest.raises(SystemExit, match="2"):
        mutants.main()
    assert "first run make mutants ARGS='--record tests/unit tests/integration'" in capsys.readouterr().err


def test_a_changed_file_is_valid() -> None:
    """A mutant that does not compile would be killed by any test: it would only raise the score."""
    for file in sorted(Path(mutants.ROOT, "airflow_bedrock/jobs").glob("p*.py")):
        source = file.read_bytes()
        for mutant in mutants.mutants(str(file), source):
            ast.parse(mutant.applied(source))
