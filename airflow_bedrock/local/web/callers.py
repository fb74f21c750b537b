"""The callers, and what IAM's policies allow them: users and assumed roles, from moto's IAM and STS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_bedrock.local import moto
from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.work.policies import Context, Decision, decide

Documents = dict[str, Mapping[str, Any]]
"""Policies by name."""


@dataclass(frozen=True)
class Caller:
    """An IAM user, or an assumed role.

    :param policies: those of the user and its groups, or of the role.
    :param session: the policy that was passed when the role was assumed; then both have to allow the action.
    :param context: the condition keys that identify the caller.
    """

    arn: str
    policies: Documents
    session: Mapping[str, Any] | None = None
    context: Context = field(default_factory=dict)

    def check(self, action: str, resource: str, context: Context, *, quote: str = "") -> None:
        """Check that the caller may perform an action.

        :param quote: encloses the resource in the message.
        :raises ServiceError: AccessDeniedException, in AWS's words.
        """
        everything = {**self.context, **context}
        kinds = {"identity-based": [*self.policies.values()]} | ({"session": [self.session]} if self.session else {})
        decisions = {kind: decide(documents, action, resource, everything) for kind, documents in kinds.items()}
        denied = f"User: {self.arn} is not authorized to perform: {action} on resource: {quote}{resource}{quote}"
        for decision, reason in (
            (Decision.EXPLICIT_DENY, "with an explicit deny in {article} {kind} policy"),
            (Decision.IMPLICIT_DENY, "because no {kind} policy allows the {action} action"),
        ):
            for kind in (kind for kind, found in decisions.items() if found is decision):
                words = reason.format(article="an" if kind[0] in "aeiou" else "a", kind=kind, action=action)
                raise ServiceError("AccessDeniedException", f"{denied} {words}", status=403)


def caller_of(key: str, token: str, root: str) -> Caller | None:
    """Return the caller who signed a request; None for the account's root user, who is allowed everything.

    :param key: the access key of the signature.
    :param token: the session's token, if the key is a session's.
    :param root: the root user's access key.
    :raises ServiceError: it is not signed, or IAM does not know the key.
    """
    if key == root:
        return None
    if not key:
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token", status=403)
    for user in moto.iam().users.values():
        if any(one.access_key_id == key and one.status == "Active" for one in user.access_keys):
            return _user(user)
    for assumed in moto.assumed_roles():
        if assumed.access_key_id == key and assumed.session_token == token:
            if assumed.expiration.replace(tzinfo=None) < datetime.now(UTC).replace(tzinfo=None):
                message = "The security token included in the request is expired"
                raise ServiceError("ExpiredTokenException", message, status=403)
            return _session(assumed)
    message = "The security token included in the request is invalid."
    raise ServiceError("UnrecognizedClientException", message, status=403)


def policies_of(arn: str) -> Documents | None:
    """Return the policies of a user, a group or a role; None if it does not exist."""
    backend = moto.iam()
    for user in backend.users.values():
        if user.arn == arn:
            return dict(moto.policies_of(user, *backend.get_groups_for_user(user.name)))
    known: list[Any] = [*backend.groups.values(), *backend.roles.values()]
    return next((dict(moto.policies_of(one)) for one in known if one.arn == arn), None)


def _user(user: Any) -> Caller:
    groups = moto.iam().get_groups_for_user(user.name)
    tags = {one["Key"]: one["Value"] for one in user.tags or []}
    about = {"aws:userid": user.id, "aws:username": user.name, "aws:principaltype": "User"}
    return Caller(user.arn, dict(moto.policies_of(user, *groups)), context=about | _principal(user.arn, tags))


def _session(assumed: Any) -> Caller:
    # A deleted role has no policies, so its sessions are allowed nothing.
    role = moto.role(assumed.role_arn, assumed.account_id)
    tags = {one["Key"]: one["Value"] for one in getattr(role, "tags", None) or []}
    about = {"aws:userid": assumed.user_id, "aws:principaltype": "AssumedRole"}
    policies = dict(moto.policies_of(role)) if role else {}
    return Caller(assumed.arn, policies, _parsed(assumed.policy), about | _principal(assumed.role_arn, tags))


def _parsed(session_policy: str | None) -> Mapping[str, Any] | None:
    if not session_policy:
        return None
    parsed = moto.policy_document(session_policy)
    return parsed if isinstance(parsed, Mapping) else {"Statement": []}


def _principal(arn: str, tags: Mapping[str, str]) -> dict[str, str]:
    keys = {"aws:principalarn": arn, "aws:principalaccount": arn.split(":")[4]}
    return keys | {f"aws:principaltag/{name.lower()}": value for name, value in tags.items()}
