"""Read the current state of a job from Amazon Bedrock, over the connection ``[bedrock] live_aws_conn_id``.

It runs in its own threads, so that neither the API server's event loop nor its other threads wait for it. The first
call imports boto3; without that option the server never does.
"""

from __future__ import annotations

import asyncio
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow_bedrock import shown
from airflow_bedrock.customization.job import Job
from airflow_bedrock.plugin.shapes import checked

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient

_SECONDS = 10.0  # including the first import; a call takes at most four
_JOB = re.compile(r"arn:[a-z-]+:bedrock:([a-z0-9-]+):[0-9]{12}:model-customization-job/\S+")
_threads = ThreadPoolExecutor(4, thread_name_prefix="bedrock-live")

log = logging.getLogger(__name__)


async def seen_now(job_arn: str, aws_conn_id: str) -> dict[str, Any]:
    """Return the job from GetModelCustomizationJob, and under ``live`` a sentence about its source, or the error.

    :param job_arn: the ARN that a task pushed.
    :param aws_conn_id: the Airflow connection for the call.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            return await asyncio.get_running_loop().run_in_executor(_threads, _seen_now, job_arn, aws_conn_id)
    except TimeoutError:
        return _unknown(job_arn, "no response", f"no response in {_SECONDS:g} s")


def _seen_now(job_arn: str, aws_conn_id: str) -> dict[str, Any]:
    from botocore.exceptions import ClientError

    try:
        job = _get(job_arn, aws_conn_id)
    except Exception as error:  # an error of the connection, its credentials or the service must not hide the page
        code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
        return _unknown(job_arn, code or type(error).__name__, error)
    values = {**job.result(), "failure_message": job.failure_message}
    known = {name: value for name, value in values.items() if value not in (None, [], {})}
    return {**(checked(shown.JOB, known) or {}), "live": "Current state, read from Amazon Bedrock."}


def _get(job_arn: str, aws_conn_id: str) -> Job:
    from botocore.config import Config

    from airflow_bedrock.hooks.bedrock import BedrockHook

    named = _JOB.fullmatch(job_arn)
    if named is None:
        raise ValueError("not the ARN of a customization job")
    hook = BedrockHook(aws_conn_id=aws_conn_id, region_name=named[1])
    brief = hook.config.merge(Config(connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 1}))
    client: BedrockClient = hook.get_client_type(config=brief)
    with closing(client):
        return Job.from_response(client.get_model_customization_job(jobIdentifier=job_arn))


def _unknown(job_arn: str, why: str, error: object) -> dict[str, Any]:
    log.warning("The page of job %s does not show its current state: %s", job_arn, error)
    return {"live": f"Could not read this job from Amazon Bedrock ({why}). The page shows its last known state."}
