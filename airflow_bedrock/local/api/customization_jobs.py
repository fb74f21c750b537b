"""Model customization jobs: create, get, list, stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.local.api.creation import Creation, check_role, kms_key_arn
from airflow_bedrock.local.api.customization_request import base_of, check_config, check_data, hyperparameters_of
from airflow_bedrock.local.api.models import check_new_model, metrics
from airflow_bedrock.local.api.paging import listed
from airflow_bedrock.local.api.quotas import check_quotas
from airflow_bedrock.local.catalog import foundation_model_arn
from airflow_bedrock.local.errors import conflict, invalid
from airflow_bedrock.local.state.bedrock import Bedrock, find, get
from airflow_bedrock.local.state.resources import Job, Phase
from airflow_bedrock.local.work.events import described, emit_job_event
from airflow_bedrock.local.work.s3 import region_of
from airflow_bedrock.uris import bucket_and_key

_CREATION = Creation("CreateModelCustomizationJob", "jobs", tags="jobTags")


def create_model_customization_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Accept a job and start it."""
    check_data(request)
    with bedrock.world.lock:
        base = base_of(bedrock, request)
    check_config(bedrock, base, request)
    hyperparameters = hyperparameters_of(base, request)
    arn = bedrock.new_arn(f"model-customization-job/{base.id}")
    # Before the lock is taken, since S3 is slow.
    check_role(bedrock, request["roleArn"], arn)
    _check_buckets(bedrock, request)

    def make() -> Job:
        if find(bedrock.jobs, request["jobName"]):
            raise invalid("The provided job name is currently in use.")
        check_new_model(bedrock, request["customModelName"])
        check_quotas(bedrock, "scheduled_jobs")
        now = bedrock.world.clock.now()
        job = Job(
            arn=arn,
            name=request["jobName"],
            model_name=request["customModelName"],
            base_model=base.id,
            base_model_arn=base.arn,
            request=request,
            hyperparameters=hyperparameters,
            kms_key_arn=kms_key_arn(bedrock, request.get("customModelKmsKeyId")),
            creation_time=now,
            last_modified_time=now,
        )
        emit_job_event(bedrock, job)
        return job

    return _CREATION.once(bedrock, request, make)


def get_model_customization_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a job."""
    job = _job(bedrock, request)
    wanted = job.request
    return {
        **described(job),
        "clientRequestToken": wanted.get("clientRequestToken"),
        "status": job.status,
        "statusDetails": _status_details(job),
        # The foundation model, even if a custom model is tuned further: the service model allows no other ARN.
        "baseModelArn": foundation_model_arn(bedrock.region, job.base_model),
        "customizationType": job.type,
        "vpcConfig": wanted.get("vpcConfig"),
        "customizationConfig": wanted.get("customizationConfig"),
        "outputModelKmsKeyArn": job.kms_key_arn,
        **metrics(job),
    }


def list_model_customization_jobs(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List jobs, the newest first."""
    return listed(request, "modelCustomizationJobSummaries", bedrock.jobs.values(), _summary)


def stop_model_customization_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Request the stop of a job. It stops between two steps, and leaves no model."""
    with bedrock.world.lock:
        job = _job(bedrock, request)
        if not job.active:
            raise conflict(f"The job {job.name} is {job.status}; only a job that is InProgress can be stopped.")
        job.status, job.last_modified_time = "Stopping", bedrock.world.clock.now()
        for phase in job.phases.values():
            if phase.status == "InProgress":
                phase.status, phase.last_modified_time = "Stopping", job.last_modified_time
        emit_job_event(bedrock, job)
    bedrock.world.runner.wake(job.arn)
    return {}


def _job(bedrock: Bedrock, request: Mapping[str, Any]) -> Job:
    return get(bedrock.jobs, request["jobIdentifier"], "job")


def _check_buckets(bedrock: Bedrock, request: Mapping[str, Any]) -> None:
    training, s3 = request["trainingDataConfig"], bedrock.client("s3")
    logs = training.get("invocationLogsConfig", {}).get("invocationLogSource", {})
    validators = request.get("validationDataConfig", {}).get("validators", [])
    uris = [one.get("s3Uri") for one in (training, logs, *validators, request["outputDataConfig"])]
    for bucket in sorted({bucket_and_key(uri)[0] for uri in uris if uri}):
        if (region := region_of(s3, bucket)) not in (None, bedrock.region):
            raise invalid(
                f"The Amazon S3 bucket {bucket} is in {region}, and the job in {bedrock.region}: "
                "use a bucket in the region of the job."
            )


def _summary(job: Job) -> dict[str, Any]:
    return {
        "jobArn": job.arn,
        "jobName": job.name,
        "baseModelArn": job.base_model_arn,
        "status": job.status,
        "statusDetails": _status_details(job),
        "creationTime": job.creation_time,
        "lastModifiedTime": job.last_modified_time,
        "endTime": job.end_time,
        "customModelArn": job.model_arn,
        "customModelName": job.model_name,
        "customizationType": job.type,
    }


def _status_details(job: Job) -> dict[str, Any]:
    return {f"{name}Details": _phase(phase) for name, phase in job.phases.items()}


def _phase(phase: Phase) -> dict[str, Any]:
    times = {"creationTime": phase.creation_time, "lastModifiedTime": phase.last_modified_time}
    return {"status": phase.status, **(times if phase.creation_time else {})}
