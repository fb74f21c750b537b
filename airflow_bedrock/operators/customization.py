"""The operator that asks for a model customization job, and pays for it once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.base_aws import AwsBaseOperator
from airflow.providers.amazon.aws.utils.mixins import aws_template_fields
from airflow.providers.common.compat.sdk import conf
from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import error_code, is_transient
from airflow_bedrock.configuration import poll_interval
from airflow_bedrock.customization.decision import Decision, decide
from airflow_bedrock.customization.identity import REUSE_CHOICES, Asker, Identity, identify
from airflow_bedrock.customization.job import Job, Outcome, changes
from airflow_bedrock.customization.request import RequestError, build_request, check_request, data_uris
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.hooks.customization_data import DataNotFoundError, describe_data
from airflow_bedrock.hooks.finished_job import job_of_event, look_at_job, result_of
from airflow_bedrock.triggers.customization import BedrockModelCustomizationTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

# Codes with which the service may refuse a name that is in use; which one it is, a look at the name tells.
_NAME_MAY_BE_IN_USE = frozenset({"ConflictException", "ResourceInUseException", "ValidationException"})


class BedrockModelCustomizationOperator(AwsBaseOperator[BedrockHook]):
    """Customize an Amazon Bedrock model: make one paid job for what is asked, however often the task runs.

    The names and the clientRequestToken of the job are derived from who asks (DAG, task, map index and, unless
    ``reuse`` says otherwise, the run) and from what is asked (the request and the content of the data). Each try
    derives the same ones, looks for the job, and adopts it while it runs, takes its model once it has completed, or
    makes the next generation after it has failed, was stopped, or its model was deleted.

    Returns the job's ARN; pushes it as XCom ``job_arn`` the moment the job exists and, where it waits, the result
    mapping of the completed job as XCom ``result`` (see
    :class:`~airflow_bedrock.sensors.BedrockModelCustomizationSensor`).

    .. seealso:: `CreateModelCustomizationJob
        <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelCustomizationJob.html>`__

    :param job_name: how the job's name begins; a digest follows it. (templated)
    :param custom_model_name: how the custom model's name begins; a digest follows it. (templated)
    :param role_arn: the role that Bedrock assumes to read the data and write the output. (templated)
    :param base_model_id: id or ARN of the foundation model, or ARN of a custom model. (templated)
    :param training_data_uri: S3 URI of the training data, a JSONL file. (templated)
    :param output_data_uri: S3 URI below which the job writes its metrics. (templated)
    :param hyperparameters: by the names of the model's family; without them the service takes its
        defaults. (templated)
    :param ensure_unique_job_name: with False the two names are used as they are, without a digest; then there is no
        next generation, and the task fails if the name is used up. (templated)
    :param customization_job_kwargs: further members of the request by their API names, for example ``vpcConfig``,
        ``customizationType``, ``customModelKmsKeyId``, ``jobTags``. (templated)
    :param wait_for_completion: wait for the job's end. (default: True)
    :param waiter_delay: seconds between two looks at the job. (default: ``[bedrock] poll_interval``, 60)
    :param waiter_max_attempts: looks after which the wait is given up; the job is left running. By default the
        wait has no limit but ``execution_timeout``.
    :param deferrable: wait in the triggerer instead of in a worker slot; implies waiting.
    :param validation_data_uri: one S3 URI of validation data, or several. (templated)
    :param reuse: how far the same request finds the same job: ``run`` (default), ``dag`` (across the runs of the
        DAG), or ``never`` (each Clear of the task pays for a new job; retries still do not). (templated)
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in every operator of the amazon provider.
    """

    aws_hook_class = BedrockHook
    template_fields: Sequence[str] = aws_template_fields(
        "job_name",
        "custom_model_name",
        "role_arn",
        "base_model_id",
        "training_data_uri",
        "output_data_uri",
        "validation_data_uri",
        "hyperparameters",
        "ensure_unique_job_name",
        "customization_job_kwargs",
        "reuse",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "hyperparameters": "json",
        "customization_job_kwargs": "json",
    }
    ui_color = "#66c3ff"

    def __init__(
        self,
        job_name: str,
        custom_model_name: str,
        role_arn: str,
        base_model_id: str,
        training_data_uri: str,
        output_data_uri: str,
        hyperparameters: Mapping[str, object] | None = None,
        ensure_unique_job_name: bool = True,
        customization_job_kwargs: Mapping[str, Any] | None = None,
        wait_for_completion: bool = True,
        waiter_delay: float | None = None,
        waiter_max_attempts: int | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        *,
        validation_data_uri: str | Sequence[str] | None = None,
        reuse: str = "run",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.custom_model_name = custom_model_name
        self.role_arn = role_arn
        self.base_model_id = base_model_id
        self.training_data_uri = training_data_uri
        self.output_data_uri = output_data_uri
        self.validation_data_uri = validation_data_uri
        self.hyperparameters = hyperparameters
        self.ensure_unique_job_name = ensure_unique_job_name
        self.customization_job_kwargs = customization_job_kwargs
        self.wait_for_completion = wait_for_completion
        self.waiter_delay = waiter_delay or poll_interval()
        self.waiter_max_attempts = waiter_max_attempts
        self.deferrable = deferrable
        self.reuse = reuse

    def execute(self, context: Context) -> str:
        """Find or create the job, and wait for it if asked to."""
        request = self._request()
        job = self._find_or_create(request, self._identify(request, context))
        context["ti"].xcom_push(key="job_arn", value=job.arn)
        if job.outcome is Outcome.SUCCEEDED:
            return self._finish(job, context)
        if self.deferrable:
            self._defer(job)
        if self.wait_for_completion:
            return self._finish(self._wait(job), context)
        return job.arn

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> str:
        """Take up the trigger's event."""
        return self._finish(job_of_event(self.hook, event), context)

    def _request(self) -> dict[str, Any]:
        request = build_request(
            job_name=self.job_name,
            custom_model_name=self.custom_model_name,
            role_arn=self.role_arn,
            base_model_id=self.base_model_id,
            training_data_uri=self.training_data_uri,
            output_data_uri=self.output_data_uri,
            validation_data_uri=self.validation_data_uri,
            hyperparameters=self.hyperparameters,
            extra=self.customization_job_kwargs,
        )
        if self.reuse not in REUSE_CHOICES:
            raise BedrockFatalError(f"reuse must be one of {', '.join(REUSE_CHOICES)}; got {self.reuse!r}")
        return request

    def _identify(self, request: Mapping[str, Any], context: Context) -> Identity:
        try:
            data = describe_data(self._s3, data_uris(request))
        except DataNotFoundError as error:
            raise BedrockFatalError(f"{error}. No job was made and nothing was spent.") from error
        ti, run = context["ti"], context["dag_run"]
        asker = Asker(
            dag_id=ti.dag_id,
            task_id=ti.task_id,
            run_id=ti.run_id,
            map_index=-1 if ti.map_index is None else ti.map_index,
            clear_number=getattr(run, "clear_number", 0),
        )
        # A templated False arrives as a string.
        exact = str(self.ensure_unique_job_name) == "False"
        return identify(request, data, asker, self.reuse, exact=exact)  # type: ignore[arg-type]  # checked in _request

    def _find_or_create(self, request: Mapping[str, Any], identity: Identity) -> Job:
        generation = 1
        while True:
            name, token = identity.job_name(generation), identity.token(generation)
            found = self.hook.get_customization_job(name)
            decision = decide(found, token)
            if found is None:
                return self._create(
                    {
                        **request,
                        "jobName": name,
                        "customModelName": identity.model_name(generation),
                        "clientRequestToken": token,
                    }
                )
            if decision is Decision.ADOPT:
                self.log.info("Job %s was asked for before and is %s: adopting it", found.arn, found.status)
                return found
            if decision is Decision.REUSE and self.hook.has_custom_model(str(found.model_arn)):
                self.log.info(
                    "Job %s has already done what is asked for, with the same request and the same data: reusing its "
                    "model %s, which costs nothing. To train again, set reuse='never' and clear this task.",
                    found.arn,
                    found.model_arn,
                )
                return found
            if decision in (Decision.CLASH, Decision.UNKNOWN) or identity.exact:
                raise BedrockFatalError(_cannot_go_on(found, decision))
            self.log.info("Job %s is %s and has left no model: going on to its next generation", name, found.status)
            generation += 1

    def _create(self, request: Mapping[str, Any]) -> Job:
        """Create the job. A worker that is killed from here on leaves a job that the next try finds by its name."""
        name = request["jobName"]
        try:
            check_request(request)
        except RequestError as error:
            raise BedrockFatalError(str(error)) from error
        self.log.info("Creating model customization job %s", name)
        try:
            arn = self.hook.conn.create_model_customization_job(**request)["jobArn"]
        except ClientError as error:
            if error_code(error) in _NAME_MAY_BE_IN_USE:
                found = self.hook.get_customization_job(name)
                if decide(found, request["clientRequestToken"]) is Decision.ADOPT:
                    self.log.info("Job %s was created by another try at the same moment: adopting it", name)
                    return look_at_job(self.hook, name)
            message = f"CreateModelCustomizationJob for {name} was refused, and nothing was spent: {error}"
            raise (BedrockError if is_transient(error) else BedrockFatalError)(message) from error
        self.log.info("Created model customization job %s; it is billed from now on", arn)
        return Job(arn=arn, name=name, status="InProgress")

    def _defer(self, job: Job) -> None:
        self.log.info("Waiting in the triggerer for job %s", job.arn)
        self.defer(
            trigger=BedrockModelCustomizationTrigger(
                job_identifier=job.arn,
                poll_interval=self.waiter_delay,
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
                verify=self.verify,
                botocore_config=self.botocore_config,
            ),
            method_name=self.execute_complete.__name__,
            # Airflow does not enforce execution_timeout while a task is deferred.
            timeout=self.execution_timeout,
        )

    def _wait(self, job: Job) -> Job:
        looks = 0
        seen: Job | None = None
        while True:
            try:
                job = look_at_job(self.hook, job.arn)
            except ClientError as error:
                if not is_transient(error):
                    raise
                self.log.warning("Could not look at job %s, will look again: %s", job.arn, error)
            else:
                for line in changes(seen, job):
                    self.log.info(line)
                seen = job
                if job.outcome is not Outcome.RUNNING:
                    return job
            looks += 1
            if self.waiter_max_attempts is not None and looks >= self.waiter_max_attempts:
                raise BedrockError(
                    f"Job {job.arn} still runs after {looks} looks, {self.waiter_delay} s apart. It was not stopped "
                    "and is billed until it ends; another try of this task adopts it and waits again."
                )
            time.sleep(self.waiter_delay)

    def _finish(self, job: Job, context: Context) -> str:
        context["ti"].xcom_push(key="result", value=result_of(job, self._s3))
        return job.arn

    @cached_property
    def _s3(self) -> S3Hook:
        return S3Hook(**self._hook_parameters)


def _cannot_go_on(found: Job, decision: Decision) -> str:
    if decision is Decision.UNKNOWN:
        return (
            f"Job {found.arn} has a status that is not known: {found.status}. It was neither reused nor replaced, "
            "since it may run and be billed: look at it in the AWS console, and upgrade airflow-bedrock."
        )
    whose = "another request made it" if decision is Decision.CLASH else "it has left no model"
    return (
        f"The job name {found.name} is used up: job {found.arn} is {found.status}, and {whose}. Nothing was spent. "
        "A job's name cannot be used again: choose another one, or let ensure_unique_job_name=True add to it."
    )
