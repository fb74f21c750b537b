"""Provisioned throughput: model units for one model, billed by the hour for as long as it exists."""

from __future__ import annotations

from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.jobs.resources import Resource, reads, reads_page

# GetProvisionedModelThroughput, member `status`
_OUTCOMES = {
    "Creating": Outcome.RUNNING,
    "InService": Outcome.SUCCEEDED,
    "Updating": Outcome.RUNNING,
    "Failed": Outcome.FAILED,
}
_read = reads(
    _OUTCOMES,
    arn="provisionedModelArn",
    name="provisionedModelName",
    created="creationTime",
    failure_message="failureMessage",
    model=("desiredModelArn", "modelArn"),
)


def _failure_message(found: Seen) -> str:
    why = found.failure_message or "no reason was given"
    return (
        f"Provisioned throughput {found.name} cannot be used, it is {found.status}: {why}. Delete it if it is not "
        f"needed; it may be billed. {found.arn}"
    )


PROVISIONED_THROUGHPUT = Resource(
    noun="provisioned throughput",
    word="throughput",
    create_operation="CreateProvisionedModelThroughput",
    name="provisionedModelName",
    tags="tags",
    get_operation="GetProvisionedModelThroughput",
    identifier="provisionedModelId",
    list_operation="ListProvisionedModelThroughputs",
    created_after="creationTimeAfter",
    delete_operation="DeleteProvisionedModelThroughput",
    read=_read,
    read_page=reads_page("provisionedModelSummaries", _read),
    failure_message=_failure_message,
    billed="is billed by the hour",
    name_taken="Choose another name, or delete that provisioned throughput first.",
    missing="It was deleted.",
)
