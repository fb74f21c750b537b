"""On-demand inference with a custom model: create its deployment, once, and delete it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_bedrock import __version__, configuration, jobs, triggers
from airflow_bedrock.compat import conf
from airflow_bedrock.customization.identity import identify
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.customization.model_rules import life_warning
from airflow_bedrock.customization.tags import automatic_tags, with_tags
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.links.customization import JOB_LINKS
from airflow_bedrock.operators.arguments import DEPLOYMENT_NAME, MODEL_ARN, POLLS, Rule, given, member, named, tags_rule
from airflow_bedrock.operators.base import BedrockOperator
from airflow_bedrock.operators.job_request import asker_of
from airflow_bedrock.shapes import UnknownOperationError, input_shape

if TYPE_CHECKING:
    from airflow.sdk import Context


_FOR_EVER = 10 * 365 * 24 * 60 * 60.0  # seconds; Airflow adds them to the date, which ends with the year 9999
_CREATE = "CreateCustomModelDeployment"
_DEPLOYMENT = member(
    "bedrock",
    "DeleteCustomModelDeployment",
    "customModelDeploymentIdentifier",
    "the ARN or the name of a custom model deployment",
)


def _replacing(value: Any) -> bool:
    """Take True only where botocore can replace the model."""
    if value:
        try:
            input_shape("bedrock", "UpdateCustomModelDeployment")
        except UnknownOperationError as error:
            raise ValueError(f"cannot be done: {error}") from error
    return bool(value)


_CREATION_RULES: Mapping[str, Rule] = {
    "model_arn": MODEL_ARN,
    "deployment_name": DEPLOYMENT_NAME,
    "description": given(member("bedrock", _CREATE, "description", "text of at most 2048 characters, in one line")),
    "tags": tags_rule(_CREATE, "tags"),
    "replace_model": _replacing,
    **POLLS,
}
_DELETION_RULES: Mapping[str, Rule] = {"deployment_arn": named(_DEPLOYMENT), **POLLS}


class BedrockCustomModelDeploymentOperator(BedrockOperator):
    """Deploy a custom model for on-demand inference; however often the task runs, there is one deployment.

    The name is the state: a deployment that already bears the name and has the same model is adopted. A deployment
    costs nothing while it is not called; the stored model does.

    Returns (XCom) the deployment's ARN, which Converse and InvokeModel take as ``modelId``.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateCustomModelDeployment.html

    :param model_arn: the custom model's ARN. (templated)
    :param deployment_name: 1 to 63 letters and digits, with single dashes or underscores between them. (templated)
    :param description: a text for people. (templated)
    :param tags: tags of the deployment: key → value. (templated)
    :param tag_resources: tag it with DAG, run, task, map index and package version too, by which
        :class:`~airflow_bedrock.operators.BedrockRetireModelsOperator` knows it. (default: True)
    :param replace_model: give a deployment of that name which serves another model this one: its ARN stays, and the
        former model answers until then. Waits in a worker. (default: fail)
    :param wait_for_completion: wait until it is Active; with False, return as soon as it is being created, and do not
        defer either, whatever ``deferrable`` says.
    :param deferrable: wait in the triggerer instead of in a worker slot. (default: ``[operators] default_deferrable``)
    :param waiter_delay: seconds between two polls, more than 0.
    :param waiter_max_attempts: maximum number of polls, at least 1; then the task fails, and may be tried
        again.
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in every operator of the amazon provider.
    """

    template_fields: Sequence[str] = (
        *BedrockOperator.template_fields,
        "model_arn",
        "deployment_name",
        "description",
        "tags",
    )
    operator_extra_links = JOB_LINKS

    def __init__(
        self,
        *,
        model_arn: str,
        deployment_name: str,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        tag_resources: bool = True,
        replace_model: bool = False,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        waiter_delay: float = 30,
        waiter_max_attempts: int = 120,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_arn = model_arn
        self.deployment_name = deployment_name
        self.description = description
        self.tags = tags
        self.tag_resources = tag_resources
        self.replace_model = replace_model
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self._arguments(_CREATION_RULES).check_literals()

    def execute(self, context: Context) -> str:
        """Find or create the deployment, wait for it if asked to, and return its ARN.

        :raises BedrockFatalError: it failed, its name belongs to another model, or the service refused it for good.
        :raises BedrockError: it is not Active in time, the account's quota is used up, or a fault that may pass came
            between.
        """
        arguments = self._arguments(_CREATION_RULES).checked()
        if warning := life_warning(self.model_arn):
            self.log.warning(warning)
        try:
            found = self._submission(context, arguments["tags"]).find_or_create()
        except jobs.submission.NoSlotError as error:
            raise BedrockError(
                f"{error} Delete a deployment that is not needed, or ask for a higher quota; a retry then deploys it."
            ) from error
        if found.outcome is Outcome.SUCCEEDED or not self.wait_for_completion:
            return found.arn
        if self.deferrable and found.status != "Updating":  # which List does not show
            self._defer(found.arn, time.time() + self.waiter_delay * self.waiter_max_attempts)
        return self._finish(
            jobs.waiting.wait_for(
                self._service,
                found.arn,
                delay=self.waiter_delay,
                max_polls=self.waiter_max_attempts,
                no_response_timeout=configuration.no_response_timeout(),
            )
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> str:
        """Take up the trigger's event."""
        return self._finish(jobs.waiting.job_of_event(self._service, event, configuration.no_response_timeout()))

    def _submission(self, context: Context, tags: list[Mapping[str, str]] | None) -> jobs.submission.Submission:
        asker, named = asker_of(context), {"name": self.deployment_name}  # which is part of what is asked for
        all_tags = with_tags(tags or [], automatic_tags(asker, __version__) if self.tag_resources else {})
        request = {
            "modelDeploymentName": self.deployment_name,
            "modelArn": self.model_arn,
            **({"description": self.description} if self.description else {}),
            **({"tags": all_tags} if all_tags else {}),
        }
        return jobs.submission.Submission(
            service=self._service,
            request=request,
            # An ask of its own after a Clear: the service ignores a request whose token it has seen, so a deployment
            # that was deleted since could not be made again with the same.
            identity=identify(request, [named], asker, "dag", exact=True, name="modelDeploymentName", model_name=None),
            waiter=Waiter.of(asker, waits=self.wait_for_completion),
            update=self.replace_model,
            witness=jobs.second_witness.witness_of(context, asker, self._service),
        )

    @property
    def _service(self) -> jobs.service.Service:
        return jobs.service.Service(jobs.deployment.DEPLOYMENT, self.hook)

    def _defer(self, arn: str, deadline: float) -> NoReturn:
        self.log.info("Waiting in the triggerer for deployment %s", arn)
        self.defer(
            trigger=triggers.BedrockCustomModelDeploymentTrigger(
                deployment_arn=arn,
                deadline=deadline,
                waiter_delay=self.waiter_delay,
                **jobs.connection.Connection.of(**self._hook_parameters).arguments(),
            ),
            method_name=self.execute_complete.__name__,
            # Beyond the trigger's own deadline, for a triggerer that is down. Airflow does not enforce
            # execution_timeout while a task is deferred.
            timeout=self.execution_timeout or timedelta(seconds=min(max(0, deadline - time.time()) + 600, _FOR_EVER)),
        )

    def _finish(self, found: Seen) -> str:
        """Return the ARN of the deployment if it is Active; anything else, known or not, is an error."""
        if found.outcome is not Outcome.SUCCEEDED:
            raise BedrockFatalError(jobs.deployment.DEPLOYMENT.failure_message(found))
        if not jobs.deployment.serves(found, {"modelArn": self.model_arn}):
            raise BedrockFatalError(
                f"Deployment {found.arn} serves another model: it could not be given {self.model_arn}, or somebody has "
                "changed it since. Look at it in the AWS console, and clear this task to try again."
            )
        self.log.info("Deployment %s is Active", found.arn)
        return found.arn


