"""Read the two metrics files that a job writes to its output location: training loss by step, and validation loss.

AWS's documentation and its samples put them into different folders, so they are found by the end of their names. A bad
metrics file is not an error: the job has completed and is paid for. A loss that cannot be read is None.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from statistics import fmean

TRAINING_METRICS = "step_wise_training_metrics.csv"
VALIDATION_METRICS = "validation_metrics.csv"

MOST_STEPS = 200
"""Points of a curve by step: more cannot be distinguished in a picture, and a result is kept in Airflow's database."""

_EPOCH = "epoch_number"
_LARGEST = 1e15  # no epoch and no loss is larger


def losses_by_epoch(
    training: Iterable[str], validation: Iterable[str], warn: Callable[[str], object] = lambda message: None
) -> list[dict[str, float | int | None]]:
    """Return for each epoch its mean training loss and its last validation loss.

    :param training: the lines of ``step_wise_training_metrics.csv``; none if there is no such file.
    :param validation: the lines of ``validation_metrics.csv``; likewise.
    :param warn: called with what cannot be read.
    :return: ``[{"epoch": 1, "training_loss": 0.7, "validation_loss": 0.9}, …]``, by epoch; a missing or unreadable loss
        is None.
    """
    trained = _column(training, "training_loss", lambda message: warn(f"{TRAINING_METRICS}: {message}"))
    validated = _column(validation, "validation_loss", lambda message: warn(f"{VALIDATION_METRICS}: {message}"))
    return [
        {
            "epoch": epoch,
            "training_loss": fmean(trained[epoch]) if trained.get(epoch) else None,
            "validation_loss": validated[epoch][-1] if validated.get(epoch) else None,
        }
        for epoch in sorted(trained.keys() | validated.keys())
    ]


def losses_by_step(training: Iterable[str]) -> list[tuple[int, float]]:
    """Return the training loss by step; if there are more than ``MOST_STEPS``, the means of groups of steps.

    :param training: the lines of ``step_wise_training_metrics.csv``.
    :return: ``[(1, 2.1), (2, 1.7), …]``: the number of the step, from 1, or of the last step of a group, and its loss.
    """
    by_epoch = _column(training, "training_loss", lambda message: None)
    losses = [loss for epoch in sorted(by_epoch) for loss in by_epoch[epoch]]
    count = min(len(losses), MOST_STEPS)
    ends = [len(losses) * (point + 1) // count for point in range(count)]
    return [(end, fmean(losses[begin:end])) for begin, end in zip([0, *ends], ends, strict=False)]


def _column(lines: Iterable[str], name: str, warn: Callable[[str], object]) -> dict[int, list[float]]:
    """Return the readable values of a column, by epoch."""
    values: dict[int, list[float]] = defaultdict(list)
    unread = 0
    try:
        rows = csv.reader(lines)
        header = [cell.strip('\ufeff "').lower() for cell in next(rows, [])]
        if not header:
            return values
        if missing := [column for column in (_EPOCH, name) if column not in header]:
            warn(f"it has no column {' and no column '.join(missing)}")
            return values
        for row in rows:
            cells = dict(zip(header, row, strict=False))
            epoch, value = _number(cells.get(_EPOCH)), _number(cells.get(name))
            known = epoch is not None and epoch.is_integer()
            unread += bool(row) and not (known and value is not None)
            if epoch is not None and known:
                values[int(epoch)] += [] if value is None else [value]
    except csv.Error as error:
        warn(f"it is not a CSV file: {error}")
    if unread:
        warn(f"{unread} rows without a readable epoch or {name}")
    return values


def _number(cell: str | None) -> float | None:
    try:
        number = float(cell or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) < _LARGEST else None
