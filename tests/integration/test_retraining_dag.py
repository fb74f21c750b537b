"""Retraining by period through Airflow's own ``dag.test()``, on Local Bedrock: a few years, one after another.

The DAGs may do what deploy/policies/airflow.json allows, and nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow.sdk
import pendulum
import pytest

from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.hooks import BedrockModelRegistryHook
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.shapes import missing_in_botocore
from tests import dag_files
from tests.deployed import Deployed

LINE = "support-router"
pytestmark = pytest.mark.local_bedrock(job_seconds=1, deployment_seconds=0.2, enforce_iam=True)


@pytest.fixture(scope="module")
def local(airflow_database: Path, local_bedrock_module: LocalBedrock) -> Iterator[LocalBedrock]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in Deployed(local_bedrock_module).environment():
            patch.setenv(name, value)
        yield local_bedrock_module


def load(name: str) -> Any:
    return dag_files.load(dag_files.DAGS / f"{name}.py")


def run(name: str, **conf: Any) -> tuple[str, dict[str, str]]:
    """Run a DAG; return the state of its run and those of its tasks."""
    found = dag_files.quick(load(name)).dag.test(run_conf=conf)
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


def read(local: LocalBedrock, uri: str) -> Any:
    with closing(local.client("s3")) as s3:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return json.load(s3.get_object(Bucket=bucket, Key=key)["Body"])


def test_a_few_years(local: LocalBedrock) -> None:
    """The first model beats its base model; a later one the champion, from which it starts. No data, no job.

    A year again costs no job. After each run, also where its evaluation failed, one deployment is left and serves
    the champion. A rollback undoes it.
    """
    conf: dict[str, Any] = {"services_a_year": 3, "test_records": 60}
    hook = BedrockModelRegistryHook(registry_uri=f"s3://{local.bucket}/registry")

    state, tasks = run("retrain_support_router", period="2012", training_set="this period", **conf)
    assert (state, tasks["promote"], tasks["retire"]) == ("success", "success", "success")
    first = hook.get(LINE).champion
    assert first is not None
    assert (first.period, deployments(local)) == ("2012", {LINE: first.model_arn})
    assert first.job_arn
    assert first.evaluation

    conf |= {"training_set": "the last 3", "start_from": "champion"}
    local.faults.fail("Converse", "AccessDeniedException")
    state, tasks = run("retrain_support_router", period="2014", **conf)
    local.faults.clear()
    assert (state, tasks["evaluate"], tasks["delete_deployment"]) == ("failed", "failed", "success")
    assert deployments(local) == {LINE: first.model_arn}

    state, tasks = run("retrain_support_router", period="2014", **conf)
    assert (state, tasks["promote"], jobs(local)) == ("success", "success", 2)
    asked = local.calls.of("CreateModelCustomizationJob")[-1].parameters
    assert asked["baseModelIdentifier"] == first.model_arn
    second = hook.get(LINE).champion
    assert second is not None
    assert (second.period, deployments(local)) == ("2014", {LINE: second.model_arn})
    uri, _, digest = (second.dataset or "").partition("#")
    manifest = read(local, uri)
    assert manifest["digest"] == digest
    assert {one["uri"].split("/")[-2] for one in manifest["sources"]} == {"2012-3", "2013-3", "2014-3"}

    paid = jobs(local)
    state, tasks = run("retrain_support_router", period="2014", **conf)
    assert (state, jobs(local)) == ("success", paid)
    assert tasks["gate"] == "skipped"  # against itself
    assert tasks["retire"] == "success"
    assert deployments(local) == {LINE: second.model_arn}

    state, tasks = run("retrain_support_router", period="2007", **conf)
    assert (state, jobs(local), tasks["customize"]) == ("success", paid, "skipped")

    state, _ = run("rollback_model", line=LINE, model_arn="")  # as a form sends it that was left empty
    assert (state, deployments(local)) == ("success", {LINE: first.model_arn})
    assert {call.operation for call in local.calls if call.status == 403} <= {"Converse"}  # by the fault


def test_a_line_whose_deployment_was_deleted_by_hand_is_compared_with_the_base_model(
    local: LocalBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its champion cannot be asked; the promotion makes the deployment again."""
    module, account = load("retrain_support_router"), "arn:aws:bedrock:us-east-1:123456789012"
    monkeypatch.setattr(module, "LINE", "deleted-by-hand")
    champion = f"{account}:custom-model/amazon.nova-micro-v1:0:128k/aaaaaaaaaaaa"
    gone = f"{account}:custom-model-deployment/aaaaaaaaaaaa"
    register = {"name": module.LINE, "deployment_arn": gone, "champion": {"model_arn": champion, "period": "2012"}}
    with closing(local.client("s3")) as s3:
        s3.put_object(Bucket=local.bucket, Key=f"by-hand/{module.LINE}.json", Body=json.dumps(register).encode())
    params = {"base_model": "amazon.nova-micro-v1:0:128k", "start_from": "base model"}
    found = module.dag.get_task("find_champion").python_callable("2014", f"s3://{local.bucket}/by-hand", params)
    assert found == {
        "baseline": "amazon.nova-micro-v1:0",
        "compared_with": champion,
        "start": "amazon.nova-micro-v1:0:128k",
    }


