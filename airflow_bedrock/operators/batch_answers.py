"""Answer large held-out sets by batch inference in a task, at batch prices."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import msgspec
from airflow.sdk import Context

from airflow_bedrock import __version__, configuration, customization, hooks, jobs, spend
from airflow_bedrock.base_models import model_id as base_model_of
from airflow_bedrock.exceptions import BedrockFatalError, nothing_spent
from airflow_bedrock.links import PaidResourceLink
from airflow_bedrock.operators.arguments import Rule, member, named, rendered, text, whole
from airflow_bedrock.operators.job_request import task_key_of
from airflow_bedrock.operators.paid import PaidOperator
from airflow_bedrock.operators.questions import QuestionsOperator, model
from airflow_bedrock.shapes import input_shape, missing_in_botocore
from airflow_bedrock.uris import file_uri, join, s3_uri

if TYPE_CHECKING:
    from mypy_boto3_bedrock.type_defs import GetModelInvocationJobResponseTypeDef

    from airflow_bedrock.customization.identity import TaskKey
    from airflow_bedrock.customization.job import Seen
    from airflow_bedrock.evaluation.answer_store import Answer
    from airflow_bedrock.evaluation.batch import Answered
    from airflow_bedrock.evaluation.inference import Inference, Question
    from airflow_bedrock.evaluation.records import HeldOutRecords
    from airflow_bedrock.jobs.on_kill import KillSwitch
    from airflow_bedrock.storage import Storage

_CREATE = "CreateModelInvocationJob"
MIN_RECORDS = 100
"""Maximum records of a job, by the service's default quota."""
_KEPT_AT_ONCE = 5000
_KEPT = "Answers received so far are kept."
_NAMED = 20
"""Maximum number of records to list for each error."""


_MODEL = named(member("bedrock", _CREATE, "modelId", "the id of a model, or the ARN of a custom model or deployment"))


def _model(value: Any) -> str:
    try:
        model_id: str = model(value)
    except ValueError:  # Converse does not accept a custom model, nor a batch job a deployment
        model_id = _MODEL(value)
    return model_id


