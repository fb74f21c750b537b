"""The sensor that waits for a model customization job, in the triggerer or in a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue

from airflow_bedrock import configuration, customization, jobs, spend, triggers
from airflow_bedrock.compat import AirflowException, AirflowFailException, AirflowSkipException, outputs, renamed
from airflow_bedrock.exceptions import ArgumentError, BedrockError, BedrockFatalError
from airflow_bedrock.links import JOB_LINKS
from airflow_bedrock.operators.arguments import Rule, switch
from airflow_bedrock.operators.base import BedrockOperator

if TYPE_CHECKING:
    from airflow_bedrock.customization.job import Seen


class BedrockModelCustomizationSensor(BedrockOperator, BaseSensorOperator):
    """Wait for an Amazon Bedrock model customization job.

    Succeeds only on ``Completed``. ``Failed`` and ``Stopped`` fail the task with the service's message, and are not
    retried: no retry of the wait can fix the job. ``Stopping`` is still running. An unknown status fails.

    The return value is a mapping: ``job_arn``, ``job_name``, ``status``, ``base_model_arn``, ``custom_model_arn``,
    ``custom_model_name``, ``training_loss``, ``validation_loss``, ``validation_losses``, ``losses_by_epoch``,
    ``output_data_uri``, ``artifacts_uri``, ``created``, ``ended``, ``phase_seconds``. Each of them is also its own
    XCom, so that the next task can take ``wait.output["custom_model_arn"]``.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetModelCustomizationJob.html

    :param job_identifier: the job's ARN or name, or the output of
        :class:`~airflow_bedrock.operators.BedrockModelCustomizationOperator`. (templated)
    :param job_name: the amazon provider's name for ``job_identifier``.
    :param deferrable: wait in the triggerer, without a worker slot; all waiting tasks share one poll loop.
        (default: True, unless ``mode`` is given: a job takes hours)
    :param mode: how a worker waits: ``poke`` or ``reschedule``; the latter excludes ``deferrable=True``.
    :param poke_interval: seconds between two polls. (default: ``[bedrock] poll_interval``)
    :param exponential_backoff: poll less and less often, but at least every ``max_wait`` seconds.
    :param max_wait: maximum seconds between two polls. (default: ``[bedrock] poll_interval_max``)
    :param timeout: seconds after which the task fails, without a retry. The job is left running. Counts by the wall
        clock, even through a restart of the triggerer.
    :param no_response_timeout: seconds without a response from the service after which the wait ends; 0 for never.
        With ``mode="reschedule"``, which remembers nothing between two polls, only ``timeout`` limits the wait.
        (default: ``[bedrock] no_response_timeout``)
    :param soft_fail: skip instead of failing if no retry can help, and on ``timeout``; in the triggerer, as in Airflow,
        on every error.
    :param never_fail: skip instead of failing, on any error; in a worker, as in Airflow, not on ``timeout``.
    :param silent_fail: on any error of a poll, e.g. no permission or no response, continue to wait until ``timeout``.
        A job that failed, was stopped or does not exist still fails the task.
    :param stop_on_kill: stop the job when a person marks this task failed or successful, or its run failed, or the run
        times out; not when the task is cleared or its worker evicted, nor while the job's tags name others that may
        wait for it. None stops only a job that this DAG run has made or adopted. True stops any job; it is refused with
        ``mode="reschedule"``, in which no process runs between two polls. (default: None)
    :param silence_limit: the old name of ``no_response_timeout``; warns.
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in every operator of the amazon provider.
    """

    rules: ClassVar[Mapping[str, Rule]] = {"deferrable": switch, "stop_on_kill": switch}
    template_fields: Sequence[str] = (*BedrockOperator.template_fields, "job_identifier")
    operator_extra_links = JOB_LINKS
    job_key = "bedrock_job"
    ui_color = "#66c3ff"

    def __init__(
        self,
        *,
        job_identifier: str | Mapping[str, Any] | None = None,
        job_name: str | None = None,
        deferrable: bool | None = None,
        mode: str | None = None,
        poke_interval: timedelta | float | None = None,
        no_response_timeout: timedelta | float | None = None,
        silence_limit: timedelta | float | None = None,
        stop_on_kill: bool | None = None,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            mode=mode or "poke",
            poke_interval=configuration.poll_interval() if poke_interval is None else poke_interval,
            multiple_outputs=multiple_outputs,
            **kwargs,
        )
        if (job_identifier is None) == (job_name is None):
            found = "none" if job_name is None else "both, one of them perhaps from default_args"
            raise ArgumentError(f"Set either job_identifier or job_name, its other name; got {found}")
        if deferrable and mode == "reschedule":
            raise ArgumentError(
                "mode='reschedule' waits in workers, deferrable=True in the triggerer: remove one of them"
            )
        self.job_identifier = job_identifier if job_identifier is not None else job_name
        self.deferrable = mode is None if deferrable is None else deferrable
        if stop_on_kill and mode == "reschedule":
            raise ArgumentError(
                "stop_on_kill=True does not work with mode='reschedule', in which no process runs between two "
                "polls. Remove mode to wait in the triggerer, or set mode='poke'"
            )
        given = renamed("silence_limit", silence_limit, "no_response_timeout", no_response_timeout)
        try:
            if self.deferrable:
                configuration.seconds("poke_interval of a deferrable sensor", self.poke_interval)
            limit = configuration.no_response_timeout() if given is None else given
            self.no_response_timeout = configuration.seconds("no_response_timeout", limit, zero=True)
        except ValueError as error:
            raise ArgumentError(str(error)) from error
        self.stop_on_kill = stop_on_kill
        self._check_literals()
        self._since: datetime | None = None
        self._poller: jobs.waiting.Poller | None = None
        self._kill: jobs.on_kill.KillSwitch | None = None

    def execute(self, context: Context) -> Any:
        """Return the result of a job that has already ended; wait for any other."""
        try:
            return super().execute(context)
        finally:
            if self._kill is not None:
                self._kill.wait()

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Poll once; a transient error counts as no response. If deferrable, defer while the job runs.

        :raises BedrockFatalError: the job does not exist, or ended without a model.
        :raises BedrockError: no poll had a response for ``no_response_timeout``.
        """
        polled: bool | PokeReturnValue = False
        try:
            polled = self._polled(context)
        except (AirflowFailException, AirflowSkipException):
            raise
        except Exception:
            if not (self.deferrable and self.silent_fail):
                raise
            self.log.exception("Could not read job %s; waiting nevertheless", self._identifier)
        if self.deferrable and not polled:
            self._defer()
        return polled

    def _defer(self) -> None:
        if self._kill is not None:
            self._kill.last_check()
        self.log.info("Waiting in the triggerer, for %s at most", customization.job.duration(self.timeout))
        self.defer(
            trigger=self._trigger(),
            method_name=self.execute_complete.__name__,
            timeout=timedelta(seconds=self.timeout),
        )

    def _polled(self, context: Context) -> bool | PokeReturnValue:
        ti = context["ti"]
        if self._kill is None and self.stop_on_kill is not False:
            self._arm(ti)
        if self._poller is None or self._since is None:
            first = ti.get_first_reschedule_date(context) if self.reschedule else None
            self._since = first or datetime.now(UTC)
            waited = (datetime.now(UTC) - self._since).total_seconds()
            self._poller = jobs.waiting.Poller(
                self._service,
                self._identifier,
                self.no_response_timeout,
                exists=self._service.resource.is_for_good(self._identifier)
                and waited < jobs.no_response.SECONDS_UNTIL_MISSING,
                goes_on=first is not None,
            )
        news = self._poller.seen is None
        job = self._poller.poll()
        if job is None or job.outcome is customization.job.Outcome.RUNNING:
            if job is not None and news:
                self._show(job, context)
            return False
        waited = (datetime.now(UTC) - self._since).total_seconds()
        self.log.info("Waited for %s", customization.job.duration(waited))
        return PokeReturnValue(is_done=True, xcom_value=self._result(job, context))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Resume with the trigger's event."""
        if event is None:  # the sensor was removed from the DAG, and Airflow has restored it
            result: dict[str, Any] = self.execute(context)
            return result
        try:
            job = jobs.waiting.job_of_event(self._service, event, self.no_response_timeout)
            return self._result(job, context)
        except jobs.aws_errors.CALL_ERRORS as error:  # so that never_fail and soft_fail apply
            raise BedrockError(f"Could not read the job that has ended: {error}") from error

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; soft_fail and never_fail apply as in Airflow 3.3, even in older versions that ignore them here."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped instead of failed, as configured: {error}") from error
            raise

    def on_kill(self) -> None:
        """Stop the job if configured and no other try will wait for it. (While deferred, the trigger does this.)"""
        if self._kill is not None:
            self._kill.pull()

    def _arm(self, ti: Any) -> None:
        self._kill = jobs.on_kill.KillSwitch(ti)
        own_run_only = self.stop_on_kill is None
        self._kill.aim(
            self._identifier,
            partial(jobs.on_kill.stop_for, self._service, self._identifier, ti, own_run_only=own_run_only),
        )

    def _trigger(self) -> triggers.BedrockModelCustomizationTrigger:
        longest = self.max_wait.total_seconds() if self.max_wait else None
        seen = self._poller.seen if self._poller else None
        identifier = seen.arn if seen else self._identifier
        return triggers.BedrockModelCustomizationTrigger(
            job_identifier=identifier,
            poll_interval=min(self.poke_interval, longest or self.poke_interval),
            poll_interval_max=longest,
            backoff=self.exponential_backoff,
            no_response_timeout=0 if self.silent_fail else self.no_response_timeout,
            created=seen.created if seen else None,
            stop_on_kill=customization.waiters.OWN_RUN if self.stop_on_kill is None else self.stop_on_kill,
            **self._connection_of(identifier),
        )

    @property
    def _service(self) -> jobs.service.Service:
        return jobs.service.Service(jobs.customization_job.CUSTOMIZATION_JOB, self.hook)

    def _result(self, job: Seen, context: Context) -> dict[str, Any]:
        spent = spend.settling.settled(self._service, job, self._s3)
        more = {"bill": spent.bill, "budget": spent.standing}
        if job.outcome is not customization.job.Outcome.SUCCEEDED:
            self._show(job, context, **more)
        result = jobs.waiting.result_of(job, self._s3)
        self._show(job, context, result=result, **more)
        return outputs(result)

    def _show(self, job: Seen, context: Context, **more: Any) -> None:
        """Push what the views in Airflow's UI show of the job."""
        values = jobs.shown.job_shown(job, self.hook.conn.meta.endpoint_url, **more)
        jobs.shown.push(context, jobs.shown.JOB, values)

    @property
    def _identifier(self) -> str:
        given = self.job_identifier
        identifier = given.get("job_arn") if isinstance(given, Mapping) else given
        if not identifier:
            raise BedrockFatalError(
                f"job_identifier names no job: {given!r}; set an ARN, a name or an operator's output. A job that the "
                "operator has made still runs and is billed."
            )
        if not isinstance(identifier, str):
            raise BedrockFatalError(
                f"job_identifier must name one job; got {identifier!r}. Map the sensor over the jobs of a mapped "
                f"operator: {type(self).__name__}.partial(...).expand(job_identifier=customize.output). Jobs that the "
                "operator has made still run and are billed."
            )
        return identifier
