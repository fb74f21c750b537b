"""Deployments at work: they become ready, or get their new model, after a while."""

from __future__ import annotations

from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Deployment


def deploy(bedrock: Bedrock, deployment: Deployment) -> Work:
    """Make a deployment Active."""
    yield bedrock.world.runner.started(deployment.arn) + bedrock.world.settings.deployment_seconds
    with bedrock.world.lock:
        deployment.status = "Active"
        deployment.last_updated_time = bedrock.world.clock.now()


def update(bedrock: Bedrock, deployment: Deployment) -> Work:
    """Put the new model behind a deployment; until then, or if a fault stands, the old one answers."""
    yield bedrock.world.runner.started(deployment.arn) + bedrock.world.settings.deployment_seconds
    failed = bedrock.world.faults.job_failure(deployment.name, "update") is not None
    with bedrock.world.lock:
        if change := deployment.update:
            change.status = "UpdateFailed" if failed else "UpdateCompleted"
            deployment.model_arn = deployment.model_arn if failed else change.model_arn
        deployment.last_updated_time = bedrock.world.clock.now()
