"""The engine: find or create, wait, stop, once for everything that is paid for.

The operators name its modules through this package, which imports each when it is first used: they load boto3, and
Airflow imports the operators whenever it parses a DAG file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_bedrock._lazy import lazy_modules

_KINDS = (
    "copy_job",
    "created_model",
    "customization_job",
    "deployment",
    "import_job",
    "invocation_job",
    "provisioned_throughput",
)
__all__ = [
    "account",
    "aws_errors",
    "connection",
    "copy_job",
    "created_model",
    "customization_job",
    "deployment",
    "import_job",
    "invocation_job",
    "on_kill",
    "own_jobs",
    "provisioned_throughput",
    "s3",
    "second_witness",
    "service",
    "sharing",
    "stopping",
    "submission",
    "task_state",
    "waiting",
]

if TYPE_CHECKING:
    from airflow_bedrock import aws_errors
    from airflow_bedrock.jobs import (
        account,
        connection,
        on_kill,
        own_jobs,
        s3,
        second_witness,
        service,
        sharing,
        stopping,
        submission,
        task_state,
        waiting,
    )
    from airflow_bedrock.jobs.resources import (
        copy_job,
        created_model,
        customization_job,
        deployment,
        import_job,
        invocation_job,
        provisioned_throughput,
    )
else:
    elsewhere = {"aws_errors": "..aws_errors"} | {kind: f".resources.{kind}" for kind in _KINDS}
    __getattr__ = lazy_modules(__name__, {name: elsewhere.get(name, f".{name}") for name in __all__})
