"""Custom model deployments: create, get, list, update, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.base_models import base_model
from airflow_bedrock.local.api.creation import Creation
from airflow_bedrock.local.api.paging import listed
from airflow_bedrock.local.api.quotas import check_quotas
from airflow_bedrock.local.catalog import check_alive
from airflow_bedrock.local.errors import invalid
from airflow_bedrock.local.state.bedrock import Bedrock, find, get
from airflow_bedrock.local.state.resources import Deployment, Update
from airflow_bedrock.local.work.serving import serve

_CREATION = Creation("CreateCustomModelDeployment", "deployments", answer="customModelDeploymentArn")


def create_custom_model_deployment(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Start to deploy a custom model."""

    def make() -> Deployment:
        _check_model(bedrock, request["modelArn"])
        if find(bedrock.deployments, request["modelDeploymentName"]):
            raise invalid("The provided custom model deployment name is currently in use.")
        check_quotas(bedrock, "deployments", "changing_deployments")
        now = bedrock.world.clock.now()
        return Deployment(
            arn=bedrock.new_arn("custom-model-deployment"),
            name=request["modelDeploymentName"],
            model_arn=request["modelArn"],
            description=request.get("description"),
            creation_time=now,
            last_updated_time=now,
        )

    return _CREATION.once(bedrock, request, make)


def get_custom_model_deployment(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a deployment."""
    deployment = _deployment(bedrock, request)
    change = deployment.update
    return {
        "customModelDeploymentArn": deployment.arn,
        "modelDeploymentName": deployment.name,
        "modelArn": deployment.model_arn,
        "createdAt": deployment.creation_time,
        "status": deployment.status,
        "description": deployment.description,
        "lastUpdatedAt": deployment.last_updated_time,
        "updateDetails": {"modelArn": change.model_arn, "updateStatus": change.status} if change else None,
    }


def list_custom_model_deployments(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List deployments, the newest first."""
    found = bedrock.deployments.values()
    return listed(request, "modelDeploymentSummaries", found, _summary, "created", modelArnEquals="model_arn")


def update_custom_model_deployment(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Start to put another model behind a deployment; its ARN stays the same."""
    with bedrock.world.lock:
        deployment = _deployment(bedrock, request)
        _check_not_mutating(deployment)
        _check_model(bedrock, request["modelArn"])
        check_quotas(bedrock, "changing_deployments")
        deployment.update = Update(request["modelArn"])
    bedrock.world.runner.add(deployment.arn, serve(bedrock, deployment))
    return {"customModelDeploymentArn": deployment.arn}


def delete_custom_model_deployment(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a deployment; the model stays."""
    with bedrock.world.lock:
        deployment = _deployment(bedrock, request)
        _check_not_mutating(deployment)
        del bedrock.deployments[deployment.arn]
        bedrock.tags.pop(deployment.arn, None)
    return {}


def _deployment(bedrock: Bedrock, request: Mapping[str, Any]) -> Deployment:
    return get(bedrock.deployments, request["customModelDeploymentIdentifier"], "custom model deployment")


def _check_not_mutating(deployment: Deployment) -> None:
    if deployment.active:
        raise invalid("Custom model deployment is in a mutating state")


def _check_model(bedrock: Bedrock, arn: str) -> None:
    model = get(bedrock.models, arn, "custom model")
    if model.status != "Active":
        raise invalid(f"The provided custom model {arn} is {model.status}.")
    check_alive(model.base_model, bedrock.today)
    base = base_model(model.base_model)
    if model.checkpoint:
        raise invalid(f"The provided custom model {arn} was trained elsewhere. Use provisioned throughput.")
    if base is None or not base.on_demand:
        raise invalid(
            f"The provided custom model {arn} cannot be deployed on demand: its base model is not among those that "
            "can. Use provisioned throughput."
        )


def _summary(deployment: Deployment) -> dict[str, Any]:
    return {
        "customModelDeploymentArn": deployment.arn,
        "customModelDeploymentName": deployment.name,
        "modelArn": deployment.model_arn,
        "createdAt": deployment.creation_time,
        "status": deployment.status,
        "lastUpdatedAt": deployment.last_updated_time,
    }
