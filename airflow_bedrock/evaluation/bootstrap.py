"""The paired bootstrap: a confidence interval for a number that is computed from many records.

Records are sampled with replacement, and each number is computed again from the sample, for all models from the same
sample. A record contributes its *statistics*: a few columns from whose sums the number is computed, such as a score, or
the n-gram counts of BLEU. So one set of samples, and one matrix product, serves every number.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, stdtrit  # type: ignore[import-untyped]  # no stubs installed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

GROUPS = 2048
"""Up to this number, records are sampled one by one; beyond it, in this many random groups."""

RESAMPLES = 10_000
_FEWEST_BEYOND = 10  # samples: with fewer, a percentile is hardly more than the most extreme one
_CELLS = 1 << 21  # cells of the matrix of samples in memory: 16 MB


class Sums:
    """The statistics of records, in memory that does not grow beyond :data:`GROUPS` rows.

    Groups are random, not in the order of the file: in a sorted file, groups in order would each hold a bit of
    everything, and differ less than random ones.

    :param width: columns of a record.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self._width = width
        self._rows: list[Sequence[float]] = []
        self._groups: Floats | None = None
        self._random = random.Random(0)  # noqa: S311  # the same each time; not a secret

    def add(self, statistics: Sequence[float]) -> None:
        """Add one record."""
        self.count += 1
        row = (*statistics, 1.0)
        if self.count <= GROUPS:
            self._rows.append(row)
            return
        if self._groups is None:
            self._groups = np.zeros((GROUPS, self._width + 1))
            for early in self._rows:
                self._groups[self._random.randrange(GROUPS)] += early
            self._rows.clear()
        self._groups[self._random.randrange(GROUPS)] += row

    @property
    def total(self) -> Floats:
        """The sum of each column, and in a last column the number of records."""
        total: Floats = self._table().sum(axis=0)
        return total

    def resampled(self, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
        """Return the sums of each sample, one row per sample; the same seed gives the same samples."""
        table = self._table()
        groups, generator = len(table), np.random.default_rng(seed)
        at_once = max(1, _CELLS // groups)
        drawn = [
            _draws(generator, min(at_once, resamples - done), groups) @ table for done in range(0, resamples, at_once)
        ]
        return np.concatenate(drawn)

    def _table(self) -> Floats:
        if self._groups is not None:
            return self._groups
        return np.array(self._rows, dtype=np.float64).reshape(-1, self._width + 1)


def _draws(generator: np.random.Generator, draws: int, groups: int) -> Floats:
    """Return how often each sample has each group, one row per sample."""
    places = generator.integers(0, groups, size=(draws, groups)) + groups * np.arange(draws)[:, np.newaxis]
    return np.bincount(places.ravel(), minlength=draws * groups).reshape(draws, groups).astype(np.float64)


def interval(values: Floats, alpha: float, count: int) -> tuple[float, float]:
    """Return the interval at confidence ``1 - alpha`` of the samples' values: percentiles, widened for few records as
    Student's t is wider than the normal distribution; in the extreme tails, at least as wide as Student's interval.

    Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69 (2015), section 5.3.

    :param count: the number of records.
    """
    if count < 2:
        return float(values.min()), float(values.max())
    tail = ndtr(math.sqrt(count / (count - 1)) * stdtrit(count - 1, alpha / 2))
    low, high = map(float, np.quantile(values, (tail, 1 - tail)))
    if tail * len(values) < _FEWEST_BEYOND:
        centre, half = float(values.mean()), -float(stdtrit(count - 1, alpha / 2) * values.std())
        low, high = min(low, centre - half), max(high, centre + half)
    return low, high


def p_value(values: Floats) -> float:
    """Return the two-sided p-value of "there is no difference": twice the smaller share of the samples beyond zero."""
    beyond = 1 + min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0))
    return min(1.0, 2 * int(beyond) / (1 + len(values)))
