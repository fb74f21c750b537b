"""The base of the registry's operators: a line of models, the location of its register, and the settings of waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_bedrock import configuration
from airflow_bedrock.operators.arguments import DEPLOYMENT_NAME, POLLS, Rule
from airflow_bedrock.operators.base import AwsOperator
from airflow_bedrock.uris import bucket_of

if TYPE_CHECKING:
    from airflow_bedrock.hooks import BedrockModelRegistryHook


def registry_uri_rule(value: Any) -> str:
    """Accept a prefix on S3."""
    if not isinstance(value, str) or not bucket_of(value):
        raise ValueError("must be s3://bucket/prefix; set it, or [bedrock] registry_uri in Airflow's configuration")
    return value


class RegistryOperator(AwsOperator):
    """An operator on a line of models.

    :param deployment_name: the name of the line of models, and of its deployment. (templated)
    :param registry_uri: the S3 prefix of the registry. (templated; default: ``[bedrock] registry_uri``)
    :param kms_key_id: the KMS key that encrypts the registry. (templated)
    :param waiter_delay: seconds between two polls of a deployment.
    :param waiter_max_attempts: maximum number of polls for one change of a deployment.
    """

    hook: BedrockModelRegistryHook
    aws_hook_class = "airflow_bedrock.hooks:BedrockModelRegistryHook"
    rules: ClassVar[Mapping[str, Rule]] = {
        "deployment_name": DEPLOYMENT_NAME,
        "registry_uri": registry_uri_rule,
        **POLLS,
    }
    template_fields: Sequence[str] = (*AwsOperator.template_fields, "deployment_name", "registry_uri", "kms_key_id")

    def __init__(
        self,
        *,
        deployment_name: str,
        registry_uri: str | None = None,
        kms_key_id: str | None = None,
        waiter_delay: float = 30,
        waiter_max_attempts: int = 120,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deployment_name = deployment_name
        self.registry_uri = registry_uri if registry_uri is not None else configuration.registry_uri()
        self.kms_key_id = kms_key_id
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts

    @property
    def _hook_parameters(self) -> dict[str, Any]:
        return {**super()._hook_parameters, "registry_uri": self.registry_uri, "kms_key_id": self.kms_key_id}
