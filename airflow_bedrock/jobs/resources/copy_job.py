"""A model copy job: it copies a custom model into the region and the account in which it is created.

It has no name, only that of the model that it makes; Get accepts only its ARN; and it cannot be stopped. Its ARN takes
no tags: those in its request become the copy's, and it shows them.
"""

from __future__ import annotations

from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.jobs.resources import Resource, reads

# GetModelCopyJob, member `status`
_OUTCOMES = {"InProgress": Outcome.RUNNING, "Completed": Outcome.SUCCEEDED, "Failed": Outcome.FAILED}

COPY_JOB = Resource(
    kind="model copy job",
    noun="copy job",
    create_operation="CreateModelCopyJob",
    name="targetModelName",
    tags="targetModelTags",
    taggable=False,
    get_operation="GetModelCopyJob",
    identifier="jobArn",
    by_name=False,
    token_shows=False,
    list_operation="ListModelCopyJobs",
    name_contains="targetModelNameContains",
    model_operation="GetCustomModel",
    read=reads(
        _OUTCOMES,
        arn="jobArn",
        name="targetModelName",
        created="creationTime",
        failure_message="failureMessage",
        model="sourceModelArn",
        model_arn="targetModelArn",
    ),
    failed="The copy {name} was not made: {reason}. Nothing is billed for it. Fix the cause, and clear this task to "
    "copy again. {arn}",
    billed="costs nothing, but the copy is billed for its storage each month until it is deleted "
    "(BedrockDeleteCustomModelOperator)",
    name_taken="Choose another name for the copy.",
    missing="Copy jobs cannot be deleted: check the region and the account of the connection.",
)
