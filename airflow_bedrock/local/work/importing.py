"""The work of registering and importing models that were trained elsewhere."""

from __future__ import annotations

from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import CustomModel, ImportedModel, ImportJob
from airflow_bedrock.local.work.checkpoints import Checkpoint
from airflow_bedrock.local.work.frame import check_fault, framed


def register(bedrock: Bedrock, model: CustomModel) -> Work:
    """Make a custom model Active from its files in S3."""

    def fail(message: str) -> None:
        with bedrock.world.lock:
            model.status, model.failure_message = "Failed", message

    return framed(f"the model {model.name}", _register(bedrock, model), fail)


def import_model(bedrock: Bedrock, job: ImportJob) -> Work:
    """Run an import job to its end."""

    def fail(message: str) -> None:
        with bedrock.world.lock:
            _end(bedrock, job, "Failed")
            job.failure_message = message

    return framed(f"the import {job.name}", _import(bedrock, job), fail)


def _register(bedrock: Bedrock, model: CustomModel) -> Work:
    yield bedrock.due(model.arn)
    check_fault(bedrock, model.name, "creation")
    uri = model.request["modelSourceConfig"]["s3DataSource"]["s3Uri"]
    checkpoint = Checkpoint(bedrock, uri, model.request.get("roleArn"), model.arn)
    with bedrock.world.lock:
        model.checkpoint, model.status = checkpoint.fingerprint, "Active"


def _import(bedrock: Bedrock, job: ImportJob) -> Work:
    world, wanted = bedrock.world, job.request
    yield bedrock.due(job.arn)
    check_fault(bedrock, job.name, "import")
    checkpoint = Checkpoint(bedrock, wanted["modelDataSource"]["s3DataSource"]["s3Uri"], wanted["roleArn"], job.arn)
    architecture = checkpoint.check()
    with world.lock:
        model = ImportedModel(
            arn=bedrock.new_arn("imported-model"),
            name=wanted["importedModelName"],
            job_arn=job.arn,
            creation_time=world.clock.now(),
            architecture=architecture.name,
            instruct=architecture.instruct,
            checkpoint=checkpoint.fingerprint,
        )
        bedrock.imported[model.arn] = model
        bedrock.tag(model.arn, wanted.get("importedModelTags"))
        job.model_arn = model.arn
        _end(bedrock, job, "Completed")


def _end(bedrock: Bedrock, job: ImportJob, status: str) -> None:
    job.status = status
    job.end_time = job.last_modified_time = bedrock.world.clock.now()
