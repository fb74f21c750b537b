"""What a form of the example DAGs may name: no bucket, role or account that is not on a list in the DAG's file.

An API call passes by the form, so this module tries each value as a run's conf. Airflow checks conf against the schema
in the task too. What the schema allows is harmless, or a task refuses it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bedrock.base_models import base_model
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.form import base_model_param, refuse_unavailable, refuse_unknown_params, text_models
from airflow_bedrock.registry import register
from airflow_bedrock.shapes import input_shape, missing_in_botocore, problems
from tests.dag_files import DAGS, load

pytestmark = pytest.mark.filterwarnings("ignore:.*determine_kwargs")  # Airflow's own @task.sensor imports it
THEIRS = [
    "s3://theirs/data/",
    "s3://bucket,s3://theirs/",
    "arn:aws:iam::111122223333:role/theirs",
    "arn:aws:lambda:us-east-1:111122223333:function:theirs",
    "arn:aws:bedrock:us-east-1:111122223333:custom-model/amazon.nova-micro-v1:0/abcdefghijkl",
    "aws_theirs",
    "111122223333",
]
"""A bucket, two at once, a role, a function, a model of another account, a connection, an account."""
TEXTS = {
    ("copy_to_production", "question"),
    ("retrain_support_router", "approver"),  # a person
    ("prepare_at_scale", "name"),  # of a folder in the one bucket; so are the next ones
    ("sweep_hyperparameters", "data"),
    ("reinforce_with_a_grader", "data"),
    ("copy_to_production", "name"),
    ("rollback_model", "line"),
    ("prepare_at_scale", "database"),  # of Athena, in the account of the connection
    ("prepare_at_scale", "prompt_field"),
    ("prepare_at_scale", "completion_field"),
}
"""Texts that lead nowhere else, whatever they say."""


@cache
def dag(name: str) -> Any:
    return load(DAGS / f"{name}.py").dag


def by_task(name: str, task_id: str) -> Callable[[dict[str, Any]], Any]:
    """Return what the task does with the params of a run."""
    return lambda params: dag(name).get_task(task_id).python_callable(params=params)


IN_TASK: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
    ("copy_to_production", "model_arn"): by_task("copy_to_production", "allowed"),
    ("prepare_at_scale", "source"): by_task("prepare_at_scale", "allowed"),
    ("prepare_at_scale", "records"): by_task("prepare_at_scale", "allowed"),
    ("rollback_model", "model_arn"): lambda params: register.rolled_back(
        register.Register(name="line"), params["model_arn"], "me", datetime.now(UTC)
    ),
}
"""What the schema lets through, and who refuses it."""
MORE = {  # what the task is given besides
    ("prepare_at_scale", "source"): {"engine": "spark"},
    ("prepare_at_scale", "records"): {"engine": "athena"},
    ("copy_to_production", "model_arn"): {"target": "production"},
}
INJECTED = "SELECT 1 AS prompt) TO 'S3://theirs/' WITH (format = 'JSON') --"


@pytest.mark.parametrize("name", sorted(file.stem for file in DAGS.glob("*.py")))
def test_a_run_names_nothing_that_is_not_on_a_list(name: str) -> None:
    """By the schema, which Airflow applies in the task too, or by a task of the DAG."""
    params = dag(name).params
    for param in params:
        declared = params.get_param(param)
        for value in [*THEIRS, *([INJECTED] if (name, param) in IN_TASK else [])]:
            asked = [value] if declared.schema.get("type") == "array" else value
            if (name, param) in TEXTS or declared.resolve(asked, suppress_exception=True) is None:
                continue
            assert (name, param) in IN_TASK, f"{param} takes {value}: list what it may be, or say that it is harmless"
            if param != "records" or "s3:" in value.lower():  # else it is no query
                with pytest.raises(BedrockFatalError):
                    IN_TASK[name, param]({**MORE.get((name, param), {}), param: asked})


def test_every_name_is_of_a_param() -> None:
    """What is listed above is there."""
    for name, param in (*TEXTS, *IN_TASK):
        assert param in dag(name).params


def argument(task: Any, name: str) -> Any:
    """Return what a task was given, mapped or not."""
    return task.partial_kwargs.get(name) if task.is_mapped else getattr(task, name, None)


NAMES = sorted(file.stem for file in DAGS.glob("*.py"))
JOB_DAGS = [name for name in NAMES if "BedrockModelCustomizationOperator(" in (DAGS / f"{name}.py").read_text()]
RFT = "CreateModelCustomizationJob.customizationConfig.rftConfig"
JOB_DAGS.append("sweep_hyperparameters")  # which maps it


@pytest.mark.parametrize("name", NAMES)
def test_each_dag_shows_its_flow_and_says_what_it_costs(name: str) -> None:
    """On its page in Airflow's UI: a picture of its tasks, and the bill."""
    _, picture, *rest = str(dag(name).doc_md).split("```")
    assert "─" in picture
    assert "**What it costs" in "".join(rest)
    assert dag(name).params


