"""The metrics files become losses by epoch."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.customization.metrics import MOST_STEPS, losses_by_epoch, losses_by_step

TRAINING = ["step_number,epoch_number,training_loss,perplexity", "0,1,2.0,7.4", "1,1,1.0,2.7", "2,2,0.5,1.6"]
VALIDATION = ["step_number,epoch_number,validation_loss,perplexity", "1,1,1.5,4.5", "2,2,0.9,2.5"]


def test_an_epoch_has_its_mean_training_and_its_last_validation_loss() -> None:
    """Steps are averaged, validations are not."""
    assert losses_by_epoch(TRAINING, VALIDATION) == [
        {"epoch": 1, "training_loss": 1.5, "validation_loss": 1.5},
        {"epoch": 2, "training_loss": 0.5, "validation_loss": 0.9},
    ]


def test_a_missing_file_leaves_its_column_empty() -> None:
    """A job without validation data has no validation loss."""
    assert losses_by_epoch(TRAINING, [])[1] == {"epoch": 2, "training_loss": 0.5, "validation_loss": None}
    assert losses_by_epoch([], []) == []


@pytest.mark.parametrize(
    "training",
    [
        ["\ufeffstep_number,epoch_number,training_loss,perplexity", "0,1,2.0,7.4", "1,1,1.0,2.7", "2,2,0.5,1.6"],
        ["step_number,epoch_number,training_loss", "0,1.0,2.0", "1,1.0,1.0", "2,2.0,0.5"],
        ['"Epoch_Number" , "Training_Loss"', "1,2.0", "", "1,1.0", "2,0.5,more"],
    ],
)
def test_a_file_that_is_written_otherwise_is_read(training: list[str]) -> None:
    """A byte order mark, epochs as decimals, columns in another order, further cells, empty lines."""
    told: list[str] = []
    assert [epoch["training_loss"] for epoch in losses_by_epoch(training, [], told.append)] == [1.5, 0.5]
    assert told == []


@pytest.mark.parametrize(
    ("training", "expected", "said"),
    [
        (
            ["epoch_number,training_loss", "1,2.0", "1,", "2,NaN"],
            [1, 2],
            "2 rows without a readable epoch or training_loss",
        ),
        (["epoch_number,training_loss", "1,2.0", "2"], [1, 2], "1 rows"),
        (["epoch_number,training_loss", "one,2.0", "1.5,2.0"], [], "2 rows"),
        (["epoch,loss", "1,2.0"], [], "no column epoch_number and no column training_loss"),
        (["<html>"], [], "no column epoch_number"),
        (["epoch_number,training_loss", "1,2.0\r2,1.0"], [], "not a CSV file"),
    ],
)
def test_what_cannot_be_read_is_none_and_reported(training: list[str], expected: list[int], said: str) -> None:
    """The job has completed and is paid for: its metrics are no reason to fail."""
    told: list[str] = []
    losses = losses_by_epoch(training, [], told.append)
    assert [epoch["epoch"] for epoch in losses] == expected
    assert [epoch["training_loss"] for epoch in losses] == [2.0, None][: len(expected)]
    assert [one for one in told if said in one and one.startswith("step_wise_training_metrics.csv")] == told != []


CELLS = st.sampled_from(["epoch_number", "training_loss", "validation_loss", "1", "1.0", "2", "1e308", "-inf", "", '"'])


@given(st.text() | st.lists(st.lists(CELLS | st.text(max_size=5), max_size=4).map(",".join)).map("\n".join))
def test_no_text_fails(text: str) -> None:
    """Whatever the file holds, the losses are numbers that JSON can hold, or None."""
    lines = text.splitlines()
    for epoch in losses_by_epoch(lines, lines):
        json.dumps(epoch, allow_nan=False)
        assert isinstance(epoch["epoch"], int)


def test_a_curve_has_a_point_for_each_step_and_no_more_than_fit() -> None:
    """Of many steps, each point is the mean of some."""
    assert losses_by_step(TRAINING) == [(1, 2.0), (2, 1.0), (3, 0.5)]
    many = ["epoch_number,training_loss", *(f"1,{step}" for step in range(1000))]
    points = losses_by_step(many)
    assert len(points) == MOST_STEPS
    assert points[0] == (5, 2.0)  # the mean of 0 to 4
    assert points[-1] == (1000, 997.0)
    assert losses_by_step([]) == []
