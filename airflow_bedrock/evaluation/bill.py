"""The cost of an evaluation: estimated before it starts, counted while it runs, and stopped at the limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from airflow_bedrock.evaluation.answer_store import Answer

CHARACTERS_PER_TOKEN = 3
"""For what a question may cost at most, few; AWS's rule of thumb says six."""


class Rate(NamedTuple):
    """US dollars a token."""

    input: float
    output: float = 0.0

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """Return what the tokens cost, in US dollars."""
        return self.input * input_tokens + self.output * output_tokens


class LimitReachedError(Exception):
    """Asking on could cost more than was allowed."""


class Bill:
    """What all models together have cost, and may cost. Several threads may use it.

    :param rates: the price of a model, by what it is asked by; None where it is not known.
    :param max_cost: US dollars that are not exceeded; None for no limit.
    """

    def __init__(self, rates: Callable[[str], Rate | None], max_cost: float | None = None) -> None:
        self._rates = rates
        self._max_cost = max_cost
        self._lock = threading.Lock()
        self._reserved = 0.0
        self._spent: dict[str, float] = {}

    def unpriced(self, model_ids: Iterable[str]) -> list[str]:
        """Return those of the models whose price is not known."""
        return sorted(model_id for model_id in model_ids if self._rates(model_id) is None)

    def most(self, model_id: str, request: Mapping[str, Any]) -> float:
        """Return what a question may cost at most, about, in US dollars; 0 where the price is not known."""
        rate = self._rates(model_id)
        if rate is None:
            return 0.0
        asked = len(msgspec.json.encode(request)) / CHARACTERS_PER_TOKEN
        return rate.cost(asked, request.get("inferenceConfig", {}).get("maxTokens", 0))

    def reserve(self, model_id: str, request: Mapping[str, Any]) -> float:
        """Set aside what a question may cost at most.

        :raises LimitReachedError: with what is spent and set aside that is more than ``max_cost``.
        """
        most = self.most(model_id, request)
        with self._lock:
            if self._max_cost is not None and self.total + self._reserved + most > self._max_cost:
                raise LimitReachedError(
                    f"{self.total:.4f} USD have been spent, and the questions in flight could exceed max_cost, "
                    f"{self._max_cost:g} USD"
                )
            self._reserved += most
        return most

    def settle(self, model_id: str, reserved: float, answer: Answer | None) -> None:
        """Replace what was set aside by what the answer cost; nothing for None."""
        cost = 0.0 if answer is None else self.cost(model_id, answer)
        with self._lock:
            self._reserved -= reserved
            self._spent[model_id] = self._spent.get(model_id, 0.0) + cost

    def cost(self, model_id: str, answer: Answer) -> float:
        """Return what an answer has cost, in US dollars; 0 where the price is not known."""
        rate = self._rates(model_id)
        return 0.0 if rate is None else rate.cost(answer.input_tokens, answer.output_tokens)

    def spent(self, model_id: str) -> float | None:
        """Return what a model has cost so far; None where its price is not known."""
        return None if self._rates(model_id) is None else self._spent.get(model_id, 0.0)

    @property
    def total(self) -> float:
        """What all models together have cost, as far as their prices are known."""
        return sum(self._spent.values())
