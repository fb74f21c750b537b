"""A custom model deployment for on-demand inference: it serves a model for as long as it exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.jobs.resources import Resource, reads

# GetCustomModelDeployment, member `status`; "Updating" is an Active one that is being updated.
_OUTCOMES = {
    "Creating": Outcome.RUNNING,
    "Active": Outcome.SUCCEEDED,
    "Failed": Outcome.FAILED,
    "Updating": Outcome.RUNNING,
}


def _read(response: Mapping[str, Any]) -> Seen:
    update = response.get("updateDetails") or {}
    updating = update.get("updateStatus") == "Updating"
    return _read_plain({**response, "status": "Updating", "modelArn": update["modelArn"]} if updating else response)


_read_plain = reads(
    _OUTCOMES,
    arn="customModelDeploymentArn",
    name=("modelDeploymentName", "customModelDeploymentName"),
    created="createdAt",
    failure_message="failureMessage",
    model="modelArn",
)


def serves(found: Any, request: Mapping[str, Any]) -> bool:
    """Whether a deployment serves the requested model.

    :raises BedrockError: its model is being replaced by another one.
    """
    same: bool = found.model == request["modelArn"]
    if found.status == "Updating" and not same:
        raise BedrockError(f"The model of deployment {found.arn} is being replaced. Try again when that is done.")
    return same


DEPLOYMENT = Resource(
    kind="custom model deployment",
    noun="deployment",
    create_operation="CreateCustomModelDeployment",
    name="modelDeploymentName",
    tags="tags",
    get_operation="GetCustomModelDeployment",
    identifier="customModelDeploymentIdentifier",
    list_operation="ListCustomModelDeployments",
    created_after="createdAfter",
    update_operation="UpdateCustomModelDeployment",
    updates={"modelArn": "modelArn"},
    delete_operation="DeleteCustomModelDeployment",
    serves=serves,
    read=_read,
    failed="Deployment {name} cannot be used, it is {status}: {reason}. Fix the cause, delete the deployment "
    "(BedrockDeleteCustomModelDeploymentOperator), and clear this task. {arn}",
    billed="costs nothing while nobody calls it",
    name_taken="Choose another deployment_name, or delete that deployment first "
    "(BedrockDeleteCustomModelDeploymentOperator).",
)
