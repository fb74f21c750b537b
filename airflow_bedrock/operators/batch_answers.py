"""Answers by batch inference as a task: for held-out sets that are large, at the price of a batch."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bedrock import __version__, configuration, jobs
from airflow_bedrock.compat import conf
from airflow_bedrock.customization.identity import identify
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.customization.tags import automatic_tags, with_tags
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.operators.arguments import Rule, member, named, optional, real, rendered, text, whole
from airflow_bedrock.operators.base import AwsOperator
from airflow_bedrock.operators.evaluation import copied, inferences, mapping, model, parameters_of, told
from airflow_bedrock.operators.job_request import asker_of
from airflow_bedrock.shapes import input_shape, missing_in_botocore
from airflow_bedrock.storage import Storage
from airflow_bedrock.uris import file_uri, join, s3_uri

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bedrock.evaluation.inference import Inference
    from airflow_bedrock.evaluation.run import Evaluation, Lines
    from airflow_bedrock.hooks import BedrockHook  # noqa: F401 - for the class's type

_CREATE = "CreateModelInvocationJob"
_KEPT_AT_ONCE = 5000


_TAKEN = named(member("bedrock", _CREATE, "modelId", "the id of a model, or the ARN of a custom model or deployment"))


def _model(value: Any) -> str:
    try:
        taken: str = model(value)
    except ValueError:  # Converse takes no custom model, a batch no deployment
        taken = _TAKEN(value)
    return taken


_RULES: Mapping[str, Rule] = {
    "test_data_uri": file_uri,
    "model_id": _model,
    "role_arn": member("bedrock", _CREATE, "roleArn", "the ARN of a role"),
    "output_uri": s3_uri,
    "answers_uri": file_uri,
    "job_name": text,
    "answers_days": whole(1),
    "max_records": optional(rendered(whole(1))),
    "max_tokens": rendered(whole(1)),
    "temperature": optional(real(0, 1)),
    "inference_config": mapping,
    "additional_model_request_fields": optional(mapping),
    "records_per_job": whole(1),
    "kms_key_id": optional(named(text)),
    "waiter_delay": real(0, between=True),
}


def _conflicts(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the installed botocore is too old for."""
    if "modelInvocationType" not in input_shape("bedrock", _CREATE).members:
        yield missing_in_botocore(f"{_CREATE}.modelInvocationType")


@dataclass
class _Work:
    """What a try of the task has at hand."""

    evaluation: Evaluation
    inference: Inference
    lines: Lines
    storage: Storage
    folder: Path
    content: str


