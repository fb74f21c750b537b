"""Run an evaluation.

First it checks the whole file and selects the records, before anything is paid for. Then it asks all models
concurrently. Then it scores the answers in the order of the file.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

from airflow_bedrock.evaluation.answer_store import Answer
from airflow_bedrock.evaluation.bars import bars
from airflow_bedrock.evaluation.bill import CHARACTERS_PER_TOKEN
from airflow_bedrock.evaluation.comparison import percentiles
from airflow_bedrock.evaluation.inference import Inference, Question
from airflow_bedrock.evaluation.judge import AskingMetric, Judge
from airflow_bedrock.evaluation.metrics import Metric
from airflow_bedrock.evaluation.records import HeldOutRecords, Record
from airflow_bedrock.evaluation.scoring import BASELINE, CANDIDATE, Asked, Rules, Scoring

log = logging.getLogger(__name__)

Visitor = Callable[[Record, Mapping[str, Answer]], None]
"""Called with a record and its answers by role."""

_NO_SLICE = "(none)"


class Evaluation:
    """The models, their questions, and how their answers are scored.

    :param models: by role: candidate, baseline, and any others.
    :param metrics: the first one decides.
    :param slice_by: the field whose values divide the records into slices; None for no slices.
    """

    def __init__(
        self,
        held_out: HeldOutRecords,
        models: Mapping[str, Inference],
        metrics: Sequence[Metric],
        rules: Rules,
        slice_by: str | None = None,
    ) -> None:
        self._held_out = held_out
        self._models = models
        self._metrics = metrics
        self._rules = rules
        self._asking_metrics = [one for one in metrics if isinstance(one, AskingMetric)]
        self._slice_by = slice_by

    def check(self) -> None:
        """Check all records and choose those to ask, before anything is paid for.

        :raises ValueError: a line is not a record, or lacks what a metric needs; the file has no records, or none with
            the field to slice by, or with a person's label; too many labels.
        """
        has_field: Counter[bool] = Counter()  # of all records, chosen or not
        unlabelled = [one for one in self._metrics if isinstance(one, Judge) and one.label_field]

        def visit(record: Record) -> None:
            self._learn(record)
            has_field[self._slice(record) != _NO_SLICE] += 1
            unlabelled[:] = [one for one in unlabelled if one.label(record) is None]

        self._held_out.check(visit)
        if not has_field[True]:
            raise ValueError(f"slice_by is {self._slice_by}, a field that no record has")
        if unlabelled:
            name = unlabelled[0].label_field
            raise ValueError(f"label_field is {name}, but no record has candidate, baseline or tie in this field")
        if without := has_field[False]:
            log.warning(
                "%d of %d records lack the field %s: they are slice %s",
                *(without, has_field.total(), self._slice_by, _NO_SLICE),
            )

    def _learn(self, record: Record) -> None:
        for metric in self._metrics:
            if record.reference is not None:
                try:
                    metric.learn(record.reference)
                except ValueError as error:
                    raise ValueError(f"Record {record.number}: {error}") from None
            elif metric.needs_reference:
                raise ValueError(
                    f"Record {record.number}: metric {metric.name} needs a reference answer, which this record lacks"
                )

    def begin(self) -> None:
        """Read which models answer, and the answers that they have given before."""
        for inference in self._all():
            inference.begin()

    def estimate(self) -> tuple[int, float]:
        """Return the number of questions without an answer, and their approximate maximum cost in US dollars.

        A question of several records counts once, as it is paid for once. Questions to a judge and for embeddings count
        too; if they need an answer that does not exist yet, the longest possible one is assumed.
        """
        missing, most = 0, 0.0
        by_inference = [(inference, self._held_out.questions()) for inference in set(self._models.values())]
        by_inference += [
            (metric.inference, self._about(metric, self._held_out.records(), self._longest))
            for metric in self._asking_metrics
        ]
        for inference, questions in by_inference:
            for question in inference.unanswered(questions):
                missing += 1
                most += inference.most(question)
        return missing, most

    def _longest(self, record: Record) -> dict[str, str]:
        """Return the models' answers, and the longest possible one in place of an answer that does not exist yet."""
        question = self._held_out.question(record)
        most_tokens = self._held_out.parameters.get("inferenceConfig", {}).get("maxTokens", 0)
        longest = "x" * (CHARACTERS_PER_TOKEN * most_tokens)
        answers = {role: inference.answer(question) for role, inference in self._models.items()}
        # Different for each model, since a judge is not asked about equal answers.
        return {role: role + longest if answer is None else answer.text for role, answer in answers.items()}

    def unpriced(self) -> list[str]:
        """Return the models without a known price."""
        return sorted({inference.model.model_id for inference in self._all() if inference.rate is None})

    @property
    def asks_metrics(self) -> bool:
        """Whether a metric calls a model, so that its questions depend on the answers."""
        return bool(self._asking_metrics)

    @property
    def models(self) -> list[str]:
        """The models that answer, as :meth:`begin` has found them."""
        return sorted(inference.answered_by for inference in self._all())

    @property
    def cost(self) -> float | None:
        """What the answers of this task have cost so far, in US dollars; None if a price is unknown."""
        costs = [inference.spent for inference in self._all() if inference.progress.answered]
        return None if None in costs else math.fsum(filter(None, costs))  # an unknown price is not zero

    def ask(self) -> None:
        """Ask all models, each in its own thread.

        :raises Exception: the first error of a model; the others have stopped, and their answers are kept.
        """
        held_out, models = self._held_out, set(self._models.values())  # a model with two roles is asked only once
        with ThreadPoolExecutor(len(models)) as threads, bars(models):
            running: list[Future[None]] = [
                threads.submit(inference.run, map(held_out.question, held_out.shuffled()), held_out.count)
                for inference in models
            ]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                for inference in models:
                    inference.stop()
        for one in running:
            one.result()
        for metric in self._asking_metrics:
            with bars([metric.inference]):  # for each answer a reply, and for the reference an embedding
                metric.inference.run(
                    self._about(metric, held_out.shuffled(), self._texts),
                    held_out.count * (len(self._models) + metric.embeds),
                )

    def _about(
        self, metric: AskingMetric, records: Iterable[Record], texts: Callable[[Record], Mapping[str, str]]
    ) -> Iterator[Question]:
        for record in records:
            yield from (Question(record.number, request) for request in metric.requests(record, texts(record)))

    def _texts(self, record: Record) -> dict[str, str]:
        return {role: answer.text for role, answer in self._answers(record).items()}

    def _all(self) -> set[Inference]:
        return {*self._models.values(), *(metric.inference for metric in self._asking_metrics)}

    def score(self, visit: Visitor = lambda record, answers: None) -> dict[str, Any]:
        """Score the answers, and return the result of :class:`Scoring` with the time, tokens and cost of each model.

        :raises ValueError: a metric fails on a record, or there are too many slices.
        """
        scoring = Scoring(list(self._models), self._metrics, self._rules)
        tallies = {role: _Tally() for role in self._models}
        for record in self._held_out.records():
            answers = self._answers(record)
            for role, answer in answers.items():
                tallies[role].add(answer)
            texts = {role: answer.text for role, answer in answers.items()}
            asked = {metric.name: self._asked(metric, record, texts) for metric in self._asking_metrics}
            try:
                scoring.add(record.number, record.reference, texts, slice_name=self._slice(record), asked=asked)
            except ValueError as error:
                raise ValueError(f"Record {record.number}: {error}") from error
            visit(record, answers)
        result = scoring.result()
        for role, inference in self._models.items():
            result["models"][role] = {
                "model": inference.model.model_id,
                "answered_by": inference.answered_by,
                **result["models"][role],
                **tallies[role].result(),
                "asked": inference.progress.answered,
                "cost": inference.spent,
            }
        judges = {
            metric.name: {
                "model": metric.model_id,
                "asked": metric.inference.progress.answered,
                "cost": metric.inference.spent,
                **metric.result(),
            }
            for metric in self._asking_metrics
        }
        return {
            **result,
            "asked_about": judges,
            "parameters": dict(self._held_out.parameters),
            "slice_by": self._slice_by,
            "cost": self.cost,
        }

    def _answers(self, record: Record) -> dict[str, Answer]:
        question = self._held_out.question(record)
        return {role: self._answered(inference, question) for role, inference in self._models.items()}

    def _asked(self, metric: AskingMetric, record: Record, texts: Mapping[str, str]) -> Asked:
        """Return the scores of a metric that calls another model."""
        questions = self._about(metric, [record], lambda _: texts)
        return metric.scores(record, texts, [self._answered(metric.inference, one).text for one in questions])

    def texts(self, numbers: Container[int]) -> dict[int, dict[str, str]]:
        """Return the questions and answers of some records, by their numbers."""
        return {
            record.number: {
                "prompt": record.prompt,
                "reference": record.reference or "",
                **{
                    f"{role}'s answer": self._answered(self._models[role], self._held_out.question(record)).text
                    for role in (CANDIDATE, BASELINE)
                },
            }
            for record in self._held_out.records(numbers)
        }

    def _answered(self, inference: Inference, question: Question) -> Answer:
        answer = inference.answer(question)
        if answer is None:
            raise ValueError(f"Record {question.number}: {inference.model.model_id} has no answer")
        return answer

    def _slice(self, record: Record) -> str | None:
        return None if self._slice_by is None else record.value(self._slice_by) or _NO_SLICE


