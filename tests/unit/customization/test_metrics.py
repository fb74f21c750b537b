"""The metrics files become losses by epoch."""

from __future__ import annotations

from airflow_bedrock.customization.metrics import losses_by_epoch

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
