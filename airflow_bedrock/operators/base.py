"""The base of the operators and the sensor: an AWS connection, and a hook that is imported when the task runs.

It replaces the amazon provider's AwsBaseOperator, whose module imports boto3: the DAG processor parses each DAG file
again and again, each time in a new process, and would import it each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from airflow.sdk import BaseOperator

from airflow_bedrock import jobs
from airflow_bedrock.exceptions import ArgumentError
from airflow_bedrock.operators.arguments import Rule, given, is_literal, problem

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from airflow.sdk import BaseNotifier

    from airflow_bedrock.hooks import BedrockHook
    from airflow_bedrock.storage import Storage

Notifiers: TypeAlias = "Sequence[BaseNotifier] | BaseNotifier"


def _region(value: Any) -> str:
    """Accept what may be the name of a region; AWS says whether it exists."""
    if not isinstance(value, str) or not re.fullmatch("[A-Za-z0-9-]+", value) or value == "None":
        raise ValueError("must be the name of an AWS region, such as us-east-1")
    return value


def _verify(value: Any) -> bool | str | None:
    """Accept None, True, False, or a path. The file may exist only where the task runs."""
    if not (value is None or isinstance(value, (bool, str))) or str(value).strip() == "":
        raise ValueError("must be True, False, or the path of a CA bundle")
    if value in ("None", "True", "False"):
        raise ValueError("must be True, False, or the path of a CA bundle, and not the text that a template renders")
    return value


def listed(notifiers: Notifiers) -> Sequence[BaseNotifier]:
    """Return one notifier, or several, as a sequence."""
    return notifiers if isinstance(notifiers, Sequence) else [notifiers]


class AwsOperator(BaseOperator):
    """An operator that calls AWS through an AWS connection of Airflow. A subclass says which class its ``hook`` has.

    :param aws_conn_id: the Airflow connection used for AWS credentials; None or empty for boto3's own. (templated)
    :param region_name: the AWS region; by default the connection's. (templated)
    :param verify: whether to verify TLS certificates, or the path of a CA bundle. (templated)
    :param botocore_config: configuration for the botocore client.
    """

    aws_hook_class = "airflow_bedrock.hooks:BedrockHook"
    """The hook's class: ``module:name``."""
    job_key: ClassVar[str | None] = None
    """The key of the XCom that says what is known of the task's own job, for links; None if it has none."""
    rules: ClassVar[Mapping[str, Rule]] = {"region_name": given(_region), "verify": _verify}
    """The rules of the arguments by name. A subclass declares its own, and inherits the others."""

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.rules = {name: rule for one in reversed(cls.__mro__) for name, rule in vars(one).get("rules", {}).items()}

    def _check_literals(self) -> None:
        """Check the arguments that are final when the DAG is parsed: literals, and all that are not templated.

        :raises ArgumentError: lists everything that is wrong.
        """
        self._checked(
            name for name in self.rules if name not in self.template_fields or is_literal(getattr(self, name))
        )

    def _checked(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Return the arguments that have a rule, converted to their types, by name.

        :param names: only these.
        :raises ArgumentError: lists everything that is wrong.
        """
        found, wrong = {}, []
        for name in self.rules if names is None else names:
            value = getattr(self, name)
            try:
                found[name] = self.rules[name](value)
            except ValueError as error:
                wrong.append(problem(name, value, error, is_templated=name in self.template_fields))
        wrong += self._conflicts(found)
        if wrong:
            raise ArgumentError(
                f"Task {self.task_id} cannot run: {'. '.join(wrong)}. Nothing was done and nothing was spent."
            )
        return found

    def _conflicts(self, found: Mapping[str, Any]) -> Iterator[str]:
        """Yield what is wrong with the arguments together.

        :param found: those that are valid on their own, converted, by name.
        """
        return iter(())

    @property
    def _hook_parameters(self) -> dict[str, Any]:
        return {
            "aws_conn_id": self.aws_conn_id,
            "region_name": self.region_name,
            "verify": self.verify,
            "config": self.botocore_config,
        }

    def _connection_of(self, arn: str = "") -> dict[str, Any]:
        """Return the connection for a trigger. Its region is that of the resource, even if the connection is edited.

        :param arn: the resource's ARN; without it, the connection's region at this time.
        """
        region = jobs.uris.Arn.of(arn).region or self.hook.conn_region_name
        return jobs.connection.Connection.of(**{**self._hook_parameters, "region_name": region}).arguments()

    @cached_property
    def hook(self) -> Any:
        """The hook for the task's calls of AWS."""
        return resolve_name(self.aws_hook_class)(**self._hook_parameters)

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


class BedrockOperator(AwsOperator):
    """An operator that calls Bedrock's control plane."""

    hook: BedrockHook
