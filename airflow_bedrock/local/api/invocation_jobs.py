"""Batch inference jobs: create, get, list, stop."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow_bedrock.local.api.creation import Creation, check_role
from airflow_bedrock.local.api.paging import listed
from airflow_bedrock.local.catalog import check_alive, foundation_model_arn, invocable
from airflow_bedrock.local.errors import conflict, invalid, not_found
from airflow_bedrock.local.state.bedrock import Bedrock, find
from airflow_bedrock.local.state.resources import InvocationJob
from airflow_bedrock.local.work.batch_inference import change, emit_batch_event

_CREATION = Creation("CreateModelInvocationJob", "invocations")

_HOURS = 24
"""The default timeout of a job."""


def create_model_invocation_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Accept a batch inference job and start it."""
    arn = bedrock.new_arn("model-invocation-job")
    check_role(bedrock, request["roleArn"], arn)

    def make() -> InvocationJob:
        model_arn = _model_arn(bedrock, request["modelId"])
        if find(bedrock.invocations, request["jobName"]):
            raise conflict("The provided job name is currently in use.")
        now = bedrock.world.clock.now()
        job = InvocationJob(
            arn=arn,
            name=request["jobName"],
            request=_owned(bedrock, request) | {"modelId": model_arn},
            creation_time=now,
            last_modified_time=now,
            expiration_time=now + timedelta(hours=request.get("timeoutDurationInHours", _HOURS)),
        )
        emit_batch_event(bedrock, job)
        return job

    return _CREATION.once(bedrock, request, make)


def get_model_invocation_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a batch inference job."""
    return _described(_job(bedrock, request))


def list_model_invocation_jobs(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List batch inference jobs, the newest first."""
    return listed(request, "invocationJobSummaries", bedrock.invocations.values(), _described, created="submitTime")


def stop_model_invocation_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Request the stop of a batch inference job; what it has written stays."""
    with bedrock.world.lock:
        job = _job(bedrock, request)
        if not job.active or job.status == "Stopping":
            raise conflict(f"The job {job.name} is {job.status} and cannot be stopped.")
        change(bedrock, job, "Stopping")
    bedrock.world.runner.wake(job.arn)
    return {}


def _job(bedrock: Bedrock, request: Mapping[str, Any]) -> InvocationJob:
    """Return a job by its ARN, or by the id at its end."""
    identifier: str = request["jobIdentifier"]
    for job in bedrock.invocations.values():
        if identifier in (job.arn, job.id):
            return job
    raise not_found(f"The provided batch inference job {identifier} was not found.")


def _model_arn(bedrock: Bedrock, identifier: str) -> str:
    """Return the ARN of the model that a request names.

    :raises ServiceError: ValidationException, if it cannot be called.
    """
    custom = bedrock.models.get(identifier)
    if custom and custom.checkpoint is None:
        check_alive(custom.base_model, bedrock.today)
        return identifier
    if ":custom-model/" in identifier:
        raise invalid("The provided model identifier is invalid.")
    model_id = invocable(bedrock.region, identifier)
    check_alive(model_id, bedrock.today)
    if identifier.startswith("arn:"):
        return identifier
    if identifier == model_id:
        return foundation_model_arn(bedrock.region, identifier)
    return f"arn:aws:bedrock:{bedrock.region}:{bedrock.account}:inference-profile/{identifier}"


def _owned(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Return a request with the owner of each bucket, by default this account."""
    owner = {"s3BucketOwner": bedrock.account}
    for side in ("input", "output"):
        ((kind, config),) = request[f"{side}DataConfig"].items()
        request = {**request, f"{side}DataConfig": {kind: {**owner, **config}}}
    return request


def _described(job: InvocationJob) -> dict[str, Any]:
    """Return the members that Get and List have in common: all."""
    wanted = job.request
    return {
        "jobArn": job.arn,
        "jobName": job.name,
        "modelId": wanted["modelId"],
        "clientRequestToken": wanted.get("clientRequestToken"),
        "roleArn": wanted["roleArn"],
        "status": job.status,
        "message": job.message,
        "submitTime": job.creation_time,
        "lastModifiedTime": job.last_modified_time,
        "endTime": job.end_time,
        "inputDataConfig": wanted["inputDataConfig"],
        "outputDataConfig": wanted["outputDataConfig"],
        "vpcConfig": wanted.get("vpcConfig"),
        "timeoutDurationInHours": wanted.get("timeoutDurationInHours", _HOURS),
        "jobExpirationTime": job.expiration_time,
        "modelInvocationType": wanted.get("modelInvocationType", "InvokeModel"),
        **job.counts.described,
    }
