"""The statistics of a comparison: exact tests agree with scipy's, and doubt is never a verdict."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest  # type: ignore[import-untyped]  # noqa: TID253  # no stubs installed; only what DAGs import must be light

from airflow_bedrock.evaluation.comparison import Difference, Verdict, losing, mcnemar, verdict, wilson_interval

PLAIN = Difference(value=0.2, low=0.1, high=0.3, p_value=0.01, wins=30, losses=10, ties=0)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_the_binomial_test(wins: int, losses: int) -> None:
    """The p-value is that of scipy's exact binomial test, which may give 0 for one below 1e-250."""
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar(wins, losses) == pytest.approx(expected, rel=1e-6, abs=1e-250)


@pytest.mark.parametrize(
    ("wins", "losses"), [(500_000, 500_001), (501_000, 499_000), (0, 1_000_000), (505_000, 495_000)]
)
def test_mcnemar_of_a_million(wins: int, losses: int) -> None:
    """A million records are tested rightly, where exact integers would have 300,000 digits."""
    assert mcnemar(wins, losses) == pytest.approx(binomtest(wins, wins + losses).pvalue, rel=1e-6, abs=1e-280)


@given(st.integers(0, 5000), st.integers(0, 5000), st.floats(0.001, 0.5))
def test_wilson_interval(correct: int, wrong: int, alpha: float) -> None:
    """The interval is that of scipy, and holds the proportion."""
    total = correct + wrong
    low, high = wilson_interval(correct, total, alpha)
    if total == 0:
        assert (low, high) == (0, 1)
    else:
        expected = binomtest(correct, total).proportion_ci(1 - alpha, method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
        assert low - 1e-9 <= correct / total <= high + 1e-9


@pytest.mark.parametrize(
    ("changes", "minimum_gain", "expected"),
    [
        ({}, 0, Verdict.BETTER),
        ({}, 0.1, Verdict.UNDECIDED),
        ({}, 0.09, Verdict.BETTER),
        ({"low": 0.0}, 0, Verdict.UNDECIDED),
        ({"low": -0.3, "high": -0.1}, 0, Verdict.WORSE),
        ({"low": -0.3, "high": 0.0}, 0, Verdict.UNDECIDED),
        ({"wins": 6, "losses": 0}, 0, Verdict.BETTER),
        ({"wins": 5, "losses": 0}, 0, Verdict.UNDECIDED),
        ({"wins": 0, "losses": 5, "low": -0.3, "high": -0.1}, 0, Verdict.UNDECIDED),
    ],
)
def test_verdict(changes: dict[str, Any], minimum_gain: float, expected: Verdict) -> None:
    """The whole interval lies on one side, beyond what was asked for, and six records differ at least."""
    difference = dataclasses.replace(PLAIN, **changes)
    assert verdict(difference, alpha=0.05, minimum_gain=minimum_gain) is expected


def test_slices() -> None:
    """A slice loses only where its interval rules out that it loses less than is allowed."""
    slices = {
        "good": PLAIN,
        "bad": dataclasses.replace(PLAIN, low=-0.5, high=-0.2),
        "perhaps": dataclasses.replace(PLAIN, low=-0.5, high=-0.05),
        "few": dataclasses.replace(PLAIN, low=-0.5, high=-0.2, wins=0, losses=3),
    }
    assert losing(slices, alpha=0.05, max_loss=0.1) == ["bad"]
