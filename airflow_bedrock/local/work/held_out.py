"""What validation data is used for: a part of the training data where there is none, and stopping early."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from airflow_bedrock.local.learning.model import generator
from airflow_bedrock.local.learning.training import Example, fingerprint


def hold_out(examples: Sequence[Example], hyperparameters: Mapping[str, str]) -> tuple[list[Example], list[Example]]:
    """Split off the share of the examples that ``evalPercentage`` wants evaluated; nothing where it is not given."""
    share = float(hyperparameters.get("evalPercentage", 0)) / 100
    order = generator(f"held out {fingerprint(examples)}").permutation(len(examples))
    held = set(order[: round(share * len(examples))].tolist())
    kept = [one for place, one in enumerate(examples) if place not in held]
    return kept, [one for place, one in enumerate(examples) if place in held]


class EarlyStopping:
    """Whether to go on training: not when validation loss has not improved for ``earlyStoppingPatience`` epochs.

    :param hyperparameters: improvements below ``earlyStoppingThreshold`` do not count; without patience it never stops.
    """

    def __init__(self, hyperparameters: Mapping[str, str]) -> None:
        self._patience = float(hyperparameters.get("earlyStoppingPatience", math.inf))
        self._threshold = float(hyperparameters.get("earlyStoppingThreshold", 0))
        self._best = math.inf
        self._stagnant = 0

    def ends(self, loss: float) -> bool:
        """Take note of an epoch's validation loss, and return whether training ends with it."""
        if loss < self._best - self._threshold:
            self._best, self._stagnant = loss, 0
        else:
            self._stagnant += 1
        return self._stagnant >= self._patience
