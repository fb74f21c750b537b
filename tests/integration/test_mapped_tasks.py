"""Dynamic task mapping in real Airflow: one job for each set of arguments, one wait for each job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_bedrock.local import LocalBedrock
from scripts.training_data import record
from tests.dag_files import load
from tests.integration.test_links import links

pytestmark = pytest.mark.local_bedrock(job_seconds=1)

DAG_FILE = """
from airflow.sdk import DAG
from airflow_bedrock.operators import BedrockModelCustomizationOperator
from airflow_bedrock.sensors import BedrockModelCustomizationSensor

with DAG("mapped", schedule=None) as dag:
    customize = BedrockModelCustomizationOperator.partial(
        task_id="customize",
        job_name="router",
        custom_model_name="router",
        role_arn=%(role_arn)r,
        base_model_id="amazon.nova-micro-v1:0:128k",
        output_data_uri="s3://%(bucket)s/output/{{ run_id.replace(':', '').replace('+', '') }}",
        **%(waiting)r,
    ).expand_kwargs(%(arguments)r)
    BedrockModelCustomizationSensor.partial(task_id="wait", poke_interval=0.5).expand(job_identifier=customize.output)
"""


@pytest.fixture
def local(airflow_database: Path, local_bedrock: LocalBedrock) -> LocalBedrock:
    return local_bedrock


@pytest.fixture
def dags_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that dag.test() takes for the one of the DAGs."""
    bundle = {
        "name": "dags-folder",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    return tmp_path


def put(local: LocalBedrock, colour: str) -> str:
    client = local.client("s3")
    try:
        client.put_object(Bucket=local.bucket, Key=f"{colour}.jsonl", Body=record("which colour?", colour) * 20)
    finally:
        client.close()
    return f"s3://{local.bucket}/{colour}.jsonl"


def made(local: LocalBedrock) -> list[dict[str, Any]]:
    client = local.client("bedrock")
    try:
        listed = client.list_model_customization_jobs()["modelCustomizationJobSummaries"]
        return [dict(client.get_model_customization_job(jobIdentifier=job["jobArn"])) for job in listed]
    finally:
        client.close()


def written_down() -> list[str]:
    """The names of the jobs that Airflow's task state store has, since 3.3, of all map indexes."""
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.query(TaskStateStoreModel).filter_by(dag_id="mapped", key="airflow_bedrock_job").all()
        return [json.loads(row.value)["name"] for row in rows]


def test_a_mapped_task_reads_the_file_of_its_request(local: LocalBedrock, dags_folder: Path) -> None:
    """Each map index its own file, from the folder of the DAG file, and rendered."""
    put(local, "red")
    tags = [{"key": "dag", "value": "{{ dag.dag_id }}"}]
    for epochs in ("1", "2"):
        request = {"hyperParameters": {"epochCount": epochs}, "jobTags": tags}
        (dags_folder / f"{epochs}.json").write_text(json.dumps(request))
    file = dags_folder / "mapped.py"
    waiting = {"wait_for_completion": False, "training_data_uri": f"s3://{local.bucket}/red.jsonl"}
    arguments = [{"request": "1.json"}, {"request": "2.json"}]
    names = {"role_arn": local.role_arn, "bucket": local.bucket}
    file.write_text(DAG_FILE % {**names, "arguments": arguments, "waiting": waiting})
    assert load(file).dag.test().state == "success"
    sent = [call.parameters for call in local.calls.of("CreateModelCustomizationJob")]
    assert sorted(request["hyperParameters"]["epochCount"] for request in sent) == ["1", "2"]
    assert all({"key": "dag", "value": "mapped"} in request["jobTags"] for request in sent)


@pytest.mark.parametrize("waiting", [{"wait_for_completion": False}, {"deferrable": True}], ids=["not", "deferred"])
def test_each_mapped_task_pays_for_its_own_job_and_has_its_own_wait(
    local: LocalBedrock, dags_folder: Path, waiting: dict[str, bool]
) -> None:
    """``expand_kwargs`` makes jobs that differ; ``output`` of the mapped tasks maps the sensor."""
    red, blue = put(local, "red"), put(local, "blue")
    wanted = [(blue, "1"), (red, "1"), (red, "2")]
    arguments = [{"training_data_uri": uri, "hyperparameters": {"epochCount": epochs}} for uri, epochs in wanted]
    file = dags_folder / "mapped.py"
    names = {"role_arn": local.role_arn, "bucket": local.bucket}
    file.write_text(DAG_FILE % {**names, "arguments": arguments, "waiting": waiting})
    run = load(file).dag.test()
    assert run.state == "success"
    jobs = made(local)
    # Only the mapped operator knows the data, and so the sensor reads what it has pushed.
    assert {page.partition("#")[2] for page in links(run.run_id, "wait", "_link_TrainingDataLink")} == {
        job["jobArn"] for job in jobs
    }
    assert {job["status"] for job in jobs} == {"Completed"}
    assert sorted((job["trainingDataConfig"]["s3Uri"], job["hyperParameters"]["epochCount"]) for job in jobs) == wanted
    if hasattr(BaseTrigger, "on_kill"):  # Airflow 3.3
        assert {job["jobName"] for job in jobs} <= set(written_down())
