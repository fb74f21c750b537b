"""Metrics of classification: macro F1, and precision and recall of each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from airflow_bedrock.evaluation.metrics import Metric, exact_match, normalised

if TYPE_CHECKING:
    from airflow_bedrock.evaluation.bootstrap import Floats

MOST_LABELS = 200
OTHER = "(none of the labels)"
"""The column of answers that are not a label of the reference answers."""


class MacroF1(Metric):
    """The mean F1 of the labels of the reference answers, all with the same weight."""

    def __init__(self) -> None:
        super().__init__("macro_f1", exact_match)
        self._numbers: dict[str, int] = {}

    def learn(self, reference: str) -> None:
        """Add a label.

        :raises ValueError: there are more than :data:`MOST_LABELS`, so these are not labels.
        """
        self._numbers.setdefault(normalised(reference), len(self._numbers))
        self.columns = 3 * len(self._numbers)  # of each label: right, answered, wanted
        if len(self._numbers) > MOST_LABELS:
            raise ValueError(f"macro_f1 is for labels, and the reference answers have more than {MOST_LABELS}")

    def label(self, text: str) -> str:
        """Return the label of an answer."""
        return found if (found := normalised(text)) in self._numbers else OTHER

    def statistics(self, answer: str, reference: str, score: float) -> Sequence[float]:
        """Return a 1 for each of right, answered and wanted, in the columns of the labels."""
        counts = [0.0] * self.columns
        wanted, answered = self._numbers[normalised(reference)], self._numbers.get(normalised(answer))
        counts[3 * wanted + 2] = 1
        if answered is not None:
            counts[3 * answered + 1] = 1
            counts[3 * answered] = float(answered == wanted)
        return counts

    def value(self, sums: Floats) -> Floats:
        """Return the mean F1 of the labels that occur."""
        counts = sums[..., : self.columns].reshape(*sums.shape[:-1], -1, 3)
        right, answered, wanted = (counts[..., column] for column in range(3))
        occurs = answered + wanted > 0
        scores = np.divide(2 * right, answered + wanted, out=np.zeros_like(right), where=occurs)
        value: Floats = scores.sum(axis=-1) / np.maximum(1, occurs.sum(axis=-1))
        return value

    def by_label(self, sums: Floats) -> list[dict[str, Any]]:
        """Return precision, recall, F1 and support of each label; 0 where no answer or no reference has the label.

        :param sums: the sums of the statistics of all answers.
        """
        return [
            {
                "label": label,
                "precision": right / max(1, answered),
                "recall": right / max(1, wanted),
                "f1": 2 * right / max(1, answered + wanted),
                "support": wanted,
            }
            for label, (right, answered, wanted) in zip(self._numbers, sums.reshape(-1, 3).tolist(), strict=True)
        ]
