"""Hooks for Bedrock's control plane and runtime. They use all settings of the AWS connection in Airflow."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook, BaseAwsConnection
from botocore.exceptions import NoRegionError

from airflow_bedrock.aws_errors import UnreadableResponseError
from airflow_bedrock.uris import Arn

if TYPE_CHECKING:
    from botocore.model import OperationModel
    from mypy_boto3_bedrock import BedrockClient  # noqa: F401 - for the class's type
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient  # noqa: F401 - likewise

Other = TypeVar("Other", bound="AwsGenericHook[Any]")


class MissingRegionError(NoRegionError):
    """Neither the connection nor anything else names the region."""

    fmt = (
        "No AWS region is set. Set region_name in the extra of the Airflow connection or in the task, --region of a "
        "command, or the environment variable AWS_DEFAULT_REGION."
    )


def _check_readable(operation_model: OperationModel, response_dict: dict[str, Any], **_: Any) -> None:
    """Raise UnreadableResponseError if the call succeeded but the body is not a JSON object."""
    shape = operation_model.output_shape
    empty = shape is None or not shape.members
    if response_dict["status_code"] >= 300 or empty or operation_model.has_streaming_output:
        return
    try:
        # As botocore reads it. msgspec would refuse half of a surrogate pair, with which a cut-off answer may end.
        if not isinstance(json.loads(response_dict["body"].decode()), dict):
            raise ValueError("the body is not a JSON object")
    except ValueError as error:
        reason = f"HTTP {response_dict['status_code']}, {response_dict['headers'].get('content-type')}: {error}"
        raise UnreadableResponseError(operation=operation_model.name, error=reason) from error


class _ServiceHook(AwsGenericHook[BaseAwsConnection]):
    client_type: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["client_type"] = self.client_type
        super().__init__(*args, **kwargs)

    def get_client_type(self, *args: Any, **kwargs: Any) -> BaseAwsConnection:
        """Return a new client.

        :raises MissingRegionError: no region is set.
        """
        try:
            client: Any = super().get_client_type(*args, **kwargs)
        except NoRegionError as error:
            raise MissingRegionError from error
        client.meta.events.register(f"before-parse.{self.client_type}", _check_readable)
        return client  # type: ignore[no-any-return]  # botocore makes its classes when it runs

    def _beside(self, hook_class: type[Other], region_name: str | None = None) -> Other:
        """Return a hook for another service or region, with the same connection."""
        region = region_name or self._region_name
        return hook_class(aws_conn_id=self.aws_conn_id, region_name=region, verify=self._verify, config=self._config)


class BedrockHook(_ServiceHook["BedrockClient"]):
    """Amazon Bedrock: customization jobs, custom models, deployments.

    A thin wrapper around :external+boto3:py:class:`boto3.client("bedrock") <Bedrock.Client>`; additional arguments
    (``aws_conn_id``, ``region_name``, ``verify``, ``config``) are those of
    :class:`~airflow.providers.amazon.aws.hooks.base_aws.AwsGenericHook`.
    """

    client_type = "bedrock"

    def forget_client(self) -> None:
        """Make the next call use a new client, with the Airflow connection as it is then."""
        for cached in ("conn", "conn_config", "_client", "_elsewhere"):
            vars(self).pop(cached, None)

    @cached_property
    def _elsewhere(self) -> dict[str, BedrockHook]:
        return {}

    def at(self, arn: str) -> BedrockHook:
        """Return the hook for the region of a resource: the connection may have another region since it was made.

        :param arn: its ARN; for a name, this hook is returned.
        """
        if (region := Arn.of(arn).region) in ("", self.conn_region_name):
            return self
        if region not in self._elsewhere:
            self._elsewhere[region] = self._beside(BedrockHook, region)
        return self._elsewhere[region]

    def tags_of(self, arn: str) -> dict[str, str]:
        """Return the tags of a job or a model by key (ListTagsForResource)."""
        return {tag["key"]: tag["value"] for tag in self.at(arn).conn.list_tags_for_resource(resourceARN=arn)["tags"]}


class BedrockRuntimeHook(_ServiceHook["BedrockRuntimeClient"]):
    """Amazon Bedrock's runtime: Converse and InvokeModel on base models, custom models and deployments."""

    client_type = "bedrock-runtime"
