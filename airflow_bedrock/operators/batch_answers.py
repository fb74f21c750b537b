"""Answer large held-out sets by batch inference in a task, at batch prices."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from airflow.sdk import Context

from airflow_bedrock import __version__, customization, hooks, jobs, spend
from airflow_bedrock.base_models import model_id as base_model_of
from airflow_bedrock.exceptions import BedrockFatalError, nothing_spent
from airflow_bedrock.links import PaidResourceLink
from airflow_bedrock.operators.arguments import Rule, member, named, text
from airflow_bedrock.operators.job_request import task_key_of
from airflow_bedrock.operators.paid import PaidOperator
from airflow_bedrock.operators.questions import QuestionsOperator, model
from airflow_bedrock.shapes import input_shape, missing_in_botocore
from airflow_bedrock.uris import file_uri, join, s3_uri

if TYPE_CHECKING:
    from mypy_boto3_bedrock.type_defs import GetModelInvocationJobResponseTypeDef

    from airflow_bedrock.customization.identity import Identity, TaskKey
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
    """The records, the answers, and where they are while the task runs."""

    held_out: HeldOutRecords
    inference: Inference
    storage: Storage
    folder: Path
    content: str
    max_cost: float | None


class BedrockBatchAnswersOperator(QuestionsOperator, PaidOperator):
    """Answer held-out records by batch inference; the answers are kept where the evaluation finds them.

    Run it for each model, with the same ``test_data_uri``, ``answers_uri`` and parameters as
    :class:`~airflow_bedrock.operators.BedrockModelEvaluationOperator`, which then asks only what is missing: records
    that failed or have tools, and sets of fewer than 100 records, the minimum of a job.

    The job is made once, and a retry adopts it. Records that have an answer are not asked again. If the task ends for
    good while it waits, it stops its job, unless others wait for it. A job takes at most 50,000 records, unless AWS has
    raised that quota for you: map the task over the parts of a larger set.

    Returns (XCom) ``{model, records, answered, missing, errors, failed_records, job_arns, cost}``: errors by the
    service's codes, and the numbers of the first records with each; the cost in US dollars, None if no price is
    known.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html

    Every parameter is templated.

    :param test_data_uri: the held-out records, as for the evaluation.
    :param model_id: a base model's id or a custom model's ARN. For the ARN of a deployment or provisioned throughput,
        the model behind it is used, since batch inference takes no deployment.
    :param role_arn: the role that Bedrock assumes, to read the questions and write the answers.
    :param output_uri: the folder on S3 for the questions and answers of the job.
    :param answers_uri: the folder in which answers are kept.
    :param job_name: the prefix of the job's name.
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
    }
    template_fields: Sequence[str] = (*QuestionsOperator.template_fields, *rules)
    operator_extra_links = (PaidResourceLink(),)
    # The state of one try, in a worker.
    _is_open = False
    _work: _Work
    _questions_uri: str
    _answered: Answered
    _paid: float

    def __init__(
        self,
        *,
        test_data_uri: str,
        model_id: str,
        role_arn: str,
        output_uri: str,
        answers_uri: str,
        job_name: str = "answers",
        **kwargs: Any,
    ) -> None:
        super().__init__(test_data_uri=test_data_uri, output_uri=output_uri, answers_uri=answers_uri, **kwargs)
        self.model_id = model_id
        self.role_arn = role_arn
        self.job_name = job_name
        self._check_literals()

    def _conflicts(self, found: Mapping[str, Any]) -> Iterator[str]:
        if "modelInvocationType" not in input_shape("bedrock", _CREATE).members:
            yield missing_in_botocore(f"{_CREATE}.modelInvocationType")

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None, **_: Any) -> Any:
        """Resume with the trigger's event. (Before 2026-11-23, tasks were deferred with further arguments.)"""
        return super().execute_complete(context, event)

    def execute_again(self, context: Context, event: Any = None, **_: Any) -> Any:
        """Request the job again, after a wait. (Before 2026-11-23, tasks were deferred with further arguments.)"""
        return super().execute_again(context, event)

    def _request_and_wait(self, context: Context, arguments: Mapping[str, Any], kill: KillSwitch) -> Any:
        with self._opened():
            missing, task_key = sum(1 for _ in self._unanswered()), task_key_of(context)
            if missing >= MIN_RECORDS:
                return super()._request_and_wait(context, arguments, kill)
            if missing and task_key.is_retry:
                self._submission = self._ask(context, arguments, before_paying=kill.before_paying)
                if (found := self._submission.of_earlier_try()) is not None:
                    self._note(found, kill, context)
                    return self._finish(self._ended(found, kill), context)
            if missing:
                self.log.info("%d records are too few for a job: the evaluation will ask them", missing)
            job_arns, cost = [], 0.0
            for ended in self._stopped(context, kill) if task_key.try_number > 1 else ():
                with suppress(BedrockFatalError):  # its output is not needed
                    self._settle(ended, context)
                    cost += self._paid
                job_arns.append(ended.arn)
            spend.settling.settled_of(task_key, self._service, self._s3)
            return self._counted(job_arns, cost)

    def _stopped(self, context: Context, kill: KillSwitch) -> Iterator[Seen]:
        """Stop the running jobs of earlier tries, whose answers other tasks have kept since; yield them at their end.

        :raises BedrockError: Bedrock did not say which jobs run.
        """
        task_key = task_key_of(context)
        allow = "bedrock:ListModelInvocationJobs and bedrock:ListTagsForResource"
        with nothing_spent("Reading the jobs of earlier tries", "batch job", earlier=True, allow=allow):
            running = self._made_by_earlier_tries(task_key)
        for arn in running:
            self._arn = arn
            self._aim(arn, kill, context)
            self.log.warning("Batch job %s is no longer needed. %s", arn, self._stop(arn, task_key))
            found = jobs.own_jobs.shown(self._service, arn)
            if found and (found.outcome is not customization.job.Outcome.RUNNING or found.status == "Stopping"):
                yield self._end_of(found)  # otherwise others wait for it, or it could not be stopped

    def _made_by_earlier_tries(self, task_key: TaskKey) -> list[str]:
        # Also in a first try: one that was deferred does not know its job.
        return jobs.own_jobs.running_jobs_of(self._service, self._identity(task_key), this_ask=False)

    def _to_go_on(self, made: list[str]) -> str:
        return f"{_KEPT} To continue, raise execution_timeout and clear this task."

    def _requests_anew(self, ended: Seen, task_key: TaskKey) -> bool:
        return super()._requests_anew(ended, _key_in_names(task_key))

    def _request(self, arguments: Mapping[str, Any], task_key: TaskKey) -> dict[str, Any]:
        # Another task may ask the same records at the same time, when different ones already have answers.
        name = f"{self._work.content[:16]}-{_key_in_names(task_key).who}.jsonl"
        self._questions_uri = join(self.output_uri, name)
        key = {"s3EncryptionKeyId": self.kms_key_id} if self.kms_key_id else {}
        return {
            "jobName": self.job_name,
            "roleArn": self.role_arn,
            "modelId": self._work.inference.answered_by,
            "modelInvocationType": "Converse",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": self._questions_uri}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{self.output_uri.rstrip('/')}/", **key}},
            # By these tags an orphan is found, and Airflow's role is allowed to stop it.
            "tags": customization.tags.with_tags([], customization.tags.automatic_tags(task_key, __version__)),
        }

    def _identity(self, task_key: TaskKey, request: Mapping[str, Any] | None = None) -> Identity:
        return customization.identity.identify(
            request or {"jobName": self.job_name},
            [{"content": self._work.content, "chunk": 0}] if request else [],
            _key_in_names(task_key),
            "run",
            model_name=None,
        )

    def _ask(self, context: Context, arguments: Mapping[str, Any], **how: Any) -> jobs.submission.Submission:
        how |= {"check_cost": self._check_cost, "before_paying": partial(self._write, how["before_paying"])}
        return super()._ask(context, arguments, **how)

    def _write(self, check: Callable[[], object]) -> None:
        """Write the questions without an answer, right before their job is created."""
        from airflow_bedrock.evaluation import batch

        file = self._work.folder / "questions.jsonl"
        with file.open("wb") as output:
            output.writelines(map(batch.line, self._unanswered()))
        self._work.storage.write(file, self._questions_uri)
        check()

    def _check_cost(self) -> None:
        """Log and check what the job may cost."""
        inference = self._work.inference
        costs = [*map(inference.most, self._unanswered())]
        unpriced = [f"batch inference of {inference.answered_by}"] if inference.rate is None else []
        with self._explained("The job was not made."):
            self._check_max_cost(len(costs), sum(costs), unpriced, self._work.max_cost)

    def _cost(self, arguments: Mapping[str, Any]) -> spend.ledger.Cost:
        """Return the maximum cost of the job: each unanswered question, with the longest possible answer."""
        inference = self._work.inference
        if (rate := inference.rate) is None:
            unknown = f"No price is known for batch inference of {inference.answered_by}."
            return spend.ledger.Cost(usd=None, unknown=unknown)
        usd = Decimal(str(sum(map(inference.most, self._unanswered()))))
        rates = {name: Decimal(str(price)) for name, price in rate._asdict().items()}
        return spend.ledger.Cost(usd=usd, model=base_model_of(inference.answered_by), rates=rates)

    def _finish(self, found: Seen, context: Context) -> Any:
        with self._opened():
            return super()._finish(found, context)

    def _settle(self, found: Seen, context: Context) -> None:
        super()._settle(found, context)
        self._answered = self._collect(found)  # even if it did not complete
        self._paid = sum(self._work.inference.cost(answer) for _, answer in self._answered.answers.values())

    def _collect(self, ended: Seen) -> Answered:
        """Keep the answers of a job, and return them.

        :raises BedrockFatalError: a completed job has written nothing.
        """
        from airflow_bedrock.evaluation.batch import Answered, is_same_model

        work = self._work
        pending: list[tuple[Question, Answer]] = []
        job = self.hook.conn.get_model_invocation_job(jobIdentifier=ended.arn)
        found = Answered(of_model=is_same_model(job["modelId"], work.inference.answered_by))
        try:
            with work.storage.read(_output_of(job)) as lines:
                found.read(lines)
        except BedrockFatalError as error:
            if ended.outcome is customization.job.Outcome.SUCCEEDED:
                raise BedrockFatalError(
                    f"{error} Batch job {ended.arn} has completed and is billed. Make its output readable and clear "
                    "this task; to pay for the answers again, set another output_uri and clear it."
                ) from error
        for question in work.held_out.questions():
            if (answer := found.to(question)) is not None:
                pending.append((question, answer))
            if len(pending) == _KEPT_AT_ONCE:
                work.inference.keep(pending)
                pending.clear()
        work.inference.keep(pending)
        return found

    def _result(self, found: Seen, context: Context) -> dict[str, Any]:
        return self._counted([found.arn], self._paid, self._answered)

    def _counted(self, job_arns: list[str], cost: float, answered: Answered | None = None) -> dict[str, Any]:
        """Return the result of the task.

        :param cost: of the jobs, in US dollars.
        :param answered: the answers of a completed job; its errors count.
        """
        inference, records, missing = self._work.inference, self._work.held_out.count, 0
        for question in self._work.held_out.questions():
            if inference.answer(question) is None:
                missing += 1
                if answered:
                    answered.missing(question)
        self.log.info("%s has answered %d of %d records", inference.answered_by, records - missing, records)
        failed: dict[str, list[int]] = {}
        for number, code in sorted(answered.failed.items()) if answered else ():
            failed.setdefault(code, []).append(number)
        errors = {code: len(numbers) for code, numbers in failed.items()}
        first = {code: numbers[:_NAMED] for code, numbers in failed.items()}
        if errors:
            self.log.warning("Records without an answer, by error: %s. Numbers of the first ones: %s", errors, first)
        return {
            "model": inference.answered_by,
            "records": records,
            "answered": records - missing,
            "missing": missing,
            "errors": errors,
            "failed_records": first,
            "job_arns": job_arns,
            "cost": None if inference.rate is None else cost,
        }

    def _unanswered(self) -> Iterator[Question]:
        """Return the questions for a job: those without an answer, each once, even if several records have it."""
        questions = self._work.held_out.questions()
        return self._work.inference.unanswered(one for one in questions if not one.has_tools)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Fetch the records and the kept answers, unless that is done already."""
        if self._is_open:
            yield
            return
        arguments = self._checked()
        from airflow_bedrock.converse import ConverseModel
        from airflow_bedrock.evaluation.bill import Bill

        storage = self._files(arguments["kms_key_id"])
        with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as name, ExitStack() as stack:
            folder = Path(name)
            runtime = hooks.BedrockRuntimeHook(**self._hook_parameters).conn
            inference = self._inferences(arguments, storage, folder, stack, bill=Bill(), most=1)(
                "answers", ConverseModel(runtime, self.hook.conn, arguments["model_id"])
            )
            with self._explained(_KEPT):
                held_out = self._held_out(arguments, storage, folder / "test")
                held_out.check()
                inference.begin()
                # 50,000 was the number of records of a job when a task made several; the names of the jobs keep it.
                shape = (held_out.parameters, arguments["max_records"], 50_000)
                content = hashlib.sha256(arguments["model_id"].encode())
                content.update(hashlib.sha256(msgspec.json.encode(shape, order="sorted")).digest())
                for line in held_out.lines():
                    content.update(line)
                self._work = _Work(held_out, inference, storage, folder, content.hexdigest(), arguments["max_cost"])
                self._is_open = True
                try:
                    yield
                finally:
                    self._is_open = False


def _output_of(job: GetModelInvocationJobResponseTypeDef) -> str:
    """Return the URI of a job's output: under its id, with the name of its input."""
    source = job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
    folder = job["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].rstrip("/")
    return f"{folder}/{job['jobArn'].rpartition('/')[2]}/{source.rpartition('/')[2]}.out"


def _key_in_names(task_key: TaskKey) -> TaskKey:
    """Return the key in the names and tags of the job. The 0 is left from tasks that made several jobs."""
    return msgspec.structs.replace(task_key, task_id=f"{task_key.task_id} 0")
