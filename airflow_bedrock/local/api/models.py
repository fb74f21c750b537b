"""Custom models: get, list, delete. A customization job or CreateCustomModel (``imported_models.py``) makes them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from airflow_bedrock.local.api.paging import listed
from airflow_bedrock.local.api.quotas import check_quotas
from airflow_bedrock.local.catalog import foundation_model_arn
from airflow_bedrock.local.errors import conflict, invalid
from airflow_bedrock.local.state.bedrock import Bedrock, find, get
from airflow_bedrock.local.state.resources import CustomModel, Deployment, Job, Throughput


def get_custom_model(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a custom model; only one that a customization job made in this region shows its training."""
    model = _model(bedrock, request)
    return {
        "modelArn": model.arn,
        "modelName": model.name,
        "baseModelArn": model.base_model_arn,
        "customizationType": model.type,
        "modelKmsKeyArn": model.kms_key_arn,
        "creationTime": model.creation_time,
        "modelStatus": model.status,
        "failureMessage": model.failure_message,
        **(_training(bedrock.jobs[model.job_arn]) if model.job_arn else {}),
    }


def list_custom_models(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List custom models, the newest first."""
    foundation = request.get("foundationModelArnEquals")
    wanted = [
        model
        for model in bedrock.models.values()
        if foundation in (None, foundation_model_arn(bedrock.region, model.base_model))
        and request.get("isOwned", True)  # models of other accounts are not listed
    ]
    described = partial(_summary, bedrock)
    return listed(
        request, "modelSummaries", wanted, described, baseModelArnEquals="base_model_arn", modelStatus="status"
    )


def delete_custom_model(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a custom model that no deployment uses. Its job stays, and so does the job's name."""
    with bedrock.world.lock:
        model = _model(bedrock, request)
        if model.active:
            raise conflict(f"The model {model.name} is Creating and cannot be deleted yet.")
        uses: list[Deployment | Throughput] = [*bedrock.deployments.values(), *bedrock.throughputs.values()]
        if users := [one.name for one in uses if model.arn in one.models]:
            raise conflict(
                f"The model {model.name} is in use ({', '.join(users)}). Delete its deployments and its provisioned "
                "throughput first."
            )
        del bedrock.models[model.arn]
        bedrock.tags.pop(model.arn, None)
        bedrock.world.weights.pop(model.arn, None)
    return {}


def _model(bedrock: Bedrock, request: Mapping[str, Any]) -> CustomModel:
    return get(bedrock.models, request["modelIdentifier"], "model")


def check_new_model(bedrock: Bedrock, name: str) -> None:
    """Check that another custom model may be made, and with this name. Hold the world's lock.

    :raises ServiceError: ValidationException or ServiceQuotaExceededException.
    """
    coming = [job.model_name for job in bedrock.jobs.values() if job.active]
    coming += [job.name for job in bedrock.copies.values() if job.active]
    if name in coming or find(bedrock.models, name):
        raise invalid("The provided model name is currently in use.")
    check_quotas(bedrock, "custom_models")


def metrics(job: Job) -> dict[str, Any]:
    """Return the losses of a completed job; the model shows them too."""
    if job.status != "Completed":
        return {"validationMetrics": []}
    return {
        "trainingMetrics": {"trainingLoss": job.training_loss},
        "validationMetrics": [{"validationLoss": loss} for loss in job.validation_losses],
    }


def _training(job: Job) -> dict[str, Any]:
    return {
        "jobName": job.name,
        "jobArn": job.arn,
        "hyperParameters": job.hyperparameters,
        "trainingDataConfig": job.request["trainingDataConfig"],
        "validationDataConfig": job.request.get("validationDataConfig"),
        "outputDataConfig": job.request["outputDataConfig"],
        "customizationConfig": job.request.get("customizationConfig"),
        **metrics(job),
    }


def _summary(bedrock: Bedrock, model: CustomModel) -> dict[str, Any]:
    return {
        "modelArn": model.arn,
        "modelName": model.name,
        "creationTime": model.creation_time,
        "baseModelArn": model.base_model_arn,
        "baseModelName": "",  # as recorded, although it does not match the pattern of the service model
        "customizationType": model.type,
        "ownerAccountId": bedrock.account,
        "modelStatus": model.status,
    }
