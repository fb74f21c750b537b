"""The DAGs of the gallery that have no module of their own, through Airflow's own ``dag.test()``, on Local Bedrock.

One Local Bedrock serves them all, so what a DAG leaves behind must not matter to the others. The DAGs may do what
deploy/policies/ allows, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock import configuration
from airflow_bedrock.customization.identity import Identity, TaskKey
from airflow_bedrock.customization.tags import automatic_tags
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.hooks import BedrockModelRegistryHook
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.registry.register import ModelVersion
from airflow_bedrock.shapes import missing_in_botocore
from tests import dag_files
from tests.deployed import Deployed, both, policy
from tests.graders import grader
from tests.trained_models import train

NOVA = "amazon.nova-micro-v1:0:128k"
pytestmark = pytest.mark.local_bedrock(job_seconds=0.5, deployment_seconds=0.1, allow_graders=True, enforce_iam=True)


@pytest.fixture(scope="module")
def local(airflow_database: Path, local_bedrock_module: LocalBedrock) -> Iterator[LocalBedrock]:
    deployed = Deployed(local_bedrock_module)
    deployed.allow(to_bedrock=both(deployed.bedrock_role, policy("graders")))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in deployed.environment():
            patch.setenv(name, value)
        yield local_bedrock_module


@pytest.fixture(scope="module")
def bedrock(local: LocalBedrock) -> Iterator[Any]:
    with closing(local.client("bedrock")) as client:
        yield client


def load(name: str) -> Any:
    """Load a DAG's file; its tasks do not wait as long as they do on AWS."""
    return dag_files.quick(dag_files.load(dag_files.DAGS / f"{name}.py"))


def run(module: Any, **conf: Any) -> tuple[str, dict[str, str]]:
    """Run a DAG; return the state of its run and those of its tasks."""
    found = module.dag.test(run_conf=conf)
    return str(found.state), {one.task_id: str(one.state) for one in found.get_task_instances()}


def put(local: LocalBedrock, key: str, records: list[dict[str, Any]]) -> str:
    """Write records to the bucket; return their URI."""
    with closing(local.client("s3")) as s3:
        s3.put_object(Bucket=local.bucket, Key=key, Body="".join(f"{json.dumps(one)}\n" for one in records).encode())
    return f"s3://{local.bucket}/{key}"


def model(local: LocalBedrock, name: str, **of: Any) -> str:
    """Train a model under this name, as a task of these ids does; return its ARN."""
    task_key = TaskKey(environment=configuration.environment(), **of)
    named = Identity(task_key=task_key, what="0" * 16, reuse="run", job_prefix="one", model_prefix=name)
    return train(
        local,
        named.job_name(),
        customModelName=named.model_name(),
        hyperParameters={"epochCount": "1"},
        customModelTags=[{"key": key, "value": value} for key, value in automatic_tags(task_key, "1").items()],
    )


def test_models_that_nobody_needs_are_named_and_then_deleted(local: LocalBedrock, bedrock: Any) -> None:
    """By default none is deleted; then all but the one that serves, and none of another DAG's."""

    def line(number: int, dag_id: str) -> str:
        return model(local, "support-router", dag_id=dag_id, task_id="customize", run_id=f"{number}")

    ours, theirs = [line(number, "retrain_support_router") for number in range(2)], line(2, "other")
    hook = BedrockModelRegistryHook(registry_uri=f"s3://{local.bucket}/registry")
    hook.promote("support-router", ModelVersion(model_arn=ours[1]), delay=0.1)

    module = load("retire_models")
    retire = module.dag.get_task("retire")
    retire.keep_last, retire.keep_younger_than = 0, 0  # they were made just now
    for conf, left in (({}, {*ours, theirs}), ({"delete": True}, {ours[1], theirs})):
        state, tasks = run(module, **conf)
        found = {one["modelArn"] for one in bedrock.list_custom_models()["modelSummaries"]}
        assert (state, found & {*ours, theirs}) == ("success", left), tasks


