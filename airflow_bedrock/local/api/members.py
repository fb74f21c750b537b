"""Members of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.local.state.resources import Job


def present(members: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what does not exist yet: the service does not answer with nulls."""
    return {name: value for name, value in members.items() if value is not None}


def metrics(job: Job) -> dict[str, Any]:
    """Return the losses of a job that has completed; the model shows them too."""
    if job.status != "Completed":
        return {"validationMetrics": []}
    return {
        "trainingMetrics": {"trainingLoss": job.training_loss},
        "validationMetrics": [{"validationLoss": loss} for loss in job.validation_losses],
    }
