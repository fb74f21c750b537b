"""IAM policies, as far as a service role needs them: does this statement let Bedrock in, does that one let it read?

A condition that is not known here never forbids anything: it lets an Allow pass, and a Deny not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

_EQUALS = {"StringEquals", "ArnEquals", "StringEqualsIgnoreCase", "StringLike", "ArnLike"}
_DIFFERS = {"StringNotEquals", "ArnNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike", "ArnNotLike"}


def allows(policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether identity policies allow an action on a resource: one allows it and none denies it.

    :param context: condition keys in lower case, such as ``aws:sourceaccount``, and their values.
    """
    effects = {
        statement["Effect"]
        for statement in _statements(policies)
        if _covers(statement, "Action", action.lower(), str.lower)
        and _covers(statement, "Resource", resource)
        and _conditions_met(statement, context)
    }
    return effects == {"Allow"}


def trusts(policy: Mapping[str, Any], service: str, context: Mapping[str, str]) -> bool:
    """Whether a trust policy lets a service assume the role."""
    effects = {
        statement["Effect"]
        for statement in _statements([policy])
        if _covers(statement, "Action", "sts:assumerole", str.lower)
        and _is_principal(statement.get("Principal"), service)
        and _conditions_met(statement, context)
    }
    return effects == {"Allow"}


def _statements(policies: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for policy in policies:
        yield from _listed(policy.get("Statement", []))


def _covers(statement: Mapping[str, Any], member: str, value: str, fold: Any = str) -> bool:
    if f"Not{member}" in statement:
        return not _matches_any(statement[f"Not{member}"], value, fold)
    return _matches_any(statement.get(member, []), value, fold)


def _matches_any(patterns: Any, value: str, fold: Any = str) -> bool:
    return any(_like(fold(pattern), value) for pattern in _listed(patterns))


def _is_principal(principal: Any, service: str) -> bool:
    if principal == "*":
        return True
    return isinstance(principal, Mapping) and service in _listed(principal.get("Service", []))


def _conditions_met(statement: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    unknown = statement["Effect"] == "Allow"
    return all(
        _condition_met(operator, context[key.lower()], values, unknown) if key.lower() in context else unknown
        for operator, block in statement.get("Condition", {}).items()
        for key, values in block.items()
    )


def _condition_met(operator: str, value: str, patterns: Any, unknown: bool) -> bool:
    name = operator.rpartition(":")[2].removesuffix("IfExists")
    if name in _EQUALS:
        return _matches_any(patterns, value)
    if name in _DIFFERS:
        return not _matches_any(patterns, value)
    return unknown


def _like(pattern: str, value: str) -> bool:
    # IAM knows * and ? only; a bracket is a bracket.
    return fnmatchcase(value, re.sub(r"\[", "[[]", pattern))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