def refused(module: Any, task_id: str, *arguments: str, **params: Any) -> None:
    """Assert that a task refuses what the form does not offer."""
    with pytest.raises(BedrockFatalError, match="in this DAG's file"):
        module.dag.get_task(task_id).python_callable(*arguments, params=params)


def test_a_line_that_is_not_on_the_list_is_not_retired() -> None:
    """In the task, whatever has asked for the run."""
    refused(load("retire_models"), "allowed", line="somebody-else-s")


def test_a_key_that_the_form_does_not_have_fails_the_first_task(local: LocalBedrock) -> None:
    """Which says so, and nothing else runs."""
    assert run(load("retire_models"), remove=True) == ("failed", {"allowed": "failed", "retire": "upstream_failed"})


def verdict(local: LocalBedrock, folder: str) -> str:
    """Return what the evaluation of a DAG has come to, by its report in S3."""
    with closing(local.client("s3")) as s3:
        found = s3.list_objects_v2(Bucket=local.bucket, Prefix=f"{folder}/evaluations/")["Contents"]
        [key] = [one["Key"] for one in found if one["Key"].endswith("/report.json")]
        return str(json.loads(s3.get_object(Bucket=local.bucket, Key=key)["Body"].read())["verdict"])


SERVICES = {"s3": "bucket object upload", "sqs": "queue message receipt", "kms": "key cipher secret"}


def requests(count: int) -> list[dict[str, str]]:
    """Return so many questions, each with the service that it belongs to."""
    labels = list(SERVICES)
    return [
        {
            "prompt": f"Number {number}: please rotate the {SERVICES[labels[number % 3]].split()[number % 7 % 3]}.",
            "completion": labels[number % 3],
        }
        for number in range(count)
    ]


def created(local: LocalBedrock, task_id: str) -> list[dict[str, Any]]:
    """Return the requests of the customization jobs that tasks of this name have made."""
    asked = [one.parameters for one in local.calls.of("CreateModelCustomizationJob") if one.status == 201]
    return [one for one in asked if one["jobName"].startswith(task_id)]


def test_a_sweep_trains_the_better_half_to_the_end_and_evaluates_the_best(local: LocalBedrock, bedrock: Any) -> None:
    """Two points are tried and one is trained, not the one that learns slowly. Only its model is left."""
    put(local, "sweep/requests.jsonl", requests(120))
    conf = {"data": "sweep/requests.jsonl", "learning_rates": [1e-6, 5e-5], "epochs": 2, "test_records": 20}
    state, tasks = run(load("sweep_hyperparameters"), **conf)
    assert state == "success", tasks
    tried, trained = (
        [(one["hyperParameters"]["epochCount"], one["hyperParameters"]["learningRate"]) for one in created(local, name)]
        for name in ("try-out", "train")
    )
    assert (sorted(tried), trained) == ([("1", "1e-06"), ("1", "5e-05")], [("2", "5e-05")])  # in any order
    deployed = [one.parameters["modelDeploymentName"] for one in local.calls.of("CreateCustomModelDeployment")]
    assert sum(name.startswith("train-") for name in deployed) == 1
    assert verdict(local, "sweep") == "better"
    assert bedrock.list_custom_model_deployments(nameContains="train")["modelDeploymentSummaries"] == []
    assert set(models(bedrock)) & {
        one["customModelName"] for one in (*created(local, "try"), *created(local, "tr"))
    } == {created(local, "train")[0]["customModelName"]}


def models(bedrock: Any) -> dict[str, str]:
    """Return the ARNs of the custom models that there are, by name."""
    return {one["modelName"]: one["modelArn"] for one in bedrock.list_custom_models()["modelSummaries"]}


def test_losers_of_a_sweep_go_whatever_happens(local: LocalBedrock, bedrock: Any) -> None:
    """By a teardown. Where none has won, those of all epochs stay; those of another run always do."""
    module = load("sweep_hyperparameters")
    task = module.dag.get_task("delete_losers")
    assert (task.is_teardown, task.on_failure_fail_dagrun) == (True, True)
    assert task.upstream_task_ids == {"grid", "try_out", "train", "best"}
    ids = {"dag_id": "sweep_hyperparameters", "run_id": "now"}
    tried = model(local, "try-out", task_id="try_out", **ids)
    ends = [model(local, "train", task_id="train", **{**ids, "run_id": one}) for one in ("now", "before")]
    delete, won = task.python_callable, None
    ti: Any = SimpleNamespace(xcom_pull=lambda task_ids, key: won)
    assert delete(run_id="now", ti=ti) == [ends[0]]
    assert tried not in models(bedrock).values()
    won = ends[1]
    assert delete(run_id="now", ti=ti) == []
    assert set(ends) & set(models(bedrock).values()) == {ends[1]}


