"""Provisioned throughput at work: it comes into service, or gets its new model, after a while."""

from __future__ import annotations

from airflow_bedrock.local.runner import Work
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Throughput


def provision(bedrock: Bedrock, throughput: Throughput) -> Work:
    """Bring throughput into service with the model that is desired; until then an older one answers."""
    yield bedrock.world.runner.started(throughput.arn) + bedrock.world.settings.deployment_seconds
    with bedrock.world.lock:
        throughput.model_arn, throughput.status = throughput.desired_model_arn, "InService"
        throughput.last_modified_time = bedrock.world.clock.now()