@pytest.mark.parametrize("name", NAMES)
def test_each_task_refuses_a_key_that_the_form_does_not_have(name: str) -> None:
    """A misspelt key would leave a paid job at the form's default; whichever task comes first fails."""
    for task in dag(name).tasks:
        refuse = argument(task, "pre_execute" if task.is_mapped else "_pre_execute_hook")
        assert refuse is refuse_unknown_params, task.task_id
        of = {"dag": dag(name), "task": SimpleNamespace(params={}), "dag_run": SimpleNamespace(run_id="r", conf={})}
        refuse(of)
        of["dag_run"].conf = dict.fromkeys([*dag(name).params, "epoch"])
        with pytest.raises(BedrockFatalError, match=rf"^The conf of run r has epoch, but .* of {name} are .* spent"):
            refuse(of)


@pytest.mark.parametrize("name", sorted(set(JOB_DAGS)))
def test_each_job_of_a_form_can_be_tried_without_paying(name: str) -> None:
    """By the dry run, whose log has the estimate; and it has a limit, or under a budget an expected cost."""
    made = [task for task in dag(name).tasks if task.task_type == "BedrockModelCustomizationOperator"]
    assert made
    for task in made:
        assert argument(task, "dry_run" if task.is_mapped else "is_dry_run") == "{{ params.dry_run }}"
        limits = (argument(task, "max_cost"), argument(task, "expected_cost"))
        assert "{{ params.max_cost }}" in limits or "{{ params.expected_cost }}" in limits


