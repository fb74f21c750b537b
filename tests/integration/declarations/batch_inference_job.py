"""A batch inference job, declared in this one file: what the tests of the engine put into its room."""

from __future__ import annotations

from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.jobs.resources import Resource, reads, reads_page

_OUTCOMES = {
    **dict.fromkeys(("Submitted", "Validating", "Scheduled", "InProgress", "Stopping"), Outcome.RUNNING),
    **dict.fromkeys(("Completed", "PartiallyCompleted"), Outcome.SUCCEEDED),
    **dict.fromkeys(("Failed", "Expired"), Outcome.FAILED),
    "Stopped": Outcome.STOPPED,
}
_read = reads(
    _OUTCOMES,
    arn="jobArn",
    name="jobName",
    created="submitTime",
    ended="endTime",
    token="clientRequestToken",
    failure_message="message",
)

BATCH_INFERENCE_JOB = Resource(
    noun="model invocation job",
    word="batch inference job",
    create_operation="CreateModelInvocationJob",
    name="jobName",
    tags="tags",
    get_operation="GetModelInvocationJob",
    identifier="jobIdentifier",
    by_name=False,
    list_operation="ListModelInvocationJobs",
    created_after="submitTimeAfter",
    stop_operation="StopModelInvocationJob",
    running=("Submitted", "Validating", "Scheduled", "InProgress"),
    read=_read,
    read_page=reads_page("invocationJobSummaries", _read),
    failure_message=lambda found: f"Batch inference job {found.arn} is {found.status}.",
    billed="is billed by its tokens",
    stopped="the records answered until then are billed",
    name_taken="Choose another name.",
    missing="Check the region.",
)
