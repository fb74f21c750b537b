"""Defaults are a promise to everybody who leaves an argument out: ``defaults.json`` has them all."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_bedrock import operators, sensors

KNOWN: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("defaults.json").read_text())
KINDS = {name: getattr(module, name) for module in (operators, sensors) for name in module.__all__}


def defaults(kind: Any) -> dict[str, Any]:
    """Return the defaults of an operator's own arguments, and of its bases', that are not None."""
    found: dict[str, Any] = {}
    for one in reversed(kind.__mro__):
        if one.__module__.startswith("airflow_bedrock.") and "__init__" in vars(one):
            parameters = inspect.signature(one.__init__).parameters.values()
            found |= {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
    return {name: value for name, value in sorted(found.items()) if value is not None}


def test_each_operator_has_its_defaults() -> None:
    """And none that is no operator's."""
    assert KINDS.keys() == KNOWN.keys()


@pytest.mark.parametrize("name", KINDS)
def test_the_defaults_of_an_operator(name: str) -> None:
    """As JSON has them: a tuple is a list there."""
    assert json.loads(json.dumps(defaults(KINDS[name]))) == KNOWN[name]
