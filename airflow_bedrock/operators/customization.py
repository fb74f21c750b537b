"""The operator that creates a model customization job, and pays for it once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, get_args

from airflow.sdk import Asset, Context

from airflow_bedrock import customization, jobs, spend
from airflow_bedrock.compat import AirflowSkipException, renamed
from airflow_bedrock.configuration import dollars
from airflow_bedrock.customization.request import Superseded, data_uris
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.links import JOB_LINKS
from airflow_bedrock.operators import job_request
from airflow_bedrock.operators.arguments import CONTENT, SECONDS, Rule, flag, one_of, switch
from airflow_bedrock.operators.paid import REUSE, PaidOperator

if TYPE_CHECKING:
    import jinja2
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_bedrock.customization.identity import Identity, TaskKey
    from airflow_bedrock.customization.job import Seen
    from airflow_bedrock.datasets.estimate import Estimate
    from airflow_bedrock.triggers import BedrockModelCustomizationTrigger

_DAY = 24 * 60 * 60.0  # seconds
# The arguments that are members of the request.
_MEMBERS = (
    "job_name",
    "custom_model_name",
    "role_arn",
    "base_model_id",
    "training_data_uri",
    "output_data_uri",
    "validation_data_uri",
    "hyperparameters",
    "client_request_token",
    "custom_model_kms_key_id",
    "custom_model_tags",
    "customization_config",
    "customization_type",
    "job_tags",
    "output_data_config",
    "training_data_config",
    "validation_data_config",
    "vpc_config",
)
_REQUEST = (*_MEMBERS, "request", "customization_job_kwargs")


class BedrockModelCustomizationOperator(PaidOperator):
    """Customize an Amazon Bedrock model: make one paid job for each request, however often the task runs.

    The names and the clientRequestToken of the job are derived from who asks (deployment of Airflow, DAG, task, map
    index, and the partition or else the run), from the ask (the first request, and each Clear of the task), and from
    what is asked (the request and the content of the data). An automatic retry adopts the job of its own ask, even if
    its request or data differs. After a Clear the task takes the same job if nothing has changed; otherwise it stops
    the earlier job and makes another one.

    The request can be given as keyword arguments, one for each member of CreateModelCustomizationJob: by the names of
    the amazon provider's operator, or else by the member's name in snake_case (``vpc_config=``); or as a whole, with
    ``request=``. Arguments override ``request``; two arguments for one member are refused. A member that is newer
    than this version goes into ``request`` or ``customization_job_kwargs``.

    The request is checked against botocore's model of the service: literal values when the DAG is parsed, the whole
    request before the call.

    Returns the job's ARN. Pushes it as XCom ``job_arn`` as soon as the job exists and, if it waits, the result
    mapping of the completed job as XCom ``result`` (see
    :class:`~airflow_bedrock.sensors.BedrockModelCustomizationSensor`). An Asset among ``outlets`` gets the result as
    the extra of its event.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelCustomizationJob.html

    :param job_name: the prefix of the job's name; a digest follows. (templated)
    :param custom_model_name: the prefix of the custom model's name; a digest follows. (templated)
    :param role_arn: the role that Bedrock assumes to read the data and write the output. (templated)
    :param base_model_id: id or ARN of the foundation model, or ARN of a custom model. (templated)
    :param training_data_uri: S3 URI of the training data, a JSONL file. (templated)
    :param output_data_uri: S3 URI below which the job writes its metrics. (templated)
    :param hyperparameters: under the names that the model's family uses; without them the service uses its defaults.
        (templated)
    :param ensure_unique_job_name: False uses the two names unchanged, without a digest; then there is no next
        generation, and the task fails if the name is used up, for example by a failed job. (templated)
    :param customization_job_kwargs: further members of the request by their API names: a mapping, or its text as JSON
        or as a template renders it. (templated)
    :param wait_for_completion: wait for the job to end. (default: True)
    :param waiter_delay: seconds between two polls of the job. (default: ``[bedrock] poll_interval``, 60)
    :param waiter_max_attempts: maximum number of polls, ``waiter_delay`` apart; after these the wait ends, and the job
        is left running. By default, only ``execution_timeout`` limits the wait.
    :param no_response_timeout: seconds without a response from the service after which the wait ends and the job is
        left unchanged; 0 for never. (default: ``[bedrock] no_response_timeout``, 3600)
    :param deferrable: wait in the triggerer instead of in a worker slot; implies waiting.
    :param validation_data_uri: one S3 URI of validation data, or several. (templated)
    :param customization_type: the type of customization, such as ``DISTILLATION``. (templated)
    :param customization_config: settings of the type: for distillation or reinforcement fine-tuning. (templated)
    :param training_data_config: instead of ``training_data_uri``, for invocation logs. (templated)
    :param validation_data_config: instead of ``validation_data_uri``. (templated)
    :param output_data_config: instead of ``output_data_uri``. (templated)
    :param custom_model_kms_key_id: the KMS key that encrypts the custom model. (templated)
    :param job_tags: tags of the job, each ``{"key": …, "value": …}``. (templated)
    :param custom_model_tags: tags of the custom model, in the same form. (templated)
    :param vpc_config: subnets and security groups through which the job accesses the data. (templated)
    :param client_request_token: refused, since the operator derives it to find its job again.
    :param request: the whole request: a mapping in the API's names or in snake_case, or the path of a ``.json``,
        ``.yaml`` or ``.yml`` file, searched for as Airflow searches for template files (relative to the DAG file or to
        ``template_searchpath``), in the form of ``aws bedrock create-model-customization-job --cli-input-json``
        (``airflow-bedrock skeleton`` prints one). (templated)
    :param reuse: where an equal request finds an existing job: ``run`` (default), ``dag`` (in all runs of the DAG), or
        ``never`` (each run and each Clear of the task pays for a new job; retries still do not). Jobs that were made
        with another value count too: ``dag`` takes a model that was made with ``run`` or ``never``. Needs
        ListModelCustomizationJobs, except for the first try of a task with ``run`` that is not mapped. (templated)
    :param superseded: what to do with a running job of an earlier ask, if a person has cleared the task and the
        request has changed: ``stop`` it unless others may wait for it, ``keep`` it running, or ``fail``. If it cannot
        be stopped, the task fails before it pays for another. (default: stop)
    :param preflight: check before the call that the buckets exist in the job's region. False skips this check together
        with ``content="ignore"``, for a worker that cannot reach S3. (default: True)
    :param content: ``identify`` reads the data before the call, so that changed data at the same URI makes another job;
        ``ignore`` identifies the data by its URI only, for a caller that is not allowed to read it. (default: identify)
    :param tag_resources: tag job and model with DAG, run, task, map index and package version, in addition to your own
        tags. (default: True)
    :param max_cost: maximum cost of the job in US dollars. The job is not created if the upper end of its estimate is
        higher, or unknown; a job that is adopted or reused costs nothing. Requires reading the data. (default: no
        limit) (templated)
    :param dry_run: do everything up to Create, log the result as a table, push it (XCom ``dry_run``), and skip; fail if
        a check fails. Nothing is paid for. (default: False) (templated)
    :param stop_on_kill: stop the job when the task ends for good: a person marks it failed or successful, or the DAG
        run times out. A job whose tags name other tasks that may wait for it keeps running. A lost worker or a Clear
        does not stop it: the next try adopts it. (default: True)
    :param cancel_on_kill: the amazon provider's name for ``stop_on_kill``; takes precedence.
    :param stop_on_timeout: stop the job when ``execution_timeout`` runs out, and do not retry. With False it keeps
        running, and a retry adopts it. (default: True)
    :param quota_timeout: maximum seconds to wait for the account's quota of jobs. A task waits for it without a worker
        slot, and tries again when a job has ended. (default: a day)
    :param slot_timeout: the old name of ``quota_timeout``; warns.
    :param silence_limit: the old name of ``no_response_timeout``; warns.
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in every operator of the amazon provider.
    """

    kind = "airflow_bedrock.jobs.resources.customization_job:CUSTOMIZATION_JOB"
    arn_key = "job_arn"
    job_key = "bedrock_job"
    rules: ClassVar[Mapping[str, Rule]] = {
        "quota_timeout": SECONDS,
        "reuse": REUSE,
        "superseded": one_of(*get_args(Superseded)),
        "content": CONTENT,
        "ensure_unique_job_name": flag,
        "max_cost": dollars,
        "is_dry_run": flag,
        "preflight": switch,
        "tag_resources": switch,
    }
    template_fields: Sequence[str] = (
        *PaidOperator.template_fields,
        *_MEMBERS,
        "ensure_unique_job_name",
        "customization_job_kwargs",
        "request",
        "reuse",
        "max_cost",
        "is_dry_run",
    )
    operator_extra_links = JOB_LINKS
    ui_color = "#66c3ff"
    _model_arn: str | None = None  # set if the task has waited for the model
    _unread: BedrockError | None = None  # why the request, or its file, could not be read

    def __init__(
        self,
        job_name: str | None = None,
        custom_model_name: str | None = None,
        role_arn: str | None = None,
        base_model_id: str | None = None,
        training_data_uri: str | None = None,
        output_data_uri: str | None = None,
        hyperparameters: Mapping[str, object] | None = None,
        ensure_unique_job_name: bool = True,
        customization_job_kwargs: Mapping[str, Any] | str | None = None,
        wait_for_completion: bool = True,
        *,
        validation_data_uri: str | Sequence[str] | None = None,
        customization_type: str | None = None,
        customization_config: Mapping[str, Any] | None = None,
        training_data_config: Mapping[str, Any] | None = None,
        validation_data_config: Mapping[str, Any] | None = None,
        output_data_config: Mapping[str, Any] | None = None,
        custom_model_kms_key_id: str | None = None,
        job_tags: Sequence[Mapping[str, str]] | None = None,
        custom_model_tags: Sequence[Mapping[str, str]] | None = None,
        vpc_config: Mapping[str, Any] | None = None,
        client_request_token: str | None = None,
        request: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        reuse: str = "run",
        max_cost: float | str | None = None,
        dry_run: bool | str = False,
        preflight: bool = True,
        content: Literal["identify", "ignore"] = "identify",
        tag_resources: bool = True,
        superseded: Superseded = "stop",
        stop_on_kill: bool = True,
        cancel_on_kill: bool | None = None,
        quota_timeout: float = _DAY,
        no_response_timeout: float | None = None,
        slot_timeout: float | None = None,
        silence_limit: float | None = None,
        **kwargs: Any,
    ) -> None:
        # Airflow requires every templated argument to be an attribute of the same name before anything reads it.
        super().__init__(
            stop_on_kill=stop_on_kill if cancel_on_kill is None else cancel_on_kill,
            no_response_timeout=renamed("silence_limit", silence_limit, "no_response_timeout", no_response_timeout),
            **kwargs,
        )
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
        self.customization_type = customization_type
        self.customization_config = customization_config
        self.training_data_config = training_data_config
        self.validation_data_config = validation_data_config
        self.output_data_config = output_data_config
        self.custom_model_kms_key_id = custom_model_kms_key_id
        self.job_tags = job_tags
        self.custom_model_tags = custom_model_tags
        self.vpc_config = vpc_config
        self.client_request_token = client_request_token
        self.request = os.fspath(request) if isinstance(request, os.PathLike) else request
        self.wait_for_completion = wait_for_completion
        self.reuse = reuse
        self.max_cost = max_cost
        self.is_dry_run = dry_run  # dry_run is a method of every operator, for `airflow tasks test --dry-run`
        self.preflight = preflight
        self.content = content
        self.tag_resources = tag_resources
        self.superseded = superseded
        self.quota_timeout: float = renamed("slot_timeout", slot_timeout, "quota_timeout", quota_timeout, _DAY)
        self._check_literals()
        job_request.check_when_parsed(self.asked)

    @property
    def asked(self) -> job_request.Arguments:
        """The request's arguments as they are now: as written, or rendered."""
        return job_request.Arguments(
            members={name: getattr(self, name) for name in _MEMBERS},
            **{name: getattr(self, name) for name in job_request.Arguments.__struct_fields__ if name != "members"},
        )

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        """Render the arguments, and the request's file if there is one.

        A task whose job exists needs neither: the error of one that cannot be rendered, as when its Variable was
        deleted, is raised by ``execute`` if no earlier try has made a job.

        Airflow calls this for mapped tasks too, but ``render_template_fields`` only for others. ``template_ext`` would
        treat any argument that ends in ``.json`` as a file, even an S3 URI.
        """
        if parent is not self:  # the content of an argument
            super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
            return
        for name in template_fields:
            try:
                super()._do_render_template_fields(self, [name], context, jinja_env, seen_oids)
                if name == "request":
                    self.request = job_request.read_file(self.request, jinja_env, context)
            except Exception as error:
                if name not in _REQUEST or isinstance(error, AirflowSkipException):
                    raise
                setattr(self, name, None)
                self._unread = job_request.unrendered(f"Argument {name}", error)

    def _request(self, arguments: Mapping[str, Any], task_key: TaskKey) -> dict[str, Any]:
        self._check_read()
        request = job_request.checked_request(self.asked, task_key)
        self._estimate = cache(partial(self._estimated, request))  # the data is read once
        for warning in customization.model_rules.warnings(request, self.hook.conn_region_name):
            self.log.warning(warning)
        return request

    def _check_read(self) -> None:
        """Raise the error of reading the request."""
        if self._unread is not None:
            raise self._unread

    def _identity(self, task_key: TaskKey, request: Mapping[str, Any] | None = None) -> Identity:
        if request is None:
            return job_request.identity_of(self.asked, job_request.request_of(self.asked), task_key)
        return job_request.identity_of(self.asked, request, task_key, self._s3)

    def _ask(self, context: Context, arguments: Mapping[str, Any], **how: Any) -> jobs.submission.Submission:
        how |= {"superseded": self.superseded, "tagged": self.tag_resources, "check_cost": self._check_cost}
        return super()._ask(context, arguments, **how)

    def _estimated(self, request: Mapping[str, Any]) -> Estimate:
        report = spend.pricing.check_data(request, self._files())
        return spend.pricing.estimated(request, report, self.hook.conn_region_name)

    def _check_cost(self) -> None:
        if (most := dollars(self.max_cost)) is not None:
            spend.pricing.check_cost(self._estimate(), most)

    def _cost(self, arguments: Mapping[str, Any]) -> spend.ledger.Cost:
        return spend.pricing.cost_of(self._estimate, job_request.request_of(self.asked)["baseModelIdentifier"])

    def _request_and_wait(self, context: Context, arguments: Mapping[str, Any], kill: jobs.on_kill.KillSwitch) -> Any:
        if arguments["is_dry_run"]:
            self.stop_on_timeout = False  # it stops nothing, not even the job of an earlier try
            self._dry_run(context, arguments)
        return super()._request_and_wait(context, arguments, kill)

    def _dry_run(self, context: Context, arguments: Mapping[str, Any]) -> NoReturn:
        from airflow_bedrock.operators.dry_run import checked  # here, since only a dry run needs it

        self._check_read()
        table = checked(
            self.asked,
            job_request.task_key_of(context),
            self._service,
            partial(self._ask, context, arguments, dry_run=True),
            self._files(),
            arguments["max_cost"],
            partial(self._budget, context, self._resource.kind, self.hook),
        )
        table.finish(context)

    def _find_or_create(self, submission: jobs.submission.Submission, context: Context) -> Seen:
        try:
            return submission.find_or_create()
        except jobs.submission.NoSlotError as error:
            self._wait_for_quota(context, error)

    def _note(self, found: Seen, kill: jobs.on_kill.KillSwitch, context: Context) -> None:
        super()._note(found, kill, context)
        if found.outcome is not customization.job.Outcome.SUCCEEDED:
            self._spent = spend.settling.Spent(standing=spend.settling.standing(self._s3))
            self._show(found, context)

    def execute_again(self, context: Context, event: Any = None) -> Any:
        """Request the job again, after a wait."""
        if isinstance(event, Mapping) and event.get("kind") == "late":
            raise self._quota_error("The account's quota of jobs is used up.")
        return super().execute_again(context, event)

    def _wait_for_quota(self, context: Context, error: jobs.submission.NoSlotError) -> NoReturn:
        from airflow_bedrock.triggers.quota import BedrockQuotaTrigger  # here, since a DAG file does not need it

        ti, now = context["ti"], time.time()
        asked_at = jobs.shown.pushed(ti, "waiting_for_slot_since") or now
        if now - asked_at >= self.quota_timeout:
            raise self._quota_error(str(error)) from error
        running = jobs.quota.active_jobs(self._service)
        idle_since = None if running != 0 else jobs.shown.pushed(ti, "no_job_has_run_since") or now
        if jobs.quota.is_zero(str(error)) or (idle_since is not None and now - idle_since >= jobs.quota.IDLE_SECONDS):
            raise BedrockFatalError(
                f"{error} Waiting for a job to end would not help: the quota is zero, or it is another quota, for "
                "example that of custom models. Request a higher quota in Service Quotas, or delete what uses it."
            ) from error
        ti.xcom_push(key="waiting_for_slot_since", value=asked_at)
        ti.xcom_push(key="no_job_has_run_since", value=idle_since or 0.0)
        count = "an unknown number of" if running is None else running
        self.log.info("%s Running now: %s jobs. Waiting in the triggerer until one ends.", error, count)
        self.defer(
            trigger=BedrockQuotaTrigger(
                task=job_request.task_key_of(context).instance,
                asked_at=asked_at,
                refused_at=now,
                running=running,
                deadline=asked_at + self.quota_timeout,
                poll_interval=self._delay,
                **self._connection_of(),
            ),
            method_name=self.execute_again.__name__,
        )

    def _quota_error(self, why: str) -> BedrockError:
        return BedrockError(f"{why} Waited for {self.quota_timeout:.0f} s; no job was made and nothing was spent.")

    @property
    def _trigger(self) -> type[BedrockModelCustomizationTrigger]:
        from airflow_bedrock.triggers import BedrockModelCustomizationTrigger

        return BedrockModelCustomizationTrigger

    @property
    def _waits(self) -> bool:
        return self.wait_for_completion or self.deferrable

    def _to_go_on(self, made: list[str]) -> str:
        pages = " ".join(map(customization.console.resource_url, made))
        return f"To train anyway, {jobs.customization_job.NEW_JOB}. {pages}"

    def _settle(self, found: Seen, context: Context) -> None:
        super()._settle(found, context)
        if found.outcome is not customization.job.Outcome.SUCCEEDED:  # otherwise it is shown with its result
            self._show(found, context)

    def _result(self, found: Seen, context: Context) -> str:
        result = jobs.waiting.result_of(found, self._s3)
        context["ti"].xcom_push(key="result", value=result)
        self._show(found, context, result)
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(result)
        self._model_arn = result["custom_model_arn"]
        return found.arn

    def _show(self, job: Seen, context: Context, result: Mapping[str, Any] | None = None) -> None:
        """Push what the views in Airflow's UI show of the job."""
        try:
            request = job_request.request_of(self.asked)
        except customization.request.RequestError:
            request = None  # it was edited while the task waited for its job
        values = jobs.shown.job_shown(job, self.hook.conn.meta.endpoint_url, result, request, *(self._spent or ()))
        jobs.shown.push(context, jobs.shown.JOB, values)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the training data and the model as OpenLineage facets; called by the OpenLineage provider.

        Names follow OpenLineage's convention for S3; the model is named by its ARN, in a namespace of Bedrock's.
        """
        from airflow.providers.common.compat.openlineage.facet import Dataset
        from airflow.providers.openlineage.extractors import OperatorLineage

        places = map(jobs.uris.bucket_and_key, data_uris(job_request.request_of(self.asked)))
        arn = self._model_arn
        return OperatorLineage(
            inputs=[Dataset(namespace=f"s3://{bucket}", name=key or "/") for bucket, key in places],
            outputs=[Dataset(namespace=f"bedrock://{jobs.uris.Arn.of(arn).region}", name=arn)] if arn else [],
        )
