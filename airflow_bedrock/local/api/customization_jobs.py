"""Model customization jobs: create, get, list, stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from airflow_bedrock.local.api.members import present
from airflow_bedrock.local.api.paging import page, select
from airflow_bedrock.local.api.tags import check_tags
from airflow_bedrock.local.catalog import Family, Hyperparameter, catalog, foundation_model_arn, foundation_model_id
from airflow_bedrock.local.errors import conflict, invalid, not_built, not_found
from airflow_bedrock.local.state.bedrock import Bedrock, find, get
from airflow_bedrock.local.state.resources import Job, Phase
from airflow_bedrock.local.work.customization import customize

_OPERATION = "CreateModelCustomizationJob"


def create_model_customization_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Accept a job and begin to run it."""
    base_model, family = _base_model(request)
    hyperparameters = _hyperparameters(family, request.get("hyperParameters", {}))
    _check_data(request)
    check_tags(request, "jobTags", "customModelTags")
    # Before the lock is taken: IAM is asked over HTTP.
    _check_role(bedrock, request["roleArn"])
    with bedrock.world.lock:
        if arn := bedrock.accepted(_OPERATION, request):
            return {"jobArn": arn}
        _check_names(bedrock, request)
        now = bedrock.world.clock.now()
        job = Job(
            arn=bedrock.new_arn(f"model-customization-job/{base_model}"),
            name=request["jobName"],
            model_name=request["customModelName"],
            base_model=base_model,
            base_model_arn=foundation_model_arn(bedrock.region, base_model),
            request=request,
            hyperparameters=hyperparameters,
            creation_time=now,
            last_modified_time=now,
        )
        bedrock.jobs[job.arn] = job
        bedrock.remember(_OPERATION, request, job.arn)
    bedrock.world.runner.add(job.arn, customize(bedrock, job))
    return {"jobArn": job.arn}


def get_model_customization_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a job."""
    with bedrock.world.lock:
        job = _job(bedrock, request)
        wanted = job.request
        described = {
            "jobArn": job.arn,
            "jobName": job.name,
            "outputModelName": job.model_name,
            "outputModelArn": job.model_arn,
            "clientRequestToken": wanted.get("clientRequestToken"),
            "roleArn": wanted["roleArn"],
            "status": job.status,
            "statusDetails": _status_details(job),
            "failureMessage": job.failure_message,
            "creationTime": job.creation_time,
            "lastModifiedTime": job.last_modified_time,
            "endTime": job.end_time,
            "baseModelArn": job.base_model_arn,
            "hyperParameters": job.hyperparameters,
            "trainingDataConfig": wanted["trainingDataConfig"],
            "validationDataConfig": wanted.get("validationDataConfig", {"validators": []}),
            "outputDataConfig": wanted["outputDataConfig"],
            "customizationType": job.type,
            "vpcConfig": wanted.get("vpcConfig"),
            "customizationConfig": wanted.get("customizationConfig"),
            "outputModelKmsKeyArn": _kms_key_arn(bedrock, wanted),
            **metrics(job),
        }
        return present(described)


def list_model_customization_jobs(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List jobs, the newest first."""
    with bedrock.world.lock:
        found = select(bedrock.jobs.values(), request, "creationTimeAfter", "creationTimeBefore")
        if status := request.get("statusEquals"):
            found = [job for job in found if job.status == status]
        shown, more = page(found, request)
        return {"modelCustomizationJobSummaries": [_summary(job) for job in shown], **more}


