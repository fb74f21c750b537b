"""Provisioned throughput: model units for one model, billed by the hour for as long as it exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs.resources import Resource, reads

# GetProvisionedModelThroughput, member `status`
_OUTCOMES = {
    "Creating": Outcome.RUNNING,
    "InService": Outcome.SUCCEEDED,
    "Updating": Outcome.RUNNING,
    "Failed": Outcome.FAILED,
}


def serves(found: Any, request: Mapping[str, Any]) -> bool:
    """Whether throughput serves the requested model, or is about to.

    :raises BedrockFatalError: it has other model units or another commitment than requested.
    :raises BedrockError: its model is being replaced by another one.
    """
    units, commitment = request["modelUnits"], request.get("commitmentDuration")
    if found.units != units or commitment not in (None, found.commitment):
        raise BedrockFatalError(
            f"Provisioned throughput {found.arn} has {found.units} model units and "
            f"{f'the commitment {found.commitment}' if found.commitment else 'no commitment'}; the task requests "
            f"{units} and {commitment or 'none'}. Neither can be changed. It {PROVISIONED_THROUGHPUT.billed}; this try "
            f"spent nothing. {PROVISIONED_THROUGHPUT.name_taken}"
        )
    changing = found.status in ("Creating", "Updating")
    same = is_model(found.desired_model if changing else found.model, request["modelId"])
    if changing and not same:
        raise BedrockError(
            f"Provisioned throughput {found.arn} is {found.status} with another model, and "
            f"{PROVISIONED_THROUGHPUT.billed}. Try again when it is in service."
        )
    return same


def is_model(model_arn: str | None, requested: str) -> bool:
    """Whether a model is the requested one; a base model may be given by its id, with or without context length."""
    model_id = (model_arn or "").partition("foundation-model/")[2]
    return requested in (model_arn, model_id) or model_id.startswith(f"{requested}:")


PROVISIONED_THROUGHPUT = Resource(
    kind="provisioned throughput",
    noun="provisioned throughput",
    create_operation="CreateProvisionedModelThroughput",
    name="provisionedModelName",
    tags="tags",
    get_operation="GetProvisionedModelThroughput",
    identifier="provisionedModelId",
    token_shows=False,
    list_operation="ListProvisionedModelThroughputs",
    # Only its deletion stops it; the service may refuse that until it is in service.
    stop_operation="DeleteProvisionedModelThroughput",
    stop_seconds=30 * 60.0,
    running=("Creating", "InService"),
    update_operation="UpdateProvisionedModelThroughput",
    updates={"modelId": "desiredModelId"},
    delete_operation="DeleteProvisionedModelThroughput",
    serves=serves,
    read=reads(
        _OUTCOMES,
        arn="provisionedModelArn",
        name="provisionedModelName",
        created="creationTime",
        failure_message="failureMessage",
        model="modelArn",
        desired_model="desiredModelArn",
        base_model="foundationModelArn",
        units="modelUnits",
        commitment="commitmentDuration",
        committed_until="commitmentExpirationTime",
    ),
    failed="Provisioned throughput {name} cannot be used, it is {status}: {reason}. It may be billed until it is "
    "deleted: delete it (BedrockDeleteProvisionedModelThroughputOperator), fix the cause, and clear this task. {arn}",
    billed="is billed by the hour until it is deleted",
    stopping="is deleted",
    stopped="the time so far is billed",
    name_taken="Choose another name, or delete it first (BedrockDeleteProvisionedModelThroughputOperator).",
)
