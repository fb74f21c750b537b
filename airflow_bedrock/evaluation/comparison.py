"""Which of two models answered the same questions better, and whether that can be chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

_EXACT = 1000  # up to here whole-number arithmetic is fast


class Verdict(StrEnum):
    """What the comparison says of the candidate. Undecided is not better."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(slots=True, kw_only=True)
class Comparison:
    """Running tally of two models' scores on the same records, in constant memory.

    :param alpha: significance level: how often, between equal models, a verdict may fall by chance.
    """

    alpha: float = 0.05
    wins: int = 0
    losses: int = 0
    ties: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha {self.alpha}: a significance level lies between 0 and 1")

    def add(self, candidate: float, baseline: float) -> None:
        """Take in the two scores of one record."""
        if candidate > baseline:
            self.wins += 1
        elif candidate < baseline:
            self.losses += 1
        else:
            self.ties += 1

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the exact sign test; with right-or-wrong scores it is McNemar's exact test."""
        return sign_test(self.wins, self.losses)

    @property
    def verdict(self) -> Verdict:
        """Better or worse only where the difference is significant; undecided otherwise."""
        if self.wins == self.losses or self.p_value >= self.alpha:
            return Verdict.UNDECIDED
        return Verdict.BETTER if self.wins > self.losses else Verdict.WORSE


def sign_test(wins: int, losses: int) -> float:
    """Return the chance that equal models differ at least as much as this, ties left out.

    That is twice the lower tail of the binomial distribution with p = 1/2, at most 1: exact up to 1000 wins and
    losses together, with a relative error below 1e-6 beyond. McNemar, Psychometrika 12 (1947).

    :param wins: records on which the first model was better, not negative.
    :param losses: records on which the second model was better, not negative.
    """
    total, fewer = wins + losses, min(wins, losses)
    if wins == losses:
        return 1.0
    if total <= _EXACT:
        return float(min(1.0, 2 * sum(math.comb(total, count) for count in range(fewer + 1)) / 2**total))
    return min(1.0, 2 * _lower_tail(fewer, total))


def _lower_tail(fewer: int, total: int) -> float:
    """Sum the tail from its greatest term down, until the terms no longer count."""
    log_term = math.lgamma(total + 1) - math.lgamma(fewer + 1) - math.lgamma(total - fewer + 1) - total * math.log(2)
    relative, term, count = 1.0, 1.0, fewer
    while count > 0 and term > 1e-18 * relative:
        term *= count / (total - count + 1)
        relative += term
        count -= 1
    return math.exp(log_term + math.log(relative))


def wilson_interval(correct: int, total: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion, at confidence ``1 - alpha``; (0, 1) where nothing was counted.

    Wilson, Journal of the American Statistical Association 22 (1927).
    """
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1 - alpha / 2)
    share, weight = correct / total, z * z / total
    centre = share + weight / 2
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return max(0.0, (centre - half) / (1 + weight)), min(1.0, (centre + half) / (1 + weight))
