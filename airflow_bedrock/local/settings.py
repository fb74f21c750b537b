"""The settings of Local Bedrock."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

ACCOUNT = "123456789012"
"""The account that owns everything; moto's."""

KEY = "local"
"""The access key of the account's root user; unless IAM is enforced, any key is accepted."""

ROLE_NAME = "AirflowBedrockLocal"
"""The service role that exists from the start."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # the pattern in Bedrock's S3 URIs


@dataclass(frozen=True)
class Quotas:
    """The account's quotas in each region; the defaults are those of AWS.

    :param scheduled_jobs: customization jobs that have not ended.
    :param training_jobs: customization jobs that train at the same time; the others wait.
    :param custom_models: custom models.
    :param deployments: custom model deployments.
    :param changing_deployments: custom model deployments that are being created or updated.
    :param model_units: model units of provisioned throughput without a commitment.
    :param import_jobs: model import jobs that have not ended.
    :param imported_models: imported models.
    """

    scheduled_jobs: int = 10
    training_jobs: int = 2
    custom_models: int = 100
    deployments: int = 10
    changing_deployments: int = 2
    model_units: int = 2
    import_jobs: int = 1
    imported_models: int = 3


@dataclass(frozen=True)
class Settings:
    """How Local Bedrock behaves.

    :param job_seconds: minimum duration of a customization job, in seconds; its work is spread over this time.
    :param deployment_seconds: how long a deployment stays Creating or Updating, in seconds.
    :param bucket: the S3 bucket that exists from the start.
    :param region: the region of that bucket, and the default region of clients.
    :param state: a directory that keeps jobs, models and buckets between runs; None keeps nothing.
    :param check_role: whether a job's role has to exist in IAM, to trust Bedrock, and to have the job's permissions.
    :param enforce_iam: whether IAM's policies limit callers of Bedrock, S3, Athena, CloudWatch, RAM and SQS.
    :param allow_graders: whether reinforcement fine-tuning may run its grader, a Lambda function, with the permissions
        of the user who runs Local Bedrock.
    :param quotas: the account's quotas.
    :param clock: ``real`` for the computer's time, ``manual`` for a clock that stands still until it is advanced.
    :param allow_hosts: host names that clients may use in addition to ``localhost`` and its addresses, such as a
        container's.
    :param speed: how much faster than the computer's clock the real clock runs; with 60, an hour takes a minute.
    :param start: the time at which the clock starts, in UTC if it has no zone; base models have an end of life. None
        for now.
    :raises ValueError: a setting is invalid.
    """

    job_seconds: float = 5.0
    deployment_seconds: float = 1.0
    bucket: str = "airflow-bedrock-local"
    region: str = "us-east-1"
    state: Path | None = None
    check_role: bool = True
    enforce_iam: bool = False
    allow_graders: bool = False
    quotas: Quotas = field(default_factory=Quotas)
    clock: Literal["real", "manual"] = "real"
    speed: float = 1.0
    start: datetime | None = None
    allow_hosts: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise ValueError(
                f"{self.bucket!r} is not a valid bucket name: use 3 to 63 lower-case letters, digits, dots and "
                "dashes, with a letter or a digit at both ends."
            )
        for name in ("job_seconds", "deployment_seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number of seconds, 0 or more; got {getattr(self, name)}.")
        if self.clock not in ("real", "manual"):
            raise ValueError(f"The clock is 'real' or 'manual', not {self.clock!r}.")
        if self.clock == "manual" and self.speed != 1.0:
            raise ValueError("A manual clock has no speed.")

    @property
    def began(self) -> float | None:
        """The time at which the clock begins, in seconds since the epoch; None for now."""
        if self.start is None:
            return None
        return (self.start if self.start.tzinfo else self.start.replace(tzinfo=UTC)).timestamp()
