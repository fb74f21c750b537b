"""Evaluation jobs: create, get, list, stop, batch delete. Automated ones of models; no human or RAG ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.local.api.customization_jobs import check_role
from airflow_bedrock.local.api.members import present
from airflow_bedrock.local.api.paging import page, select
from airflow_bedrock.local.api.tags import check_tags, tag
from airflow_bedrock.local.errors import ServiceError, conflict, invalid, not_built, not_found
from airflow_bedrock.local.state.bedrock import Bedrock, find
from airflow_bedrock.local.state.resources import Evaluation
from airflow_bedrock.local.work.evaluation import evaluate, remove
from airflow_bedrock.local.work.judging import COMPUTED, JUDGED

_OPERATION = "CreateEvaluationJob"
_PAGE = 5
"""Jobs a page: the service model allows the answer no more, whatever maxResults says."""


def create_evaluation_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Accept an evaluation job and begin to run it."""
    check_tags(request, "jobTags")
    _check(request)
    arn = bedrock.new_arn("evaluation-job")
    check_role(bedrock, request["roleArn"], arn)
    with bedrock.world.lock:
        if known := bedrock.accepted(_OPERATION, request):
            return {"jobArn": known}
        if find(bedrock.shelf.evaluations, request["jobName"]):
            raise conflict("The provided job name is currently in use.")
        now = bedrock.world.clock.now()
        job = Evaluation(arn, request["jobName"], request, now, now)
        bedrock.shelf.evaluations[arn] = job
        tag(bedrock, arn, request.get("jobTags"))
        bedrock.remember(_OPERATION, request, arn)
    bedrock.world.runner.add(arn, evaluate(bedrock, job))
    return {"jobArn": arn}


def get_evaluation_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe an evaluation job."""
    with bedrock.world.lock:
        job = _job(bedrock, request["jobIdentifier"])
        wanted = job.request
        return present(
            {
                "jobArn": job.arn,
                "jobName": job.name,
                "status": job.status,
                "jobDescription": wanted.get("jobDescription"),
                "roleArn": wanted["roleArn"],
                "customerEncryptionKeyId": wanted.get("customerEncryptionKeyId"),
                "jobType": "Automated",
                "applicationType": _application(job),
                "evaluationConfig": wanted["evaluationConfig"],
                "inferenceConfig": wanted["inferenceConfig"],
                "outputDataConfig": wanted["outputDataConfig"],
                "creationTime": job.creation_time,
                "lastModifiedTime": job.last_modified_time,
                "failureMessages": job.failure_messages or None,
            }
        )


def list_evaluation_jobs(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List evaluation jobs, the newest first."""
    with bedrock.world.lock:
        found = [
            job
            for job in select(bedrock.shelf.evaluations.values(), request, "creationTimeAfter", "creationTimeBefore")
            if request.get("applicationTypeEquals", _application(job)) == _application(job)
        ]
        shown, more = page(found, {**request, "maxResults": min(request.get("maxResults", _PAGE), _PAGE)})
        # The service model allows no empty list.
        return present({"jobSummaries": [_summary(job) for job in shown] or None, **more})


def stop_evaluation_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Ask an evaluation job to stop."""
    with bedrock.world.lock:
        job = _job(bedrock, request["jobIdentifier"])
        if job.status != "InProgress":
            raise conflict(f"The job {job.name} is {job.status}; only a job that is InProgress can be stopped.")
        job.status, job.last_modified_time = "Stopping", bedrock.world.clock.now()
    bedrock.world.runner.wake(job.arn)
    return {}


def batch_delete_evaluation_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Begin to delete evaluation jobs that have ended; for the others, say why not."""
    deleting: list[Evaluation] = []
    errors: list[dict[str, str]] = []
    with bedrock.world.lock:
        for identifier in request["jobIdentifiers"]:
            try:
                job = _job(bedrock, identifier)
                if job.active or job.status == "Deleting":
                    raise conflict(f"The job {job.name} is {job.status} and cannot be deleted.")
            except ServiceError as error:
                errors.append({"jobIdentifier": identifier, "code": error.code, "message": error.message})
            else:
                job.status = "Deleting"
                deleting.append(job)
    for job in deleting:
        bedrock.world.runner.add(job.arn, remove(bedrock, job))
    deleted = [{"jobIdentifier": job.arn, "jobStatus": "Deleting"} for job in deleting]
    return {"errors": errors, "evaluationJobs": deleted}


def _job(bedrock: Bedrock, arn: str) -> Evaluation:
    """Return a job by its ARN; its name does not do."""
    if arn not in bedrock.shelf.evaluations:
        raise not_found(f"The provided evaluation job {arn} was not found.")
    return bedrock.shelf.evaluations[arn]


def _application(job: Evaluation) -> str:
    kind: str = job.request.get("applicationType", "ModelEvaluation")
    return kind


def _check(request: Mapping[str, Any]) -> None:
    config, inference = request["evaluationConfig"], request["inferenceConfig"]
    if "human" in config or request.get("applicationType") == "RagEvaluation" or "ragConfigs" in inference:
        raise not_built("evaluation jobs with human workers or of knowledge bases")
    if len(inference["models"]) != 1:
        raise invalid("An automated evaluation job takes exactly one model in its inferenceConfig.")
    automated = config["automated"]
    judged = "evaluatorModelConfig" in automated
    for one in automated["datasetMetricConfigs"]:
        if "datasetLocation" not in one["dataset"]:
            raise not_built(f"the built-in dataset {one['dataset']['name']}")
        known = JUDGED if judged else COMPUTED
        if unknown := [name for name in one["metricNames"] if name not in known]:
            who = "with" if judged else "without"
            raise invalid(
                f"Unknown metrics for an evaluation {who} a judge: {', '.join(unknown)}. Known: {', '.join(known)}."
            )
    if "precomputedInferenceSource" in inference["models"][0] and not judged:
        raise invalid("A precomputedInferenceSource needs an evaluatorModelConfig.")


def _summary(job: Evaluation) -> dict[str, Any]:
    automated = job.request["evaluationConfig"]["automated"]
    model = job.request["inferenceConfig"]["models"][0]
    asked = [model["bedrockModel"]["modelIdentifier"]] if "bedrockModel" in model else []
    brought = [one["inferenceSourceIdentifier"] for one in [model.get("precomputedInferenceSource")] if one]
    judges = automated.get("evaluatorModelConfig", {}).get("bedrockEvaluatorModels", [])
    inference = {"bedrockModelIdentifiers": asked, "precomputedInferenceSourceIdentifiers": brought}
    return {
        "jobArn": job.arn,
        "jobName": job.name,
        "status": job.status,
        "creationTime": job.creation_time,
        "jobType": "Automated",
        "evaluationTaskTypes": [one["taskType"] for one in automated["datasetMetricConfigs"]],
        "evaluatorModelIdentifiers": [one["modelIdentifier"] for one in judges],
        "inferenceConfigSummary": {
            "modelConfigSummary": {name: found for name, found in inference.items() if found},
        },
        "applicationType": _application(job),
    }
