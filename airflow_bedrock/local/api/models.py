"""Custom models: get, list, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.local.api.customization_jobs import kms_key_arn, metrics
from airflow_bedrock.local.api.members import present
from airflow_bedrock.local.api.paging import page, select
from airflow_bedrock.local.catalog import foundation_model_arn
from airflow_bedrock.local.errors import conflict, not_found
from airflow_bedrock.local.state.bedrock import Bedrock, get
from airflow_bedrock.local.state.resources import CustomModel, Deployment, Throughput


def get_custom_model(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a custom model."""
    with bedrock.world.lock:
        model = _model(bedrock, request)
        job = bedrock.jobs[model.job_arn]
        described = {
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
            "customizationConfig": job.request.get("customizationConfig"),
            "modelKmsKeyArn": kms_key_arn(bedrock, job.request),
            "creationTime": model.creation_time,
            "modelStatus": model.status,
            **metrics(job),
        }
        return present(described)


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
        uses: list[Deployment | Throughput] = [*bedrock.deployments.values(), *bedrock.shelf.throughputs.values()]
        if users := [one.name for one in uses if model.arn in one.models]:
            raise conflict(
                f"The model {model.name} is in use ({', '.join(users)}). Delete its deployments and its provisioned "
                "throughput first."
            )
        del bedrock.models[model.arn]
        bedrock.shelf.tags.pop(model.arn, None)
        bedrock.world.weights.pop(model.arn, None)
    return {}


def _model(bedrock: Bedrock, request: Mapping[str, Any]) -> CustomModel:
    identifier = request["modelIdentifier"]
    return get(bedrock.models, identifier, not_found(f"The provided model {identifier} was not found."))


def _wanted(bedrock: Bedrock, model: CustomModel, request: Mapping[str, Any]) -> bool:
    job = bedrock.jobs[model.job_arn]
    foundation = foundation_model_arn(bedrock.region, job.base_model)
    return bool(
        request.get("baseModelArnEquals", job.base_model_arn) == job.base_model_arn
        and request.get("foundationModelArnEquals", foundation) == foundation
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
