"""Links on the tasks that have to do with a job: alike, whichever of them waited, and none to a console of no use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock import links as module
from airflow_bedrock.customization.job import Job
from airflow_bedrock.operators import (
    BedrockBatchAnswersOperator,
    BedrockCustomModelDeploymentOperator,
    BedrockModelCopyOperator,
    BedrockModelCustomizationOperator,
    BedrockModelEvaluationOperator,
    BedrockModelImportOperator,
    BedrockPromoteModelOperator,
    BedrockPromotionGate,
    BedrockProvisionedModelThroughputOperator,
)
from airflow_bedrock.sensors import BedrockModelCustomizationSensor
from airflow_bedrock.shown import JOB, evaluation_shown, job_shown

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abc123"
MODEL = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/def456"
AWS, LOCAL = "https://bedrock.us-east-1.amazonaws.com", "http://127.0.0.1:5000"
REQUEST = {
    "trainingDataConfig": {"s3Uri": "s3://bucket/train.jsonl"},
    "outputDataConfig": {"s3Uri": "s3://bucket/output"},
}
TI = SimpleNamespace(dag_id="dag", task_id="mine", run_id="run", map_index=-1)
Told = dict[str, list[dict[str, Any]]]


def hook(endpoint: str = AWS) -> Any:
    return SimpleNamespace(
        conn=SimpleNamespace(meta=SimpleNamespace(endpoint_url=endpoint)), conn_region_name="us-east-1"
    )


def asked(arn: str = ARN) -> dict[str, Any]:
    """What an operator that does not wait pushes: a job from a list, which shows no folder."""
    return job_shown(Job(arn=arn, name="job", status="InProgress"), AWS, request=REQUEST)


def done(arn: str = ARN, model: str = MODEL) -> dict[str, Any]:
    """What the sensor after it pushes, which has no request."""
    return job_shown(Job(arn=arn, name="job", status="Completed", model_arn=model), AWS)


def links(monkeypatch: pytest.MonkeyPatch, told: Told, upstream: set[str], endpoint: str = AWS, **operator: Any) -> Any:
    """Return the addresses by the links' names. Nothing is read twice, nor from a task that shows no job."""
    keys = dict.fromkeys(upstream, JOB) | {"prepare": None}
    unread = {*(task for task in upstream if keys[task]), *(["mine"] if "job_key" in operator else [])}

    def get_all(key: str, dag_id: str, task_id: str, run_id: str) -> list[dict[str, Any]] | None:
        unread.remove(task_id)
        return told.get(task_id)

    def get_value(ti_key: Any, key: str) -> Any:
        return next(iter(get_all(key, ti_key.dag_id, ti_key.task_id, ti_key.run_id) or ()), None)

    monkeypatch.setattr(module, "XCom", SimpleNamespace(get_value=get_value, get_all=get_all))
    before = [SimpleNamespace(task_id=task, operator_class=SimpleNamespace(job_key=keys[task])) for task in upstream]
    task: Any = SimpleNamespace(hook=hook(endpoint), get_flat_relatives=lambda upstream: before, **operator)
    key: Any = SimpleNamespace(**vars(TI))  # Airflow has another one each time that it runs the task
    return {link.name: link.get_link(task, ti_key=key) for link in module.JOB_LINKS}


def test_each_task_that_has_to_do_with_a_job_has_them() -> None:
    """Links to the job: operators that make or use a model, and the sensor; two of them say what is known of it."""
    for operator in (
        BedrockModelCustomizationOperator,
        BedrockModelCustomizationSensor,
        BedrockCustomModelDeploymentOperator,
        BedrockModelEvaluationOperator,
        BedrockPromoteModelOperator,
    ):
        assert all(link in operator.operator_extra_links for link in module.JOB_LINKS)
    assert BedrockModelCustomizationOperator.job_key == BedrockModelCustomizationSensor.job_key == JOB


def test_none_is_empty_on_the_operator_that_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has asked for the job, and so knows where its model and its data will be."""
    found = links(monkeypatch, {"mine": [asked()]}, set(), job_key=JOB)
    assert "abc123" in found["Bedrock job"]
    assert found["Custom model"] == found["Bedrock job"]
    assert "output/model-customization-job-abc123/" in found["Output in S3"]
    assert "train.jsonl" in found["Training data in S3"]


@pytest.mark.parametrize("operator", [{"model_arn": MODEL}, {"candidate_model_id": "a deployment"}, {"job_key": JOB}])
def test_what_comes_after_is_found_in_the_run(monkeypatch: pytest.MonkeyPatch, operator: dict[str, str]) -> None:
    """The operator knows the data, the sensor the model; deploy, evaluate and the sensor's own lead to both."""
    told = {"train": [asked()], "mine" if "job_key" in operator else "wait": [done()]}
    found = links(monkeypatch, told, {"train", "wait", "prepare"}, **operator)
    assert "abc123" in found["Bedrock job"]
    assert "def456" in found["Custom model"]
    assert "output" in found["Output in S3"]
    assert "train.jsonl" in found["Training data in S3"]


