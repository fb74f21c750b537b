"""Metrics of single answers."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.evaluation import METRICS, exact_match, metric


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("yes", "yes", 1),
        (" Yes.\n", "yes", 1),
        ('"YES"', "yes", 1),
        ("“yes”", "yes", 1),
        ("ﬁne", "FINE", 1),
        ("two  words", "two words", 1),
        ("yes, it is", "yes", 0),
        ("", "yes", 0),
        ("+", "+", 1),
        ("+", "-", 0),
        ("?", "!", 0),
        ("-1", "1", 0),
        ("**-1**.", "-1", 1),
    ],
)
def test_exact_match(answer: str, reference: str, score: float) -> None:
    """What surrounds a label does not count; what it says does."""
    assert exact_match(answer, reference) == score


@pytest.mark.parametrize("name", METRICS)
@given(text=st.text(alphabet="abc äß", min_size=1).filter(str.strip), other=st.text(alphabet="xyz", min_size=1))
def test_metrics_go_from_0_to_1(name: str, text: str, other: str) -> None:
    """A metric is 1 for the reference itself, and 0 for something that shares nothing with it."""
    score = metric(name)
    assert score(text, text) == pytest.approx(1)
    assert score(other, text) == pytest.approx(0, abs=1e-9)


def test_unknown_metric() -> None:
    """A metric that does not exist is named, with those that do."""
    with pytest.raises(ValueError, match="'bleu', only exact_match, chrf"):
        metric("bleu")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sacrebleu, the error says what to install."""
    real = builtins.__import__

    def without_sacrebleu(name: str, *args: Any) -> Any:
        if name.startswith("sacrebleu"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_sacrebleu)
    with pytest.raises(ImportError, match=r"airflow-bedrock\[eval\]"):
        metric("chrf")
