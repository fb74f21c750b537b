"""What a service role may do: its trust policy and its own policies in IAM. Those of buckets and keys do not count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.policies import allows, trusts
from airflow_bedrock.local.work.s3 import split_uri

SERVICE = "bedrock.amazonaws.com"


@dataclass(frozen=True)
class _Documents:
    """A role's trust policy and its own policies; empty for a role that is not there."""

    trust: dict[str, Any]
    policies: list[dict[str, Any]]


class Role:
    """A role as it is in IAM.

    :param bedrock: whose IAM it is in.
    :param arn: the role's.
    :param for_arn: the job that would assume it.
    """

    def __init__(self, bedrock: Bedrock, arn: str, for_arn: str) -> None:
        self._checked = bedrock.world.settings.check_role
        self._context = {
            "aws:principalaccount": bedrock.account,
            "aws:principalarn": arn,
            "aws:requestedregion": bedrock.region,
            "aws:resourceaccount": bedrock.account,
            "aws:securetransport": "true",
            "aws:sourceaccount": bedrock.account,
            "aws:sourcearn": for_arn,
            "s3:resourceaccount": bedrock.account,
        }
        self._documents = _documents(bedrock, arn) if self._checked else _Documents({}, [])

    @property
    def assumable(self) -> bool:
        """Whether it exists and Bedrock may assume it."""
        return not self._checked or trusts(self._documents.trust, SERVICE, self._context)

    def may(self, action: str, resource: str, **context: str) -> bool:
        """Whether it may do something, such as ``lambda:InvokeFunction`` on a function's ARN."""
        return not self._checked or allows(self._documents.policies, action, resource, self._context | context)

    def may_read(self, uri: str) -> bool:
        """Whether it may read an object."""
        return self.may("s3:GetObject", _arn(uri))

    def may_write(self, uri: str) -> bool:
        """Whether it may write an object."""
        return self.may("s3:PutObject", _arn(uri))

    def may_list(self, uri: str) -> bool:
        """Whether it may list the bucket of an object."""
        bucket, key = split_uri(uri)
        return self.may("s3:ListBucket", f"arn:aws:s3:::{bucket}", **{"s3:prefix": key})


def _documents(bedrock: Bedrock, arn: str) -> _Documents:
    # Whatever changes IAM in the meantime leaves this dictionary behind, with what is put into it now.
    known: dict[str, _Documents] = bedrock.world.roles
    if arn not in known:
        known[arn] = _look_up(bedrock.client("iam"), arn)
    return known[arn]


def _look_up(iam: Any, arn: str) -> _Documents:
    name = arn.rpartition("/")[2]
    try:
        role = iam.get_role(RoleName=name)["Role"]
        if role["Arn"] == arn:
            return _Documents(role["AssumeRolePolicyDocument"], list(_policies(iam, name)))
    except ClientError:
        pass  # it is not there
    return _Documents({}, [])


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
