"""The example DAG from raw data to an evaluated model, through Airflow's own ``dag.test()``, on Local Bedrock.

It may do what deploy/policies/airflow.json allows, and nothing else.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from airflow_bedrock.local import LocalBedrock
from tests.dag_files import load
from tests.deployed import Deployed, actions, policy

ROOT = Path(__file__).parents[2]
DAG_FILE = ROOT / "dags" / "finetune_support_router.py"
CONF = {"services": 5, "test_records": 60}


pytestmark = pytest.mark.local_bedrock(job_seconds=2, deployment_seconds=0.5, enforce_iam=True)


@pytest.fixture(scope="module")
def local(airflow_database: Path, local_bedrock_module: LocalBedrock) -> Iterator[LocalBedrock]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in Deployed(local_bedrock_module).environment():
            patch.setenv(name, value)
        yield local_bedrock_module


@pytest.fixture(scope="module")
def run(local: LocalBedrock) -> Any:
    run = load(DAG_FILE).dag.test(run_conf=CONF)
    assert run.state == "success"
    return run


def returned(run: Any, task_id: str, key: str = "return_value") -> Any:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        [found] = session.scalars(XComModel.get_many(run_id=run.run_id, task_ids=task_id, key=key))
        return XComModel.deserialize_value(found)


def read(local: LocalBedrock, uri: str) -> str:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    client = local.client("s3")
    try:
        return str(client.get_object(Bucket=bucket, Key=key)["Body"].read().decode())
    finally:
        client.close()


_ACTIONS = {  # whose action has another name or service prefix than the operation
    "bedrock-runtime:Converse": "bedrock:InvokeModel",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    **dict.fromkeys(("s3:CreateMultipartUpload", "s3:UploadPart", "s3:CompleteMultipartUpload"), "s3:PutObject"),
}


def test_training_data_is_what_nova_takes(local: LocalBedrock, run: Any) -> None:
    """Every line of the three files parses as a Converse record, and no prompt is in two files."""
    data = returned(run, "prepare_data")
    prompts = []
    for split in ("training", "validation", "test"):
        for line in read(local, data[f"{split}_data_uri"]).splitlines():
            record = json.loads(line)
            assert record["schemaVersion"] == "bedrock-conversation-2024"
            assert [turn["role"] for turn in record["messages"]] == ["user", "assistant"]
            prompts.append(record["messages"][0]["content"][0]["text"].casefold())
    assert len(prompts) == len(set(prompts)) > 400
    checked = returned(run, "check_data")
    assert (checked["ok"], checked["duplicates"], checked["overlaps"]) == (True, 0, 0)


def test_the_loss_falls(local: LocalBedrock, run: Any) -> None:
    """The metrics files in S3 show that something was learnt, in training and in validation."""
    model = returned(run, "wait_for_model")
    steps = list(
        csv.DictReader(
            io.StringIO(
                read(local, model["artifacts_uri"] + "training_artifacts/step_wise_training_metrics.csv"),
            )
        )
    )
    losses = [float(step["training_loss"]) for step in steps]
    tenth = len(losses) // 10
    begin = fmean(losses[:tenth])
    assert fmean(losses[-tenth:]) < begin / 2
    last = model["losses_by_epoch"][-1]
    assert last["validation_loss"] < begin / 2
    assert model["validation_loss"] == pytest.approx(last["validation_loss"])


def test_the_custom_model_beats_the_base_model_on_records_that_it_never_saw(local: LocalBedrock, run: Any) -> None:
    """The evaluation in S3 says so, record by record, and the verdict follows from it."""
    result = returned(run, "evaluate")
    told = returned(run, "evaluate", "bedrock_evaluation")  # what Airflow's views lead to
    assert told["report_page"].startswith(f"{local.endpoint_url}/_local/objects/{local.bucket}/support-router/")
    report = json.loads(read(local, result["report_uri"]))
    assert result["verdict"] == "better"
    assert result["candidate"]["n"] == 60
    assert result["candidate"]["accuracy"] > 0.8
    assert result["baseline"]["accuracy"] < 0.5
    assert report["verdict"] == "better"


def test_a_kept_model_stays_and_is_announced(local: LocalBedrock, run: Any) -> None:
    """The deployment that the asset event names answers; nothing was retired."""
    states = {instance.task_id: instance.state for instance in run.get_task_instances()}
    assert states["keep"] == "success"
    assert states["retire_deployment"] == states["retire_model"] == "skipped"
    client = local.client("bedrock")
    deployment = client.get_custom_model_deployment(customModelDeploymentIdentifier=returned(run, "deploy"))
    client.close()
    assert deployment["status"] == "Active"


def test_nothing_but_documented_calls_was_made(local: LocalBedrock, run: Any) -> None:
    """What the policy allows, of which nothing was refused, and one job; GetCallerIdentity needs no permission."""
    deployed = {"iam:CreateAccessKey", "iam:CreateRole", "iam:CreateUser", "iam:PutRolePolicy", "iam:PutUserPolicy"}
    called = {f"{call.service}:{call.operation}" for call in local.calls} - {"sts:GetCallerIdentity"} - deployed
    assert {_ACTIONS.get(call, call) for call in called} <= set(actions(policy("airflow")))
    assert [call for call in local.calls if call.status == 403] == []
    assert len(local.calls.of("CreateModelCustomizationJob")) == 1
    assert len(local.calls.of("Converse")) == 2 * CONF["test_records"]
