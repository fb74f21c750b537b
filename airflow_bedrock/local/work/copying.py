"""The work of a model copy job: after a while the copy exists, with the same weights."""

from __future__ import annotations

from airflow_bedrock.local.catalog import foundation_model_arn
from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock, World
from airflow_bedrock.local.state.resources import CopyJob, CustomModel
from airflow_bedrock.local.work.frame import check_fault, framed
from airflow_bedrock.local.work.records import DataError


def source_of(world: World, arn: str) -> CustomModel | None:
    """Return the model to copy, in any region and account. Hold the world's lock."""
    _, _, _, region, account, _ = arn.split(":", 5)
    there = world.accounts.get((account, region))
    model = there.models.get(arn) if there else None
    return model if model and model.status == "Active" else None


def copy(bedrock: Bedrock, job: CopyJob) -> Work:
    """Run a copy job to its end."""

    def fail(message: str) -> None:
        with bedrock.world.lock:
            job.status, job.failure_message = "Failed", message
            bedrock.tags.pop(job.target_arn, None)

    return framed(f"the copy {job.name}", _copy(bedrock, job), fail)


def _copy(bedrock: Bedrock, job: CopyJob) -> Work:
    world = bedrock.world
    yield bedrock.due(job.arn)
    check_fault(bedrock, job.name, "copy")
    with world.lock:
        source = source_of(world, job.source_arn)
        if source is None:
            raise DataError(f"The source model {job.source_arn} was deleted")
        if job.source_arn in world.weights:
            world.weights[job.target_arn] = world.weights[job.source_arn]
        bedrock.models[job.target_arn] = CustomModel(
            arn=job.target_arn,
            name=job.name,
            base_model=source.base_model,
            base_model_arn=foundation_model_arn(bedrock.region, source.base_model),
            type=source.type,
            creation_time=world.clock.now(),
            kms_key_arn=job.kms_key_arn,
            checkpoint=source.checkpoint,
        )
        job.status = "Completed"
