"""The two metrics files that a job writes to its output location: the training loss a step, the validation loss.

Their folders differ between AWS's documentation and its samples, so they are known by the ends of their names.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

TRAINING_METRICS = "step_wise_training_metrics.csv"
VALIDATION_METRICS = "validation_metrics.csv"


def losses_by_epoch(training: Iterable[str], validation: Iterable[str]) -> list[dict[str, float | int | None]]:
    """Return for each epoch its mean training loss and its last validation loss.

    :param training: the lines of ``step_wise_training_metrics.csv``; no lines where there is no such file.
    :param validation: the lines of ``validation_metrics.csv``; likewise.
    :return: ``[{"epoch": 1, "training_loss": 0.7, "validation_loss": 0.9}, …]``, by epoch; a loss that no file
        has is None.
    """
    trained = _column(training, "training_loss")
    validated = _column(validation, "validation_loss")
    return [
        {
            "epoch": epoch,
            "training_loss": fmean(trained[epoch]) if epoch in trained else None,
            "validation_loss": validated[epoch][-1] if epoch in validated else None,
        }
        for epoch in sorted(trained.keys() | validated.keys())
    ]


def _column(lines: Iterable[str], name: str) -> dict[int, list[float]]:
    values: dict[int, list[float]] = defaultdict(list)
    for row in csv.DictReader(lines):
        values[int(row["epoch_number"])].append(float(row[name]))
    return values
