"""Models that were trained elsewhere: model import jobs (create, get, list; they cannot be stopped), imported models
(get, list, delete), and CreateCustomModel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bedrock.base_models import BaseModel, base_models
from airflow_bedrock.local.api.creation import Creation, check_role, kms_key_arn
from airflow_bedrock.local.api.models import check_new_model
from airflow_bedrock.local.api.paging import listed
from airflow_bedrock.local.api.quotas import check_quotas
from airflow_bedrock.local.catalog import foundation_model_arn
from airflow_bedrock.local.errors import invalid, unsupported
from airflow_bedrock.local.state.bedrock import Bedrock, find, get
from airflow_bedrock.local.state.resources import CustomModel, ImportedModel, ImportJob

_CREATION = Creation("CreateModelImportJob", "imports", tags="jobTags")

_MODEL_CREATION = Creation("CreateCustomModel", "models", answer="modelArn", tags="modelTags")

_UNITS = {"customModelUnitsPerModelCopy": 1, "customModelUnitsVersion": "v1.0"}
"""The unit by which an imported model is billed; AWS computes the number from the model's size."""


def create_model_import_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Start to import a model."""
    arn = bedrock.new_arn("model-import-job")
    check_role(bedrock, request["roleArn"], arn)

    def make() -> ImportJob:
        _check_names(bedrock, request)
        check_quotas(bedrock, "import_jobs", "imported_models")
        now = bedrock.world.clock.now()
        return ImportJob(
            arn=arn,
            name=request["jobName"],
            request=request,
            kms_key_arn=kms_key_arn(bedrock, request.get("importedModelKmsKeyId")),
            creation_time=now,
            last_modified_time=now,
        )

    return _CREATION.once(bedrock, request, make)


def create_custom_model(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Start to register a Nova model that was trained elsewhere, and whose checkpoint is in S3."""
    if ("modelSourceConfig" in request) == ("customModelDataSource" in request):
        raise invalid("The request must have a modelSourceConfig or a customModelDataSource, and not both.")
    if "customModelDataSource" in request:
        raise unsupported("SageMaker model packages: use modelSourceConfig")
    arn = bedrock.new_arn("custom-model/imported")
    if role := request.get("roleArn"):
        check_role(bedrock, role, arn)
    base = _base_of(request["modelSourceConfig"]["s3DataSource"]["s3Uri"]).customizable_id

    def make() -> CustomModel:
        check_new_model(bedrock, request["modelName"])
        return CustomModel(
            arn=arn,
            name=request["modelName"],
            base_model=base,
            base_model_arn=foundation_model_arn(bedrock.region, base),
            type="IMPORTED",
            creation_time=bedrock.world.clock.now(),
            kms_key_arn=kms_key_arn(bedrock, request.get("modelKmsKeyArn")),
            status="Creating",
            request=request,
        )

    return _MODEL_CREATION.once(bedrock, request, make)


def get_model_import_job(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe an import job."""
    job = get(bedrock.imports, request["jobIdentifier"], "job")
    return {
        **_summary(job),
        "roleArn": job.request["roleArn"],
        "modelDataSource": job.request["modelDataSource"],
        "vpcConfig": job.request.get("vpcConfig"),
        "importedModelKmsKeyArn": job.kms_key_arn,
        "failureMessage": job.failure_message,
    }


def list_model_import_jobs(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List import jobs, the newest first."""
    return listed(request, "modelImportJobSummaries", bedrock.imports.values(), _summary)


def get_imported_model(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe an imported model."""
    model = _model(bedrock, request)
    job = bedrock.imports[model.job_arn]
    return {
        **_model_summary(model),
        "jobName": job.name,
        "jobArn": job.arn,
        "modelDataSource": job.request["modelDataSource"],
        "modelKmsKeyArn": job.kms_key_arn,
        "customModelUnits": _UNITS,
    }


def list_imported_models(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List imported models, the newest first."""
    return listed(request, "modelSummaries", bedrock.imported.values(), _model_summary)


def delete_imported_model(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Delete an imported model. Its job stays, and so does the job's name."""
    with bedrock.world.lock:
        model = _model(bedrock, request)
        del bedrock.imported[model.arn]
        bedrock.tags.pop(model.arn, None)
    return {}


def _model(bedrock: Bedrock, request: Mapping[str, Any]) -> ImportedModel:
    return get(bedrock.imported, request["modelIdentifier"], "model")


def _check_names(bedrock: Bedrock, request: Mapping[str, Any]) -> None:
    if find(bedrock.imports, request["jobName"]):
        raise invalid("The provided job name is currently in use.")
    name = request["importedModelName"]
    coming = [job.request["importedModelName"] for job in bedrock.imports.values() if job.active]
    if name in coming or find(bedrock.imported, name):
        raise invalid("The provided model name is currently in use.")


def _summary(job: ImportJob) -> dict[str, Any]:
    return {
        "jobArn": job.arn,
        "jobName": job.name,
        "status": job.status,
        "creationTime": job.creation_time,
        "lastModifiedTime": job.last_modified_time,
        "endTime": job.end_time,
        "importedModelArn": job.model_arn,
        "importedModelName": job.request["importedModelName"],
    }


def _model_summary(model: ImportedModel) -> dict[str, Any]:
    return {
        "modelArn": model.arn,
        "modelName": model.name,
        "creationTime": model.creation_time,
        "modelArchitecture": model.architecture,
        "instructSupported": model.instruct,
    }


def _base_of(uri: str) -> BaseModel:
    """Return the Nova model whose name is in an S3 URI, or Nova Lite: nothing else names it."""
    known = [model for model in base_models() if model.on_demand and model.id.startswith("amazon.nova")]
    named = (model for model in known if model.id.removeprefix("amazon.").partition("-v")[0] in uri.lower())
    return next(named, next(model for model in known if model.id == "amazon.nova-lite-v1:0"))
