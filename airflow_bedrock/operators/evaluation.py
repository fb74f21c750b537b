"""Evaluation as a task: is the customized model better than the one that it would replace?"""

from __future__ import annotations

import heapq
import os
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from airflow_bedrock.converse import Answer, ConverseModel
from airflow_bedrock.datasets import DatasetError, Example, decode
from airflow_bedrock.datasets.records import text_digest
from airflow_bedrock.evaluation import metrics as metric_names
from airflow_bedrock.evaluation.pool import ordered_map
from airflow_bedrock.evaluation.tally import ModelTally
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.operators.arguments import (
    Rule,
    member,
    named,
    optional,
    real,
    rendered,
    text,
    whole,
)
from airflow_bedrock.operators.base import AwsOperator
from airflow_bedrock.storage import Storage, join, place, same

if TYPE_CHECKING:
    from airflow.sdk import Context
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient

    from airflow_bedrock.evaluation import Metric, Rules
    from airflow_bedrock.hooks import BedrockRuntimeHook  # noqa: F401 - for the class's type

ROLES = ("candidate", "baseline")
Record = tuple[int, Example]  # its number in the file, from 1, and what it holds
Answers = tuple[Example, dict[str, Answer]]  # a record and the answer of each role
_FILES = (*(f"{role}.jsonl" for role in ROLES), "report.json")


def _metrics(value: Any) -> list[metric_names.Given]:
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    if not given:
        raise ValueError(f"must name at least one of {', '.join(metric_names.METRICS)}")
    for one in given:
        metric_names.check(one)
    return given


_MODEL = named(member("bedrock-runtime", "Converse", "modelId", "the id of a model, or an ARN that Converse takes"))
_RULES: Mapping[str, Rule] = {
    "test_data_uri": place,
    "candidate_model_id": _MODEL,
    "baseline_model_id": _MODEL,
    "output_uri": place,
    "max_records": optional(rendered(whole(1))),
    "max_tokens": rendered(whole(1)),
    "temperature": optional(real(0, 1)),
    "concurrency": whole(1),
    "metrics": _metrics,
    "alpha": rendered(real(0, 1, between=True)),
    "minimum_gain": rendered(real(0)),
    "ready_timeout": real(0),
    "kms_key_id": optional(named(text)),
}


