"""The hooks: Bedrock's control plane and its runtime, with everything an AWS connection of Airflow can say."""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook


class BedrockHook(AwsBaseHook):
    """Amazon Bedrock: customization jobs, custom models, deployments.

    A thin wrapper around :external+boto3:py:class:`boto3.client("bedrock") <Bedrock.Client>`; additional arguments
    (``aws_conn_id``, ``region_name``, ``verify``, ``config``) are those of
    :class:`~airflow.providers.amazon.aws.hooks.base_aws.AwsBaseHook`.
    """

    client_type = "bedrock"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["client_type"] = self.client_type
        super().__init__(*args, **kwargs)


class BedrockRuntimeHook(AwsBaseHook):
    """Amazon Bedrock's runtime: Converse and InvokeModel on base models, custom models and deployments."""

    client_type = "bedrock-runtime"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["client_type"] = self.client_type
        super().__init__(*args, **kwargs)
