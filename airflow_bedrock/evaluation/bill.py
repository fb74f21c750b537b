"""The cost of an evaluation: estimated before it starts, counted while it runs, and stopped at the limit."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

CHARACTERS_PER_TOKEN = 3
"""Half of AWS's rule of thumb, so that the maximum cost of a question is not set too low."""


class Rate(NamedTuple):
    """US dollars per token."""

    input: float
    output: float = 0.0

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """Return what the tokens cost, in US dollars."""
        return self.input * input_tokens + self.output * output_tokens

    def most(self, request: Mapping[str, Any]) -> float:
        """Return the approximate maximum cost of the answer to a request, in US dollars."""
        input_tokens = len(msgspec.json.encode(request)) / CHARACTERS_PER_TOKEN
        return self.cost(input_tokens, request.get("inferenceConfig", {}).get("maxTokens", 0))


class LimitReachedError(Exception):
    """More questions could exceed the maximum cost."""


class Bill:
    """The US dollars that all models together have spent and reserved. Several threads may use it.

    :param max_cost: the limit; None for no limit.
    """

    def __init__(self, max_cost: float | None = None) -> None:
        self._max_cost = max_cost
        self._lock = threading.Lock()
        self._reserved = self._spent = 0.0

    def reserve(self, most: float) -> None:
        """Reserve the maximum cost of a question.

        :raises LimitReachedError: spent, reserved and this would exceed ``max_cost``.
        """
        with self._lock:
            if self._max_cost is not None and self._spent + self._reserved + most > self._max_cost:
                raise LimitReachedError(
                    f"{self._spent:.4f} USD have been spent, and the questions in flight could exceed max_cost, "
                    f"{self._max_cost:g} USD"
                )
            self._reserved += most

    def settle(self, reserved: float, cost: float) -> None:
        """Replace a reservation by the cost of the answer."""
        with self._lock:
            self._reserved -= reserved
            self._spent += cost
