"""What serves models, at work: deployments and throughput become ready, or get their new model, after a while."""

from __future__ import annotations

from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Deployment, Throughput


def serve(bedrock: Bedrock, deployment: Deployment) -> Work:
    """Go on with what a deployment is in the middle of."""
    return (deploy if deployment.status == "Creating" else update)(bedrock, deployment)


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


def provision(bedrock: Bedrock, throughput: Throughput) -> Work:
    """Bring throughput into service with the model that is desired; until then an older one answers."""
    yield bedrock.world.runner.started(throughput.arn) + bedrock.world.settings.deployment_seconds
    with bedrock.world.lock:
        throughput.model_arn, throughput.status = throughput.desired_model_arn, "InService"
        throughput.last_modified_time = bedrock.world.clock.now()
