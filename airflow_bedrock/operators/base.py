"""The base of the operators and the sensor: an AWS connection, and a hook that is imported when the task runs.

It replaces the amazon provider's AwsBaseOperator, whose module imports boto3: the DAG processor parses each DAG file
again and again, each time in a new process, and would import it each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from airflow.sdk import BaseOperator

from airflow_bedrock.uris import Arn

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from airflow.sdk import BaseNotifier

    from airflow_bedrock.hooks import BedrockHook  # noqa: F401 - for the class's type
    from airflow_bedrock.operators.arguments import Arguments, Conflicts, Rule
    from airflow_bedrock.storage import Storage

Hook = TypeVar("Hook", bound="AwsGenericHook[Any]")
Notifiers: TypeAlias = "Sequence[BaseNotifier] | BaseNotifier"


def listed(notifiers: Notifiers) -> Sequence[BaseNotifier]:
    """Return one notifier, or several, as a sequence."""
    return notifiers if isinstance(notifiers, Sequence) else [notifiers]


class AwsOperator(BaseOperator, Generic[Hook]):
    """An operator that calls AWS through an AWS connection of Airflow.

    :param aws_conn_id: the Airflow connection used for AWS credentials; None or empty for boto3's own. (templated)
    :param region_name: the AWS region; by default the connection's. (templated)
    :param verify: whether to verify TLS certificates, or the path of a CA bundle. (templated)
    :param botocore_config: configuration for the botocore client.
    """

    aws_hook_class: str | type[Hook] = "airflow_bedrock.hooks:BedrockHook"
    """The hook's class, or its place as ``module:name``."""

    template_fields: Sequence[str] = ("aws_conn_id", "region_name", "verify")

    def __init__(
        self,
        *,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    @property
    def _hook_parameters(self) -> dict[str, Any]:
        return {
            "aws_conn_id": self.aws_conn_id,
            "region_name": self.region_name,
            "verify": self.verify,
            "config": self.botocore_config,
        }

    def _connection_of(self, arn: str = "") -> dict[str, Any]:
        """Return the connection for a trigger. Its region is that of the resource, also if the connection is edited.

        :param arn: the resource's ARN; without it, the connection's region at this time.
        """
        from airflow_bedrock.jobs.connection import Connection  # here, since a DAG file does not need it

        region = Arn.of(arn).region or self.hook.conn_region_name
        return Connection.of(**{**self._hook_parameters, "region_name": region}).arguments()

    def _arguments(self, rules: Mapping[str, Rule], *conflicts: Conflicts) -> Arguments:
        """Return the arguments for the check."""
        from airflow_bedrock.operators.arguments import Arguments  # here, since operators without rules do not need it

        return Arguments(
            task_id=self.task_id,
            values={name: getattr(self, name) for name in rules},
            templated=self.template_fields,
            rules=rules,
            conflicts=conflicts,
        )

    @cached_property
    def hook(self) -> Hook:
        """The hook for the task's calls of AWS."""
        where = self.aws_hook_class
        hook_class: type[Hook] = resolve_name(where) if isinstance(where, str) else where
        return hook_class(**self._hook_parameters)

    @cached_property
    def _s3(self) -> S3Hook:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        return S3Hook(**self._hook_parameters)

    def _files(self, kms_key_id: str | None = None) -> Storage:
        """Return the storage for reading and writing files, on S3 through the operator's connection.

        :param kms_key_id: the KMS key that encrypts files on S3; None for the bucket's default.
        """
        from airflow_bedrock.storage import Storage

        return Storage(lambda: self._s3.conn, kms_key_id)


BedrockOperator = AwsOperator["BedrockHook"]
"""One that calls Bedrock's control plane."""