@pytest.mark.parametrize(
    ("training_set", "years"),
    [
        ("this period", {"2014"}),
        ("the last 3", {"2012", "2013", "2014"}),
        ("everything up to here", {str(year) for year in range(2006, 2015)}),
    ],
)
def test_a_training_set_is_of_the_periods_that_count(local: LocalBedrock, training_set: str, years: set[str]) -> None:
    """Each of them that has data has a folder of its own, the same for every run that it counts for."""
    collect = load("retrain_support_router").dag.get_task("collect_periods").python_callable
    found = collect("2014", local.bucket, {"training_set": training_set, "services_a_year": 1})
    folders = {one["source_uri"].removeprefix(f"s3://{local.bucket}/retrain/sources/") for one in found}
    assert folders <= {f"{year}-1/" for year in years}
    assert "2014-1/" in folders
    assert (len(folders) > 1) is (len(years) > 1)
    assert len({one["output_uri"] for one in found}) == len(found)


def test_a_period_is_that_of_the_partition_of_the_interval_or_as_given() -> None:
    """What a run has depends on Airflow and on who started it; a run without one fails before it costs anything."""
    find = load("retrain_support_router").dag.get_task("find_period").python_callable
    year, params = datetime(2014, 1, 1, tzinfo=UTC), {"period": None, "base_model": "amazon.nova-micro-v1:0:128k"}
    assert find(params, SimpleNamespace(partition_key="2013")) == "2013"
    assert find(params, SimpleNamespace(), data_interval_start=year) == "2014"
    assert find({**params, "period": "2012"}, SimpleNamespace(partition_key="2013"), data_interval_start=year) == "2012"
    with pytest.raises(BedrockFatalError, match="needs a period"):
        find(params, SimpleNamespace(partition_key=None))


def test_on_an_airflow_without_partitions_a_run_is_of_the_interval_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run of 1 January 2015 is that of 2014, in both forms."""
    monkeypatch.setitem(sys.modules, "airflow.sdk", without(airflow.sdk, "CronPartitionTimetable"))
    timetable = load("retrain_support_router").YEARLY
    interval = timetable.infer_manual_data_interval(run_after=pendulum.datetime(2015, 1, 1, tz="UTC"))
    assert (interval.start.year, interval.end.year) == (2014, 2015)


def without(module: Any, name: str) -> Any:
    """Return what a module has beside a name that an older release does not know."""

    class Older:
        def __getattr__(self, wanted: str) -> Any:
            if wanted == name:
                raise AttributeError(name)
            return getattr(module, wanted)

    return Older()
