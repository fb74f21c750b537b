"""Which arguments of an operator are final when the DAG is parsed."""

from __future__ import annotations

from collections.abc import Mapping


def is_literal(value: object) -> bool:
    """Whether an argument is final when the DAG is parsed: no template, no output of another task."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, Mapping):
        return all(map(is_literal, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_literal, value))
    return value is None or isinstance(value, (bool, int, float))