class _Tally:
    """Latencies and tokens of one model's answers, as counts, so that memory does not grow with them."""

    def __init__(self) -> None:
        self._stop_reasons: Counter[str] = Counter()
        self._tokens = [0, 0]
        self._latencies: Counter[int] = Counter()
        self._lengths: Counter[int] = Counter()

    def add(self, answer: Answer) -> None:
        self._stop_reasons[answer.stop_reason] += 1
        self._tokens[0] += answer.input_tokens
        self._tokens[1] += answer.output_tokens
        self._lengths[answer.output_tokens] += 1
        if answer.latency_ms is not None:
            self._latencies[answer.latency_ms] += 1

    def result(self) -> dict[str, Any]:
        names = ("p50", "p90", "p99")
        latency = dict(zip(names, percentiles(self._latencies), strict=True)) if self._latencies else None
        return {
            "stop_reasons": dict(self._stop_reasons.most_common()),
            "input_tokens": self._tokens[0],
            "output_tokens": self._tokens[1],
            "latency_ms": latency,
            "lengths": dict(zip(names, percentiles(self._lengths), strict=True)),
            "histograms": {"lengths": histogram(self._lengths), "latency": histogram(self._latencies)},
        }


def histogram(values: Counter[int], bins: int = 24) -> list[tuple[float, float, int]]:
    """Return the limits and the count of each bin; the last bin has all greater values."""
    if not values:
        return []
    import numpy as np  # here, since a DAG file does not need it

    low, high = min(values), percentiles(values, (0.99,))[0] + 1
    counts, limits = np.histogram(np.minimum(list(values), high), bins, (low, high), weights=list(values.values()))
    return list(zip(limits.tolist(), limits[1:].tolist(), map(int, counts), strict=False))
