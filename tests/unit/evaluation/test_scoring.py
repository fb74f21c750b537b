"""The verdict: on the size of the difference, seldom by chance, and with no less power than the paired t-test."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np  # noqa: TID253  # a test
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]  # noqa: TID253  # no stubs installed; a test

from airflow_bedrock.evaluation import bootstrap
from airflow_bedrock.evaluation.bootstrap import Sums, interval
from airflow_bedrock.evaluation.metrics import Metric, metric
from airflow_bedrock.evaluation.scoring import Rules, Scoring
from airflow_bedrock.registry.gate import reasons_against

Pairs = list[tuple[float, float]]
Draw = Callable[[np.random.Generator], Any]
AS_GIVEN = Metric("as_given", lambda answer, reference: float(answer), needs_reference=False)


def scored(pairs: Pairs, slices: list[str] | None = None, **rules: Any) -> dict[str, Any]:
    """Candidate's and baseline's scores of each record, in the place of answers."""
    scoring = Scoring(["candidate", "baseline"], [AS_GIVEN], Rules(**rules))
    for number, (candidate, baseline) in enumerate(pairs, start=1):
        texts = {"candidate": repr(candidate), "baseline": repr(baseline)}
        scoring.add(number, None, texts, slice_name=slices[number - 1] if slices else None)
    return scoring.result()


def ends(differences: Any, alpha: float = 0.05, resamples: int = 2000) -> tuple[float, float]:
    sums = Sums(1)
    for one in differences:
        sums.add((float(one),))
    drawn = sums.resampled(resamples)
    return interval(drawn[:, 0] / drawn[:, 1], alpha, sums.count)


def test_many_small_gains_do_not_outweigh_a_few_great_losses() -> None:
    """130 records gain 0.005 and 70 lose 0.4: the mean falls from 0.606 to 0.469, and the candidate is worse."""
    result = scored([(0.505, 0.5)] * 130 + [(0.4, 0.8)] * 70)
    assert result["verdict"] == "worse"
    difference = result["differences"]["baseline"]["as_given"]
    assert difference["value"] == pytest.approx(0.005 * 0.65 - 0.4 * 0.35)
    assert (difference["wins"], difference["losses"]) == (130, 70)
    assert [entry["record"] for entry in result["most"]["losses"]] == list(range(131, 151))


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
def test_the_comparison_is_fair(pairs: Pairs) -> None:
    """Exchanging the models exchanges the verdict, and every record is a win, a loss or a tie."""
    one, other = scored(pairs), scored([(baseline, candidate) for candidate, baseline in pairs])
    here, there = (found["differences"]["baseline"]["as_given"] for found in (one, other))
    assert (here["wins"], here["losses"], here["ties"]) == (there["losses"], there["wins"], there["ties"])
    assert here["wins"] + here["losses"] + here["ties"] == len(pairs)
    assert here["low"] == pytest.approx(-there["high"], abs=1e-9)
    assert here["p_value"] == there["p_value"]
    opposite = {"better": "worse", "worse": "better", "undecided": "undecided"}
    assert one["verdict"] == opposite[other["verdict"]]


NULLS: dict[str, Draw] = {
    "right or wrong": lambda rng: rng.choice([-1.0, 0.0, 1.0], 150, p=[0.1, 0.8, 0.1]),
    "seldom different": lambda rng: rng.choice([-1.0, 0.0, 1.0], 200, p=[0.02, 0.96, 0.02]),
    "normal": lambda rng: rng.normal(0, 0.2, 40),
    "skewed": lambda rng: 0.1 * (1 - rng.exponential(1, 150)),
    "a few great losses": lambda rng: rng.choice([-0.19, 0.01], 300, p=[0.05, 0.95]),
}


def test_a_model_that_is_no_better_is_seldom_called_better() -> None:
    """In 1,000 randomised evaluations of models that are as good or worse, no more than alpha are called better."""
    rng, called, evaluations = np.random.default_rng(7), 0, 1000
    kinds = list(NULLS.values())
    for number in range(evaluations):
        differences = kinds[number % len(kinds)](rng) - (number % 2) * rng.uniform(0, 0.05)
        low, _ = ends(differences, resamples=1000)
        called += bool(low > 0 and np.count_nonzero(differences) >= 6)
    assert called <= 0.05 * evaluations


@pytest.mark.parametrize("kind", NULLS)
def test_the_interval_holds_the_truth(kind: str) -> None:
    """Of intervals at 95 %, about as many hold the difference that the records were drawn with."""
    rng, held, evaluations = np.random.default_rng(3), 0, 400
    for _ in range(evaluations):
        low, high = ends(NULLS[kind](rng), resamples=1000)
        held += low <= 0 <= high
    assert held / evaluations >= 0.92


@pytest.mark.parametrize("alpha", [1e-3, 1e-6, 1e-12])
def test_an_interval_beyond_the_draws_is_no_shorter_for_that(alpha: float) -> None:
    """Of ten thousand draws none lies where chance is one in a million: the interval is Student's there, at least."""
    differences = np.random.default_rng(8).normal(0.1, 0.2, 60)
    low, high = ends(differences, alpha, resamples=10_000)
    half = -stats.t.ppf(alpha / 2, 59) * np.std(differences, ddof=1) / 60**0.5
    assert low <= differences.mean() - 0.9 * half
    assert high >= differences.mean() + 0.9 * half


