"""IAM's policy simulator, which moto lacks: it evaluates policies for actions on resources.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.web.callers import Documents, policies_of
from airflow_bedrock.local.work.policies import Context, Decision, condition_keys, decide

SIMULATIONS = ("SimulatePrincipalPolicy", "SimulateCustomPolicy")


def simulate(parameter: Callable[[str], Any]) -> dict[str, Any]:
    """Return the result of one of the :data:`SIMULATIONS`.

    :param parameter: returns a parameter of the request by its name, or None.
    :raises ServiceError: NoSuchEntity or InvalidInput.
    """
    try:
        return {"EvaluationResults": _results(parameter), "IsTruncated": False}
    except (AttributeError, TypeError) as error:  # raised by the evaluator
        raise _invalid("A policy does not have the form of an IAM policy.") from error


def _results(parameter: Callable[[str], Any]) -> list[dict[str, Any]]:
    policies = _parsed(parameter, "PolicyInputList")
    if (arn := parameter("PolicySourceArn")) is not None:
        kept = policies_of(arn)
        if kept is None:
            raise ServiceError("NoSuchEntity", f"There is no user, group or role {arn}.", status=404)
        policies = {**kept, **policies}
    boundary = _parsed(parameter, "PermissionsBoundaryPolicyInputList")
    context = {one["ContextKeyName"].lower(): _value(one) for one in parameter("ContextEntries") or ()}
    actions = parameter("ActionNames")
    if not actions:
        raise _invalid("ActionNames must have a value.")
    resources = parameter("ResourceArns") or ["*"]
    return [_result(policies, boundary, one, resource, context) for one in actions for resource in resources]


def _result(policies: Documents, boundary: Documents, action: str, resource: str, context: Context) -> dict[str, Any]:
    decisions = {name: decide([one], action, resource, context, all_known=True) for name, one in policies.items()}
    decision = decide(policies.values(), action, resource, context, all_known=True)
    bounded = {}
    if boundary:
        within = decide(boundary.values(), action, resource, context, all_known=True)
        bounded["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": within is Decision.ALLOWED}
        decision = decision if within is Decision.ALLOWED or decision is Decision.EXPLICIT_DENY else within
    keys = condition_keys([*policies.values(), *boundary.values()])
    return {
        "EvalActionName": action,
        "EvalResourceName": resource,
        "EvalDecision": decision,
        "MatchedStatements": [
            {"SourcePolicyId": name, "SourcePolicyType": "IAM Policy"}
            for name, found in decisions.items()
            if found is not Decision.IMPLICIT_DENY
        ],
        "MissingContextValues": sorted(key for key in keys if key.lower() not in context),
        **bounded,
    }


def _parsed(parameter: Callable[[str], Any], member: str) -> Documents:
    try:
        parsed = [json.loads(one) for one in parameter(member) or ()]
    except ValueError as error:
        raise _invalid(f"The policy in {member} is not valid JSON.") from error
    if not all(isinstance(one, dict) for one in parsed):
        raise _invalid(f"The policy in {member} is not a JSON object.")
    return {f"{member}.{number}": one for number, one in enumerate(parsed, 1)}


def _value(entry: Any) -> str | Sequence[str]:
    values: list[str] = entry.get("ContextKeyValues") or []
    return values if entry.get("ContextKeyType", "string").endswith("List") or len(values) != 1 else values[0]


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidInput", message)
