"""Check an operator's arguments by rule, when the DAG is parsed and again when the task runs.

A rule takes a value and returns it in its type, or raises a ValueError that says what the value must be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from airflow_bedrock import customization
from airflow_bedrock.shapes import input_shape, problems

Choice = TypeVar("Choice", bound=Enum)
Rule = Callable[[Any], Any]


def problem(name: str, value: object, error: ValueError, *, is_templated: bool) -> str:
    """Return what is wrong with an argument, from the error of its rule."""
    template = isinstance(value, str) and not is_literal(value) and not is_templated
    called = name.removeprefix("is_")  # dry_run is a method of every operator
    return f"{called} {error}; got {_shown(value)}{', which is not rendered here' if template else ''}"


def is_literal(value: object) -> bool:
    """Whether an argument is final when the DAG is parsed: no template, no output of another task."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, Mapping):
        return all(map(is_literal, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_literal, value))
    return value is None or isinstance(value, (bool, int, float))


def _shown(value: object) -> str:
    if not isinstance(value, (str, int, float, type(None))):
        return f"a {type(value).__name__}"  # its content may be a prompt
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}…"


def optional(rule: Rule) -> Rule:
    """Accept None too."""
    return lambda value: None if value is None else rule(value)


def text(value: Any) -> str:
    """Accept non-empty text."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be non-empty text")
    return value


def flag(value: Any) -> bool:
    """Accept True, False, 0, 1 and None, as Python does, and the text that a template renders for True or False."""
    if value is None or isinstance(value, int):
        return bool(value)
    known = {"true": True, "false": False}.get(str(value).strip().lower())
    if known is None:
        raise ValueError("must be True or False")
    return known


def switch(value: Any) -> Any:
    """Accept True and False, and 0, 1 and None, as Python does, but no text: even "False" would count as true."""
    if value is not None and not isinstance(value, int):
        raise ValueError("must be True or False")
    return value


def one_of(*choices: str) -> Rule:
    """Accept one of these texts."""

    def check(value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return check


CONTENT = one_of("identify", "ignore")


def choice(kind: type[Choice]) -> Callable[[Any], Choice]:
    """Accept a value of an enumeration, and return its member."""
    check = one_of(*(member.value for member in kind))
    return lambda value: kind(check(value))


def given(rule: Rule) -> Rule:
    """Accept None and other empty values too, such as a template that finds nothing."""
    return lambda value: rule(value) if value else None


def named(rule: Rule) -> Rule:
    """Accept what the rule accepts, except for the text that a template renders for None."""

    def check(value: Any) -> Any:
        if value == "None":
            raise ValueError("must have a value: a template that finds nothing renders None")
        return rule(value)

    return check


_LARGEST = sys.float_info.max


def real(least: float, most: float = _LARGEST, *, between: bool = False, what: str = "a number") -> Rule:
    """Accept a finite number from ``least`` to ``most``; with ``between``, excluding both."""
    ends = f"more than {least:g}" if between else f"{least:g} or more"
    if most < _LARGEST:
        ends = f"between {least:g} and {most:g}" if between else f"from {least:g} to {most:g}"

    def check(value: Any) -> float:
        right = isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most
        if not right or (between and value in (least, most)):
            raise ValueError(f"must be {what}, {ends}")
        return float(value)

    return check


SECONDS = real(0, what="a number of seconds")
DELAY = real(0, between=True, what="a number of seconds")


def whole(least: int) -> Rule:
    """Accept a whole number, ``least`` or more."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"must be a whole number, {least} or more")
        return value

    return check


def rendered(rule: Rule) -> Rule:
    """Accept a number as text too, for a templated argument: templates render text."""
    return lambda value: rule(_number(value))


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value  # the rule rejects it
    return int(value) if isinstance(value, float) and value.is_integer() else value


def tags_rule(operation: str, name: str) -> Rule:
    """Accept a mapping of tags, and return them as a member of the operation's request; None for no tags."""
    what = (
        "a mapping of keys to values, such as {'team': 'support'}: text of letters, digits, spaces and . _ : / = + @ -"
    )
    check = member("bedrock", operation, name, what)

    def rule(value: Any) -> Any:
        most = customization.tags.MAX_USER_TAGS
        if isinstance(value, Mapping) and len(value) > most:
            raise ValueError(f"must be at most {most}, since the service allows 50")
        return check(
            [{"key": key, "value": text} for key, text in value.items()] if isinstance(value, Mapping) else None
        )

    return given(rule)


def member(service: str, operation: str, name: str, what: str) -> Rule:
    """Accept what botocore's service model accepts for a member of the operation's request.

    The installed botocore's model is read only for values that the oldest supported one does not accept.

    :param what: the rule in words, since the model's regular expressions have hundreds of characters.
    """

    def check(value: Any) -> Any:
        shapes = (input_shape(service, operation, oldest=oldest) for oldest in (True, False))
        if all(problems(shape.members[name], value) for shape in shapes):
            raise ValueError(f"must be {what}")
        return value

    return check


NAME_TEXT = "1 to 63 letters and digits, with single dashes or underscores between them"
DEPLOYMENT_NAME = named(member("bedrock", "CreateCustomModelDeployment", "modelDeploymentName", NAME_TEXT))
MODEL_ARN = member("bedrock", "CreateCustomModelDeployment", "modelArn", "the ARN of a custom model")
POLLS: Mapping[str, Rule] = {"waiter_delay": DELAY, "waiter_max_attempts": whole(1)}
"""The rules for an operator with its own limit."""