def stop_model_customization_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Ask a job to stop. It stops between two steps, and leaves no model."""
    with bedrock.world.lock:
        job = _job(bedrock, request)
        if not job.active:
            raise conflict(f"The job {job.name} is {job.status}; only a job that is InProgress can be stopped.")
        job.status, job.last_modified_time = "Stopping", bedrock.world.clock.now()
        for phase in job.phases.values():
            if phase.status == "InProgress":
                phase.status, phase.last_modified_time = "Stopping", job.last_modified_time
    bedrock.world.runner.wake(job.arn)
    return {}


def metrics(job: Job) -> dict[str, Any]:
    """Return the losses of a job that has completed; the model shows them too."""
    if job.status != "Completed":
        return {"validationMetrics": []}
    return {
        "trainingMetrics": {"trainingLoss": job.training_loss},
        "validationMetrics": [{"validationLoss": loss} for loss in job.validation_losses],
    }


def _job(bedrock: Bedrock, request: Mapping[str, Any]) -> Job:
    identifier = request["jobIdentifier"]
    return get(bedrock.jobs, identifier, not_found(f"The provided job {identifier} was not found."))


def _base_model(request: Mapping[str, Any]) -> tuple[str, Family]:
    kind = request.get("customizationType", "FINE_TUNING")
    identifier = request["baseModelIdentifier"]
    if ":custom-model/" in identifier:
        raise not_built("iterative fine-tuning of a custom model")
    model = foundation_model_id(identifier)
    family = catalog().family(model)
    if family is None:
        raise invalid(f"The provided model identifier is invalid: {identifier} is no model that can be customized.")
    if kind in ("DISTILLATION", "REINFORCEMENT_FINE_TUNING", "IMPORTED"):
        raise not_built(f"customization of type {kind}")
    if kind not in family.types:
        raise invalid(f"The model {model} does not support customization of type {kind}.")
    return model, family


def _hyperparameters(family: Family, given: Mapping[str, str]) -> dict[str, str]:
    unknown = sorted(set(given) - set(family.hyperparameters))
    if unknown:
        raise invalid(f"Unknown hyperparameters for {family.name}: {', '.join(unknown)}.")
    for name, value in given.items():
        _check_hyperparameter(name, value, family.hyperparameters[name])
    return {name: given.get(name, rule.default) for name, rule in family.hyperparameters.items()}


def _check_hyperparameter(name: str, value: str, rule: Hyperparameter) -> None:
    kind = "a whole number" if rule.whole else "a number"
    try:
        number: float = int(value) if rule.whole else float(value)
    except ValueError:
        number = math.nan
    if not rule.min <= number <= rule.max:
        raise invalid(f"The hyperparameter {name} must be {kind} between {rule.min:g} and {rule.max:g}, not {value!r}.")


def _check_data(request: Mapping[str, Any]) -> None:
    training = request["trainingDataConfig"]
    if "invocationLogsConfig" in training:
        raise not_built("training on invocation logs")
    if "s3Uri" not in training:
        raise invalid("The trainingDataConfig must have an s3Uri.")


def _check_role(bedrock: Bedrock, arn: str) -> None:
    if not bedrock.world.settings.check_role:
        return
    try:
        found: str = bedrock.client("iam").get_role(RoleName=arn.rpartition("/")[2])["Role"]["Arn"]
    except ClientError:
        found = ""
    if found != arn:
        raise invalid(
            f"Could not assume the provided IAM role {arn}. Make sure that the role exists and that its trust policy "
            "lets bedrock.amazonaws.com assume it."
        )


def _check_names(bedrock: Bedrock, request: Mapping[str, Any]) -> None:
    if find(bedrock.jobs, request["jobName"]):
        raise invalid("The provided job name is currently in use.")
    model = request["customModelName"]
    wanted = any(job.active and job.model_name == model for job in bedrock.jobs.values())
    if wanted or find(bedrock.models, model):
        raise invalid("The provided model name is currently in use.")


def _summary(job: Job) -> dict[str, Any]:
    summary = {
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
    return present(summary)


def _status_details(job: Job) -> dict[str, Any]:
    return {f"{name}Details": _phase(phase) for name, phase in job.phases.items()}


def _phase(phase: Phase) -> dict[str, Any]:
    return present(
        {
            "status": phase.status,
            "creationTime": phase.creation_time,
            "lastModifiedTime": phase.last_modified_time,
        }
    )


def _kms_key_arn(bedrock: Bedrock, request: Mapping[str, Any]) -> str | None:
    key = request.get("customModelKmsKeyId")
    if key is None or key.startswith("arn:"):
        return key
    return None if key.startswith("alias/") else f"arn:aws:kms:{bedrock.region}:{bedrock.account}:key/{key}"
