"""A model import job: it brings a model that was trained elsewhere, and whose files lie in S3, into Bedrock.

It cannot be stopped.
"""

from __future__ import annotations

from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.jobs.resources import Resource, reads, reads_page

# GetModelImportJob, member `status`
_OUTCOMES = {"InProgress": Outcome.RUNNING, "Completed": Outcome.SUCCEEDED, "Failed": Outcome.FAILED}


def _failure_message(found: Seen) -> str:
    if found.outcome is Outcome.UNKNOWN:
        return (
            f"Import job {found.name} has an unknown status: {found.status}. It was left as it is, and may run. Check "
            f"it in the AWS console, and upgrade airflow-bedrock. {found.arn}"
        )
    said = found.failure_message or "no reason was given"
    return (
        f"Import job {found.name} has failed: {said}. It made no model, and nothing is billed for it. Fix the cause, "
        f"and clear this task to import again. {found.arn}"
    )


_read = reads(
    _OUTCOMES,
    arn="jobArn",
    name="jobName",
    created="creationTime",
    ended="endTime",
    failure_message="failureMessage",
    model_arn="importedModelArn",
    model_name="importedModelName",
)
IMPORT_JOB = Resource(
    noun="model import job",
    word="import job",
    create_operation="CreateModelImportJob",
    name="jobName",
    model_name="importedModelName",
    model_tags="importedModelTags",
    tags="jobTags",
    get_operation="GetModelImportJob",
    identifier="jobIdentifier",
    token_shows=False,
    list_operation="ListModelImportJobs",
    created_after="creationTimeAfter",
    model_operation="GetImportedModel",
    read=_read,
    read_page=reads_page("modelImportJobSummaries", _read),
    failure_message=_failure_message,
    billed="costs nothing, but the imported model is billed for its storage each month until DeleteImportedModel, and "
    "by the minute while it answers",
    name_taken="A job's name cannot be used again: choose another job_name.",
    missing="Import jobs cannot be deleted: check the region and the account of the connection.",
)
