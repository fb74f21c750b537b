"""Links to a task's job, model and output. They read XComs, so they show while the task is deferred and after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

from airflow_bedrock import customization

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class CustomizationJobLink(BaseOperatorLink):
    """The job in the AWS console, from the moment it exists."""

    name = "Bedrock job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty while there is no job."""
        job_arn = _xcom(ti_key, "job_arn")
        return customization.console.resource_url(job_arn) if job_arn else ""


class CustomModelLink(BaseOperatorLink):
    """The custom model in the AWS console, once it exists."""

    name = "Custom model"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty while there is no model."""
        result: Mapping[str, Any] = _xcom(ti_key, "result") or {}
        return customization.console.resource_url(result["custom_model_arn"]) if result.get("custom_model_arn") else ""


class OutputDataLink(BaseOperatorLink):
    """The job's metrics files in the AWS console, once they exist."""

    name = "Output in S3"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty while there is no output."""
        result: Mapping[str, Any] = _xcom(ti_key, "result") or {}
        uri = result.get("artifacts_uri")
        return customization.console.s3_url(uri, result["job_arn"]) if uri else ""


def _xcom(ti_key: TaskInstanceKey, key: str) -> Any:
    return XCom.get_value(ti_key=ti_key, key=key)