@pytest.mark.parametrize("effect", [0.03, 0.06])
def test_power_is_that_of_the_paired_t_test(effect: float) -> None:
    """A difference that is there is found as often as by the t-test, within two points."""
    rng, ours, theirs, evaluations = np.random.default_rng(5), 0, 0, 500
    for _ in range(evaluations):
        differences = rng.normal(effect, 0.2, 100)
        ours += ends(differences)[0] > 0
        found = stats.ttest_1samp(differences, 0)
        theirs += found.pvalue < 0.05 and found.statistic > 0
    assert ours >= theirs - 0.02 * evaluations


def test_groups_give_the_interval_of_single_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn in groups, even from a sorted file, records give about the interval that they give one by one."""
    values = sorted(np.random.default_rng(1).random(6000).tolist())
    expected = 2 * 1.96 * float(np.std(values)) / len(values) ** 0.5
    low, high = ends(values)
    assert high - low == pytest.approx(expected, rel=0.1)
    monkeypatch.setattr(bootstrap, "GROUPS", 6000)
    one_by_one = ends(values)
    assert high - low == pytest.approx(one_by_one[1] - one_by_one[0], rel=0.1)


def test_memory_does_not_grow_with_the_records() -> None:
    """Thirty thousand records leave less in memory than their scores alone would be."""
    scoring = Scoring(["candidate", "baseline"], [AS_GIVEN], Rules())
    tracemalloc.start()
    try:
        for number in range(30_000):
            scoring.add(number, None, {"candidate": "1", "baseline": "0"})
        assert tracemalloc.get_traced_memory()[0] < 240_000
    finally:
        tracemalloc.stop()


def test_the_same_answers_give_the_same_result() -> None:
    """The draws are seeded."""
    pairs = [(n % 7 / 7, n % 5 / 5) for n in range(300)]
    assert scored(pairs) == scored(pairs)


def test_a_gain_that_is_asked_for_has_to_be_exceeded() -> None:
    """An interval that begins at it does not lie above it."""
    result = scored([(1.0, 0.0)] * 100, minimum_gain=1.0)
    assert result["verdict"] == "undecided"
    assert result["reason"].endswith("the interval does not lie above 1.")


def test_a_slice_that_loses_forbids_the_promotion() -> None:
    """Better in all, much worse in one language: undecided, and the slice is named; without the rule, better."""
    pairs = [(1.0, 0.0)] * 300 + [(0.0, 1.0)] * 40 + [(0.5, 0.5)] * 60
    slices = ["en"] * 300 + ["de"] * 40 + ["fr"] * 60
    assert scored(pairs, slices)["verdict"] == "better"
    result = scored(pairs, slices, max_slice_loss=0.1)
    assert (result["verdict"], "on: de (-1.0000)" in result["reason"]) == ("undecided", True)
    assert result["slices"]["de"]["records"] == 40


def test_a_difference_that_is_just_allowed_is_no_loss_and_one_that_is_just_asked_for_no_gain() -> None:
    """Three of ten instead of four of ten is 0.1 less: floating-point numbers do not make it more."""
    pairs = [(0.3, 0.4)] * 20 + [(0.4, 0.3)] * 20
    result = scored(pairs, ["loses"] * 20 + ["gains"] * 20)
    assert (result["slices"]["loses"]["value"], result["slices"]["gains"]["low"]) == (-0.1, 0.1)
    against = reasons_against(result, lambda *_: None, max_slice_loss=0.1)
    assert not [reason for reason in against if "slice" in reason]
    assert scored(pairs[20:], minimum_gain=0.1)["verdict"] == "undecided"


def test_chance_seldom_makes_one_of_many_slices_lose() -> None:
    """Of evaluations with twenty slices on which the models are equal, few have one that loses, not nearly all."""
    rng, forbidden, evaluations = np.random.default_rng(2), 0, 8
    names = [f"slice {n}" for n in range(20)] * 30 + ["gains"] * 300
    for _ in range(evaluations):
        ahead = [*rng.choice([0.0, 1.0], 600).tolist(), *[1.0] * 300]
        result = scored([(one, 1 - one) for one in ahead], names, max_slice_loss=0.0, alpha=0.2)
        forbidden += "worse by more than" in result["reason"]
    assert forbidden <= 2


def test_three_models_and_every_metric_with_its_interval() -> None:
    """The candidate is compared with each of the others, on each metric; the second one decides."""
    roles = ["candidate", "baseline", "base"]
    metrics = [metric("exact_match"), metric("corpus_bleu"), metric("macro_f1")]
    references = ["the cat sat on the mat", "the dog ran to the door"] * 30
    for one in metrics:
        for reference in references:
            one.learn(reference)
    scoring = Scoring(roles, metrics, Rules(minimum_gain=0.1))
    for number, reference in enumerate(references, start=1):
        wrong = reference if number % 3 else references[number % 2]
        scoring.add(number, reference, {"candidate": reference, "baseline": wrong, "base": "no idea at all, sorry"})
    result = scoring.result()
    assert result["verdict"] == "better"
    assert list(result["models"]) == roles
    assert result["models"]["candidate"]["accuracy"] == 1
    for name in ("exact_match", "corpus_bleu", "macro_f1"):
        found = [result["models"][role]["metrics"][name] for role in roles]
        assert all(one["low"] - 1e-9 <= one["value"] <= one["high"] + 1e-9 for one in found), found
        assert found[0]["value"] == pytest.approx(1)
        assert found[0]["value"] > found[1]["value"] > found[2]["value"]
        assert all(result["differences"][role][name]["low"] > 0 for role in roles[1:])
    assert result["labels"]["base"]["by_label"][0]["recall"] == 0


def test_slices_of_one_record() -> None:
    """They have an interval, forbid nothing, and are reported."""
    pairs = [(1.0, 0.0)] * 40 + [(0.0, 1.0)] * 2
    result = scored(pairs, ["many"] * 40 + ["one", "other"], max_slice_loss=0.0)
    assert result["verdict"] == "better"
    assert {name: one["records"] for name, one in result["slices"].items()} == {"many": 40, "one": 1, "other": 1}
    assert (result["slices"]["one"]["low"], result["slices"]["one"]["high"]) == (-1, -1)


def test_too_many_slices() -> None:
    """A field with a value for each record makes no slices."""
    with pytest.raises(ValueError, match="more than 100 slices"):
        scored([(1.0, 0.0)] * 101, [str(n) for n in range(101)])
