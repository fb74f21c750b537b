"""The DAGs of the scenarios in scripts/live/ending.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_bedrock.operators import BedrockModelCustomizationOperator as Customize
from airflow_bedrock.operators import BedrockStopOrphanedJobsOperator
from airflow_bedrock.sensors import BedrockModelCustomizationSensor
from scripts.live.arguments import RANDOM, job_arguments

TIMEOUT = timedelta(seconds=30)
EPOCHS = [{"epochCount": str(number)} for number in (1, 2, 3)]


def operator_and_sensor(dag_id: str, scenario: str) -> None:
    """Make a DAG of the shape that the README shows."""
    with DAG(dag_id, schedule=None):
        customize = Customize(
            task_id="customize", **job_arguments(scenario, wait_for_completion=False, deferrable=False)
        )
        job: Any = customize.output  # Airflow types it as XComArg, never as what the next task takes
        BedrockModelCustomizationSensor(task_id="wait", job_identifier=job, aws_conn_id=scenario)


operator_and_sensor("marked_failed_while_the_sensor_waits", "marked_failed_while_the_sensor_waits")

with DAG(f"{RANDOM}_in_a_worker", schedule=None, max_active_runs=8):
    Customize(task_id="customize", **job_arguments(RANDOM, deferrable=False))
with DAG(f"{RANDOM}_in_the_triggerer", schedule=None, max_active_runs=8):
    Customize(task_id="customize", **job_arguments(RANDOM, deferrable=True))
operator_and_sensor(f"{RANDOM}_by_a_sensor", RANDOM)

with DAG(f"{RANDOM}_sweep", schedule=None):
    BedrockStopOrphanedJobsOperator(task_id="stop", aws_conn_id=RANDOM)

with DAG("two_runs_share_a_job", schedule=None):
    Customize(task_id="customize", **job_arguments("two_runs_share_a_job", reuse="dag", deferrable=True))

with DAG("execution_timeout", schedule=None):
    for name, deferrable in (("in_a_worker", False), ("in_the_triggerer", True)):
        mapped = job_arguments("execution_timeout", deferrable=deferrable, execution_timeout=TIMEOUT)
        del mapped["hyperparameters"]
        Customize.partial(task_id=name, **mapped).expand(hyperparameters=EPOCHS)

with DAG("quota_of_one", schedule=None):
    mapped = job_arguments("quota_of_one", deferrable=True, quota_timeout=3600)
    del mapped["hyperparameters"]
    Customize.partial(task_id="customize", **mapped).expand(hyperparameters=EPOCHS)
