"""The cost of an evaluation: estimated before it starts, counted while it runs, and stopped at the limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from airflow_bedrock.evaluation.answer_store import Answer

CHARACTERS_PER_TOKEN = 3
"""Few, for the maximum cost of a question; AWS's rule of thumb is six."""


class Rate(NamedTuple):
    """US dollars per token."""

    input: float
    output: float = 0.0

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """Return what the tokens cost, in US dollars."""
        return self.input * input_tokens + self.output * output_tokens


class LimitReachedError(Exception):
    """More questions could exceed the maximum cost."""


class Bill:
    """The spent and reserved cost of all models. Several threads may use it.

    :param rates: the price of a model, by the id that is called; None if unknown.
    :param max_cost: maximum cost in US dollars; None for no limit.
    """

    def __init__(self, rates: Callable[[str], Rate | None], max_cost: float | None = None) -> None:
        self._rates = rates
        self._max_cost = max_cost
        self._lock = threading.Lock()
        self._reserved = 0.0
        self._spent: dict[str, float] = {}

    def unpriced(self, model_ids: Iterable[str]) -> list[str]:
        """Return the models without a known price."""
        return sorted(model_id for model_id in model_ids if self._rates(model_id) is None)

    def most(self, model_id: str, request: Mapping[str, Any]) -> float:
        """Return about what a question may cost at most, in US dollars; 0 if the price is unknown."""
        rate = self._rates(model_id)
        if rate is None:
            return 0.0
        input_tokens = len(msgspec.json.encode(request)) / CHARACTERS_PER_TOKEN
        return rate.cost(input_tokens, request.get("inferenceConfig", {}).get("maxTokens", 0))

    def reserve(self, model_id: str, request: Mapping[str, Any]) -> float:
        """Reserve what a question may cost at most.

        :raises LimitReachedError: spent, reserved and this would exceed ``max_cost``.
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
        """Replace a reservation by the cost of the answer; None cost nothing."""
        cost = 0.0 if answer is None else self.cost(model_id, answer)
        with self._lock:
            self._reserved -= reserved
            self._spent[model_id] = self._spent.get(model_id, 0.0) + cost

    def cost(self, model_id: str, answer: Answer) -> float:
        """Return what an answer has cost, in US dollars; 0 if the price is unknown."""
        rate = self._rates(model_id)
        return 0.0 if rate is None else rate.cost(answer.input_tokens, answer.output_tokens)

    def spent(self, model_id: str) -> float | None:
        """Return what a model has cost so far; None if its price is unknown."""
        return None if self._rates(model_id) is None else self._spent.get(model_id, 0.0)

    @property
    def total(self) -> float:
        """The cost of all models with known prices."""
        return sum(self._spent.values())
