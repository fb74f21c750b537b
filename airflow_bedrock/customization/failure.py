"""The error message of a job that did not complete: which job, what the service said, the bill, the next step."""

from __future__ import annotations

from airflow_bedrock.customization.console import resource_url
from airflow_bedrock.customization.job import Job, Outcome, Seen

_BILL = {
    Outcome.FAILED: "It has ended and costs nothing more; no custom model was made.",
    Outcome.STOPPED: "It has ended; the tokens trained until it was stopped are billed, and no custom model was made.",
    Outcome.UNKNOWN: "It was left as it is and may still run and be billed.",
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
    said = f": {job.failure_message}" if job.failure_message else ""
    page = (job.local_page if isinstance(job, Job) else "") or resource_url(job.arn)
    return (
        f"Bedrock model customization job {job.name} is {job.status}{said}. "
        f"{_BILL[job.outcome]} {_NEXT[job.outcome]} Job: {job.arn} {page}".rstrip()
    )
