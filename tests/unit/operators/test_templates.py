"""What the reference calls templated is templated, for each operator and the sensor."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from airflow_bedrock import operators, sensors

KINDS = [getattr(module, name) for module in (operators, sensors) for name in module.__all__]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_the_docstring_calls_templated_is_a_template_field(kind: Any) -> None:
    """Also what its bases say of theirs; ``dry_run`` is a method of every operator, so its field has another name."""
    documented = "\n".join(
        inspect.getdoc(one) or "" for one in kind.__mro__ if one.__module__.startswith("airflow_bedrock.")
    )
    told = re.findall(r":param (\w+):(.*?)(?=\n:param|\n\n|\Z)", documented, flags=re.DOTALL)
    templated = {"is_dry_run" if name == "dry_run" else name for name, text in told if "(templated)" in text}
    assert templated - set(kind.template_fields) == set()
    assert {"aws_conn_id", "region_name", "verify"} <= set(kind.template_fields)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_parameter_is_templated_where_the_docstring_says_so(kind: Any) -> None:
    """But for those that it excepts, by name or as the last one."""
    for one in kind.__mro__:
        documented = inspect.getdoc(one) or ""
        if said := re.search(r"^Every parameter is templated(.*)\.$", documented, flags=re.MULTILINE):
            excepted = re.findall(r"``(\w+)``", said[1])
            parameters = re.findall(r"^:param (\w+):", documented, flags=re.MULTILINE)
            excepted += parameters[-1:] if "the last one" in said[1] else []
            assert set(parameters) - set(excepted) <= set(kind.template_fields)
            assert not set(excepted) & set(kind.template_fields)
