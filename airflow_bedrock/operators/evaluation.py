"""Evaluate in a task whether the customized model is better than the one it would replace."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import msgspec
from airflow.sdk import Context

from airflow_bedrock import configuration, hooks, jobs, spend
from airflow_bedrock.compat import outputs
from airflow_bedrock.evaluation import metrics as metric_names
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.links import JOB_LINKS, EvaluationReportLink
from airflow_bedrock.operators.arguments import Rule, flag, optional, real, rendered, text, whole
from airflow_bedrock.operators.job_request import task_key_of
from airflow_bedrock.operators.questions import QuestionsOperator, model
from airflow_bedrock.operators.spending import explained
from airflow_bedrock.uris import join, same

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient

    from airflow_bedrock.evaluation.answer_store import Answer
    from airflow_bedrock.evaluation.records import HeldOutRecords, Record
    from airflow_bedrock.evaluation.run import Evaluation
    from airflow_bedrock.hooks import BedrockRuntimeHook
    from airflow_bedrock.storage import Storage

CANDIDATE, BASELINE = "candidate", "baseline"
_REPORTS = ("report.html", "report.md", "report.json")


def _metrics(value: Any) -> list[metric_names.Given]:
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    if not given:
        raise ValueError(f"must name at least one of {', '.join(metric_names.METRICS)}")
    for one in given:
        metric_names.check(one)
    labels = [metric_names.label(one) for one in given]
    if twice := next((one for place, one in enumerate(labels) if one in labels[:place]), None):
        raise ValueError(f"has two metrics named {twice}. Give one of them another label")
    return given


def _models(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(role, str) and role.isidentifier() for role in value):
        raise ValueError("must map names to models")
    if {CANDIDATE, BASELINE} & value.keys():
        raise ValueError("must not name candidate, baseline")
    return {role: model(model_id) for role, model_id in value.items()}


def _losses(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, Sequence) or not all(isinstance(one, Mapping) for one in value):
        raise ValueError("must be the losses_by_epoch of a customization job's result")
    return list(value)


class BedrockModelEvaluationOperator(QuestionsOperator):
    """Ask models the same held-out questions, and report which one is better, by how much, and how certain that is.

    Each question is paid for once, by tokens: answers are kept under ``answers_uri`` for the model itself, the question
    and the parameters. A retry, another run, and another candidate against the same baseline ask only the questions
    that have no answer yet. Throttling slows the task down, but does not fail it. See docs/evaluation.md.

    Writes under ``output_uri``: ``candidate.jsonl`` and ``baseline.jsonl``, the answers in the form that a Bedrock
    evaluation job takes as your own inference (``precomputedInferenceSource``), and ``report.html``, ``report.md``
    and ``report.json``. The task links to the report.

    Returns (XCom) a mapping: ``candidate`` and ``baseline``, each ``{model, accuracy, correct, n}``; ``wins``,
    ``losses``, ``ties``, ``p_value``; ``difference``: ``{metric, value, low, high}``, candidate minus baseline, with
    its interval; ``verdict``: ``better`` only if the whole interval lies above ``minimum_gain``, ``worse`` if it lies
    below 0, otherwise ``undecided``; ``reason``: why, in words; ``cost`` in US dollars, if the prices are known;
    ``report_uri``, ``report_html_uri``.

    It needs the extra ``evaluation``.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
    https://docs.aws.amazon.com/bedrock/latest/userguide/model-evaluation-prompt-datasets-judge.html

    Every parameter except ``metrics`` and the last one is templated.

    :param test_data_uri: the held-out records, on S3 or local, in the training format, e.g. the ``test_data_uri`` of
        :class:`~airflow_bedrock.operators.BedrockDatasetPreparationOperator`.
    :param candidate_model_id: the ARN of the custom model's deployment, or another id that Converse takes.
    :param baseline_model_id: the model to compare with: the one in use, or the base model.
    :param other_models: more models to compare the candidate with, by name; they do not influence the verdict.
    :param output_uri: the folder to write to, on S3 or local; checked before the first question.
    :param answers_uri: the folder in which answers are kept; use one for all evaluations. (default: ``answers`` in
        ``output_uri``)
    :param concurrency: maximum number of questions in flight for each model; fewer while it throttles.
    :param metrics: one or several of ``exact_match``, ``accuracy``, ``macro_f1``, ``token_f1``, ``rouge_l``, ``chrf``,
        ``corpus_chrf``, ``sentence_bleu``, ``corpus_bleu``, ``json_valid``, ``json_fields``, ``regex``, ``judge``,
        ``embedding_similarity``; a mapping of ``name`` and the metric's parameters; or a function of answer and
        reference. The first one decides.
    :param alpha: significance level of the verdict, between 0 and 1.
    :param minimum_gain: the minimum gain of the candidate in the first metric.
    :param slice_by: the field whose values divide the records into slices, e.g. ``language``; a dot reads a nested
        field.
    :param max_slice_loss: the maximum loss of the candidate in the first metric on any slice.
    :param losses_by_epoch: the losses of the training job, for the report: ``losses_by_epoch`` of the customization's
        result.
    :param show_texts: whether the report shows prompts and answers, of the records on which the candidate wins or loses
        most.
    :param multiple_outputs: also push each value of the mapping as its own XCom, so that
        ``task.output["verdict"]`` works. (default: True)
    """

    hook: BedrockRuntimeHook
    aws_hook_class = "airflow_bedrock.hooks:BedrockRuntimeHook"
    operator_extra_links = (EvaluationReportLink(), *JOB_LINKS)
    rules: ClassVar[Mapping[str, Rule]] = {
        "candidate_model_id": model,
        "baseline_model_id": model,
        "other_models": _models,
        "concurrency": rendered(whole(1)),
        "metrics": _metrics,
        "alpha": rendered(real(0, 1, between=True)),
        "minimum_gain": rendered(real(0)),
        "slice_by": optional(text),
        "max_slice_loss": optional(rendered(real(0))),
        "losses_by_epoch": optional(_losses),
        "show_texts": flag,
    }
    template_fields: Sequence[str] = (
        *QuestionsOperator.template_fields,
        *(name for name in rules if name != "metrics"),  # Airflow would call a function, and render braces of a rubric
    )

    def __init__(
        self,
        *,
        test_data_uri: str,
        candidate_model_id: str,
        baseline_model_id: str,
        output_uri: str,
        other_models: Mapping[str, str] | None = None,
        concurrency: int = 16,
        metrics: metric_names.Given | Sequence[metric_names.Given] = ("exact_match",),
        alpha: float | str = 0.05,
        minimum_gain: float | str = 0.0,
        slice_by: str | None = None,
        max_slice_loss: float | str | None = None,
        losses_by_epoch: Sequence[Mapping[str, Any]] | None = None,
        show_texts: bool = False,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            test_data_uri=test_data_uri, output_uri=output_uri, multiple_outputs=multiple_outputs, **kwargs
        )
        self.candidate_model_id = candidate_model_id
        self.baseline_model_id = baseline_model_id
        self.other_models = other_models or {}
        self.concurrency = concurrency
        self.metrics = metrics
        self.alpha = alpha
        self.minimum_gain = minimum_gain
        self.slice_by = slice_by
        self.max_slice_loss = max_slice_loss
        self.losses_by_epoch = losses_by_epoch
        self.show_texts = show_texts
        self._check_literals()

    def _conflicts(self, found: Mapping[str, Any]) -> Iterator[str]:
        if {"test_data_uri", "output_uri"} <= found.keys():
            source, output = found["test_data_uri"], found["output_uri"]
            roles = (CANDIDATE, BASELINE, *found.get("other_models", ()))
            if any(same(source, join(output, name)) for name in (*(f"{role}.jsonl" for role in roles), *_REPORTS)):
                yield f"a file written to output_uri would replace test_data_uri {source}. Choose another location"
        pairwise = any(isinstance(one, Mapping) and one.get("pairwise") for one in found.get("metrics", ()))
        if pairwise and found.get("other_models"):
            yield "a pairwise judge compares only candidate and baseline: remove other_models"
        if found.get("max_slice_loss") is not None and "slice_by" in found and found["slice_by"] is None:
            yield "max_slice_loss needs slice_by, which names the slices"

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask, compare, write, and return the verdict.

        :raises BedrockFatalError: the held-out file, a setting or a model is invalid.
        :raises BedrockError: a model did not respond, but may later.
        """
        arguments = self._checked()
        storage = self._files(arguments["kms_key_id"])
        with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as name, ExitStack() as stack:
            folder = Path(name)
            with self._explained("No question was asked."):
                storage.check_folder(self.output_uri)
                held_out = self._held_out(arguments, storage, folder / "test")
                evaluation = self._evaluation(arguments, held_out, storage, folder, stack)
                evaluation.check()
                evaluation.begin()
                missing, most = evaluation.estimate()
                self._check_max_cost(missing, most, evaluation.unpriced(), arguments["max_cost"])
                cost = partial(_cost, evaluation, most, arguments)
                hook = hooks.BedrockHook(**self._hook_parameters)
                budget = partial(self._budget, context, spend.ledger.EVALUATION, hook, cost)
                settle = self._reserve(context, evaluation, budget, missing, arguments, storage)
            with self._explained("Answers received so far are billed; a retry asks only what has no kept answer."):
                try:
                    evaluation.ask()
                finally:
                    if (cost_so_far := evaluation.cost) is not None:  # otherwise expected_cost stays reserved
                        settle(Decimal(str(cost_so_far)))
                with ExitStack() as files:
                    roles = _roles(arguments)
                    output = {role: files.enter_context((folder / f"{role}.jsonl").open("wb")) for role in roles}
                    result = evaluation.score(partial(_write, output, roles))
                self._report(evaluation, result, arguments, folder)
                returned = self._publish(storage, result, folder)
                endpoint_url = self.hook.conn.meta.endpoint_url
                values = jobs.shown.evaluation_shown(result, returned, endpoint_url)
                jobs.shown.push(context, jobs.shown.EVALUATION, values)
                return outputs(returned)

    def _evaluation(
        self, arguments: Mapping[str, Any], held_out: HeldOutRecords, storage: Storage, folder: Path, stack: ExitStack
    ) -> Evaluation:
        """Build the evaluation; no question is asked yet."""
        try:
            from airflow_bedrock.evaluation.judge import AskingMetric
            from airflow_bedrock.evaluation.run import Evaluation
            from airflow_bedrock.evaluation.scoring import Rules

            metrics = [metric_names.metric(given) for given in arguments["metrics"]]
        except ImportError as error:
            raise BedrockFatalError(
                f"Task {self.task_id} needs {error.name or error}: install airflow-bedrock[evaluation]."
            ) from error
        from airflow_bedrock.converse import ConverseModel, EmbeddingModel
        from airflow_bedrock.evaluation.bill import Bill

        runtime = stack.enter_context(closing(self._client(arguments["concurrency"] * len(_roles(arguments)))))
        bedrock = stack.enter_context(closing(hooks.BedrockHook(**self._hook_parameters).conn))
        inference = self._inferences(
            arguments,
            storage,
            folder / "answers",
            stack,
            bill=Bill(arguments["max_cost"]),
            most=arguments["concurrency"],
        )
        by_id = {
            model_id: inference(role, ConverseModel(runtime, bedrock, model_id))
            for role, model_id in _roles(arguments).items()
        }
        models = {role: by_id[model_id] for role, model_id in _roles(arguments).items()}
        for one in metrics:
            if isinstance(one, AskingMetric):
                kind = EmbeddingModel if one.embeds else ConverseModel
                one.inference = inference(f"metric {one.name}", kind(runtime, bedrock, one.model_id))
        return Evaluation(
            held_out,
            models,
            metrics,
            Rules(**{name: arguments[name] for name in ("alpha", "minimum_gain", "max_slice_loss")}),
            arguments["slice_by"],
        )

    def _reserve(
        self,
        context: Context,
        evaluation: Evaluation,
        find: Callable[[], spend.budget.Budget | None],
        missing: int,
        arguments: Mapping[str, Any],
        storage: Storage,
    ) -> Callable[[Decimal], None]:
        """Reserve what the questions may cost, if a budget is set, and return the function that settles it."""
        with explained():
            asks = configuration.has_budget() and (missing or evaluation.asks_metrics)
        if not asks or (budget := find()) is None:
            return lambda usd: None
        task_key = task_key_of(context)
        # A try takes over the rest of a killed try's reservation, unless the month, the records or the models have
        # changed, or each try may spend max_cost or expected_cost: then what the killed try may have spent stays
        # reserved.
        asked = (storage.etag(self.test_data_uri), arguments["max_records"], evaluation.models)
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        parts = (task_key.task_id, task_key.ask_digest, spend.ledger.month_of(budget.now()), digest)
        each = evaluation.asks_metrics or self.expected_cost is not None
        name = " ".join((*parts, str(context["ti"].try_number)) if each else parts)
        with self._within(budget, context):
            budget.reserve(name)
        return lambda usd: budget.settle_rest(name, usd, "its tokens")

    def _report(
        self, evaluation: Evaluation, result: Mapping[str, Any], arguments: Mapping[str, Any], folder: Path
    ) -> None:
        from airflow_bedrock.evaluation import report

        numbers = {entry["record"] for entries in result["most"].values() for entry in entries}
        texts = evaluation.texts(numbers) if arguments["show_texts"] else None
        sections = report.sections(result, losses=arguments["losses_by_epoch"] or (), texts=texts)
        title = f"Evaluation of {self.candidate_model_id}"
        (folder / "report.md").write_text(report.markdown(title, sections), encoding="utf-8")
        (folder / "report.html").write_text(report.page(title, sections), encoding="utf-8")

    def _client(self, connections: int) -> BedrockRuntimeClient:
        """Return a client without retries, unless the user configured them: the caller needs to see throttling."""
        from botocore.config import Config

        config = Config(max_pool_connections=connections, retries={"total_max_attempts": 1}, read_timeout=300)
        client: BedrockRuntimeClient = self.hook.get_client_type(
            region_name=self.hook.region_name, config=config.merge(self.hook.config)
        )
        return client

    def _publish(self, storage: Storage, result: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        report = {**result, "test_data_uri": self.test_data_uri}
        (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        for name in (*(f"{role}.jsonl" for role in result["models"]), *_REPORTS):
            storage.write(folder / name, join(self.output_uri, name))
        summary = {
            role: {name: model.get(name) for name in ("model", "accuracy", "correct", "n")}
            for role, model in result["models"].items()
        }
        decides = {"metric": result["metric"], **result["differences"][BASELINE][result["metric"]]}
        returned = {
            **summary,
            **{name: decides[name] for name in ("wins", "losses", "ties", "p_value")},
            "difference": {name: decides[name] for name in ("metric", "value", "low", "high")},
            "verdict": result["verdict"],
            "reason": result["reason"],
            "cost": result["cost"],
            "report_uri": join(self.output_uri, "report.json"),
            "report_html_uri": join(self.output_uri, "report.html"),
            "region_name": self.hook.conn_region_name,
        }
        self.log.info("Candidate against baseline: %s. %s", result["verdict"], result["reason"])
        return returned


def _cost(evaluation: Evaluation, most: float, arguments: Mapping[str, Any]) -> spend.ledger.Cost:
    """Return what the questions may cost; with a metric that calls a model, ``max_cost``."""
    if unknown := evaluation.unpriced():
        return spend.ledger.Cost(usd=None, unknown=f"No price is known for {unknown[0]}.")
    usd = arguments["max_cost"] if evaluation.asks_metrics else most
    if usd is None:
        return spend.ledger.Cost(
            usd=None, unknown="The cost of a metric that calls a model is not known in advance. Set max_cost."
        )
    return spend.ledger.Cost(usd=Decimal(str(usd)))


def _roles(arguments: Mapping[str, Any]) -> dict[str, str]:
    return {
        CANDIDATE: arguments["candidate_model_id"],
        BASELINE: arguments["baseline_model_id"],
        **arguments["other_models"],
    }


def _write(
    files: Mapping[str, BinaryIO], model_ids: Mapping[str, str], record: Record, answers: Mapping[str, Answer]
) -> None:
    for role, answer in answers.items():
        line = {
            "prompt": record.prompt,
            "referenceResponse": record.reference or "",
            "modelResponses": [{"response": answer.text, "modelIdentifier": model_ids[role]}],
        }
        files[role].write(msgspec.json.encode(line) + b"\n")
