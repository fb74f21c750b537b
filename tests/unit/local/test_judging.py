"""Scores of answers: what comparing texts can tell, and that all of them are from 0 to 1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.work.judging import METRICS, Answered, score


@given(st.sampled_from(sorted(METRICS)), st.text(), st.text(), st.none() | st.text())
def test_scores_are_from_0_to_1(metric: str, prompt: str, answer: str, reference: str | None) -> None:
    """Whatever the texts are, a score lies between 0 and 1."""
    assert 0 <= score(metric, Answered(prompt, answer, reference)) <= 1


@pytest.mark.parametrize(
    ("metric", "answer", "reference", "expected"),
    [
        ("Builtin.Correctness", "Paris", "Paris", 1.0),
        ("Builtin.Correctness", "It is Paris", "Paris", 0.5),
        ("Builtin.Correctness", "Rome", "Paris", 0.0),
        ("Builtin.Correctness", "!", "!", 1.0),
        ("Builtin.Correctness", "anything", None, 1.0),
        ("Builtin.Accuracy", "paris", "Paris", 1.0),
        ("Builtin.Completeness", "a b", "a b c d", 0.5),
        ("Builtin.Faithfulness", "capital of Mars", "Paris", 2 / 3),
        ("Builtin.Helpfulness", " ", "Paris", 0.0),
        ("Builtin.Refusal", "I'm sorry, but no", "Paris", 1.0),
        ("Builtin.Refusal", "I cannot say", "Paris", 1.0),
        ("Builtin.Refusal", "Icy", "Paris", 0.0),
        ("Builtin.Toxicity", "Paris", "Paris", 0.0),
    ],
)
def test_scores(metric: str, answer: str, reference: str | None, expected: float) -> None:
    """Each metric says what it can: shared words, an answer at all, a refusal."""
    assert score(metric, Answered("What is the capital of France?", answer, reference)) == pytest.approx(expected)
