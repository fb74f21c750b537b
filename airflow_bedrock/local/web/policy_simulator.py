"""IAM's policy simulator, which moto lacks: what would policies say of these actions on these resources?

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.web.callers import Documents, policies_of
from airflow_bedrock.local.web.protocol import HttpResponse
from airflow_bedrock.local.work.policies import Context, Decision, condition_keys, decide

SIMULATIONS = ("SimulatePrincipalPolicy", "SimulateCustomPolicy")


def simulate(operation: str, body: bytes) -> HttpResponse:
    """Answer one of the :data:`SIMULATIONS`, sent as a form."""
    form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    try:
        results = _checked_results(form)
    except ServiceError as error:
        content = f"<Error><Type>Sender</Type>{_elements(Code=error.code, Message=error.message)}</Error>"
        return _answer("ErrorResponse", content, error)
    members = "".join(f"<member>{result}</member>" for result in results)
    content = f"<EvaluationResults>{members}</EvaluationResults><IsTruncated>false</IsTruncated>"
    return _answer(f"{operation}Response", f"<{operation}Result>{content}</{operation}Result>")


def _checked_results(form: Mapping[str, str]) -> list[str]:
    try:
        return _results(form)
    except (AttributeError, TypeError) as error:  # from the evaluator, which takes policies as IAM keeps them
        raise _invalid("A policy does not have the form of a policy.") from error


def _results(form: Mapping[str, str]) -> list[str]:
    policies = _policies(form)
    boundary = _parsed(_list(form, "PermissionsBoundaryPolicyInputList"), "PermissionsBoundaryPolicyInputList")
    context = _context(form)
    actions = _list(form, "ActionNames")
    if not actions:
        raise _invalid("ActionNames must have a value.")
    resources = _list(form, "ResourceArns") or ["*"]
    return [_result(policies, boundary, one, resource, context) for one in actions for resource in resources]


def _result(policies: Documents, boundary: Documents, action: str, resource: str, context: Context) -> str:
    decisions = {name: decide([one], action, resource, context, all_known=True) for name, one in policies.items()}
    decision = decide(policies.values(), action, resource, context, all_known=True)
    bounded = ""
    if boundary:
        within = decide(boundary.values(), action, resource, context, all_known=True)
        allowed = str(within is Decision.ALLOWED).lower()
        bounded = _within("PermissionsBoundaryDecisionDetail", _elements(AllowedByPermissionsBoundary=allowed))
        decision = decision if within is Decision.ALLOWED or decision is Decision.EXPLICIT_DENY else within
    matched = "".join(
        _within("member", _elements(SourcePolicyId=name, SourcePolicyType="IAM Policy"))
        for name, found in decisions.items()
        if found is not Decision.IMPLICIT_DENY
    )
    asked = condition_keys([*policies.values(), *boundary.values()])
    missing = "".join(_elements(member=key) for key in sorted(asked) if key.lower() not in context)
    return (
        _elements(EvalActionName=action, EvalResourceName=resource, EvalDecision=decision)
        + _within("MatchedStatements", matched)
        + _within("MissingContextValues", missing)
        + bounded
    )


def _policies(form: Mapping[str, str]) -> Documents:
    found = _parsed(_list(form, "PolicyInputList"), "PolicyInputList")
    if (arn := form.get("PolicySourceArn")) is not None:
        kept = policies_of(arn)
        if kept is None:
            raise ServiceError("NoSuchEntity", f"There is no user, group or role {arn}.", status=404)
        found = {**kept, **found}
    return found


def _parsed(documents: list[str], member: str) -> Documents:
    try:
        parsed = [json.loads(one) for one in documents]
    except ValueError as error:
        raise _invalid(f"The policy in {member} is not valid JSON.") from error
    if not all(isinstance(one, dict) for one in parsed):
        raise _invalid(f"The policy in {member} is not a JSON object.")
    return {f"{member}.{number}": one for number, one in enumerate(parsed, 1)}


def _context(form: Mapping[str, str]) -> Context:
    found: dict[str, str | list[str]] = {}
    number = 1
    while (name := form.get(f"ContextEntries.member.{number}.ContextKeyName")) is not None:
        values = _list(form, f"ContextEntries.member.{number}.ContextKeyValues")
        kind = form.get(f"ContextEntries.member.{number}.ContextKeyType", "string")
        found[name.lower()] = values if kind.endswith("List") or len(values) != 1 else values[0]
        number += 1
    return found


def _list(form: Mapping[str, str], member: str) -> list[str]:
    found: list[str] = []
    while (value := form.get(f"{member}.member.{len(found) + 1}")) is not None:
        found.append(value)
    return found


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidInput", message)


def _elements(**values: Any) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in values.items())


def _within(name: str, content: str) -> str:
    return f"<{name}>{content}</{name}>"


def _answer(name: str, content: str, error: ServiceError | None = None) -> HttpResponse:
    request = f"<RequestId>{uuid.uuid4()}</RequestId>"
    metadata = request if error else f"<ResponseMetadata>{request}</ResponseMetadata>"
    body = f'<{name} xmlns="https://iam.amazonaws.com/doc/2010-05-08/">{content}{metadata}</{name}>'
    status = error.status if error else 200
    return HttpResponse(status, {"Content-Type": "text/xml"}, body.encode(), error.code if error else None)
