"""After a restart: work that was under way goes on where it stood."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.batch_inference import infer
from airflow_bedrock.local.work.copying import copy
from airflow_bedrock.local.work.customization import customize
from airflow_bedrock.local.work.deployment import deploy, update
from airflow_bedrock.local.work.importing import import_model, register
from airflow_bedrock.local.work.throughput import provision


def resume(bedrock: Bedrock, started: Mapping[str, float]) -> None:
    """Hand the runner all work that had not ended.

    :param started: when each piece of work was started, by its key, on the present clock.
    """

    def go_on(key: str, work: Work) -> None:
        bedrock.world.runner.add(key, work, started.get(key))

    for job in bedrock.jobs.values():
        if job.active:
            go_on(job.arn, customize(bedrock, job))
    for deployment in bedrock.deployments.values():
        if deployment.mutating:
            go_on(deployment.arn, (deploy if deployment.status == "Creating" else update)(bedrock, deployment))
    for throughput in bedrock.shelf.throughputs.values():
        if throughput.status in ("Creating", "Updating"):
            go_on(throughput.arn, provision(bedrock, throughput))
    for model in bedrock.models.values():
        if model.status == "Creating":
            go_on(model.arn, register(bedrock, model))
    for coming in bedrock.shelf.imports.values():
        if coming.active:
            go_on(coming.arn, import_model(bedrock, coming))
    for copied in bedrock.shelf.copies.values():
        if copied.active:
            go_on(copied.arn, copy(bedrock, copied))
    for invocation in bedrock.shelf.invocations.values():
        if invocation.active:
            go_on(invocation.arn, infer(bedrock, invocation))
