"""Keeps IAM's roles and policies, using IAM's API only."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec

from airflow_bedrock.local.state.store import Store


class Roles:
    """The roles with their policies, and the account's managed policies.

    :param iam: a boto3 client.
    """

    def __init__(self, store: Store, iam: Any) -> None:
        self._store = store
        self._iam = iam

    def write(self) -> None:
        """Write them as they are now; one call returns them all."""
        pages = self._iam.get_paginator("get_account_authorization_details").paginate(
            Filter=["Role", "LocalManagedPolicy"]
        )
        roles: list[Any] = []
        policies: list[Any] = []
        for page in pages:
            roles += page["RoleDetailList"]
            policies += page["Policies"]
        self._store.write({"iam": msgspec.json.encode({"roles": roles, "policies": policies})})

    def restore(self) -> None:
        """Create them again."""
        if "iam" not in self._store.values:
            return
        kept = msgspec.json.decode(self._store.values["iam"])
        for policy in kept["policies"]:
            (document,) = [one["Document"] for one in policy["PolicyVersionList"] if one["IsDefaultVersion"]]
            # Moto omits the name; the ARN ends in it.
            name, path = policy["Arn"].rpartition("/")[2], policy["Path"]
            with suppress(self._iam.exceptions.EntityAlreadyExistsException):
                self._iam.create_policy(PolicyName=name, Path=path, PolicyDocument=json.dumps(document))
        for role in kept["roles"]:
            self._restore_role(role)

    def _restore_role(self, role: dict[str, Any]) -> None:
        name, trust = role["RoleName"], json.dumps(role["AssumeRolePolicyDocument"])
        tags = {"Tags": role["Tags"]} if role.get("Tags") else {}
        with suppress(self._iam.exceptions.EntityAlreadyExistsException):
            self._iam.create_role(RoleName=name, Path=role["Path"], AssumeRolePolicyDocument=trust, **tags)
        for policy in role["RolePolicyList"]:
            document = json.dumps(policy["PolicyDocument"])
            self._iam.put_role_policy(RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=document)
        for policy in role["AttachedManagedPolicies"]:
            self._iam.attach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
