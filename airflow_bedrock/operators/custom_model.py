"""Delete a custom model, whose storage is billed each month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_bedrock import jobs
from airflow_bedrock.exceptions import kind_of
from airflow_bedrock.operators.arguments import Rule, member, named
from airflow_bedrock.operators.base import BedrockOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


_IDENTIFIER = member("bedrock", "DeleteCustomModel", "modelIdentifier", "the ARN or the name of a custom model")


class BedrockDeleteCustomModelOperator(BedrockOperator):
    """Delete a custom model, for good. If it does not exist, the task succeeds.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_DeleteCustomModel.html

    :param model_identifier: the custom model's ARN or name. A model named None needs its ARN, since a template that
        finds nothing renders None. (templated)
    """

    rules: ClassVar[Mapping[str, Rule]] = {"model_identifier": named(_IDENTIFIER)}
    template_fields: Sequence[str] = (*BedrockOperator.template_fields, *rules)

    def __init__(self, *, model_identifier: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_identifier = model_identifier
        self._check_literals()

    def execute(self, context: Context) -> None:
        """Delete the model.

        :raises BedrockFatalError: the service rejected it, e.g. because a deployment still uses the model.
        :raises BedrockError: a transient error occurred.
        """
        self._checked()
        try:
            existed = jobs.service.Service(jobs.created_model.CREATED_MODEL, self.hook).delete(self.model_identifier)
        except jobs.aws_errors.CALL_ERRORS as error:
            raise kind_of(error)(
                f"Custom model {self.model_identifier} was not deleted, and its storage is still billed: {error}. "
                "First delete the deployments and provisioned throughput that use it."
            ) from error
        outcome = "was deleted; its storage is no longer billed" if existed else "does not exist: nothing to delete"
        self.log.info("Custom model %s %s", self.model_identifier, outcome)
