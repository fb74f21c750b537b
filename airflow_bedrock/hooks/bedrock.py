"""The hooks: Bedrock's control plane and its runtime, with everything an AWS connection of Airflow can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import is_not_found
from airflow_bedrock.customization.job import Job

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient

    _Hook = AwsGenericHook[BedrockClient]
    _RuntimeHook = AwsGenericHook[BedrockRuntimeClient]
else:
    _Hook = _RuntimeHook = AwsGenericHook


class BedrockHook(_Hook):
    """Amazon Bedrock: customization jobs, custom models, deployments.

    A thin wrapper around :external+boto3:py:class:`boto3.client("bedrock") <Bedrock.Client>`; additional arguments
    (``aws_conn_id``, ``region_name``, ``verify``, ``config``) are those of
    :class:`~airflow.providers.amazon.aws.hooks.base_aws.AwsGenericHook`.
    """

    client_type = "bedrock"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["client_type"] = self.client_type
        super().__init__(*args, **kwargs)

    def forget_client(self) -> None:
        """Make the next call with a client of its own, from the Airflow connection as it is by then."""
        for cached in ("conn", "conn_config", "_client"):
            vars(self).pop(cached, None)

    def get_customization_job(self, job_identifier: str) -> Job | None:
        """Look at a job by its ARN or its name (GetModelCustomizationJob).

        :return: None where there is no such job.
        :raises botocore.exceptions.ClientError: any other error of the service.
        """
        try:
            return Job.from_response(self.conn.get_model_customization_job(jobIdentifier=job_identifier))
        except ClientError as error:
            if is_not_found(error):
                return None
            raise

    def list_customization_jobs(self, name_contains: str = "", *, status: str = "") -> list[Job]:
        """Return all jobs with the text in their names, newest first (ListModelCustomizationJobs).

        They have no tokens and no metrics.

        :param status: only jobs in this status.

        :raises botocore.exceptions.ClientError: any error of the service.
        """
        filters: dict[str, Any] = {"nameContains": name_contains, "statusEquals": status}
        pages = self.conn.get_paginator("list_model_customization_jobs").paginate(
            **{name: value for name, value in filters.items() if value},
            sortBy="CreationTime",
            sortOrder="Descending",
            PaginationConfig={"PageSize": 1000},
        )
        return [Job.from_summary(job) for page in pages for job in page.get("modelCustomizationJobSummaries", [])]

    def tags_of(self, arn: str) -> dict[str, str]:
        """Return the tags of a job or a model by key (ListTagsForResource)."""
        return {tag["key"]: tag["value"] for tag in self.conn.list_tags_for_resource(resourceARN=arn)["tags"]}

    def has_custom_model(self, model_identifier: str) -> bool:
        """Whether the custom model still exists (GetCustomModel), by its ARN or its name."""
        try:
            self.conn.get_custom_model(modelIdentifier=model_identifier)
        except ClientError as error:
            if is_not_found(error):
                return False
            raise
        return True


class BedrockRuntimeHook(_RuntimeHook):
    """Amazon Bedrock's runtime: Converse and InvokeModel on base models, custom models and deployments."""

    client_type = "bedrock-runtime"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["client_type"] = self.client_type
        super().__init__(*args, **kwargs)
