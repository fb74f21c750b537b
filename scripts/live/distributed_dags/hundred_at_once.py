"""The DAG of ``make live ARGS=distributed``: the operators of the example DAG that wait and pay, on data that is there.

Preparing data and evaluating are left out: a hundred of them would load two cores for an hour.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_bedrock.operators import (
    BedrockCustomModelDeploymentOperator,
    BedrockDeleteCustomModelDeploymentOperator,
    BedrockDeleteCustomModelOperator,
    BedrockModelCustomizationOperator,
)
from airflow_bedrock.sensors import BedrockModelCustomizationSensor

BUCKET = "s3://{{ var.value.bedrock_bucket }}"

with DAG(
    "hundred_at_once",
    schedule=None,
    max_active_runs=100,
    max_active_tasks=100,
    # Many, since what is killed takes tasks with it; each finds the job of the one before.
    default_args={"retries": 8, "retry_delay": timedelta(seconds=10)},
):
    customize = BedrockModelCustomizationOperator(
        task_id="customize",
        job_name="hundred",
        custom_model_name="hundred",
        role_arn="{{ var.value.bedrock_role_arn }}",
        base_model_id="amazon.nova-micro-v1:0:128k",
        training_data_uri=f"{BUCKET}/hundred/train.jsonl",
        output_data_uri=f"{BUCKET}/hundred/output",
        hyperparameters={"epochCount": "1"},
        wait_for_completion=False,
    )
    job: Any = customize.output  # Airflow types it as XComArg, never as what the next task takes
    wait = BedrockModelCustomizationSensor(task_id="wait", job_identifier=job)
    model: Any = wait.output
    deploy = BedrockCustomModelDeploymentOperator(
        task_id="deploy",
        model_arn=model["custom_model_arn"],
        deployment_name=model["custom_model_name"],
        deferrable=True,
        waiter_delay=2,
    )
    deployment: Any = deploy.output
    retire_deployment = BedrockDeleteCustomModelDeploymentOperator(
        task_id="retire_deployment", deployment_arn=deployment, waiter_delay=2
    )
    retire_model = BedrockDeleteCustomModelOperator(task_id="retire_model", model_identifier=model["custom_model_arn"])
    retire_deployment >> retire_model