class BedrockDeleteCustomModelDeploymentOperator(BedrockOperator):
    """Delete a custom model deployment, and wait until it is gone. One that is not there is deleted already.

    The model behind it stays, and is billed for its storage until it is deleted
    (:class:`~airflow_bedrock.operators.BedrockDeleteCustomModelOperator`).

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_DeleteCustomModelDeployment.html

    :param deployment_arn: the deployment's ARN or name. One whose name is None goes by its ARN alone: None is what a
        template that finds nothing renders. (templated)
    :param waiter_delay: seconds between two tries or polls, more than 0.
    :param waiter_max_attempts: maximum number of polls, both while it cannot be deleted yet and until it is gone.
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in every operator of the amazon provider.
    """

    template_fields: Sequence[str] = (*BedrockOperator.template_fields, "deployment_arn")

    def __init__(
        self, *, deployment_arn: str, waiter_delay: float = 30, waiter_max_attempts: int = 120, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.deployment_arn = deployment_arn
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self._arguments(_DELETION_RULES).check_literals()

    def execute(self, context: Context) -> None:
        """Delete the deployment.

        :raises BedrockFatalError: the service refused it for good.
        :raises BedrockError: it is not gone in time, or a fault that may pass came between.
        """
        self._arguments(_DELETION_RULES).checked()
        deployments = jobs.service.Service(jobs.deployment.DEPLOYMENT, self.hook)
        jobs.stopping.delete(
            deployments, self.deployment_arn, delay=self.waiter_delay, max_polls=self.waiter_max_attempts
        )
