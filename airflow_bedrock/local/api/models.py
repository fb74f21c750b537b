"""Custom models: get, list, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.local.api.customization_jobs import metrics
from airflow_bedrock.local.api.paging import page, select
from airflow_bedrock.local.errors import conflict, not_found
from airflow_bedrock.local.state.bedrock import Bedrock, get
from airflow_bedrock.local.state.resources import CustomModel


def get_custom_model(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a custom model."""
    with bedrock.world.lock:
        model = _model(bedrock, request)
        job = bedrock.jobs[model.job_arn]
        return {
            "modelArn": model.arn,
            "modelName": model.name,
            "jobName": job.name,
            "jobArn": job.arn,
            "baseModelArn": job.base_model_arn,
            "customizationType": job.type,
            "hyperParameters": job.hyperparameters,
            "trainingDataConfig": job.request["trainingDataConfig"],
            "validationDataConfig": job.request.get("validationDataConfig", {"validators": []}),
            "outputDataConfig": job.request["outputDataConfig"],
            "creationTime": model.creation_time,
            "modelStatus": model.status,
            **metrics(job),
        }


def list_custom_models(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List custom models, the newest first."""
    with bedrock.world.lock:
        found = select(bedrock.models.values(), request, "creationTimeAfter", "creationTimeBefore")
        shown, more = page([model for model in found if _wanted(bedrock, model, request)], request)
        return {"modelSummaries": [_summary(bedrock, model) for model in shown], **more}


def delete_custom_model(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a custom model that no deployment uses. Its job stays, and so does the job's name."""
    with bedrock.world.lock:
        model = _model(bedrock, request)
        if users := [one.name for one in bedrock.deployments.values() if model.arn in one.models]:
            raise conflict(f"The model {model.name} is deployed ({', '.join(users)}). Delete its deployments first.")
        del bedrock.models[model.arn]
        bedrock.world.weights.pop(model.arn, None)
    return {}


def _model(bedrock: Bedrock, request: Mapping[str, Any]) -> CustomModel:
    identifier = request["modelIdentifier"]
    return get(bedrock.models, identifier, not_found(f"The provided model {identifier} was not found."))


def _wanted(bedrock: Bedrock, model: CustomModel, request: Mapping[str, Any]) -> bool:
    base = bedrock.jobs[model.job_arn].base_model_arn
    return bool(
        request.get("baseModelArnEquals", base) == base
        and request.get("foundationModelArnEquals", base) == base
        and request.get("modelStatus", model.status) == model.status
        and request.get("isOwned", True)  # nothing is shared between accounts here
    )


def _summary(bedrock: Bedrock, model: CustomModel) -> dict[str, Any]:
    job = bedrock.jobs[model.job_arn]
    return {
        "modelArn": model.arn,
        "modelName": model.name,
        "creationTime": model.creation_time,
        "baseModelArn": job.base_model_arn,
        "baseModelName": job.base_model.partition(":")[0],
        "customizationType": job.type,
        "ownerAccountId": bedrock.account,
        "modelStatus": model.status,
    }
