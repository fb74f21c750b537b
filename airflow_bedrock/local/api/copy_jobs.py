"""Model copy jobs: create, get, list. A copy is requested in the target region, and cannot be stopped."""

from __future__ import annotations

from functools import partial
from typing import Any

from airflow_bedrock.local import moto
from airflow_bedrock.local.api.creation import Creation, kms_key_arn
from airflow_bedrock.local.api.models import check_new_model
from airflow_bedrock.local.api.paging import listed
from airflow_bedrock.local.errors import invalid, not_found
from airflow_bedrock.local.state.bedrock import Bedrock, get
from airflow_bedrock.local.state.resources import CopyJob
from airflow_bedrock.local.work.copying import source_of

_CREATION = Creation("CreateModelCopyJob", "copies")


def create_model_copy_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Start to copy a custom model from another region, or one that another account shares, to this region."""
    source_arn: str = request["sourceModelArn"]

    def make() -> CopyJob:
        if source_arn in bedrock.models:
            raise invalid(f"The provided model {source_arn} is in this region. Copy it from another one.")
        own = source_arn.split(":")[4] == bedrock.account
        source = source_of(bedrock.world, source_arn) if own or moto.is_shared(source_arn, bedrock.account) else None
        if source is None:
            raise not_found(f"The provided model {source_arn} was not found.")
        check_new_model(bedrock, request["targetModelName"])
        job = CopyJob(
            arn=bedrock.new_arn("model-copy-job"),
            name=request["targetModelName"],
            source_arn=source_arn,
            source_name=source.name,
            source_account=source_arn.split(":")[4],
            target_arn=bedrock.new_arn(f"custom-model/{source_arn.split('/')[1]}"),
            kms_key_arn=kms_key_arn(bedrock, request.get("modelKmsKeyId")),
            creation_time=bedrock.world.clock.now(),
        )
        bedrock.tag(job.target_arn, request.get("targetModelTags"))
        return job

    return _CREATION.once(bedrock, request, make)


def get_model_copy_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a copy job. It has no name, only an ARN."""
    return _described(bedrock, get(bedrock.copies, request["jobArn"], "model copy job"))


def list_model_copy_jobs(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List copy jobs, the newest first."""
    return listed(
        {**request, "nameContains": request.get("targetModelNameContains", "")},
        "modelCopyJobSummaries",
        bedrock.copies.values(),
        partial(_described, bedrock),
        sourceAccountEquals="source_account",
        sourceModelArnEquals="source_arn",
    )


def _described(bedrock: Bedrock, job: CopyJob) -> dict[str, Any]:
    """Return the members that Get and List have in common: all."""
    tags = bedrock.tags.get(job.target_arn, {})
    return {
        "jobArn": job.arn,
        "status": job.status,
        "creationTime": job.creation_time,
        "targetModelArn": job.target_arn,
        "targetModelName": job.name,
        "targetModelKmsKeyArn": job.kms_key_arn,
        "targetModelTags": [{"key": key, "value": value} for key, value in tags.items()] or None,
        "sourceAccountId": job.source_account,
        "sourceModelArn": job.source_arn,
        "sourceModelName": job.source_name,
        "failureMessage": job.failure_message,
    }