def test_points_are_compared_by_their_validation_loss() -> None:
    """The better half of three is two; a job without that loss does not win by chance."""
    module = load("sweep_hyperparameters")
    points = [{"learningRate": str(rate)} for rate in range(3)]
    results = [
        {
            "job_arn": "arn",
            "validation_loss": one,
            "losses_by_epoch": [],
            "custom_model_arn": f"{one}",
            "custom_model_name": "",
        }
        for one in (0.3, 0.1, 0.2)
    ]
    half = module.dag.get_task("better_half").python_callable(points, results, {"epochs": 4})
    assert [(one["learningRate"], one["epochCount"]) for one in half] == [("1", "4"), ("2", "4")]
    best = module.dag.get_task("best").python_callable
    assert best(points, results)["hyperparameters"] == points[1]
    with pytest.raises(BedrockFatalError, match="no validation loss"):
        best(points, [*results, {**results[0], "validation_loss": None}])


def test_a_grid_that_is_too_large_is_refused() -> None:
    """Each list is within the form, and their product is not."""
    refused(load("sweep_hyperparameters"), "grid", "s3://bucket/data/", learning_rates=[1e-5] * 4, warmup_steps=[1] * 4)


def test_a_student_is_distilled_from_what_its_teacher_has_answered(local: LocalBedrock, bedrock: Any) -> None:
    """Not from another model's answers, an evaluation's questions, nor longer chats; then it is evaluated."""
    teacher, other = "amazon.nova-pro-v1:0", "amazon.nova-lite-v1:0"

    def ask(model_id: str, *turns: str, **metadata: str) -> None:
        roles = cycle(("user", "assistant"))
        messages: Any = [{"role": next(roles), "content": [{"text": turn}]} for turn in turns]
        runtime.converse(modelId=model_id, messages=messages, requestMetadata=metadata)

    with closing(local.client("bedrock-runtime")) as runtime:
        bedrock.put_model_invocation_logging_configuration(
            loggingConfig={"s3Config": {"bucketName": local.bucket, "keyPrefix": "invocation-logs"}}
        )
        for one in requests(150):
            ask(teacher, one["prompt"], team="support")
        for number in range(20):
            ask(teacher, f"What has chat {number} asked?", "This.", "And then?", team="support")
        ask(other, "What has another model been asked?", team="support")
        ask(teacher, "What has an evaluation asked?", **{"airflow-bedrock": "evaluation"})
    state, tasks = run(load("distill_from_logs"), test_records=20)
    bedrock.delete_model_invocation_logging_configuration()
    assert state == "success", tasks
    assert verdict(local, "distill") in ("better", "undecided")  # Local Bedrock's teacher says an arbitrary word
    [job] = created(local, "student")
    assert job["customizationType"] == "DISTILLATION"
    uri = job["trainingDataConfig"]["s3Uri"].removeprefix(f"s3://{local.bucket}/")
    with closing(local.client("s3")) as s3:
        trained = s3.get_object(Bucket=local.bucket, Key=uri)["Body"].read().decode()
    assert 100 <= trained.count("\n") < 150
    assert "assistant" in trained
    assert "What has" not in trained
    assert bedrock.list_custom_model_deployments(nameContains="student")["modelDeploymentSummaries"] == []


@pytest.mark.parametrize("params", [{"logs": "personnel"}, {"teacher": "amazon.titan-text-premier-v1:0"}])
def test_logs_that_are_not_on_the_list_are_not_read(params: dict[str, str]) -> None:
    """In the task, whatever has asked for the run."""
    refused(
        load("distill_from_logs"),
        "pick",
        "my-bucket",
        **{"logs": "production", "teacher": "amazon.nova-pro-v1:0", **params},
    )


