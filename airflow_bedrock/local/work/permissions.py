"""What a service role may do: its trust policy and its own policies in IAM. Those of buckets and keys do not count."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError

from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.policies import allows, trusts
from airflow_bedrock.local.work.s3 import split_uri

SERVICE = "bedrock.amazonaws.com"


class Role:
    """A role in IAM, looked up when it is asked about, and then kept as it was.

    :param bedrock: whose IAM it is in.
    :param arn: the role's.
    :param for_arn: the job that would assume it.
    """

    def __init__(self, bedrock: Bedrock, arn: str, for_arn: str) -> None:
        self._checked = bedrock.world.settings.check_role
        self._context = {"aws:sourceaccount": bedrock.account, "aws:sourcearn": for_arn}
        self._bedrock = bedrock
        self._arn = arn

    @property
    def assumable(self) -> bool:
        """Whether it exists and Bedrock may assume it."""
        return not self._checked or trusts(self._trust, SERVICE, self._context)

    def may(self, action: str, resource: str) -> bool:
        """Whether it may do something, such as ``lambda:InvokeFunction`` on a function's ARN."""
        return not self._checked or allows(self._policies, action, resource, self._context)

    def may_read(self, uri: str) -> bool:
        """Whether it may read an object."""
        return self.may("s3:GetObject", _arn(uri))

    def may_write(self, uri: str) -> bool:
        """Whether it may write an object."""
        return self.may("s3:PutObject", _arn(uri))

    def may_list(self, uri: str) -> bool:
        """Whether it may list the bucket of an object."""
        return self.may("s3:ListBucket", f"arn:aws:s3:::{split_uri(uri)[0]}")

    @cached_property
    def _trust(self) -> dict[str, Any]:
        try:
            role = self._iam.get_role(RoleName=self._name)["Role"]
        except ClientError:
            return {}  # it is not there, so nobody may assume it
        trust: dict[str, Any] = role["AssumeRolePolicyDocument"] if role["Arn"] == self._arn else {}
        return trust

    @cached_property
    def _policies(self) -> list[dict[str, Any]]:
        try:
            return list(_policies(self._iam, self._name))
        except ClientError:
            return []  # it is not there, so it may nothing

    @property
    def _iam(self) -> Any:
        return self._bedrock.client("iam")

    @property
    def _name(self) -> str:
        return self._arn.rpartition("/")[2]


def _policies(iam: Any, role: str) -> Iterator[dict[str, Any]]:
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        yield iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        policy = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]
        version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        yield version["PolicyVersion"]["Document"]


def _arn(uri: str) -> str:
    bucket, key = split_uri(uri)
    return f"arn:aws:s3:::{bucket}/{key}"
