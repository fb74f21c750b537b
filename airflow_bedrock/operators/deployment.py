"""On-demand inference with a custom model: create its deployment, once, and delete it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Context

from airflow_bedrock import customization, jobs
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.links import JOB_LINKS
from airflow_bedrock.operators.arguments import (
    DEPLOYMENT_NAME,
    MODEL_ARN,
    POLLS,
    Rule,
    flag,
    member,
    named,
    tags_rule,
)
from airflow_bedrock.operators.base import BedrockOperator
from airflow_bedrock.operators.shared_resource import SharedResourceOperator
from airflow_bedrock.shapes import UnknownOperationError, input_shape

if TYPE_CHECKING:
    from airflow_bedrock.customization.identity import Identity, TaskKey
    from airflow_bedrock.customization.job import Seen

_CREATE = "CreateCustomModelDeployment"
_DEPLOYMENT = member(
    "bedrock",
    "DeleteCustomModelDeployment",
    "customModelDeploymentIdentifier",
    "the ARN or the name of a custom model deployment",
)


def _replacing(value: Any) -> bool:
    """Accept True only if botocore can replace the model."""
    if replaces := flag(value):
        try:
            input_shape("bedrock", "UpdateCustomModelDeployment")
        except UnknownOperationError as error:
            raise ValueError(f"cannot be done: {error}") from error
    return replaces


class BedrockCustomModelDeploymentOperator(SharedResourceOperator):
    """Deploy a custom model for on-demand inference, once, however often the task runs.

    A deployment that already has the name and the same model is adopted. A deployment costs nothing while nobody calls
    it, but its stored model does. So neither the end of the task nor ``execution_timeout`` deletes it: a retry adopts
    it.

    Returns (XCom) the deployment's ARN, which Converse and InvokeModel take as ``modelId``.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateCustomModelDeployment.html

    :param model_arn: the custom model's ARN. (templated)
    :param deployment_name: 1 to 63 letters and digits, with single dashes or underscores between them. (templated)
    :param replace_model: if the deployment of that name serves another model, change it to this one: its ARN stays, and
        the former model answers until the change. Waits in a worker. (default: fail)
    :param waiter_delay: seconds between two polls, more than 0.
    :param waiter_max_attempts: maximum number of polls, at least 1; after these the task fails, and may be retried.
    """

    kind = "airflow_bedrock.jobs.resources.deployment:DEPLOYMENT"
    rules: ClassVar[Mapping[str, Rule]] = {
        "model_arn": MODEL_ARN,
        "deployment_name": DEPLOYMENT_NAME,
        "tags": tags_rule(_CREATE, "tags"),
        "replace_model": _replacing,
    }
    template_fields: Sequence[str] = (*SharedResourceOperator.template_fields, *rules)
    operator_extra_links = JOB_LINKS

    def __init__(
        self,
        *,
        model_arn: str,
        deployment_name: str,
        replace_model: bool = False,
        waiter_delay: float | None = 30,
        waiter_max_attempts: int | None = 120,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            waiter_delay=waiter_delay,
            waiter_max_attempts=waiter_max_attempts,
            stop_on_kill=False,
            stop_on_timeout=False,
            **kwargs,
        )
        self.model_arn = model_arn
        self.deployment_name = deployment_name
        self.replace_model = replace_model
        self._check_literals()

    def _members(self) -> dict[str, Any]:
        return {"modelDeploymentName": self.deployment_name, "modelArn": self.model_arn}

    def _identity(self, task_key: TaskKey, request: Mapping[str, Any] | None = None) -> Identity:
        members, named = self._members(), {"name": self.deployment_name}  # the name is part of the request
        # A Clear is a new ask: the service ignores a request with a known token, so a deployment that was deleted
        # could not be made again with the same token.
        return customization.identity.identify(
            members, [named], task_key, "dag", exact=True, name="modelDeploymentName", model_name=None
        )

    def _request(self, arguments: Mapping[str, Any], task_key: TaskKey) -> dict[str, Any]:
        if warning := customization.model_rules.life_warning(self.model_arn):
            self.log.warning(warning)
        return {**self._members(), "tags": self._tagged(arguments["tags"], task_key)}

    def _ask(self, context: Context, arguments: Mapping[str, Any], **how: Any) -> jobs.submission.Submission:
        return super()._ask(context, arguments, update=arguments["replace_model"], **how)

    def _reserving(self, *_: Any) -> None:
        return None  # a deployment costs nothing

    def _settle(self, *_: Any) -> None:
        pass  # so there is nothing to settle

    def _ended(self, found: Seen, kill: jobs.on_kill.KillSwitch, **so_far: Any) -> Seen:
        if found.status == "Updating":  # List, which the triggerer uses, does not show it
            found = self._end_of(found)
        return super()._ended(found, kill, **so_far)

    @contextmanager
    def _may_be_gone(self) -> Iterator[None]:
        yield  # perhaps this task made it, whose retries cannot make another with the same token

    def _result(self, found: Seen, context: Context) -> str:
        if not jobs.deployment.serves(found, {"modelArn": self.model_arn}):
            raise BedrockFatalError(
                f"Deployment {found.arn} serves another model: it could not be changed to {self.model_arn}, or "
                "somebody has changed it since. Check it in the AWS console, and clear this task to try again."
            )
        self.log.info("Deployment %s is Active", found.arn)
        return found.arn


class BedrockDeleteCustomModelDeploymentOperator(BedrockOperator):
    """Delete a custom model deployment, and wait until it is gone. If it does not exist, the task succeeds.

    The model behind it stays, and is billed for its storage until it is deleted
    (:class:`~airflow_bedrock.operators.BedrockDeleteCustomModelOperator`).

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_DeleteCustomModelDeployment.html

    :param deployment_arn: the deployment's ARN or name. A deployment named None needs its ARN, since a template that
        finds nothing renders None. (templated)
    :param waiter_delay: seconds between two tries or polls, more than 0.
    :param waiter_max_attempts: maximum number of polls until it can be deleted, and as many until it is gone.
    """

    rules: ClassVar[Mapping[str, Rule]] = {"deployment_arn": named(_DEPLOYMENT), **POLLS}
    template_fields: Sequence[str] = (*BedrockOperator.template_fields, "deployment_arn")

    def __init__(
        self, *, deployment_arn: str, waiter_delay: float = 30, waiter_max_attempts: int = 120, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.deployment_arn = deployment_arn
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self._check_literals()

    def execute(self, context: Context) -> None:
        """Delete the deployment.

        :raises BedrockFatalError: the service rejected it.
        :raises BedrockError: it was not deleted in time, or a transient error occurred.
        """
        self._checked()
        deployments = jobs.service.Service(jobs.deployment.DEPLOYMENT, self.hook)
        jobs.stopping.delete(
            deployments, self.deployment_arn, delay=self.waiter_delay, max_polls=self.waiter_max_attempts
        )