RFT = "CreateModelCustomizationJob.customizationConfig.rftConfig"


@pytest.mark.skipif(bool(missing_in_botocore(RFT)), reason="this botocore does not know reinforcement fine-tuning")
def test_a_model_learns_what_its_grader_rewards(local: LocalBedrock, bedrock: Any) -> None:
    """By the Lambda function of the list, which is the one of the form's default; no deployment is left."""
    records = [{"prompt": one["prompt"], "reference_answer": one["completion"]} for one in requests(150)]
    put(local, "graded-requests/requests.jsonl", records)
    module = load("reinforce_with_a_grader")
    assert grader(local, "grade-support-router") == module.GRADERS["support-router"]
    state, tasks = run(module, test_records=20)
    assert state == "success", tasks
    assert verdict(local, "reinforce") == "better"
    [job] = created(local, "reinforced")
    settings = job["customizationConfig"]["rftConfig"]
    assert settings["graderConfig"]["lambdaGrader"]["lambdaArn"] == module.GRADERS["support-router"]
    assert settings["hyperParameters"] == {"epochCount": 2, "trainingSamplePerPrompt": 4}
    assert bedrock.list_custom_model_deployments(nameContains="reinforced")["modelDeploymentSummaries"] == []


def test_a_grader_that_is_not_on_the_list_is_refused() -> None:
    """In the task, whatever has asked for the run."""
    theirs = "arn:aws:lambda:us-east-1:111122223333:function:any"
    refused(load("reinforce_with_a_grader"), "allowed", "s3://bucket/data/", grader=theirs)


@pytest.mark.parametrize("data", ["nowhere/", "nowhere.jsonl"])
@pytest.mark.parametrize(("name", "task"), [("sweep_hyperparameters", "grid"), ("reinforce_with_a_grader", "allowed")])
def test_data_that_is_not_there_fails_the_first_task(local: LocalBedrock, name: str, task: str, data: str) -> None:
    """With the sentence that says where it was searched for, before anything is prepared."""
    dag = load(name).dag
    if name == "reinforce_with_a_grader" and missing_in_botocore(RFT):
        pytest.skip("this botocore does not know reinforcement fine-tuning")
    params = {one: dag.params[one] for one in dag.params}
    with pytest.raises(BedrockFatalError, match=rf"s3://{local.bucket}/{data}.* Check the URI.* Nothing was spent\.$"):
        dag.get_task(task).python_callable(f"s3://{local.bucket}/{data}", params=params)


def test_where_boto3_is_too_old_the_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is spent; the DAG itself is there all the same."""
    monkeypatch.setattr("botocore.__version__", "1.39.11")
    module = load("reinforce_with_a_grader")
    with pytest.raises(BedrockFatalError, match=r"upgrade boto3 to 1\.42\.2 .* Nothing was spent"):
        module.dag.get_task("allowed").python_callable("s3://bucket/data/", params={"grader": "support-router"})


def test_a_teacher_that_was_never_called_fails_the_first_task(local: LocalBedrock) -> None:
    """It has no logs to learn from; the error says that nothing was spent."""
    params = {"logs": "production", "teacher": "amazon.nova-premier-v1:0", "student": NOVA}
    with pytest.raises(
        BedrockFatalError, match=r"^There is no call of amazon\.nova-premier-v1:0 in s3://.* Nothing was spent"
    ):
        load("distill_from_logs").dag.get_task("pick").python_callable(local.bucket, params=params)


@pytest.mark.parametrize("source", ["s3://theirs/tickets/", "s3://bucket-of-theirs/tickets/", "s3a://bucket/tickets/"])
def test_a_bucket_that_is_not_on_the_list_is_not_prepared(source: str) -> None:
    """In the task, whatever has asked for the run."""
    module = load("prepare_at_scale")
    refused(module, "allowed", engine="spark", source=source)
    assert module.dag.get_task("allowed").python_callable({"engine": "spark", "source": "s3://bucket/a/"}) == "copy_job"
