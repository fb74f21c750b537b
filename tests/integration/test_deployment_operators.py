"""Deploying, evaluating and deleting a model that was customized on Local Bedrock."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.compat import TaskDeferred
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators.dataset import BedrockDatasetPreparationOperator
from airflow_bedrock.operators.deployment import (
    BedrockCustomModelDeploymentOperator,
    BedrockDeleteCustomModelDeploymentOperator,
)
from airflow_bedrock.operators.evaluation import BedrockModelEvaluationOperator
from airflow_bedrock.operators.import_job import BedrockDeleteCustomModelOperator
from airflow_bedrock.shapes import missing_in_botocore
from tests.trained_models import train

BASE_MODEL = "amazon.nova-micro-v1:0:128k"
ON_DEMAND = "amazon.nova-micro-v1:0"  # with its context length it is for customization and provisioned throughput only
updates = pytest.mark.skipif(bool(missing_in_botocore("UpdateCustomModelDeployment")), reason="not in this botocore")
pytestmark = pytest.mark.local_bedrock(job_seconds=0.5, deployment_seconds=0.5)


@pytest.fixture(scope="module")
def local(local_bedrock_module: LocalBedrock) -> LocalBedrock:
    return local_bedrock_module


@pytest.fixture(scope="module")
def bedrock(local: LocalBedrock) -> Iterator[Any]:
    client = local.client("bedrock")
    yield client
    client.close()


@pytest.fixture(scope="module")
def data(local: LocalBedrock) -> dict[str, Any]:
    """A dataset that a small model can learn, prepared by the operator."""
    prefix = f"{uuid.uuid4().hex}"
    words = (("red", "green"), ("old", "new", "odd"), ("tall", "short", "wide", "slim"), ("north", "south", "east"))
    rows = (
        {"prompt": f"{a} light, {b} and {c}, in the {d} on {e}", "completion": "stop" if a == "red" else "go"}
        for a, b, c, d, e in itertools.product(*words, ("Monday", "Tuesday", "Friday"))
    )
    s3 = local.client("s3")
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    s3.put_object(Bucket=local.bucket, Key=f"{prefix}/in.jsonl", Body=body)
    s3.close()
    return BedrockDatasetPreparationOperator(
        task_id="prepare",
        source_uri=f"s3://{local.bucket}/{prefix}/in.jsonl",
        output_uri=f"s3://{local.bucket}/{prefix}/data",
        base_model_id=BASE_MODEL,
        system_prompt="Answer stop or go.",
        test_fraction=0.3,
    ).execute({})


@pytest.fixture(scope="module")
def new_model(local: LocalBedrock, data: dict[str, Any]) -> Callable[[], str]:
    def new_model() -> str:
        """Train a model on the data, and return its ARN."""
        return train(local, f"job-{uuid.uuid4().hex}", data["training_data_uri"], hyperParameters={"epochCount": "5"})

    return new_model


@pytest.fixture(scope="module")
def model_arn(new_model: Callable[[], str]) -> str:
    arn: str = new_model()
    return arn


def context(clear: int = 0) -> Any:
    ti = SimpleNamespace(
        dag_id="dag", task_id="deploy", run_id="run", map_index=-1, max_tries=3 + clear, try_number=1 + clear
    )
    ti.xcom_push, ti.xcom_pull = lambda key, value: None, lambda **_: None
    return {"ti": ti, "dag_run": SimpleNamespace()}


def deploy(model_arn: str, name: str, **kwargs: Any) -> BedrockCustomModelDeploymentOperator:
    return BedrockCustomModelDeploymentOperator(
        task_id="deploy", model_arn=model_arn, deployment_name=name, waiter_delay=0.1, **kwargs
    )


def delete(deployment_arn: str) -> None:
    BedrockDeleteCustomModelDeploymentOperator(
        task_id="delete", deployment_arn=deployment_arn, waiter_delay=0.1
    ).execute(context())


@pytest.fixture
def name(bedrock: Any) -> Iterator[str]:
    name = f"deployment-{uuid.uuid4().hex}"
    yield name
    delete(name)


def named(bedrock: Any, name: str) -> list[dict[str, Any]]:
    return [*bedrock.list_custom_model_deployments(nameContains=name)["modelDeploymentSummaries"]]


def test_tries_make_one_deployment(bedrock: Any, model_arn: str, name: str) -> None:
    """A try that does not wait, a second one that does, and a Clear: one deployment, Active in the end."""
    first = deploy(model_arn, name, wait_for_completion=False).execute(context())
    second = deploy(model_arn, name).execute(context())
    third = deploy(model_arn, name).execute(context(clear=1))
    assert first == second == third
    assert [found["status"] for found in named(bedrock, name)] == ["Active"]


async def test_deferred(model_arn: str, name: str) -> None:
    """The wait goes to the triggerer; its event brings back the ARN of the Active deployment."""
    operator = deploy(model_arn, name, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context())
    events = [event async for event in deferred.value.trigger.run()]
    arn = operator.execute_complete(context(), events[0].payload)
    assert deploy(model_arn, name, wait_for_completion=False).execute(context()) == arn


def test_a_name_is_not_taken_from_another_model(new_model: Callable[[], str], model_arn: str, name: str) -> None:
    """A deployment of another model under that name is left alone."""
    deploy(model_arn, name).execute(context())
    with pytest.raises(BedrockFatalError, match=r"is used up: .* serves another model"):
        deploy(new_model(), name).execute(context())


@updates
def test_replace_model_keeps_the_name_and_the_arn(
    local: LocalBedrock, bedrock: Any, new_model: Callable[[], str], model_arn: str, name: str
) -> None:
    """The ARN stays; a retry that has lost the answer waits for the same change. One that fails is no success."""
    arn = deploy(model_arn, name).execute(context())
    other = new_model()
    local.faults.drop("UpdateCustomModelDeployment", times=None)
    with pytest.raises(BedrockError, match="unless the response was lost"):
        deploy(other, name, replace_model=True).execute(context())
    local.faults.clear()
    assert deploy(other, name, replace_model=True, deferrable=True).execute(context()) == arn
    assert [found["modelArn"] for found in named(bedrock, name)] == [other]
    assert len(local.calls.of("UpdateCustomModelDeployment")) >= 1

    local.faults.fail_job("update", "no capacity")
    with pytest.raises(BedrockFatalError, match="serves another model: it could not be changed"):
        deploy(model_arn, name, replace_model=True).execute(context())


def test_delete_waits_out_the_creation(bedrock: Any, model_arn: str) -> None:
    """A deployment cannot be deleted while it is being created; then it is, and deleting it again is no error."""
    name = f"deployment-{uuid.uuid4().hex}"
    arn = deploy(model_arn, name, wait_for_completion=False).execute(context())
    delete(arn)
    assert named(bedrock, name) == []
    delete(arn)


def test_a_deleted_deployment_is_made_again_after_a_clear(bedrock: Any, model_arn: str, name: str) -> None:
    """The service ignores a token that it has seen: a cleared task has another one, otherwise nothing would be made."""
    first = deploy(model_arn, name).execute(context())
    delete(first)
    second = deploy(model_arn, name).execute(context(clear=1))
    assert second != first
    assert [found["status"] for found in named(bedrock, name)] == ["Active"]


def test_evaluation_of_a_trained_model(local: LocalBedrock, model_arn: str, name: str, data: dict[str, Any]) -> None:
    """A model that has learnt the task beats the base model, and the answers are what an evaluation job takes."""
    arn = deploy(model_arn, name).execute(context())
    out = f"{uuid.uuid4().hex}/evaluation"
    result = BedrockModelEvaluationOperator(
        task_id="evaluate",
        test_data_uri=data["test_data_uri"],
        candidate_model_id=arn,
        baseline_model_id=ON_DEMAND,
        output_uri=f"s3://{local.bucket}/{out}",
        metrics=["exact_match", "chrf"],
        kms_key_id="alias/mine",
    ).execute(context())
    assert result["verdict"] == "better"
    assert result["candidate"]["n"] == result["baseline"]["n"] == data["counts"]["test"]
    assert result["candidate"]["accuracy"] > 0.9 > 0.5 > result["baseline"]["accuracy"]
    s3 = local.client("s3")
    for written in ("candidate.jsonl", "baseline.jsonl", "report.json"):
        head = s3.head_object(Bucket=local.bucket, Key=f"{out}/{written}")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/mine")
    answers = s3.get_object(Bucket=local.bucket, Key=f"{out}/candidate.jsonl")["Body"].read().splitlines()
    report = json.loads(s3.get_object(Bucket=local.bucket, Key=f"{out}/report.json")["Body"].read())
    s3.close()
    assert len(answers) == data["counts"]["test"]
    assert set(json.loads(answers[0])) == {"prompt", "referenceResponse", "modelResponses"}
    assert json.loads(answers[0])["modelResponses"][0]["modelIdentifier"] == arn
    accuracy = report["models"]["candidate"]["metrics"]["exact_match"]
    assert accuracy["low"] <= result["candidate"]["accuracy"] == accuracy["value"] <= accuracy["high"]
    assert result["report_uri"] == f"s3://{local.bucket}/{out}/report.json"


@pytest.mark.parametrize("where", ["output_uri", "answers_uri"])
def test_no_question_is_paid_for_without_a_bucket_for_the_answers(
    local: LocalBedrock, data: dict[str, Any], where: str
) -> None:
    """A bucket that does not exist is named before the first question, which would fail in another way here."""
    there, gone = f"s3://{local.bucket}/evaluation", f"s3://{local.bucket}-gone/evaluation"
    operator = BedrockModelEvaluationOperator(
        task_id="evaluate",
        test_data_uri=data["test_data_uri"],
        candidate_model_id="no-such-model",
        baseline_model_id=ON_DEMAND,
        output_uri=gone if where == "output_uri" else there,
        answers_uri=gone if where == "answers_uri" else there,
    )
    with pytest.raises(BedrockFatalError, match=rf"no bucket {local.bucket}-gone\. .* No question was asked\."):
        operator.execute(context())


def test_results_that_cannot_be_written(data: dict[str, Any], tmp_path: Path) -> None:
    """Where the results cannot be written after all, the error says that the answers are paid for."""
    (tmp_path / "candidate.jsonl/in the way").mkdir(parents=True)
    operator = BedrockModelEvaluationOperator(
        task_id="evaluate",
        test_data_uri=data["test_data_uri"],
        candidate_model_id=ON_DEMAND,
        baseline_model_id=ON_DEMAND,
        output_uri=str(tmp_path),
        max_records="2",
        metrics="exact_match",
    )
    with pytest.raises(BedrockFatalError, match=r"candidate\.jsonl.* are billed; a retry asks only"):
        operator.execute(context())


def test_delete_custom_model(bedrock: Any, new_model: Callable[[], str]) -> None:
    """A deleted model is gone, and deleting it again is no error."""
    arn = new_model()
    for _ in range(2):
        BedrockDeleteCustomModelOperator(task_id="delete", model_identifier=arn).execute(context())
    with pytest.raises(bedrock.exceptions.ResourceNotFoundException):
        bedrock.get_custom_model(modelIdentifier=arn)


def test_a_custom_model_is_deleted_in_the_region_of_its_arn(bedrock: Any, new_model: Callable[[], str]) -> None:
    """Whatever the region of the connection is: there, the model does not exist, and it would be billed on."""
    arn = new_model()
    delete_elsewhere = BedrockDeleteCustomModelOperator(task_id="delete", model_identifier=arn, region_name="us-west-2")
    delete_elsewhere.execute(context())
    with pytest.raises(bedrock.exceptions.ResourceNotFoundException):
        bedrock.get_custom_model(modelIdentifier=arn)
