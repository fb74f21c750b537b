"""A model import job: it imports a model trained elsewhere from its files in S3. It cannot be stopped."""

from __future__ import annotations

from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.jobs.resources import Resource, reads

# GetModelImportJob, member `status`
_OUTCOMES = {"InProgress": Outcome.RUNNING, "Completed": Outcome.SUCCEEDED, "Failed": Outcome.FAILED}

IMPORT_JOB = Resource(
    kind="model import job",
    noun="import job",
    create_operation="CreateModelImportJob",
    name="jobName",
    model_name="importedModelName",
    model_tags="importedModelTags",
    tags="jobTags",
    get_operation="GetModelImportJob",
    identifier="jobIdentifier",
    token_shows=False,
    list_operation="ListModelImportJobs",
    model_operation="GetImportedModel",
    read=reads(
        _OUTCOMES,
        arn="jobArn",
        name="jobName",
        created="creationTime",
        ended="endTime",
        failure_message="failureMessage",
        model_arn="importedModelArn",
        model_name="importedModelName",
    ),
    failed="Import job {name} has failed: {reason}. It made no model, and nothing is billed for it. Fix the cause, and "
    "clear this task to import again. {arn}",
    billed="costs nothing, but the imported model is billed for its storage each month until DeleteImportedModel, and "
    "by the minute while it answers",
    name_taken="A job's name cannot be used again: choose another job_name.",
    missing="Import jobs cannot be deleted: check the region and the account of the connection.",
)
