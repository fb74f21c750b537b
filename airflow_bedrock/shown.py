"""The XComs by which tasks tell the views in Airflow's UI what they know: one kind of thing, one key.

They hold figures, names and addresses, never the text of a record. The views read them through Airflow's REST API with
the credential of the person who looks, so the API server needs no AWS credentials.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow_bedrock.customization.job import Job, Seen

JOB = "bedrock_job"
EVALUATION = "bedrock_evaluation"
PROMOTION = "bedrock_promotion"

log = logging.getLogger(__name__)

_ASKED = {
    "customizationType": "customization_type",
    "baseModelIdentifier": "base_model_id",
    "hyperParameters": "hyperparameters",
    "trainingDataConfig": "training_data",
}


def tell(context: Mapping[str, Any], key: str, value: Mapping[str, Any]) -> None:
    """Push what the views show. What they are not told fails no task: its job is paid for.

    :param key: one of this module's.
    """
    try:
        context["ti"].xcom_push(key=key, value=value)
    except Exception as error:
        log.warning("The views in Airflow's UI do not show %s of this task: %s", key, error)


def job_shown(
    job: Seen, result: Mapping[str, Any] | None = None, request: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what the views show of a customization job.

    :param result: what its task returns of a job that has completed, with its losses.
    :param request: what was asked for; None where that is not known, as to a sensor.
    """
    known = result or (job.result() if isinstance(job, Job) else {"job_arn": job.arn, "status": job.status})
    asked = {name: request[member] for member, name in _ASKED.items() if request.get(member)} if request else {}
    return {**known, "failure_message": job.failure_message, "asked": asked}


def evaluation_shown(result: Mapping[str, Any], returned: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the views show of an evaluation: its verdict and the score of each model.

    :param result: all that the evaluation has found.
    :param returned: what its task returns.
    """
    metric = result["metric"]
    return {
        **{name: returned[name] for name in ("verdict", "reason", "difference", "cost", "report_uri")},
        "metric": metric,
        "records": result["records"],
        "models": {
            role: {"model": model["model"], "answered_by": model["answered_by"], **model["metrics"][metric]}
            for role, model in result["models"].items()
        },
    }