class BedrockBatchAnswersOperator(AwsOperator["BedrockHook"]):
    """Let a model answer held-out records by batch inference; the answers are kept where the evaluation finds them.

    Run it for each model, with the ``test_data_uri``, ``answers_uri`` and parameters that
    :class:`~airflow_bedrock.operators.BedrockModelEvaluationOperator` has, which then asks only the missing ones:
    records that failed, and sets of fewer than 100 records, the minimum of a job.

    A job is made once, and a retry adopts it. Records that have an answer are not asked again unless their job has too
    few answers.

    Returns (XCom) ``{model, records, answered, missing, errors, job_arns}``; errors by the service's codes.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html

    :param test_data_uri: the held-out records, as for the evaluation. (templated)
    :param model_id: a base model's id or a custom model's ARN; for the ARN of a deployment or provisioned throughput
        the model that is behind it, since a batch takes no deployment. (templated)
    :param role_arn: the role that Bedrock assumes, to read the questions and write the answers. (templated)
    :param output_uri: the folder on S3 for the questions and answers of the jobs. (templated)
    :param answers_uri: the folder in which answers are kept. (templated)
    :param job_name: the start of the jobs' names. (templated)
    :param answers_days: as for the evaluation.
    :param max_records: as for the evaluation. (templated)
    :param max_tokens: as for the evaluation. (templated)
    :param temperature: as for the evaluation.
    :param inference_config: as for the evaluation.
    :param additional_model_request_fields: as for the evaluation.
    :param records_per_job: records of one job, at most; AWS's default quota is 50,000.
    :param kms_key_id: id, ARN or alias of the KMS key that encrypts questions and answers. (templated)
    :param deferrable: wait in the triggerer instead of in a worker slot. (default: ``[operators] default_deferrable``)
    :param waiter_delay: seconds between two polls. (default: ``[bedrock] poll_interval``)
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in every operator of the amazon provider.
    """

    aws_hook_class = "airflow_bedrock.hooks:BedrockHook"
    template_fields: Sequence[str] = (
        *AwsOperator.template_fields,
        "test_data_uri",
        "model_id",
        "role_arn",
        "output_uri",
        "answers_uri",
        "job_name",
        "max_records",
        "max_tokens",
        "kms_key_id",
    )

    def __init__(
        self,
        *,
        test_data_uri: str,
        model_id: str,
        role_arn: str,
        output_uri: str,
        answers_uri: str,
        job_name: str = "answers",
        answers_days: int = 90,
        max_records: int | str | None = None,
        max_tokens: int | str = 64,
        temperature: float | None = 0.0,
        inference_config: Mapping[str, Any] | None = None,
        additional_model_request_fields: Mapping[str, Any] | None = None,
        records_per_job: int = 50_000,
        kms_key_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        waiter_delay: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.test_data_uri = test_data_uri
        self.model_id = model_id
        self.role_arn = role_arn
        self.output_uri = output_uri
        self.answers_uri = answers_uri
        self.job_name = job_name
        self.answers_days = answers_days
        self.max_records = max_records
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.inference_config = inference_config or {}
        self.additional_model_request_fields = additional_model_request_fields
        self.records_per_job = records_per_job
        self.kms_key_id = kms_key_id
        self.deferrable = deferrable
        self.waiter_delay = waiter_delay if waiter_delay is not None else configuration.poll_interval()
        self._arguments(_RULES, _conflicts).check_literals()

    def execute(self, context: Context) -> dict[str, Any]:
        """Find or make the jobs, one after the other, wait for them, and keep their answers.

        :raises BedrockFatalError: a record, a setting or a model is such that no retry can help, or a job failed.
        :raises BedrockError: the service did not take or tell something now.
        """
        return self._go_on(context, 0, [], {})

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        chunk: int = 0,
        job_arns: Sequence[str] = (),
        errors: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """Take up the trigger's event, and go on with the next job."""
        ended = jobs.waiting.job_of_event(self._service, event, configuration.no_response_timeout())
        return self._go_on(context, chunk, list(job_arns), dict(errors or {}), ended)

    def _go_on(
        self, context: Context, chunk: int, job_arns: list[str], errors: dict[str, int], ended: Seen | None = None
    ) -> dict[str, Any]:
        from airflow_bedrock.evaluation import batch

        with self._work() as work:
            size = self.records_per_job
            for number in range(chunk, -(-work.evaluation.count // size)):
                if ended is None:
                    questions = batch.chunk_of(work.evaluation.questions(work.lines), number, size)
                    if sum(work.inference.answer(question) is None for question in questions) < batch.MIN_RECORDS:
                        continue
                    ended = self._ended(context, work, number, job_arns, errors)
                job_arns.append(ended.arn)
                self._keep(work, ended, number, errors)
                ended = None
            missing = sum(work.inference.answer(one) is None for one in work.evaluation.questions(work.lines))
            records = work.evaluation.count
            self.log.info("%s has answered %d of %d records", work.inference.itself, records - missing, records)
            return {
                "model": work.inference.itself,
                "records": records,
                "answered": records - missing,
                "missing": missing,
                "errors": errors,
                "job_arns": job_arns,
            }

    def _ended(self, context: Context, work: _Work, chunk: int, job_arns: list[str], errors: Mapping[str, int]) -> Seen:
        """Return the job of a chunk when it has ended; in the triggerer's hands it is waited for there."""
        found = self._submission(context, work, chunk).find_or_create()
        if found.outcome is not Outcome.RUNNING:
            return found
        if self.deferrable:
            from airflow_bedrock.triggers.resource import BedrockResourceTrigger

            self.log.info("Waiting in the triggerer for batch job %s", found.arn)
            self.defer(
                trigger=BedrockResourceTrigger(
                    declaration="airflow_bedrock.jobs.resources.invocation_job:INVOCATION_JOB",
                    job_identifier=found.arn,
                    poll_interval=self.waiter_delay,
                    created=found.created or datetime.now(UTC),
                    stop_on_kill=True,
                    **jobs.connection.Connection.of(**self._hook_parameters).arguments(),
                ),
                method_name=self.execute_complete.__name__,
                kwargs={"chunk": chunk, "job_arns": job_arns, "errors": dict(errors)},
                timeout=self.execution_timeout,
            )
        return jobs.waiting.wait_for(
            self._service,
            found.arn,
            delay=self.waiter_delay,
            max_polls=None,
            no_response_timeout=configuration.no_response_timeout(),
        )

    def _submission(self, context: Context, work: _Work, chunk: int) -> jobs.submission.Submission:
        asker = asker_of(context)
        uri = join(self.output_uri, f"{work.content[:16]}-{chunk}.jsonl")
        request: dict[str, Any] = {
            "jobName": self.job_name,
            "roleArn": self.role_arn,
            "modelId": work.inference.itself,
            "modelInvocationType": "Converse",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}},
            "outputDataConfig": {
                "s3OutputDataConfig": {"s3Uri": f"{self.output_uri.rstrip('/')}/", **self._encryption}
            },
            # By which an orphan is found, and Airflow's role may stop it.
            "tags": with_tags([], automatic_tags(asker, __version__)),
        }
        # Each chunk is asked for by itself: none is taken for the earlier try of another.
        of_chunk = msgspec.structs.replace(asker, task_id=f"{asker.task_id} {chunk}")
        return jobs.submission.Submission(
            service=self._service,
            request=request,
            identity=identify(request, [{"content": work.content, "chunk": chunk}], of_chunk, "run", model_name=None),
            waiter=Waiter.of(asker, waits=True),
            before_paying=lambda: self._write(work, chunk, uri),
        )

    @property
    def _encryption(self) -> dict[str, str]:
        return {"s3EncryptionKeyId": self.kms_key_id} if self.kms_key_id else {}

    def _write(self, work: _Work, chunk: int, uri: str) -> None:
        """Write the questions of a chunk, right before their job is made."""
        from airflow_bedrock.evaluation import batch

        file = work.folder / "questions.jsonl"
        with file.open("wb") as output:
            for question in batch.chunk_of(work.evaluation.questions(work.lines), chunk, self.records_per_job):
                output.write(batch.line(question))
        work.storage.write(file, uri)

    def _keep(self, work: _Work, ended: Seen, chunk: int, errors: dict[str, int]) -> None:
        """Keep what a job has answered, and count what it has not."""
        if ended.outcome is not Outcome.SUCCEEDED:
            raise BedrockFatalError(jobs.invocation_job.INVOCATION_JOB.failure_message(ended))
        from airflow_bedrock.evaluation import batch

        found = batch.Answered(errors=errors)
        description = self.hook.conn.get_model_invocation_job(jobIdentifier=ended.arn)
        source = description["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
        folder = description["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].rstrip("/")
        job_id, name = ended.arn.rpartition("/")[2], source.rpartition("/")[2]
        with work.storage.read(f"{folder}/{job_id}/{name}.out") as lines:
            found.take(lines)
        pending: list[Any] = []
        for question in batch.chunk_of(work.evaluation.questions(work.lines), chunk, self.records_per_job):
            if (answer := found.to(question)) is not None:
                pending.append((question, answer))
            if len(pending) == _KEPT_AT_ONCE:
                work.inference.keep(pending)
                pending.clear()
        work.inference.keep(pending)
        if errors:
            self.log.warning("Records without an answer, by error: %s", errors)

    @contextmanager
    def _work(self) -> Iterator[_Work]:
        arguments = self._arguments(_RULES, _conflicts).checked()
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from airflow_bedrock.converse import ConverseModel
        from airflow_bedrock.evaluation.bill import Bill
        from airflow_bedrock.evaluation.run import Evaluation
        from airflow_bedrock.evaluation.scoring import Rules
        from airflow_bedrock.hooks import BedrockRuntimeHook

        s3 = S3Hook(**self._hook_parameters)
        storage = Storage(lambda: s3.conn, arguments["kms_key_id"])
        with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as name, ExitStack() as stack:
            folder = Path(name)
            bill = Bill(lambda model_id: None)
            runtime = BedrockRuntimeHook(**self._hook_parameters).conn
            inference = inferences(
                arguments, storage, folder, stack, bill=bill, most=1, no_response_timeout=0, ready_timeout=0
            )("answers", ConverseModel(runtime, self.hook.conn, arguments["model_id"]))
            evaluation = Evaluation(
                {"candidate": inference},
                [],
                Rules(),
                bill,
                parameters=parameters_of(arguments),
                max_records=arguments["max_records"],
            )
            with told("What the jobs have answered is kept.", self.test_data_uri):
                lines = copied(storage, self.test_data_uri, folder / "test")
                evaluation.check(lines)
                evaluation.begin()
                content = hashlib.sha256(b"".join((arguments["model_id"].encode(), _parameters_digest(arguments))))
                for line in lines():
                    content.update(line)
                yield _Work(evaluation, inference, lines, storage, folder, content.hexdigest())

    @property
    def _service(self) -> jobs.service.Service:
        return jobs.service.Service(jobs.invocation_job.INVOCATION_JOB, self.hook)


def _parameters_digest(arguments: Mapping[str, Any]) -> bytes:
    shape = (parameters_of(arguments), arguments["max_records"], arguments["records_per_job"])
    return hashlib.sha256(msgspec.json.encode(shape, order="sorted")).digest()
