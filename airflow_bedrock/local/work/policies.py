"""Evaluate IAM policies: one evaluator for callers, for service roles, and for IAM's policy simulator.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html

A condition key that a request does not have is evaluated as on AWS. A key or an operator that Local Bedrock does not
support denies: an Allow that depends on it does not count, but a Deny does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

Context = Mapping[str, str | Sequence[str]]
"""Condition keys in lower case, such as ``aws:sourceaccount``, and their values."""

_KNOWN = re.compile(
    r"aws:(source(account|arn|ip|vpc|vpce|identity)|principal(arn|account|type|tag/.+|isawsservice|orgid)"
    r"|resource(account|tag/.+)|requesttag/.+|tagkeys|requestedregion|securetransport|userid|username|calledvia"
    r"|viaawsservice|multifactorauth(present|age)|useragent|referer)"
    r"|iam:passedtoservice"
    r"|bedrock:(guardrailidentifier|inferenceprofilearn|promptrouterarn|bearertokentype)"
    r"|s3:(prefix|delimiter|max-keys|resourceaccount)"
)
"""Keys that, if they are missing in a context, the request does not have."""


class Decision(StrEnum):
    """What policies decide, in the words of IAM's simulator."""

    ALLOWED = "allowed"
    EXPLICIT_DENY = "explicitDeny"
    IMPLICIT_DENY = "implicitDeny"


def decide(
    policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Context, *, all_known: bool = False
) -> Decision:
    """Return what identity policies decide about an action on a resource.

    :param all_known: whether every key that is missing in the context is one that the request does not have.
    """
    return _decision(
        statement
        for statement in _statements(policies)
        if _covers(statement, "Action", action, context, re.IGNORECASE)
        and _covers(statement, "Resource", resource, context)
        and _conditions_met(statement, context, all_known)
    )


def trusts(policy: Mapping[str, Any], service: str, context: Context) -> bool:
    """Whether a trust policy lets a service assume the role."""
    found = _decision(
        statement
        for statement in _statements([policy])
        if _covers(statement, "Action", "sts:AssumeRole", context, re.IGNORECASE)
        and _is_principal(statement.get("Principal"), service)
        and _conditions_met(statement, context, all_known=False)
    )
    return found is Decision.ALLOWED


def condition_keys(policies: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the condition keys in policies."""
    blocks = [block for one in _statements(policies) for block in one.get("Condition", {}).values()]
    return {key for block in blocks for key in block}


def _decision(statements: Iterable[Mapping[str, Any]]) -> Decision:
    effects = {statement.get("Effect") for statement in statements}
    if not effects:
        return Decision.IMPLICIT_DENY
    return Decision.ALLOWED if effects == {"Allow"} else Decision.EXPLICIT_DENY


def _statements(policies: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for policy in policies:
        yield from (one for one in _listed(policy.get("Statement", [])) if isinstance(one, Mapping))


def _covers(statement: Mapping[str, Any], member: str, value: str, context: Context, flags: int = 0) -> bool:
    if f"Not{member}" in statement:
        return not any(_like(one, value, context, flags) for one in _listed(statement[f"Not{member}"]))
    return any(_like(one, value, context, flags) for one in _listed(statement.get(member, [])))


def _is_principal(principal: Any, service: str) -> bool:
    if principal == "*":
        return True
    return isinstance(principal, Mapping) and service in _listed(principal.get("Service", []))


def _conditions_met(statement: Mapping[str, Any], context: Context, all_known: bool) -> bool:
    unknown = statement.get("Effect") != "Allow"
    for operator, block in statement.get("Condition", {}).items():
        for key, patterns in block.items():
            known = all_known or key.lower() in context or _KNOWN.fullmatch(key.lower())
            met = _condition_met(operator, context.get(key.lower()), _listed(patterns), context) if known else None
            if not (unknown if met is None else met):
                return False
    return True


def _condition_met(
    operator: str, found: str | Sequence[str] | None, patterns: Sequence[Any], context: Context
) -> bool | None:
    """Return whether a condition is met; None if the operator is not supported."""
    quantifier, _, name = operator.rpartition(":")
    name, if_exists = name.removesuffix("IfExists"), name.endswith("IfExists")
    if name == "Null":
        return any((found is None) is (_text(one).lower() == "true") for one in patterns)
    test = _TESTS.get(name.replace("Not", ""))
    if test is None or quantifier not in ("", "ForAnyValue", "ForAllValues"):
        return None
    negated = "Not" in name
    if found is None:
        return if_exists or quantifier == "ForAllValues" or (negated and quantifier == "")
    texts = [_text(one) for one in patterns]
    matching = partial(_matches, test, texts, context, negated)
    values = [found] if isinstance(found, str) else found
    # Without a quantifier, a negated operator requires that all values differ; the others, that one matches.
    every = quantifier == "ForAllValues" or (negated and quantifier == "")
    return all(map(matching, values)) if every else any(map(matching, values))


def _matches(test: _Test, patterns: Sequence[str], context: Context, negated: bool, value: str) -> bool:
    return any(test(pattern, value, context) for pattern in patterns) is not negated


def _like(pattern: str, value: str, context: Context, flags: int = 0) -> bool:
    """Whether a value matches a pattern with ``*``, ``?`` and policy variables such as ``${aws:username}``."""

    def part(found: re.Match[str]) -> str:
        if (variable := found[1]) is None:
            return {"*": ".*", "?": "."}.get(found[0]) or re.escape(found[0])
        if variable in ("*", "?", "$"):
            return re.escape(variable)
        replacement = context.get(variable.lower())
        return re.escape(replacement) if isinstance(replacement, str) else "(?!)"  # which nothing matches

    expression = re.sub(r"\$\{([^}]*)\}|.", part, pattern, flags=re.DOTALL)
    return re.fullmatch(expression, value, flags | re.DOTALL) is not None


def _arn_like(pattern: str, value: str, context: Context) -> bool:
    wanted, found = pattern.split(":", 5), value.split(":", 5)
    return len(wanted) == len(found) and all(_like(*pair, context) for pair in zip(wanted, found, strict=True))


_Test = Callable[[str, str, Context], bool]

_TESTS: dict[str, _Test] = {
    "StringEquals": lambda pattern, value, context: _like(_literal(pattern), value, context),
    "StringEqualsIgnoreCase": lambda pattern, value, context: _like(_literal(pattern), value, context, re.IGNORECASE),
    "StringLike": _like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda pattern, value, _: pattern.lower() == value.lower(),
}


def _literal(pattern: str) -> str:
    """Return a pattern in which ``*`` and ``?`` are literal, and variables are replaced by their values."""
    return re.sub(r"(\$\{[^}]*\})|([*?])", lambda found: found[1] or f"${{{found[2]}}}", pattern)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
