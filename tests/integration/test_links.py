"""The links of a run's tasks in real Airflow: where they lead, and what Airflow's API server is asked for them."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.sdk.api.client import Client

from airflow_bedrock.links import JOB_LINKS
from airflow_bedrock.local import LocalBedrock
from scripts.training_data import record
from tests.dag_files import load

pytestmark = pytest.mark.local_bedrock(job_seconds=1, deployment_seconds=0.2)

DAG_FILE = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow_bedrock.operators import BedrockCustomModelDeploymentOperator, BedrockModelCustomizationOperator
from airflow_bedrock.sensors import BedrockModelCustomizationSensor

with DAG("linked", schedule=None) as dag:
    customize = BedrockModelCustomizationOperator(
        task_id="customize",
        job_name="router",
        custom_model_name="router",
        role_arn=%(role_arn)r,
        base_model_id="amazon.nova-micro-v1:0:128k",
        training_data_uri="s3://%(bucket)s/train.jsonl",
        output_data_uri="s3://%(bucket)s/output",
        wait_for_completion=False,
    )
    wait = BedrockModelCustomizationSensor(task_id="wait", job_identifier=customize.output, poke_interval=0.5)
    deploy = BedrockCustomModelDeploymentOperator(
        task_id="deploy",
        model_arn=wait.output["custom_model_arn"],
        deployment_name="router",
        deferrable=True,
        waiter_delay=0.2,
    )
    EmptyOperator(task_id="before") >> customize >> wait >> deploy
"""


def links(run_id: str, task: str, key: str) -> list[str]:
    """Return the address that Airflow's UI has for a link of a task, of each map index."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.scalars(XComModel.get_many(run_id=run_id, task_ids=task, key=key))
        return [XComModel.deserialize_value(one) for one in found]


def test_the_links_of_a_task_read_what_is_known_of_its_job_once(
    airflow_database: Path, local_bedrock: LocalBedrock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all four when it is deferred and once when it ends, and only from the tasks that know the job."""
    with closing(local_bedrock.client("s3")) as s3:
        s3.put_object(Bucket=local_bedrock.bucket, Key="train.jsonl", Body=record() * 20)
    file = tmp_path / "linked.py"
    file.write_text(DAG_FILE % {"role_arn": local_bedrock.role_arn, "bucket": local_bedrock.bucket})
    requests: Counter[tuple[str, ...]] = Counter()  # by method, task and key
    send = Client.send

    def counted(client: Client, request: httpx.Request, **how: Any) -> httpx.Response:
        path = request.url.path.removesuffix("/slice").split("/")
        requests[request.method, *path[-2:]] += 1
        return send(client, request, **how)

    monkeypatch.setattr(Client, "send", counted)
    run = load(file).dag.test()
    assert run.state == "success"
    reads = {task: count for (method, task, key), count in requests.items() if (method, key) == ("GET", "bedrock_job")}
    made = {task: requests["POST", task, JOB_LINKS[0].xcom_key] for task in ("customize", "wait", "deploy")}
    assert made["deploy"] == 2
    assert reads == {"customize": sum(made.values()), "wait": made["wait"] + made["deploy"]}
    for task in ("customize", "wait", "deploy"):
        [page] = {page for one in JOB_LINKS for page in links(run.run_id, task, one.xcom_key)}
        assert "/_local/#arn:aws:bedrock:us-east-1:" in page