class BedrockModelEvaluationOperator(AwsOperator["BedrockRuntimeHook"]):
    """Ask two models the same held-out questions, and say which one answers better, and whether that can be chance.

    Every question is paid for, by tokens, for both models; another try asks all of them again.

    Writes under ``output_uri``: ``candidate.jsonl`` and ``baseline.jsonl``, the answers in the form that a Bedrock
    evaluation job takes as inference of your own (``precomputedInferenceSource``), and ``report.json``.

    Returns (XCom) a mapping: ``candidate`` and ``baseline``, each ``{model, accuracy, correct, n}``; ``wins``,
    ``losses``, ``ties``, ``p_value``; ``difference``: ``{metric, value, low, high}``, candidate minus baseline, with
    its interval; ``verdict``: ``better`` only if all of that lies above ``minimum_gain``, ``worse`` if it lies below
    0, otherwise ``undecided``; ``reason``: why, in words; ``report_uri``.

    It needs the extra ``evaluation``.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
    https://docs.aws.amazon.com/bedrock/latest/userguide/model-evaluation-prompt-datasets-judge.html

    :param test_data_uri: the held-out records, on S3 or local, in the training format, e.g. the ``test_data_uri`` of
        :class:`~airflow_bedrock.operators.BedrockDatasetPreparationOperator`. (templated)
    :param candidate_model_id: what Converse takes: the ARN of the custom model's deployment. (templated)
    :param baseline_model_id: the model to compare with: the one in use, or the base model. (templated)
    :param output_uri: the folder to write to, on S3 or local; checked before the first question. (templated)
    :param max_records: ask no more than so many records, drawn by their hash: the same file gives the same ones. None
        asks all. (templated)
    :param max_tokens: the longest answer; what is longer is cut off, and counted by its stop reason in the report.
        (templated)
    :param temperature: 0 (the likeliest answer) to 1; None for models that take no temperature.
    :param concurrency: how many questions are under way at once.
    :param metrics: one or several of ``exact_match``, ``accuracy``, ``macro_f1``, ``token_f1``, ``rouge_l``, ``chrf``,
        ``corpus_chrf``, ``sentence_bleu``, ``corpus_bleu``, ``json_valid``, ``json_fields``, ``regex``; a mapping of
        ``name`` and the metric's parameters; or a function of answer and reference. The first one decides.
    :param alpha: significance level of the verdict, between 0 and 1. (templated)
    :param minimum_gain: by how much of the first metric the candidate must be better, at least. (templated)
    :param ready_timeout: seconds to wait for a model that is not ready yet.
    :param kms_key_id: id, ARN or alias of the KMS key that encrypts what is written to S3; by default the bucket's.
        (templated)
    :param multiple_outputs: push each value of the mapping as an XCom of its own too, so that
        ``task.output["verdict"]`` is found. (default: True)
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in every operator of the amazon provider.
    """

    aws_hook_class = "airflow_bedrock.hooks:BedrockRuntimeHook"
    template_fields: Sequence[str] = (
        *AwsOperator.template_fields,
        "test_data_uri",
        "candidate_model_id",
        "baseline_model_id",
        "output_uri",
        "max_records",
        "max_tokens",
        "alpha",
        "minimum_gain",
        "kms_key_id",
    )

    def __init__(
        self,
        *,
        test_data_uri: str,
        candidate_model_id: str,
        baseline_model_id: str,
        output_uri: str,
        max_records: int | str | None = None,
        max_tokens: int | str = 64,
        temperature: float | None = 0.0,
        concurrency: int = 8,
        metrics: metric_names.Given | Sequence[metric_names.Given] = ("exact_match",),
        alpha: float | str = 0.05,
        minimum_gain: float | str = 0.0,
        ready_timeout: float = 600.0,
        kms_key_id: str | None = None,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.test_data_uri = test_data_uri
        self.candidate_model_id = candidate_model_id
        self.baseline_model_id = baseline_model_id
        self.output_uri = output_uri
        self.max_records = max_records
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.concurrency = concurrency
        self.metrics = metrics
        self.alpha = alpha
        self.minimum_gain = minimum_gain
        self.ready_timeout = ready_timeout
        self.kms_key_id = kms_key_id
        self._arguments(_RULES, _conflicts).check_literals()

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask, compare, write, and return the verdict.

        :raises BedrockFatalError: the held-out file, a setting or a model is such that no retry can help.
        :raises BedrockError: a model did not respond; a retry may get a response.
        """
        arguments = self._arguments(_RULES, _conflicts).checked()
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        s3 = S3Hook(**self._hook_parameters)
        storage = Storage(lambda: s3.conn, arguments["kms_key_id"])
        with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as name, ExitStack() as stack:
            folder = Path(name)
            with _adding("No question was asked."):
                evaluation = self._evaluation(arguments)
                storage.check_folder(self.output_uri)
                source = stack.enter_context(storage.read(self.test_data_uri))
                chosen = self._choose(source, arguments["max_records"], evaluation)
            source.seek(0)
            with ExitStack() as files:
                outputs = {role: files.enter_context((folder / f"{role}.jsonl").open("wb")) for role in ROLES}
                evaluation.ready()
                for answers in stack.enter_context(closing(self._answers(source, chosen, arguments))):
                    evaluation.add(answers)
                    for role, output in outputs.items():
                        output.write(_answer_record(answers, role, evaluation.models[role].model_id))
            return self._publish(storage, evaluation, folder)

    def _evaluation(self, arguments: Mapping[str, Any]) -> _Evaluation:
        try:
            from airflow_bedrock.evaluation.scoring import Rules

            metrics = [metric_names.metric(given) for given in arguments["metrics"]]
        except ImportError as error:
            raise BedrockFatalError(
                f"Task {self.task_id} needs {error.name or error}: install airflow-bedrock[evaluation]."
            ) from error
        models = {"candidate": self.candidate_model_id, "baseline": self.baseline_model_id}
        return _Evaluation(models, metrics, Rules(alpha=arguments["alpha"], minimum_gain=arguments["minimum_gain"]))

    def _choose(self, source: BinaryIO, max_records: int | None, evaluation: _Evaluation) -> Set[int]:
        """Read the whole file, before the first question is paid for; return the numbers of the records to ask.

        They are drawn by their hash and not from the file's beginning, where the records of one kind may stand.
        """

        def hashed() -> Iterator[tuple[bytes, int]]:
            for number, example in _read(self.test_data_uri, source):
                evaluation.learn(example.completion)
                yield text_digest(example.prompt), number

        chosen = {number for _, number in heapq.nsmallest(max_records or sys.maxsize, hashed())}
        if not chosen:
            raise BedrockFatalError(f"{self.test_data_uri} holds no record: there is nothing to evaluate on.")
        return chosen

    def _answers(self, source: BinaryIO, chosen: Set[int], arguments: Mapping[str, Any]) -> Generator[Answers]:
        with ExitStack() as stack:
            client = stack.enter_context(closing(self._client()))
            models = {
                role: ConverseModel(
                    client,
                    model_id,
                    max_tokens=arguments["max_tokens"],
                    temperature=arguments["temperature"],
                    ready_timeout=arguments["ready_timeout"],
                )
                for role, model_id in zip(ROLES, (self.candidate_model_id, self.baseline_model_id), strict=True)
            }
            records = (record for record in _read(self.test_data_uri, source) if record[0] in chosen)
            answered = ordered_map(partial(_ask, models), records, self.concurrency)
            try:
                yield from answered
            finally:
                for model in models.values():
                    model.stop()
                answered.close()

    def _client(self) -> BedrockRuntimeClient:
        """Return a client that paces itself when it is throttled, unless the user has said how to retry."""
        from botocore.config import Config

        config = Config(max_pool_connections=max(10, self.concurrency))
        if "AWS_RETRY_MODE" not in os.environ:
            config = config.merge(Config(retries={"mode": "adaptive", "total_max_attempts": 10}))
        client: BedrockRuntimeClient = self.hook.get_client_type(
            region_name=self.hook.region_name, config=config.merge(self.hook.config)
        )
        return client

    def _publish(self, storage: Storage, evaluation: _Evaluation, folder: Path) -> dict[str, Any]:
        result, report = evaluation.result()
        report_file = folder / _FILES[-1]
        report |= {"test_data_uri": self.test_data_uri}
        report_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        with _adding("Every question was asked and is billed, but the answers are lost: another try asks all again."):
            for name in _FILES:
                storage.write(folder / name, join(self.output_uri, name))
        self.log.info("Candidate against baseline: %s", result)
        return {**result, "report_uri": join(self.output_uri, report_file.name)}


def _conflicts(found: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with the arguments together."""
    if {"test_data_uri", "output_uri"} <= found.keys():
        source, output = found["test_data_uri"], found["output_uri"]
        if any(same(source, join(output, name)) for name in _FILES):
            yield f"test_data_uri {source} would be replaced by a file written to output_uri. Name another place"


@contextmanager
def _adding(said: str) -> Iterator[None]:
    """Add to an error what has become of the questions, and of their bill."""
    try:
        yield
    except BedrockError as error:
        raise type(error)(f"{str(error).rstrip('.')}. {said}") from error


class _Evaluation:
    """Both models' tallies and scores. The first metric decides."""

    def __init__(self, model_ids: Mapping[str, str], metrics: Sequence[Metric], rules: Rules) -> None:
        self.models = {role: ModelTally(model_id) for role, model_id in model_ids.items()}
        self._metrics = metrics
        self._rules = rules
        self._number = 0

    def learn(self, reference: str) -> None:
        try:
            for metric in self._metrics:
                metric.learn(reference)
        except ValueError as error:
            raise BedrockFatalError(f"Cannot evaluate: {error}.") from error

    def ready(self) -> None:
        from airflow_bedrock.evaluation.scoring import Scoring

        for metric in self._metrics:
            metric.ready()
        self._scoring = Scoring(list(self.models), self._metrics, self._rules)

    def add(self, answers: Answers) -> None:
        example, answer_of = answers
        self._number += 1
        for role, answer in answer_of.items():
            self.models[role].add(
                stop_reason=answer.stop_reason, input_tokens=answer.input_tokens, output_tokens=answer.output_tokens
            )
        texts = {role: answer.text for role, answer in answer_of.items()}
        try:
            self._scoring.add(self._number, example.completion, texts)
        except ValueError as error:
            raise BedrockFatalError(f"Record {self._number}: {error}.") from error

    def result(self) -> tuple[dict[str, Any], dict[str, Any]]:
        report = self._scoring.result()
        models = {role: {**tally.report(), **report["models"][role]} for role, tally in self.models.items()}
        difference = report["differences"]["baseline"][report["metric"]]
        result = {
            **{
                role: {name: model[name] for name in ("model", "accuracy", "correct", "n")}
                for role, model in models.items()
            },
            **{name: difference[name] for name in ("wins", "losses", "ties", "p_value")},
            "difference": {"metric": report["metric"], **{name: difference[name] for name in ("value", "low", "high")}},
            "verdict": report["verdict"],
            "reason": report["reason"],
        }
        return result, {**report, "models": models}


def _read(name: str, lines: BinaryIO) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        try:
            yield number, decode(line)
        except DatasetError as error:
            raise BedrockFatalError(f"Record {number} of {name}: {error}.") from error


def _ask(models: Mapping[str, ConverseModel], record: Record) -> Answers:
    number, example = record
    try:
        return example, {role: model.ask(example) for role, model in models.items()}
    except BedrockError as error:
        for model in models.values():
            model.stop()  # it is over for the other threads as well
        raise type(error)(
            f"Record {number}: {error} The evaluation ended there and nothing was written; the questions asked so far "
            "are billed, and another try asks them again."
        ) from None  # said above


def _answer_record(answers: Answers, role: str, model_id: str) -> bytes:
    example, answer_of = answers
    record = {
        "prompt": example.prompt,
        "referenceResponse": example.completion,
        "modelResponses": [{"response": answer_of[role].text, "modelIdentifier": model_id}],
    }
    return msgspec.json.encode(record) + b"\n"
