"""What a user of Local Bedrock can set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "123456789012"
"""The account everything belongs to; moto's."""

ROLE_NAME = "AirflowBedrockLocal"
"""The service role that is there from the start."""


@dataclass(frozen=True)
class Settings:
    """How Local Bedrock behaves.

    :param job_seconds: the least time a customization job takes, in seconds; its work is spread over it.
    :param deployment_seconds: how long a deployment stays Creating or Updating, in seconds.
    :param bucket: the S3 bucket that is there from the start.
    :param region: the region of that bucket, and the default one of clients.
    :param state: a directory that keeps jobs, models and buckets between runs; None keeps nothing.
    :param check_role: whether a job's role has to exist in IAM.
    """

    job_seconds: float = 5.0
    deployment_seconds: float = 1.0
    bucket: str = "airflow-bedrock-local"
    region: str = "us-east-1"
    state: Path | None = None
    check_role: bool = True
