"""The XComs that tasks push for the views in Airflow's UI: one key for each kind of resource.

They contain figures, names and URLs, never the text of a record. The views read them through Airflow's REST API with
the viewer's credential, so the API server needs no AWS credentials.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bedrock import customization

if TYPE_CHECKING:
    from airflow_bedrock.customization.job import Seen

JOB = "bedrock_job"
EVALUATION = "bedrock_evaluation"
PROMOTION = "bedrock_promotion"
IDLE = "bedrock_idle"

log = logging.getLogger(__name__)

_SHOWN = {
    "customizationType": "customization_type",
    "baseModelIdentifier": "base_model_id",
    "hyperParameters": "hyperparameters",
    "trainingDataConfig": "training_data",
}


def push(context: Mapping[str, Any], key: str, value: Mapping[str, Any]) -> None:
    """Push what the views show. A failure to push does not fail the task: its job is paid for.

    :param key: one of this module's keys.
    """
    try:
        # As plain JSON: Airflow would store a tuple in a form that only Python reads.
        context["ti"].xcom_push(key=key, value=msgspec.json.decode(msgspec.json.encode(value)))
    except Exception as error:
        log.warning("The views in Airflow's UI do not show %s of this task: %s", key, error)


def pushed(ti: Any, key: str) -> Any:
    """Return what this task instance has pushed; Airflow needs the map index, or returns those of all."""
    return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=-1 if ti.map_index is None else ti.map_index)


def job_shown(
    job: Seen,
    endpoint_url: str,
    result: Mapping[str, Any] | None = None,
    request: Mapping[str, Any] | None = None,
    bill: tuple[Decimal, str] | None = None,
    budget: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what the views show of a customization job.

    :param endpoint_url: the client's endpoint, which shows whether it is Local Bedrock.
    :param result: the task's result for a completed job, with its losses.
    :param request: the request; None if unknown, as in a sensor.
    :param bill: US dollars and their basis; None if not counted.
    :param budget: the budget of the month; None if none is set.
    """
    values: dict[str, Any] = dict(
        result
        or (job.result() if isinstance(job, customization.job.Job) else {"job_arn": job.arn, "status": job.status})
    )
    members = {name: request[member] for member, name in _SHOWN.items() if request.get(member)} if request else {}
    output = ((request or {}).get("outputDataConfig") or {}).get("s3Uri")
    if output and not values.get("artifacts_uri"):
        values["artifacts_uri"] = customization.job.artifacts_uri(output, job.arn)
    if page := customization.console.local_page(endpoint_url, job.arn):
        values["local_page"] = page
    if bill is not None:
        values["bill"] = {"usd": float(bill[0]), "basis": bill[1]}
    return {**values, "failure_message": job.failure_message, "asked": members, "budget": budget}


def evaluation_shown(result: Mapping[str, Any], returned: Mapping[str, Any], endpoint_url: str) -> dict[str, Any]:
    """Return what the views show of an evaluation: its verdict, the score of each model, the address of its report.

    :param result: the whole result of the evaluation.
    :param returned: the return value of its task.
    :param endpoint_url: the client's endpoint, which shows whether it is Local Bedrock.
    """
    metric = result["metric"]
    page = customization.console.object_page(endpoint_url, returned["report_html_uri"], returned["region_name"])
    return {
        **({"report_page": page} if page else {}),
        **{name: returned[name] for name in ("verdict", "reason", "cost", "report_uri")},
        "metric": metric,
        "models": {
            role: {"model": model["answered_by"], "value": model["metrics"][metric]["value"]}
            for role, model in result["models"].items()
        },
    }


def rollback_shown(line: str, model_arn: str, replaced: str | None, by: str, endpoint_url: str = "") -> dict[str, Any]:
    """Return what the views and :class:`~airflow_bedrock.notifications.BedrockNotifier` show of a rollback.

    :param line: the name of the line of models.
    :param model_arn: the model that serves again.
    :param replaced: the model that served before; None if unknown.
    :param by: the user who rolled back.
    :param endpoint_url: the client's endpoint, which shows whether it is Local Bedrock.
    """
    before, page = replaced if replaced != model_arn else None, customization.console.local_page(endpoint_url)
    return {
        "local_page": page,
        "name": line,
        "model_arn": model_arn,
        "replaced": before,
        "promoted_by": by,
        "rolled_back_by": by,
    }