def test_an_argument_that_was_not_rendered_breaks_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow makes links of a task that failed because of its templates, too: the argument is then no text."""
    told = {"wait": [done(f"{ARN}1", f"{MODEL}1"), done(f"{ARN}2", f"{MODEL}2")]}
    assert not any(links(monkeypatch, told, {"wait"}, model_arn=[MODEL]).values())


def test_of_several_jobs_the_one_that_made_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task that uses a model links to the job of that model, and to none where no job is known."""
    told = {"wait": [done(f"{ARN}1", f"{MODEL}1"), done(f"{ARN}2", f"{MODEL}2")]}
    assert "abc1232" in links(monkeypatch, told, {"wait"}, model_arn=f"{MODEL}2")["Bedrock job"]
    assert not any(links(monkeypatch, told, {"wait"}, candidate_model_id="a deployment").values())
    of_another = links(monkeypatch, told, {"wait"}, model_arn=MODEL)
    assert of_another.pop("Custom model").endswith("def456")
    assert not any(of_another.values())


def test_local_bedrock_has_one_page_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each link of a job of Local Bedrock leads to its line there."""
    found = links(monkeypatch, {"mine": [asked()]}, set(), LOCAL, job_key=JOB)
    assert set(found.values()) == {f"{LOCAL}/_local/#{ARN}"}
    assert job_shown(Job(arn=ARN, name="job", status="InProgress"), LOCAL)["local_page"] == f"{LOCAL}/_local/#{ARN}"
    assert not any(links(monkeypatch, {}, set(), LOCAL, job_key=JOB).values())


@pytest.mark.parametrize(
    ("endpoint", "page"), [(AWS, "https://console.aws"), (LOCAL, f"{LOCAL}/_local/objects/bucket/report.html")]
)
def test_the_report(monkeypatch: pytest.MonkeyPatch, endpoint: str, page: str) -> None:
    """On AWS in the console; on Local Bedrock the report itself."""
    told = {"report_html_uri": "s3://bucket/report.html", "region_name": "us-east-1"}
    monkeypatch.setattr(module, "XCom", SimpleNamespace(get_value=lambda ti_key, key: told[key]))
    task: Any = SimpleNamespace(hook=hook(endpoint))
    key: Any = TI
    assert module.EvaluationReportLink().get_link(task, ti_key=key).startswith(page)
    result = {"metric": "accuracy", "models": {}}
    returned = dict.fromkeys(("verdict", "reason", "cost", "report_uri"))
    assert evaluation_shown(result, {**returned, **told}, endpoint)["report_page"].startswith(page)
    assert "report_page" not in evaluation_shown(result, {**returned, **told, "report_html_uri": "/report"}, endpoint)


@pytest.mark.parametrize(
    ("operator", "argument"),
    [(BedrockPromotionGate, "report_uri"), (BedrockPromoteModelOperator, "evaluation")],
)
def test_tasks_that_decide_by_a_report_link_to_it(
    monkeypatch: pytest.MonkeyPatch, operator: Any, argument: str
) -> None:
    """To the page beside the file that was given, without a read; what is no such file has none."""
    [link] = [one for one in operator.operator_extra_links if isinstance(one, module.EvaluationReportLink)]
    monkeypatch.setattr(module, "XCom", None)
    key: Any = TI
    for uri, page in (
        ("s3://b/run/report.json", f"{LOCAL}/_local/objects/b/run/report.html"),
        ("s3://b/x", ""),
        (None, ""),
    ):
        given: dict[str, Any] = {argument: uri}
        task: Any = SimpleNamespace(hook=hook(LOCAL), **given)
        assert link.get_link(task, ti_key=key) == page


@pytest.mark.parametrize(
    ("operator", "kind", "page"),
    [
        (BedrockProvisionedModelThroughputOperator, "provisioned-model", "#/provisioned-throughput/details?arn=arn%3A"),
        (BedrockModelCopyOperator, "model-copy-job", "#/custom-models"),
        (BedrockModelImportOperator, "model-import-job", "#/import-models"),
        (BedrockBatchAnswersOperator, "model-invocation-job", "#/batch-inference"),
    ],
)
def test_what_is_paid_for_has_a_link(monkeypatch: pytest.MonkeyPatch, operator: Any, kind: str, page: str) -> None:
    """From the moment it exists, in the console of its region, or on Local Bedrock's page."""
    [link] = [one for one in operator.operator_extra_links if isinstance(one, module.PaidResourceLink)]
    arn = f"arn:aws:bedrock:us-west-2:123456789012:{kind}/abcdefghijkl"
    batch = operator is BedrockBatchAnswersOperator  # it makes several, and returns them
    made: dict[str, Any] = {"return_value": {"job_arns": ["first", arn]}} if batch else {"arn": arn}
    for told, endpoint, expected in (
        (made, AWS, f"https://us-west-2.console.aws.amazon.com/bedrock/home?region=us-west-2{page}"),
        (made, LOCAL, f"{LOCAL}/_local/#{arn}"),
        ({}, AWS, ""),
    ):
        only = {next(iter(made)): next(iter(told.values()), None)}  # another key is not read
        monkeypatch.setattr(module, "XCom", SimpleNamespace(get_value=lambda ti_key, key, only=only: only[key]))
        task: Any = SimpleNamespace(hook=hook(endpoint), arn_key=operator.arn_key)
        key: Any = TI
        assert link.get_link(task, ti_key=key)[: len(expected) or None] == expected
