"""How the operator waits, where the service is slow to show the job that it has just made."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.compat import TaskDeferred
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs import no_response
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.waiting import Poller
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockModelCustomizationOperator
from scripts.training_data import record

pytestmark = pytest.mark.local_bedrock(job_seconds=1)


def operator(local: LocalBedrock, **more: Any) -> BedrockModelCustomizationOperator:
    client = local.client("s3")
    try:
        client.put_object(Bucket=local.bucket, Key="train.jsonl", Body=record() * 20)
    finally:
        client.close()
    arguments: dict[str, Any] = {
        "task_id": "customize",
        "job_name": "router",
        "custom_model_name": "router",
        "role_arn": local.role_arn,
        "base_model_id": "amazon.nova-micro-v1:0:128k",
        "training_data_uri": f"s3://{local.bucket}/train.jsonl",
        "output_data_uri": f"s3://{local.bucket}/output",
        "waiter_delay": 0.4,
    }
    return BedrockModelCustomizationOperator(**{**arguments, **more})


def context() -> Any:
    names = {"dag_id": "dag", "task_id": "customize", "run_id": "run"}
    numbers = {"map_index": -1, "max_tries": 0, "try_number": 1}
    ti = SimpleNamespace(**names, **numbers, xcom_push=lambda key, value: None)
    return {"ti": ti, "dag_run": SimpleNamespace(), "outlet_events": {}}


def run(task: BedrockModelCustomizationOperator) -> str:
    """Run the task as a worker does, and its trigger as a triggerer does."""
    now = context()
    try:
        return str(task.execute(now))
    except TaskDeferred as deferred:
        return str(task.execute_complete(now, asyncio.run(event_of(deferred.trigger))))


async def event_of(trigger: Any) -> Any:
    async for happened in trigger.run():
        return happened.payload
    raise AssertionError("the trigger sent no event")


@pytest.mark.parametrize("deferrable", [False, True], ids=["in a worker", "in the triggerer"])
def test_a_job_that_is_not_shown_at_once_is_waited_for(local_bedrock: LocalBedrock, deferrable: bool) -> None:
    """It was just paid for; not to find it at the first poll is no reason to give it up."""
    local_bedrock.faults.hide_new_jobs(0.6)
    assert ":model-customization-job/" in run(operator(local_bedrock, deferrable=deferrable))
    client = local_bedrock.client("bedrock")
    try:
        jobs = client.list_model_customization_jobs()["modelCustomizationJobSummaries"]
    finally:
        client.close()
    assert [job["status"] for job in jobs] == ["Completed"]


def test_a_job_that_is_known_to_exist_is_missing_only_after_minutes_and_polls(
    local_bedrock: LocalBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that nobody has seen, at once."""
    service = Service(CUSTOMIZATION_JOB, BedrockHook(region_name="us-east-1"))
    name = "nobody"
    poller = Poller(service, name, 3600, exists=True)
    assert [poller.poll() for _ in range(10)] == [None] * 10
    monkeypatch.setattr(no_response, "SECONDS_UNTIL_MISSING", 0.0)
    poller = Poller(service, name, 3600, exists=True)
    assert [poller.poll() for _ in range(4)] == [None] * 4
    with pytest.raises(BedrockFatalError, match="no Bedrock model customization job nobody"):
        poller.poll()
    with pytest.raises(BedrockFatalError, match="output"):
        Poller(service, name, 3600).poll()


@pytest.mark.parametrize(
    "wrong",
    [
        {"waiter_delay": 0},
        {"waiter_delay": "abc"},
        {"no_response_timeout": -1},
        {"no_response_timeout": "60"},
        {"waiter_max_attempts": 0},
        {"waiter_max_attempts": "3"},
        {"quota_timeout": -1},
        {"waiter_delay": timedelta(seconds=1)},
        {"no_response_timeout": timedelta(hours=1)},
        {"quota_timeout": timedelta(hours=1)},
    ],
    ids=str,
)
def test_an_invalid_wait_is_refused_when_the_dag_is_parsed(local_bedrock: LocalBedrock, wrong: dict[str, Any]) -> None:
    """By the argument's name, and not when the job is paid for."""
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a (whole )?number"):
        operator(local_bedrock, **wrong)


def test_an_invalid_configuration_fails_before_anything_is_paid_for(
    local_bedrock: LocalBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker reads it, not the DAG file."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__POLL_INTERVAL", "0")
    task = operator(local_bedrock, waiter_delay=None)
    with pytest.raises(BedrockFatalError, match=r"\[bedrock\] poll_interval in Airflow's .* nothing was spent"):
        task.execute(context())
    assert local_bedrock.calls.of("CreateModelCustomizationJob") == []
