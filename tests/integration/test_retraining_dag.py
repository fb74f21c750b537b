"""Retraining by period through Airflow's own ``dag.test()``, on Local Bedrock: a few years, one after another.

The DAGs may do what deploy/policies/airflow.json allows, and nothing else.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_bedrock.hooks import BedrockModelRegistryHook
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.shapes import missing_in_botocore
from tests.deployed import Deployed

LINE = "support-router"
DAGS = Path(__file__).parents[2] / "dags"
pytestmark = pytest.mark.local_bedrock(job_seconds=1, deployment_seconds=0.2, enforce_iam=True)


@pytest.fixture(scope="module")
def local(airflow_database: Path, local_bedrock_module: LocalBedrock) -> Iterator[LocalBedrock]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in Deployed(local_bedrock_module).environment():
            patch.setenv(name, value)
        yield local_bedrock_module


def run(name: str, **conf: Any) -> tuple[str, dict[str, str]]:
    """Run a DAG; return the state of its run and those of its tasks."""
    spec = importlib.util.spec_from_file_location(name, DAGS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for task in module.dag.tasks:
        if hasattr(task, "waiter_delay"):
            task.waiter_delay = 0.2  # seconds; on AWS a deployment takes minutes
    found = module.dag.test(run_conf=conf)
    return str(found.state), {one.task_id: str(one.state) for one in found.get_task_instances()}


def deployments(local: LocalBedrock) -> dict[str, str]:
    """Name → model of all deployments; of the one that callers use alone, where each model keeps one of its own."""
    client = local.client("bedrock")
    try:
        found = client.list_custom_model_deployments()["modelDeploymentSummaries"]
    finally:
        client.close()
    if missing_in_botocore("UpdateCustomModelDeployment"):
        used = BedrockModelRegistryHook(registry_uri=f"s3://{local.bucket}/registry").get(LINE).deployment_arn
        found = [{**one, "customModelDeploymentName": LINE} for one in found if one["customModelDeploymentArn"] == used]
    return {one["customModelDeploymentName"]: one["modelArn"] for one in found}


def jobs(local: LocalBedrock) -> int:
    client = local.client("bedrock")
    try:
        return len(client.list_model_customization_jobs()["modelCustomizationJobSummaries"])
    finally:
        client.close()


def test_a_few_years(local: LocalBedrock) -> None:
    """The first model beats its base model, a later one the champion; a year without data costs nothing.

    A year again costs no job; after each run one deployment is left, which serves the champion; a rollback undoes it.
    """
    conf = {"services_a_year": 3, "test_records": 60}
    hook = BedrockModelRegistryHook(registry_uri=f"s3://{local.bucket}/registry")

    state, tasks = run("retrain_support_router", period="2012", **conf)
    assert (state, tasks["promote"], tasks["retire"]) == ("success", "success", "success")
    first = hook.get(LINE).champion
    assert first is not None
    assert (first.period, deployments(local)) == ("2012", {LINE: first.model_arn})
    assert first.job_arn
    assert first.evaluation

    state, tasks = run("retrain_support_router", period="2014", **conf)
    assert (state, tasks["promote"]) == ("success", "success")
    second = hook.get(LINE).champion
    assert second is not None
    assert (second.period, deployments(local)) == ("2014", {LINE: second.model_arn})

    paid = jobs(local)
    state, tasks = run("retrain_support_router", period="2014", **conf)
    assert (state, jobs(local)) == ("success", paid)
    assert tasks["gate"] == "skipped"  # against itself
    assert tasks["retire"] == "success"
    assert deployments(local) == {LINE: second.model_arn}

    state, tasks = run("retrain_support_router", period="2007", **conf)
    assert (state, jobs(local), tasks["customize"]) == ("success", paid, "skipped")

    state, _ = run("rollback_model", line=LINE)
    assert (state, deployments(local)) == ("success", {LINE: first.model_arn})
    assert [call for call in local.calls if call.status == 403] == []
