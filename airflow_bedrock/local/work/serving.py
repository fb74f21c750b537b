"""The work of deployments and provisioned throughput: they become ready, or get their new model, after a while."""

from __future__ import annotations

from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Deployment, Throughput


def serve(bedrock: Bedrock, deployment: Deployment) -> Work:
    """Make a deployment Active, or put a new model behind it; before that, or if a fault fails it, the old model
    answers.
    """
    yield bedrock.world.runner.started(deployment.arn) + bedrock.world.settings.deployment_seconds
    change = deployment.update
    failed = change is not None and bedrock.world.faults.job_failure(deployment.name, "update") is not None
    with bedrock.world.lock:
        if change:
            change.status = "UpdateFailed" if failed else "UpdateCompleted"
            deployment.model_arn = deployment.model_arn if failed else change.model_arn
        deployment.status, deployment.last_updated_time = "Active", bedrock.world.clock.now()


def provision(bedrock: Bedrock, throughput: Throughput) -> Work:
    """Bring throughput into service with the desired model; before that, the old model answers."""
    yield bedrock.world.runner.started(throughput.arn) + bedrock.world.settings.deployment_seconds
    with bedrock.world.lock:
        throughput.model_arn, throughput.status = throughput.desired_model_arn, "InService"
        throughput.last_modified_time = bedrock.world.clock.now()
