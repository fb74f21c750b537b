"""Provisioned throughput: create, get, list, update, delete. It is billed by the hour; ``Meter`` counts the hours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from airflow_bedrock.base_models import base_model
from airflow_bedrock.local.api.creation import Creation
from airflow_bedrock.local.api.paging import listed
from airflow_bedrock.local.api.quotas import check_quotas
from airflow_bedrock.local.catalog import check_alive, foundation, foundation_model_arn
from airflow_bedrock.local.errors import ServiceError, conflict, invalid, not_found
from airflow_bedrock.local.state.bedrock import Bedrock, find, get
from airflow_bedrock.local.state.resources import Meter, Throughput
from airflow_bedrock.local.work.serving import provision

_CREATION = Creation("CreateProvisionedModelThroughput", "throughputs", answer="provisionedModelArn")
_COMMITMENTS = {"OneMonth": timedelta(days=30), "SixMonths": timedelta(days=180)}


def create_provisioned_model_throughput(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Start to provide model units for a model, and to count hours."""

    def make() -> Throughput:
        model, foundation = _model(bedrock, request["modelId"])
        _check_name(bedrock, request["provisionedModelName"])
        commitment, now = request.get("commitmentDuration"), bedrock.world.clock.now()
        if commitment is None:
            check_quotas(bedrock, "model_units", wanted=request["modelUnits"])
        throughput = Throughput(
            arn=bedrock.new_arn("provisioned-model"),
            name=request["provisionedModelName"],
            model_arn=model,
            desired_model_arn=model,
            foundation_model_arn=foundation,
            units=request["modelUnits"],
            creation_time=now,
            last_modified_time=now,
            commitment=commitment,
            commitment_expiration_time=now + _COMMITMENTS[commitment] if commitment else None,
        )
        bedrock.meters[throughput.arn] = Meter(throughput.arn, throughput.name, throughput.units, now)
        return throughput

    return _CREATION.once(bedrock, request, make)


def get_provisioned_model_throughput(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe provisioned throughput."""
    return _described(_throughput(bedrock, request))


def list_provisioned_model_throughputs(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List provisioned throughput, the newest first."""
    found = bedrock.throughputs.values()
    return listed(request, "provisionedModelSummaries", found, _described, modelArnEquals="model_arn")


def update_provisioned_model_throughput(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Rename provisioned throughput, or start to put another model behind it."""
    with bedrock.world.lock:
        throughput = _throughput(bedrock, request)
        _check_settled(throughput, invalid)
        name, model_id = request.get("desiredProvisionedModelName"), request.get("desiredModelId")
        model, foundation = throughput.model_arn, throughput.foundation_model_arn
        if model_id:
            model, foundation = _model(bedrock, model_id)
        if foundation != throughput.foundation_model_arn:
            raise invalid(f"The model {model_id} has another base model than the provisioned model {throughput.name}.")
        if name and name != throughput.name:
            _check_name(bedrock, name)
            throughput.name = name
        throughput.last_modified_time = bedrock.world.clock.now()
        if model == throughput.model_arn:
            return {}
        throughput.desired_model_arn, throughput.status = model, "Updating"
    bedrock.world.runner.add(throughput.arn, provision(bedrock, throughput))
    return {}


def delete_provisioned_model_throughput(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Delete provisioned throughput whose commitment, if any, is over; no more hours are counted."""
    with bedrock.world.lock:
        throughput, now = _throughput(bedrock, request), bedrock.world.clock.now()
        _check_settled(throughput, conflict)
        expiration = throughput.commitment_expiration_time
        if expiration and now < expiration:
            raise conflict(
                f"The provisioned model {throughput.name} cannot be deleted before its commitment ends, "
                f"at {expiration:%Y-%m-%dT%H:%M:%SZ}."
            )
        del bedrock.throughputs[throughput.arn]
        bedrock.meters[throughput.arn].ended = now
        bedrock.tags.pop(throughput.arn, None)
    return {}


def _throughput(bedrock: Bedrock, request: Mapping[str, Any]) -> Throughput:
    return get(bedrock.throughputs, request["provisionedModelId"], "provisioned model")


def _model(bedrock: Bedrock, identifier: str) -> tuple[str, str]:
    """Return the ARN of a model and that of its foundation model."""
    if custom := find(bedrock.models, identifier):
        if custom.status != "Active":
            raise invalid(f"The provided model {identifier} is {custom.status}.")
        check_alive(custom.base_model, bedrock.today)
        return custom.arn, foundation_model_arn(bedrock.region, custom.base_model)
    model = base_model(foundation(bedrock.region, identifier))
    if ":custom-model/" in identifier or model is None:
        raise not_found(f"The provided model {identifier} was not found.")
    check_alive(model.id, bedrock.today)
    arn = foundation_model_arn(bedrock.region, model.customizable_id)
    return arn, arn


def _check_name(bedrock: Bedrock, name: str) -> None:
    if any(one.name == name for one in bedrock.throughputs.values()):
        raise invalid("The provided provisioned model name is currently in use.")


def _check_settled(throughput: Throughput, error: Callable[[str], ServiceError]) -> None:
    if throughput.active:
        raise error(f"The provisioned model {throughput.name} is {throughput.status}. Try again when it is InService.")


def _described(throughput: Throughput) -> dict[str, Any]:
    """Return the members that Get and List have in common: all."""
    return {
        "modelUnits": throughput.units,
        "desiredModelUnits": throughput.units,
        "provisionedModelName": throughput.name,
        "provisionedModelArn": throughput.arn,
        "modelArn": throughput.model_arn,
        "desiredModelArn": throughput.desired_model_arn,
        "foundationModelArn": throughput.foundation_model_arn,
        "status": throughput.status,
        "creationTime": throughput.creation_time,
        "lastModifiedTime": throughput.last_modified_time,
        "commitmentDuration": throughput.commitment,
        "commitmentExpirationTime": throughput.commitment_expiration_time,
    }
