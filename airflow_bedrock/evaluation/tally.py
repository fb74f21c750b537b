"""What one model's answers have cost, in constant memory."""

from __future__ import annotations

from collections import Counter
from typing import Any


class ModelTally:
    """Running totals of one model.

    :param model_id: what the model is asked by.
    """

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        self._stop_reasons: Counter[str] = Counter()
        self._input_tokens = 0
        self._output_tokens = 0

    def add(self, *, stop_reason: str, input_tokens: int, output_tokens: int) -> None:
        """Take in one answer."""
        self._stop_reasons[stop_reason] += 1
        self._input_tokens += input_tokens
        self._output_tokens += output_tokens

    def report(self) -> dict[str, Any]:
        """Return the model, its stop reasons and tokens."""
        return {
            "model": self.model_id,
            "stop_reasons": dict(self._stop_reasons.most_common()),
            "input_tokens": self._input_tokens,
            "output_tokens": self._output_tokens,
        }
