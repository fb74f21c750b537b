"""The comparison of two models: its statistics agree with scipy's, and doubt is never a verdict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest  # type: ignore[import-untyped]  # noqa: TID253  # no stubs installed; only what DAGs import must be light

from airflow_bedrock.evaluation import Comparison, Verdict, sign_test, wilson_interval

SCORES = st.floats(0, 1)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_sign_test_is_the_binomial_test(wins: int, losses: int) -> None:
    """The p-value is that of scipy's exact binomial test, which may give 0 for one near 1e-280."""
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-6, abs=1e-270)


@pytest.mark.parametrize(
    ("wins", "losses"), [(500_000, 500_001), (501_000, 499_000), (0, 1_000_000), (505_000, 495_000)]
)
def test_sign_test_of_a_million(wins: int, losses: int) -> None:
    """A million records are tested rightly, where exact integers would have 300,000 digits."""
    assert sign_test(wins, losses) == pytest.approx(binomtest(wins, wins + losses).pvalue, rel=1e-6, abs=1e-280)


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


@given(st.lists(st.tuples(SCORES, SCORES)))
def test_comparison_is_fair(scores: list[tuple[float, float]]) -> None:
    """Exchanging the models exchanges the verdict, and every record is a win, a loss or a tie."""
    one, other = Comparison(), Comparison()
    for candidate, baseline in scores:
        one.add(candidate, baseline)
        other.add(baseline, candidate)
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert one.wins + one.losses + one.ties == len(scores)
    assert one.p_value == other.p_value
    opposite = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER, Verdict.UNDECIDED: Verdict.UNDECIDED}
    assert one.verdict is opposite[other.verdict]


@pytest.mark.parametrize(
    ("wins", "losses", "verdict"),
    [
        (0, 0, Verdict.UNDECIDED),
        (5, 0, Verdict.UNDECIDED),
        (6, 0, Verdict.BETTER),
        (0, 6, Verdict.WORSE),
        (9, 2, Verdict.UNDECIDED),
        (10, 2, Verdict.BETTER),
    ],
)
def test_verdict(wins: int, losses: int, verdict: Verdict) -> None:
    """At 5 %, six wins and no loss are the least that count as better."""
    assert Comparison(wins=wins, losses=losses).verdict is verdict


@pytest.mark.parametrize("alpha", [0, 1, -1, float("nan")])
def test_impossible_alpha(alpha: float) -> None:
    """A significance level that is none is refused."""
    with pytest.raises(ValueError, match="significance level"):
        Comparison(alpha=alpha)
