"""The sensor that waits for a model customization job, in a worker or, better, in the triggerer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.sensors.base_aws import AwsBaseSensor
from airflow.providers.amazon.aws.utils.mixins import aws_template_fields
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, PokeReturnValue

from airflow_bedrock.aws_errors import is_transient
from airflow_bedrock.configuration import poll_interval
from airflow_bedrock.customization.job import Job, Outcome, changes
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.hooks.finished_job import job_of_event, look_at_job, result_of
from airflow_bedrock.triggers.customization import BedrockModelCustomizationTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class BedrockModelCustomizationSensor(AwsBaseSensor[BedrockHook]):
    """Wait for an Amazon Bedrock model customization job.

    Succeeds on ``Completed`` alone. ``Failed`` and ``Stopped`` fail the task with the service's message, and are not
    retried: no retry of the wait can mend the job. ``Stopping`` is still running. A status that is not known fails.

    The return value is a mapping: ``job_arn``, ``job_name``, ``status``, ``base_model_arn``, ``custom_model_arn``,
    ``custom_model_name``, ``training_loss``, ``validation_loss``, ``validation_losses``, ``losses_by_epoch``,
    ``output_data_uri``, ``artifacts_uri``, ``created``, ``ended``, ``phase_seconds``. Each of them is an XCom of its
    own too, so that a next task can take ``wait.output["custom_model_arn"]``.

    .. seealso:: `GetModelCustomizationJob
        <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetModelCustomizationJob.html>`__

    :param job_identifier: the job's ARN or name, or the output of
        :class:`~airflow_bedrock.operators.BedrockModelCustomizationOperator`. (templated)
    :param job_name: the upstream sensor's name for ``job_identifier``.
    :param deferrable: wait in the triggerer, without a worker slot. (default: True: a job takes hours)
    :param poke_interval: seconds between two looks. (default: ``[bedrock] poll_interval``, 60)
    :param timeout: seconds after which the wait is given up. The job is left running.
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in every operator of the amazon provider.
    """

    aws_hook_class = BedrockHook
    template_fields: Sequence[str] = aws_template_fields("job_identifier")
    ui_color = "#66c3ff"

    def __init__(
        self,
        *,
        job_identifier: str | Mapping[str, Any] | None = None,
        job_name: str | None = None,
        deferrable: bool = True,
        poke_interval: float | None = None,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval or poll_interval(), multiple_outputs=multiple_outputs, **kwargs)
        if (job_identifier is None) == (job_name is None):
            raise ValueError("Give job_identifier (or job_name, its other name), and not both")
        self.job_identifier = job_identifier if job_identifier is not None else job_name
        self.deferrable = deferrable
        self._seen: Job | None = None

    def execute(self, context: Context) -> Any:
        """Return the result of a job that has ended already; wait for one that has not."""
        if not self.deferrable:
            return super().execute(context)
        try:
            looked = self.poke(context)
        except AirflowFailException as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped instead of failed, as asked for: {error}") from error
            raise
        if isinstance(looked, PokeReturnValue):
            return looked.xcom_value
        self.log.info("Waiting in the triggerer for job %s, for %s s at most", self._identifier, self.timeout)
        return self.defer(
            trigger=BedrockModelCustomizationTrigger(
                job_identifier=self._identifier,
                poll_interval=self.poke_interval,
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
                verify=self.verify,
                botocore_config=self.botocore_config,
            ),
            method_name=self.execute_complete.__name__,
            timeout=timedelta(seconds=self.timeout),
        )

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once; an error that passes by itself is a look without an answer."""
        try:
            job = look_at_job(self.hook, self._identifier)
        except Exception as error:
            if not is_transient(error):
                raise
            self.log.warning("Could not look at job %s, will look again: %s", self._identifier, error)
            return False
        for line in changes(self._seen, job):
            self.log.info(line)
        self._seen = job
        if job.outcome is Outcome.RUNNING:
            return False
        return PokeReturnValue(is_done=True, xcom_value=self._result(job))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take up the trigger's event."""
        return self._result(job_of_event(self.hook, event))

    def _result(self, job: Job) -> dict[str, Any]:
        return result_of(job, S3Hook(**self._hook_parameters))

    @property
    def _identifier(self) -> str:
        given = self.job_identifier
        identifier = given.get("job_arn") if isinstance(given, Mapping) else given
        if not identifier:
            raise ValueError(f"job_identifier names no job: {given!r}; give an ARN, a name or an operator's output")
        return str(identifier)
