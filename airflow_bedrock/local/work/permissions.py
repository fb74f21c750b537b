"""The permissions of a service role: its trust policy and its own policies in IAM, not those of buckets and keys."""

from __future__ import annotations

from airflow_bedrock.local import moto
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.policies import Decision, decide, trusts
from airflow_bedrock.uris import bucket_and_key

SERVICE = "bedrock.amazonaws.com"


class Role:
    """A role in IAM.

    :param bedrock: the Bedrock whose IAM has the role.
    :param arn: the role's ARN.
    :param for_arn: the job that assumes it.
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
        role = moto.role(arn) if self._checked else None  # a role that does not exist has no permissions
        self._trust = moto.policy_document(role.assume_role_policy_document) if role else {}
        self._policies = [document for _, document in moto.policies_of(role)] if role else []

    @property
    def assumable(self) -> bool:
        """Whether it exists and Bedrock may assume it."""
        return not self._checked or trusts(self._trust, SERVICE, self._context)

    def may(self, action: str, resource: str, **context: str) -> bool:
        """Whether it may perform an action, such as ``lambda:InvokeFunction`` on a function's ARN."""
        decision = decide(self._policies, action, resource, self._context | context) if self._checked else None
        return decision in (None, Decision.ALLOWED)

    def may_read(self, uri: str) -> bool:
        """Whether it may read an object."""
        return self.may("s3:GetObject", _arn(uri))

    def may_write(self, uri: str) -> bool:
        """Whether it may write an object."""
        return self.may("s3:PutObject", _arn(uri))

    def may_list(self, uri: str) -> bool:
        """Whether it may list the bucket of an object."""
        bucket, key = bucket_and_key(uri)
        return self.may("s3:ListBucket", f"arn:aws:s3:::{bucket}", **{"s3:prefix": key})


def _arn(uri: str) -> str:
    bucket, key = bucket_and_key(uri)
    return f"arn:aws:s3:::{bucket}/{key}"
