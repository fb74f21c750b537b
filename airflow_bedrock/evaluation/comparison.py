"""Compare two models on the same questions: which one is better, by how much, and whether that can be chance."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate
from statistics import NormalDist


class Verdict(StrEnum):
    """The verdict on the candidate. Undecided is not better."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The difference of a metric between two models on the same records.

    :param value: candidate minus baseline.
    :param low: the lower end of its interval.
    :param high: the upper end.
    :param p_value: of "there is no difference".
    :param wins: records on which the candidate has more.
    :param losses: records on which it has less.
    :param ties: records on which both have the same.
    :param doubt: how much unreadable replies could lower it.
    """

    value: float
    low: float
    high: float
    p_value: float
    wins: int
    losses: int
    ties: int
    doubt: float = 0.0

    @property
    def at_worst(self) -> Difference:
        """The difference if everything unknown counted against the first model."""
        against = min(self.ties, math.ceil(self.doubt * (self.wins + self.losses + self.ties)))
        return replace(
            self,
            value=self.value - self.doubt,
            low=self.low - self.doubt,
            high=self.high - self.doubt,
            losses=self.losses + against,
            ties=self.ties - against,
            doubt=0.0,
        )

    def decides(self, alpha: float) -> bool:
        """Whether enough records differ to rule out chance if all of them agreed: 6 at 5 %."""
        return (self.wins + self.losses) >= 1 + math.log2(1 / alpha)


def verdict(difference: Difference, *, alpha: float, minimum_gain: float) -> Verdict:
    """Better only if the whole interval lies above the required gain, worse only if it lies below 0."""
    if not difference.decides(alpha):
        return Verdict.UNDECIDED
    if difference.at_worst.low > minimum_gain:
        return Verdict.BETTER
    return Verdict.WORSE if difference.high < 0 else Verdict.UNDECIDED


def losing(slices: Mapping[str, Difference], *, alpha: float, max_loss: float) -> list[str]:
    """Return the slices on which the candidate is, or could be, worse by more than ``max_loss``.

    A slice counts unless the interval rules it out; unknown replies count against the candidate.

    :param slices: with intervals at :func:`corrected` confidence, since among many slices one is bad by chance alone.
    """
    at_worst = {name: one.at_worst for name, one in slices.items()}
    return [name for name, one in at_worst.items() if one.decides(alpha) and one.high < -max_loss]


def corrected(alpha: float, looked_at: int) -> float:
    """Return the significance level for each of several tests, so that together they keep ``alpha`` (Bonferroni)."""
    return alpha / max(1, looked_at)


def mcnemar(wins: int, losses: int) -> float:
    """Return the p-value of McNemar's exact test: how likely equal models differ at least this much, without ties.

    That is twice the lower tail of the binomial distribution with p = 1/2, at most 1. McNemar, Psychometrika 12 (1947).

    :param wins: records on which the first model alone was right, not negative.
    :param losses: records on which the second model alone was right, not negative.
    """
    from scipy.special import bdtr  # type: ignore[import-untyped]  # no stubs installed

    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def wilson_interval(correct: int, total: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion, at confidence ``1 - alpha``; (0, 1) if nothing was counted.

    Wilson, Journal of the American Statistical Association 22 (1927).
    """
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1 - alpha / 2)
    share, weight = correct / total, z * z / total
    centre = share + weight / 2
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return max(0.0, (centre - half) / (1 + weight)), min(1.0, (centre + half) / (1 + weight))


def percentiles(values: Counter[int], shares: Sequence[float] = (0.5, 0.9, 0.99)) -> list[int]:
    """Return the percentiles for these shares (nearest rank).

    :param values: the values, with their counts.
    """
    ordered = sorted(values)
    ranks = list(accumulate(values[value] for value in ordered))
    return [ordered[bisect_left(ranks, math.ceil(share * ranks[-1]))] for share in shares]
