"""What is known of one model's answers so far, in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from airflow_bedrock.evaluation.comparison import wilson_interval


class ModelTally:
    """Running totals of one model.

    :param model_id: what the model is asked by.
    """

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        self._n = 0
        self._correct = 0
        self._scores: Counter[str] = Counter()
        self._stop_reasons: Counter[str] = Counter()
        self._input_tokens = 0
        self._output_tokens = 0

    def add(
        self, *, correct: bool, scores: Mapping[str, float], stop_reason: str, input_tokens: int, output_tokens: int
    ) -> None:
        """Take in one answer."""
        self._n += 1
        self._correct += correct
        for name, score in scores.items():
            self._scores[name] += score  # type: ignore[assignment]  # a Counter adds floats as well
        self._stop_reasons[stop_reason] += 1
        self._input_tokens += input_tokens
        self._output_tokens += output_tokens

    def summary(self) -> dict[str, Any]:
        """Return the model, its accuracy, the number of correct answers, and the number of answers."""
        accuracy = self._correct / self._n if self._n else 0.0
        return {"model": self.model_id, "accuracy": accuracy, "correct": self._correct, "n": self._n}

    def report(self, alpha: float) -> dict[str, Any]:
        """Return the summary with the accuracy's interval, mean scores, stop reasons and tokens."""
        return {
            **self.summary(),
            "accuracy_interval": wilson_interval(self._correct, self._n, alpha),
            "scores": {name: total / self._n for name, total in self._scores.items()},
            "stop_reasons": dict(self._stop_reasons.most_common()),
            "input_tokens": self._input_tokens,
            "output_tokens": self._output_tokens,
        }
