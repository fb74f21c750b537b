"""A model customization job.

A page of ListModelCustomizationJobs with 1000 jobs is decoded in 2 ms. Plain JSON takes 10 ms, and its objects count
for the garbage collector; botocore's own parser takes 250 ms.
"""

from __future__ import annotations

import msgspec

from airflow_bedrock.customization.console import resource_url
from airflow_bedrock.customization.job import Job, Outcome, Seen
from airflow_bedrock.decoding import decoder
from airflow_bedrock.jobs.resources import Resource

_BILL = {
    Outcome.FAILED: "It has ended and costs nothing more; no custom model was made.",
    Outcome.STOPPED: "It has ended; the tokens trained until it was stopped are billed, and no custom model was made.",
    Outcome.UNKNOWN: "It was left unchanged and may still run and be billed.",
}
# The sensor uses it too; it makes no job, and does not know how the job's name was derived.
NEW_JOB = (
    "clear the task that made the job to make a new one (with ensure_unique_job_name=False, change job_name first: a "
    "job name can be used only once)"
)
_NEXT = {
    Outcome.FAILED: f"Fix the cause, then {NEW_JOB}.",
    Outcome.STOPPED: f"A stopped job cannot be resumed; {NEW_JOB}.",
    Outcome.UNKNOWN: "This version of airflow-bedrock does not know that status: check the job in the AWS console, "
    "and upgrade airflow-bedrock.",
}


def failure_message(job: Seen) -> str:
    """Return the error text for a job that ended without a custom model, or whose status is unknown."""
    reason = f": {job.failure_message.rstrip('.')}" if job.failure_message else ""
    page = (job.local_page if isinstance(job, Job) else "") or resource_url(job.arn)
    return (
        f"Bedrock model customization job {job.name} is {job.status}{reason}. "
        f"{_BILL[job.outcome]} {_NEXT[job.outcome]} Job: {job.arn} {page}".rstrip()
    )


class _Page(msgspec.Struct, gc=False, rename="camel"):
    model_customization_job_summaries: list[Job] = []
    next_token: str | None = None


_PAGE = decoder(_Page)


def _decode_page(body: bytes) -> tuple[list[Seen], str | None]:
    page = _PAGE.decode(body)
    return [*page.model_customization_job_summaries], page.next_token


CUSTOMIZATION_JOB = Resource(
    kind="model customization job",
    noun="job",
    create_operation="CreateModelCustomizationJob",
    name="jobName",
    model_name="customModelName",
    tags="jobTags",
    get_operation="GetModelCustomizationJob",
    identifier="jobIdentifier",
    list_operation="ListModelCustomizationJobs",
    stop_operation="StopModelCustomizationJob",
    model_operation="GetCustomModel",
    read=Job.from_response,
    decode_page=_decode_page,
    describe_failure=failure_message,
    billed="is billed",
    stopped="the tokens trained so far are billed, and no model is made",
    name_taken="A job's name cannot be used again: choose another job_name. With "
    "ensure_unique_job_name=True, the default, a digest of the request is added to it.",
    missing="Jobs cannot be deleted: check the region and the account of the connection, and the name, to which "
    "BedrockModelCustomizationOperator adds a digest: take its output, job_identifier=customize.output.",
)
