"""Stopping a job that nobody will pick up again. For worker and triggerer."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from airflow_bedrock.aws_errors import is_not_found
from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.hooks.bedrock import BedrockHook


def stop_job(hook: BedrockHook, job_arn: str) -> str:
    """Stop the job, and return a sentence on what became of it and of its bill; never raises for an AWS error."""
    try:
        hook.conn.stop_model_customization_job(jobIdentifier=job_arn)
    except (BotoCoreError, ClientError) as error:
        return _not_stopped(hook, job_arn, error)
    return f"Job {job_arn} is being stopped; the tokens trained until then are billed, and no model is made."


def _not_stopped(hook: BedrockHook, job_arn: str, error: Exception) -> str:
    """Tell why the job could not be stopped: most often because it had ended already."""
    if is_not_found(error):
        return f"Job {job_arn} does not exist; there was nothing to stop."
    try:
        job = hook.get_customization_job(job_arn)
    except (BotoCoreError, ClientError):
        job = None
    if job is not None and job.outcome is not Outcome.RUNNING:
        return f"Job {job_arn} had ended already: {job.status}."
    return f"Job {job_arn} COULD NOT BE STOPPED and may run and be billed on; stop it in the AWS console: {error}"
