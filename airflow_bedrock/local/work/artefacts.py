"""The metrics files that a job leaves in S3."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from airflow_bedrock.local.work.s3 import write

Row = tuple[int, int, float]
"""Step, epoch, loss."""

TRAINING = "training_artifacts/step_wise_training_metrics.csv"
VALIDATION = "validation_artifacts/post_fine_tuning_validation"


def write_metrics(
    s3: Any, output: str, job_id: str, training: Sequence[Row], validation: Sequence[Row], inner_folder: bool
) -> None:
    """Write the training metrics, and the validation metrics when there are any, below the job's output folder.

    :param inner_folder: whether validation metrics lie in a folder ``validation/`` of their own.
    """
    folder = f"{output.rstrip('/')}/model-customization-job-{job_id}"
    write(s3, f"{folder}/{TRAINING}", _table("training_loss", training), "text/csv")
    if validation:
        inner = "/validation" if inner_folder else ""
        file = f"{folder}/{VALIDATION}{inner}/validation_metrics.csv"
        write(s3, file, _table("validation_loss", validation), "text/csv")


def _table(loss_name: str, rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step_number", "epoch_number", loss_name, "perplexity"])
    writer.writerows((step, epoch, loss, math.exp(min(loss, 700.0))) for step, epoch, loss in rows)
    return text.getvalue().encode()
