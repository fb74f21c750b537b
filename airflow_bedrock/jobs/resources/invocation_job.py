"""A batch inference job (model invocation job): it answers files of records."""

from __future__ import annotations

from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.jobs.resources import Resource, reads

_RUNNING = ("Submitted", "Validating", "Scheduled", "InProgress")
_OUTCOMES = {
    **dict.fromkeys((*_RUNNING, "Stopping"), Outcome.RUNNING),
    "Completed": Outcome.SUCCEEDED,
    "PartiallyCompleted": Outcome.SUCCEEDED,
    "Stopped": Outcome.STOPPED,
    "Failed": Outcome.FAILED,
    "Expired": Outcome.FAILED,
}
INVOCATION_JOB = Resource(
    kind="batch inference job",
    noun="batch job",
    create_operation="CreateModelInvocationJob",
    name="jobName",
    tags="tags",
    get_operation="GetModelInvocationJob",
    identifier="jobIdentifier",
    by_name=False,
    list_operation="ListModelInvocationJobs",
    created_after="submitTimeAfter",
    stop_operation="StopModelInvocationJob",
    running=_RUNNING,
    read=reads(
        _OUTCOMES,
        arn="jobArn",
        name="jobName",
        created="submitTime",
        ended="endTime",
        token="clientRequestToken",  # noqa: S106  # the name of a member
        failure_message="message",
        model="modelId",
    ),
    failed="Batch inference job {name} is {status}: {reason}. The records answered so far are billed. "
    "Fix the cause, and clear this task to make another job. {arn}",
    billed="is billed for each record that it answers",
    stopped="the records answered so far are billed",
    name_taken="A job's name cannot be used again: choose another job_name.",
    missing="Check the region and the account of the connection.",
)