@dataclass
class _Work:
    """The state of a try of the task."""

    held_out: HeldOutRecords
    inference: Inference
    storage: Storage
    folder: Path
    size: int
    content: str
    max_cost: float | None
    dry_run: bool

    @property
    def chunks(self) -> int:
        """Number of jobs for all records, if none has an answer yet."""
        return -(-self.held_out.count // self.size)

    def questions(self, chunk: int, count: int = 1) -> Iterator[Question]:
        """Return the questions of one job, or of ``count`` jobs, in the order of the file."""
        return islice(self.held_out.questions(), chunk * self.size, (chunk + count) * self.size)

    def unanswered(self, chunk: int, count: int = 1) -> Iterator[Question]:
        """Return the questions for a job: those without an answer, each once, even if several records have it."""
        questions = (one for one in self.questions(chunk, count) if not one.has_tools)
        return self.inference.unanswered(questions)


@dataclass
class _SoFar:
    """What a task knows about its jobs, even after a wait in the triggerer."""

    chunk: int = 0
    job_arns: list[str] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    failed_records: dict[str, list[int]] = field(default_factory=dict)
    cost: float = 0.0


class BedrockBatchAnswersOperator(QuestionsOperator, PaidOperator):
    """Answer held-out records by batch inference; the answers are kept where the evaluation finds them.

    Run it for each model, with the same ``test_data_uri``, ``answers_uri`` and parameters as
    :class:`~airflow_bedrock.operators.BedrockModelEvaluationOperator`, which then asks only what is missing: records
    that failed or have tools, and sets of fewer than 100 records, the minimum of a job.

    A job is made once, and a retry adopts it. Records that have an answer are not asked again. If the task ends for
    good while it waits, it stops its job, unless others wait for it.

    Returns (XCom) ``{model, records, answered, missing, errors, failed_records, job_arns, cost}``: errors by the
    service's codes, and the numbers of the first records with each; the cost in US dollars, None if no price is
    known.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html

    Every parameter is templated.

    :param test_data_uri: the held-out records, as for the evaluation.
    :param model_id: a base model's id or a custom model's ARN. For the ARN of a deployment or provisioned throughput,
        the model behind it is used, since batch inference takes no deployment.
    :param role_arn: the role that Bedrock assumes, to read the questions and write the answers.
    :param output_uri: the folder on S3 for the questions and answers of the jobs.
    :param answers_uri: the folder in which answers are kept.
    :param job_name: the prefix of the jobs' names.
    :param max_cost: US dollars: if the records without an answer may cost more, or no price is known, the task fails
        before it makes a job.
    :param records_per_job: maximum number of records in a job, at least 100; AWS's default quota is 50,000.
    """

    kind = "airflow_bedrock.jobs.resources.invocation_job:INVOCATION_JOB"
    arn_key = None
    _in_batches = True
    rules: ClassVar[Mapping[str, Rule]] = {
        "model_id": _model,
        "role_arn": member("bedrock", _CREATE, "roleArn", "the ARN of a role"),
        "output_uri": s3_uri,
        "answers_uri": file_uri,
        "job_name": text,
        "records_per_job": rendered(whole(MIN_RECORDS)),
    }
    template_fields: Sequence[str] = (*QuestionsOperator.template_fields, *rules)
    operator_extra_links = (PaidResourceLink(),)

    def __init__(
        self,
        *,
        test_data_uri: str,
        model_id: str,
        role_arn: str,
        output_uri: str,
        answers_uri: str,
        job_name: str = "answers",
        records_per_job: int = 50_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(test_data_uri=test_data_uri, output_uri=output_uri, answers_uri=answers_uri, **kwargs)
        self.model_id = model_id
        self.role_arn = role_arn
        self.job_name = job_name
        self.records_per_job = records_per_job
        self._check_literals()

    def _conflicts(self, found: Mapping[str, Any]) -> Iterator[str]:
        if "modelInvocationType" not in input_shape("bedrock", _CREATE).members:
            yield missing_in_botocore(f"{_CREATE}.modelInvocationType")

    def execute(self, context: Context) -> dict[str, Any]:
        """Find or make the jobs, one after the other, wait for them, and keep their answers.

        :raises BedrockFatalError: a record, a setting or a model is invalid, a job failed, or ``execution_timeout`` ran
            out and the job was stopped.
        :raises BedrockError: a transient error of the service.
        :raises AirflowSkipException: it was a dry run, and no check failed.
        """
        with self._stopping(context) as kill:
            return self._go_on(context, kill, _SoFar())

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None, **so_far: Any) -> dict[str, Any]:
        """Resume with the trigger's event, and continue with the next job."""
        with self._stopping(context) as kill:
            ended = jobs.waiting.job_of_event(self._service, event, self._no_response_timeout)
            return self._go_on(context, kill, _SoFar(**so_far), ended)

    def execute_again(self, context: Context, event: Any = None, **so_far: Any) -> dict[str, Any]:
        """Request the next job again, after a wait for the budget."""
        self._has_waited = True
        with self._stopping(context) as kill:
            return self._go_on(context, kill, _SoFar(**so_far))

    def _made_by_earlier_tries(self, task_key: TaskKey) -> list[str]:
        return jobs.own_jobs.running_jobs_naming(self._service, self._waiter(task_key), task_key.environment)

    def _to_go_on(self, made: list[str]) -> str:
        return f"{_KEPT} To continue, raise execution_timeout and clear this task."

    def _go_on(self, context: Context, kill: KillSwitch, so_far: _SoFar, ended: Seen | None = None) -> dict[str, Any]:
        with self._work() as work:
            if work.dry_run:
                self._dry_run_of(context, work)
            # If records_per_job was edited, a job that has ended may be of a chunk that no longer exists.
            chunks = range(min(so_far.chunk, work.chunks - 1), work.chunks)
            if ended is None:
                self._stop_unneeded(context, kill, work, so_far, chunks)
            for chunk in chunks:
                so_far.chunk = chunk
                ended = ended or self._job_of_chunk(context, kill, work, so_far)
                while ended is not None:
                    self._settle(ended, context)
                    if self._requests_anew(ended, _of_chunk(task_key_of(context), chunk)):
                        self._collect(work, ended, so_far)
                        ended = self._job_of_chunk(context, kill, work, so_far)
                    else:
                        so_far.job_arns.append(ended.arn)
                        self._keep(work, ended, so_far)
                        ended = None
            self._stop_unneeded(context, kill, work, so_far, ())
            spend.settling.settled_of(task_key_of(context), self._service, self._s3)
            records = work.held_out.count
            missing = sum(work.inference.answer(one) is None for one in work.held_out.questions())
            self.log.info("%s has answered %d of %d records", work.inference.answered_by, records - missing, records)
            return {
                "model": work.inference.answered_by,
                "records": records,
                "answered": records - missing,
                "missing": missing,
                "errors": so_far.errors,
                "failed_records": so_far.failed_records,
                "job_arns": so_far.job_arns,
                "cost": None if work.inference.rate is None else so_far.cost,
            }

    def _dry_run_of(self, context: Context, work: _Work) -> NoReturn:
        from airflow_bedrock.operators.dry_run import of_questions

        self._check_cost(work, _SoFar())
        missing, costs = 0, [spend.ledger.Cost(usd=Decimal())]
        for chunk in range(work.chunks):
            if (count := sum(1 for _ in work.unanswered(chunk))) >= MIN_RECORDS:
                missing += count
                costs.append(self._cost_of(work, chunk))
        unknown = next((cost for cost in costs if cost.usd is None), None)
        cost = unknown or spend.ledger.Cost(usd=sum((cost.usd or Decimal() for cost in costs), Decimal()))
        budget = partial(self._budget, context, self._resource.kind, self.hook, lambda: cost)
        of_questions(missing, lambda: cost, budget, "batch inference").finish(context, "batch inference")

    def _stop_unneeded(
        self, context: Context, kill: KillSwitch, work: _Work, so_far: _SoFar, chunks: Iterable[int]
    ) -> None:
        """Stop the running jobs of earlier tries that none of these chunks needs, and wait for their end.

        Other tasks may have kept their answers since, or the records may have changed.

        :raises BedrockError: Bedrock did not say which jobs run.
        """
        task_key = task_key_of(context)
        if task_key.try_number == 1:
            return
        allow = "bedrock:ListModelInvocationJobs and bedrock:ListTagsForResource"
        with nothing_spent("Reading the jobs of earlier tries", "batch job", earlier=True, allow=allow):
            running = [self._service.find(arn) for arn in self._made_by_earlier_tries(task_key)]
        if not running:  # otherwise the records would be read for nothing
            return
        needed = {_of_chunk(task_key, chunk).family for chunk in chunks if any(work.unanswered(chunk))}
        for job in running:
            token = customization.identity.Token.read(job.token) if job else None
            if job is None or token is None or token.family in needed:
                continue
            self._note(job, kill, context)
            self.log.warning("Batch job %s is no longer needed. %s", job.arn, self._stop(job.arn, task_key))
            found = jobs.own_jobs.shown(self._service, job.arn)
            if found is None or (found.outcome is customization.job.Outcome.RUNNING and found.status != "Stopping"):
                continue  # others wait for it, or it could not be stopped
            ended = self._end_of(found)
            so_far.job_arns.append(ended.arn)
            with suppress(BedrockFatalError):  # its output is not needed
                self._collect(work, ended, so_far)

    def _job_of_chunk(self, context: Context, kill: KillSwitch, work: _Work, so_far: _SoFar) -> Seen | None:
        """Return the job of a chunk when it has ended; None if no job is needed."""
        task_key = task_key_of(context)
        missing = sum(1 for _ in work.unanswered(so_far.chunk))
        if not missing:
            return None
        cost = partial(self._cost_of, work, so_far.chunk)
        budget = self._budget(context, self._resource.kind, self.hook, cost, role_arn=self.role_arn)
        self._arn, self._submission = None, self._submission_of(context, work, so_far, kill, budget)
        found: Seen | None = None
        if missing >= MIN_RECORDS:
            with self._within(budget, context, asdict(so_far)):
                found = self._submission.find_or_create()
        elif task_key.is_retry:
            found = self._submission.of_earlier_try()
        if found is None:
            self.log.info("%d records are too few for a job: the evaluation will ask them", missing)
            return None
        self._note(found, kill, context)
        return self._ended(found, kill, **asdict(so_far))

    def _cost_of(self, work: _Work, chunk: int) -> spend.ledger.Cost:
        """Return the maximum cost of a chunk's job: each unanswered question, with the longest possible answer."""
        answered_by = work.inference.answered_by
        if (rate := work.inference.rate) is None:
            return spend.ledger.Cost(usd=None, unknown=f"No price is known for batch inference of {answered_by}.")
        usd = sum(map(work.inference.most, work.unanswered(chunk)))
        rates = {name: Decimal(str(price)) for name, price in rate._asdict().items()}
        return spend.ledger.Cost(usd=Decimal(str(usd)), model=base_model_of(answered_by), rates=rates)

    def _submission_of(
        self, context: Context, work: _Work, so_far: _SoFar, kill: KillSwitch, budget: spend.budget.Budget | None
    ) -> jobs.submission.Submission:
        task_key, chunk = task_key_of(context), so_far.chunk
        of_chunk = _of_chunk(task_key, chunk)
        # Another task may ask the same records at the same time, when different ones already have answers.
        uri = join(self.output_uri, f"{work.content[:16]}-{of_chunk.who}.jsonl")
        key = {"s3EncryptionKeyId": self.kms_key_id} if self.kms_key_id else {}
        request: dict[str, Any] = {
            "jobName": self.job_name,
            "roleArn": self.role_arn,
            "modelId": work.inference.answered_by,
            "modelInvocationType": "Converse",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{self.output_uri.rstrip('/')}/", **key}},
            # By these tags an orphan is found, and Airflow's role is allowed to stop it.
            "tags": customization.tags.with_tags([], customization.tags.automatic_tags(task_key, __version__)),
        }

        def write() -> None:
            """Write the questions without an answer, right before their job is created."""
            from airflow_bedrock.evaluation import batch

            file = work.folder / "questions.jsonl"
            with file.open("wb") as output:
                output.writelines(map(batch.line, work.unanswered(chunk)))
            work.storage.write(file, uri)
            kill.before_paying()

        return jobs.submission.Submission(
            service=self._service,
            request=request,
            identity=customization.identity.identify(
                request, [{"content": work.content, "chunk": chunk}], of_chunk, "run", model_name=None
            ),
            waiter=self._waiter(task_key),
            check_cost=lambda: self._check_cost(work, so_far),
            before_paying=write,
            note=jobs.request_note.note_of(context, of_chunk, self._service, self.role_arn, str(chunk)),
            budget=budget,
        )

    def _check_cost(self, work: _Work, so_far: _SoFar) -> None:
        """Log and check what this job and the next ones may cost."""
        costs = [*map(work.inference.most, work.unanswered(so_far.chunk, work.chunks))]
        unpriced = [f"batch inference of {work.inference.answered_by}"] if work.inference.rate is None else []
        with self._explained("This job was not made."):
            self._check_max_cost(len(costs), sum(costs), unpriced, work.max_cost, so_far.cost)

    def _keep(self, work: _Work, ended: Seen, so_far: _SoFar) -> None:
        """Keep the answers of a job, and count the missing ones.

        :raises BedrockFatalError: it did not complete; the answers that it wrote are still kept.
        """
        found = self._collect(work, ended, so_far)
        if ended.outcome is not customization.job.Outcome.SUCCEEDED:
            raise BedrockFatalError(self._resource.failure_message(ended))
        for question in work.questions(so_far.chunk):
            if work.inference.answer(question) is None:
                found.missing(question)
        for number, code in sorted(found.failed.items()):
            so_far.errors[code] = so_far.errors.get(code, 0) + 1
            named = so_far.failed_records.setdefault(code, [])
            named += [number] if len(named) < _NAMED else []
        if so_far.errors:
            self.log.warning(
                "Records without an answer, by error: %s. Numbers of the first ones: %s",
                so_far.errors,
                so_far.failed_records,
            )

    def _collect(self, work: _Work, ended: Seen, so_far: _SoFar) -> Answered:
        """Keep the answers of a job, and return them: those to all records, since records_per_job may have changed."""
        found = self._answered(work, ended)
        so_far.cost += sum(work.inference.cost(answer) for _, answer in found.answers.values())
        pending: list[tuple[Question, Answer]] = []
        for question in work.held_out.questions():
            if (answer := found.to(question)) is not None:
                pending.append((question, answer))
            if len(pending) == _KEPT_AT_ONCE:
                work.inference.keep(pending)
                pending.clear()
        work.inference.keep(pending)
        return found

    def _answered(self, work: _Work, ended: Seen) -> Answered:
        """Read the answers of a job; one that did not complete may have written none.

        :raises BedrockFatalError: a completed job has written nothing.
        """
        from airflow_bedrock.evaluation.batch import Answered, is_same_model

        job = self.hook.conn.get_model_invocation_job(jobIdentifier=ended.arn)
        found = Answered(of_model=is_same_model(job["modelId"], work.inference.answered_by))
        try:
            with work.storage.read(_output_of(job)) as lines:
                found.read(lines)
        except BedrockFatalError as error:
            if ended.outcome is customization.job.Outcome.SUCCEEDED:
                raise BedrockFatalError(
                    f"{error} Batch job {ended.arn} has completed and is billed. Make its output readable and clear "
                    "this task; to pay for the answers again, change records_per_job and clear it."
                ) from error
        return found

    @contextmanager
    def _work(self) -> Iterator[_Work]:
        arguments = self._checked()
        from airflow_bedrock.converse import ConverseModel
        from airflow_bedrock.evaluation.bill import Bill

        storage = self._files(arguments["kms_key_id"])
        with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as name, ExitStack() as stack:
            folder = Path(name)
            runtime = hooks.BedrockRuntimeHook(**self._hook_parameters).conn
            timeout = configuration.no_response_timeout()
            inference = self._inferences(
                arguments, storage, folder, stack, bill=Bill(), most=1, no_response_timeout=timeout
            )("answers", ConverseModel(runtime, self.hook.conn, arguments["model_id"]))
            with self._explained(_KEPT):
                held_out = self._held_out(arguments, storage, folder / "test")
                held_out.check()
                inference.begin()
                shape = (held_out.parameters, arguments["max_records"], arguments["records_per_job"])
                content = hashlib.sha256(arguments["model_id"].encode())
                content.update(hashlib.sha256(msgspec.json.encode(shape, order="sorted")).digest())
                for line in held_out.lines():
                    content.update(line)
                yield _Work(
                    held_out=held_out,
                    inference=inference,
                    storage=storage,
                    folder=folder,
                    size=arguments["records_per_job"],
                    content=content.hexdigest(),
                    max_cost=arguments["max_cost"],
                    dry_run=arguments["is_dry_run"],
                )


def _output_of(job: GetModelInvocationJobResponseTypeDef) -> str:
    """Return the URI of a job's output: under its id, with the name of its input."""
    source = job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
    folder = job["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].rstrip("/")
    return f"{folder}/{job['jobArn'].rpartition('/')[2]}/{source.rpartition('/')[2]}.out"


def _of_chunk(task_key: TaskKey, chunk: int) -> TaskKey:
    """Return the key of a chunk: each chunk is requested separately, and is never an earlier try of another."""
    return msgspec.structs.replace(task_key, task_id=f"{task_key.task_id} {chunk}")