def test_a_dry_run_deletes_no_model() -> None:
    """Its task ``retire`` runs, and only lists."""
    assert dag("retrain_support_router").get_task("retire").delete == (
        "{{ params.delete_models and not params.dry_run }}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_one_task_comes_first(name: str) -> None:
    """And it checks what the form lets through and a later task would refuse."""
    assert len([task for task in dag(name).tasks if not task.upstream_task_ids]) == 1


@pytest.mark.parametrize("name", sorted(set(JOB_DAGS)))
def test_a_base_model_that_the_region_does_not_have_fails_the_first_task(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ``base_models.toml``, from which the form has its list; nothing is called for that."""
    if name == "reinforce_with_a_grader" and missing_in_botocore(RFT):
        pytest.skip("this botocore does not know reinforcement fine-tuning")
    nowhere = {"endpoint_url": "http://127.0.0.1:1", "region_name": "eu-north-1"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": nowhere}))
    [first] = [task for task in dag(name).tasks if not task.upstream_task_ids]
    given = {"source_uri": "s3://bucket/data/", "bucket": "bucket", "params": dict(dag(name).params)}
    taken = inspect.signature(first.python_callable).parameters.keys() & given.keys()
    with pytest.raises(BedrockFatalError, match=r"cannot be customized in eu-north-1, only in us-east-1.* Nothing was"):
        first.python_callable(**{one: given[one] for one in taken})


@pytest.mark.parametrize(
    ("model", "method"),
    [("amazon.nova-ultra-v9:0", "FINE_TUNING"), ("amazon.nova-micro-v1:0", "REINFORCEMENT_FINE_TUNING")],
)
def test_a_model_that_the_file_does_not_know_is_not_said_to_be_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, model: str, method: str
) -> None:
    """Nor refused: Bedrock may be newer than the file."""
    extra = {"region_name": "eu-north-1"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": extra}))
    refuse_unavailable(model, customization_type=method)
    assert [one.getMessage() for one in caplog.records if one.name == "airflow_bedrock.form"] == [
        f"base_models.toml does not list the regions where {model} can be customized by {method}: eu-north-1 is not "
        "checked, and Bedrock may refuse the job there"
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_long_form_has_sections_and_each_field_a_title(name: str) -> None:
    """Five fields and more."""
    params = dag(name).params
    for param in params:
        schema = params.get_param(param).schema
        assert schema.get("title"), param
        assert len(params) < 5 or schema.get("section"), param


@pytest.mark.parametrize("name", NAMES)
def test_a_form_can_be_sent_as_it_opens(name: str) -> None:
    """Airflow's form takes no empty text, unless it may be null; what a person has to say has no default."""
    params = dag(name).params
    for param in params:
        declared = params.get_param(param)
        assert declared.value != "", param
        assert declared.value is not None or "null" in declared.schema["type"], param


SERVICE = {  # what the service takes in its place
    ("copy_to_production", "model_arn"): ("CreateModelCopyJob", "sourceModelArn"),
    ("copy_to_production", "name"): ("CreateCustomModelDeployment", "modelDeploymentName"),
}


@pytest.mark.parametrize(("name", "param"), SERVICE)
def test_a_text_that_the_schema_lets_through_is_one_that_the_service_takes(name: str, param: str) -> None:
    """By botocore's model of the service, so that a form sends nothing that fails."""
    schema = dag(name).params.get_param(param).schema
    operation, member = SERVICE[name, param]

    @given(st.from_regex(schema["pattern"]).filter(lambda text: len(text) <= schema.get("maxLength", 1000)))
    @settings(max_examples=100)
    def check(text: str) -> None:
        assert not problems(input_shape("bedrock", operation).members[member], text)

    check()


HYPERPARAMETERS = {
    "epochs": "epochCount",
    "learning_rate": "learningRate",
    "learning_rates": "learningRate",
    "warmup_steps": "learningRateWarmupSteps",
    "answers": "trainingSamplePerPrompt",
}
METHODS = {"distill_from_logs": "DISTILLATION", "reinforce_with_a_grader": "REINFORCEMENT_FINE_TUNING"}


@pytest.mark.parametrize("name", sorted(file.stem for file in DAGS.glob("*.py")))
def test_a_form_offers_what_the_base_models_take_and_says_the_range(name: str) -> None:
    """Airflow's form changes a number out of range to the nearest limit, silently: the help text has the limits."""
    params, method = dag(name).params, METHODS.get(name, "FINE_TUNING")
    schemas = {param: params.get_param(param).schema for param in params}
    offered = [model for one in ("base_model", "student") for model in schemas.get(one, {}).get("enum", ())]
    for model in offered or ["amazon.nova-2-lite-v1:0:256k"]:
        known = base_model(model)
        assert known is not None, f"{name} offers {model}, which base_models.toml does not know"
        teachers = schemas["teacher"]["enum"] if "teacher" in schemas else ()
        assert offered == [] or set(teachers) <= set(known.methods[method].teachers), (name, model)
        for param, hyperparameter in HYPERPARAMETERS.items():
            if param not in schemas or (known.methods.get(method) is None and not offered):
                continue
            schema = schemas[param].get("items", schemas[param])
            allowed = known.methods[method].hyperparameters[hyperparameter]
            low, high = schema["minimum"], schema["maximum"]
            assert (allowed.min or 0) <= low <= high <= (allowed.max or high), (name, param, model)
            assert f"{low:g} to {high:g}" in schemas[param]["description_md"], (name, param)


def test_a_form_offers_the_models_that_its_dag_can_train_and_deploy() -> None:
    """By base_models.toml: what takes no validation data, is not deployed on demand, or has ended is not offered."""
    assert text_models() == {
        "amazon.nova-micro-v1:0:128k": "Nova Micro",
        "amazon.nova-lite-v1:0:300k": "Nova Lite",
        "amazon.nova-pro-v1:0:300k": "Nova Pro",
    }
    anything = text_models(validation=False, on_demand=False)
    assert anything["amazon.nova-2-lite-v1:0:256k"] == "Nova 2 Lite"
    assert "anthropic.claude-3-haiku-20240307-v1:0:200k" not in anything  # it ended on 2026-09-10
    assert "meta.llama3-3-70b-instruct-v1:0:128k" not in text_models(
        validation=False, hyperparameters=["learningRateWarmupSteps"]
    )


@pytest.mark.parametrize("models", [text_models(), {"cohere.command-text-v14:7:4k": "Command"}])
def test_the_dropdown_opens_with_a_model_that_it_has(models: dict[str, str]) -> None:
    """Also where Nova Micro is not among them."""
    assert base_model_param(models).resolve() in models
