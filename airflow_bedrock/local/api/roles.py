"""The service roles that requests name."""

from __future__ import annotations

from airflow_bedrock.local.errors import invalid
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.permissions import Role


def check_role(bedrock: Bedrock, arn: str, for_arn: str) -> None:
    """Check that Bedrock may assume a job's role.

    :raises ServiceError: ValidationException.
    """
    if not Role(bedrock, arn, for_arn).assumable:
        raise invalid("Could not assume provided IAM role.")
