"""The rules of operators' arguments, and what is final when a DAG is parsed."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.exceptions import ArgumentError, BedrockFatalError
from airflow_bedrock.operators import BedrockIdleCostOperator
from airflow_bedrock.operators.arguments import (
    flag,
    is_literal,
    optional,
    real,
    rendered,
    text,
    whole,
)
from airflow_bedrock.operators.base import AwsOperator

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet="ab }%")


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_only_what_holds_a_template_is_no_literal(value: Any) -> None:
    """A template anywhere in a value makes it one that is not final."""
    assert is_literal(value)
    assert not is_literal([value, {"deep": "{{ params.x }}"}])
    assert not is_literal({"deep": [value, "{% if x %}y{% endif %}"]})


def test_what_is_rendered_later_is_no_literal() -> None:
    """What is of no plain type, such as the output of a task, is not final."""
    assert not is_literal(object())
    assert not is_literal({"a": object()})


@pytest.mark.parametrize("said", [False, 0, None, "False", "false", " FALSE "])
def test_what_is_false_as_in_python_or_by_a_template(said: Any) -> None:
    """What is false to the amazon provider's operators is false here, and a template renders text."""
    assert flag(said) is False


@pytest.mark.parametrize("said", [True, 1, "True", "true"])
def test_what_is_true(said: Any) -> None:
    """Likewise."""
    assert flag(said) is True


@pytest.mark.parametrize("said", ["no", "None", "", "0", [1]])
def test_what_is_neither_true_nor_false_is_refused(said: Any) -> None:
    """And not taken for True, which would make a job of another name than was meant, or delete models."""
    with pytest.raises(ValueError, match="must be True or False"):
        flag(said)


@given(st.floats() | st.integers())
def test_a_number_and_its_text_are_judged_alike(value: float) -> None:
    """A template renders to text: whatever number is taken is taken as text too, and any other is refused as text."""
    rule = rendered(real(0, 1))
    if 0 <= value <= 1:
        assert rule(value) == rule(str(value)) == value
    else:
        for given in (value, str(value)):
            with pytest.raises(ValueError, match="must be a number, from 0 to 1"):
                rule(given)


@given(st.integers(-5, 2**40))
def test_whole_numbers(value: int) -> None:
    """A whole number is taken from the least on, as a number, as text, and with a decimal point."""
    rule = rendered(whole(1))
    for form in (value, str(value), f"{value}.0", float(value)):
        if value >= 1:
            assert rule(form) == value
            assert isinstance(rule(form), int)
        else:
            with pytest.raises(ValueError, match="must be a whole number, 1 or more"):
                rule(form)


@pytest.mark.parametrize("value", [True, None, "", "x", 0.5, "0.5", math.nan, math.inf, "inf", [], {}])
def test_no_whole_numbers(value: Any) -> None:
    """Everything else is refused by the rule, not by an error of its type."""
    with pytest.raises(ValueError, match="must be a whole number"):
        rendered(whole(1))(value)


@pytest.mark.parametrize(
    "arguments",
    [{"verify": value} for value in ("", " ", "None", "False", 1.5)]
    + [{"region_name": value} for value in (" ", "None", "us east", 1)],
    ids=str,
)
def test_a_connection_that_no_client_takes_is_reported_when_the_dag_is_parsed(arguments: dict[str, Any]) -> None:
    """Each operator checks it before its first call, which is not made, and so not tried again either."""
    [name] = arguments
    with pytest.raises(ArgumentError, match=f"{name} must be"):
        BedrockIdleCostOperator(task_id="t", **arguments)


@pytest.mark.parametrize("arguments", [{"verify": True}, {"verify": "/ca.pem"}, {"region_name": ""}], ids=str)
def test_a_connection_that_a_client_takes_is_accepted(arguments: dict[str, Any]) -> None:
    """An empty region is the connection's; the file of a CA bundle may exist only where the task runs."""
    BedrockIdleCostOperator(task_id="t", **arguments)


def test_every_mistake_is_reported_at_once() -> None:
    """One error names each argument, and is one that Airflow does not retry; what may be a prompt is not shown."""

    class Operator(AwsOperator):
        rules: ClassVar = {"name": text, "size": whole(1), "prompt": text, "note": optional(text)}
        name, size, prompt, note = "", 0, ("secret",), None

    with pytest.raises(ArgumentError) as caught:
        Operator(task_id="t")._checked()
    assert isinstance(caught.value, BedrockFatalError)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        "Task t cannot run: name must be non-empty text; got ''. size must be a whole number, 1 or more; got 0. "
        "prompt must be non-empty text; got a tuple. Nothing was done and nothing was spent."
    )
