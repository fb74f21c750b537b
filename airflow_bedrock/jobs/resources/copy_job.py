"""A model copy job: it brings a custom model into the region, and the account, in which it is asked for.

It has no name but that of the model which it makes, is described by its ARN alone, and cannot be stopped. Its ARN takes
no tags: those that it was made with are the copy's, which it shows.
"""

from __future__ import annotations

from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.jobs.resources import Resource, reads, reads_page

# GetModelCopyJob, member `status`
_OUTCOMES = {"InProgress": Outcome.RUNNING, "Completed": Outcome.SUCCEEDED, "Failed": Outcome.FAILED}


def _failure_message(found: Seen) -> str:
    if found.outcome is Outcome.UNKNOWN:
        return (
            f"Copy job {found.arn} has an unknown status: {found.status}. It was left as it is, and may run. Check it "
            "in the AWS console, and upgrade airflow-bedrock."
        )
    said = found.failure_message or "no reason was given"
    return (
        f"The copy {found.name} was not made: {said}. Nothing is billed for it. Fix the cause, and clear this task to "
        f"copy again. {found.arn}"
    )


_read = reads(
    _OUTCOMES,
    tags="targetModelTags",
    arn="jobArn",
    name="targetModelName",
    created="creationTime",
    failure_message="failureMessage",
    model_arn="targetModelArn",
)
COPY_JOB = Resource(
    noun="model copy job",
    word="copy job",
    create_operation="CreateModelCopyJob",
    name="targetModelName",
    tags="targetModelTags",
    taggable=False,
    get_operation="GetModelCopyJob",
    identifier="jobArn",
    by_name=False,
    token_shows=False,
    list_operation="ListModelCopyJobs",
    created_after="creationTimeAfter",
    name_contains="targetModelNameContains",
    model_operation="GetCustomModel",
    read=_read,
    read_page=reads_page("modelCopyJobSummaries", _read),
    failure_message=_failure_message,
    billed="costs nothing, but the copy is billed for its storage each month until it is deleted "
    "(BedrockDeleteCustomModelOperator)",
    name_taken="Choose another name for the copy.",
    missing="Copy jobs cannot be deleted: check the region and the account of the connection.",
)
