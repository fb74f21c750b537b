"""Held-out data: how much is split off, and when training stops early."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_bedrock.local.learning.training import EarlyStopping, Example, hold_out


@given(st.integers(0, 200), st.integers(5, 50))
@example(90, 35)  # 31.5: whether half an example is held out is the floating point's word, not the test's
def test_share_is_split_off(count: int, percent: int) -> None:
    """The wanted share is split off, nothing is lost, and it is the same each time."""
    examples = [Example(f"prompt {n}", "a") for n in range(count)]
    kept, held = hold_out(examples, {"evalPercentage": str(percent)})
    assert abs(len(held) - count * percent / 100) <= 0.5 + 1e-9
    assert sorted([*kept, *held], key=examples.index) == examples
    assert hold_out(examples, {"evalPercentage": str(percent)}) == (kept, held)


def test_nothing_is_split_off_where_it_is_not_asked_for() -> None:
    """Base models without evalPercentage train on everything."""
    examples = [Example("p", "c")] * 10
    assert hold_out(examples, {}) == (examples, [])


@pytest.mark.parametrize(
    ("losses", "epochs"),
    [
        ([3, 2, 1, 0.5], None),
        ([3, 2, 2, 2], 4),
        ([3, 2, 1.95, 1.91], 4),
        ([3, 2, 2.5, 1], None),
        ([3, 4, 5], 3),
    ],
)
def test_training_ends_when_the_loss_stagnates(losses: list[float], epochs: int | None) -> None:
    """After as many epochs without enough improvement as there is patience, training ends."""
    stopping = EarlyStopping({"earlyStoppingPatience": "2", "earlyStoppingThreshold": "0.1"})
    ended = [number for number, loss in enumerate(losses, start=1) if stopping.ends(loss)]
    assert ended[:1] == ([] if epochs is None else [epochs])


def test_without_patience_training_goes_on() -> None:
    """Base models without early stopping train to the end."""
    stopping = EarlyStopping({})
    assert not any(stopping.ends(1.0) for _ in range(100))
