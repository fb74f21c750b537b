"""Wrong arguments of the customization operator are reported when the DAG is parsed, or before the call."""

from __future__ import annotations

import inspect
import re
import warnings
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore
import pytest
from airflow.sdk import DAG, XComArg
from botocore import xform_name

from airflow_bedrock import configuration
from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.request import SHORT_NAMES, request_shape
from airflow_bedrock.exceptions import ArgumentError, BedrockError, BedrockFatalError
from airflow_bedrock.operators import BedrockModelCustomizationOperator
from airflow_bedrock.operators.job_request import checked_request, request_of, task_key_of
from airflow_bedrock.sensors import BedrockModelCustomizationSensor
from airflow_bedrock.shapes import missing_in_botocore

ARGUMENTS: dict[str, Any] = {
    "task_id": "customize",
    "job_name": "router",
    "custom_model_name": "router",
    "role_arn": "arn:aws:iam::123456789012:role/bedrock",
    "base_model_id": "amazon.nova-micro-v1:0:128k",
    "training_data_uri": "s3://bucket/train.jsonl",
    "output_data_uri": "s3://bucket/output",
}
TASK_KEY = TaskKey(dag_id="dag", task_id="customize", run_id="run-1")
KEY = {"customModelKmsKeyId": "alias/x"}


def operator(**more: Any) -> BedrockModelCustomizationOperator:
    return BedrockModelCustomizationOperator(**{**ARGUMENTS, **more})


def rendered(name: str, value: Any, **more: Any) -> BedrockModelCustomizationOperator:
    """An operator whose argument was a template, and is rendered by now."""
    task = operator(**{name: "{{ template }}"}, **more)
    setattr(task, name, value)
    return task


def context(try_number: int = 1) -> Any:
    names = {"dag_id": "dag", "task_id": "customize", "run_id": "run-1"}
    ti = SimpleNamespace(**names, map_index=-1, max_tries=1, try_number=try_number)
    return {"ti": ti, "dag_run": SimpleNamespace(partition_key=None)}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"customization_job_kwargs": [("a", 1)]},
            "customization_job_kwargs must be a mapping of members; got list",
        ),
        (
            {"customization_job_kwargs": "vpcConfig"},
            "customization_job_kwargs must be a mapping of members; got str",
        ),
        ({"customization_job_kwargs": '{"vpcConfig": 1}'}, "vpcConfig: 1: Member must be a structure"),
        ({"request": [1]}, "request must be a mapping of members; got list"),
        ({"request": "ok.txt"}, "a file's name ends in .json, .yaml, .yml"),
        ({"request": {"base_model_id": 5}, "base_model_id": None}, "baseModelIdentifier: 5: Member must be a string"),
        ({"client_request_token": "mine"}, "clientRequestToken: 'mine': remove it"),
        ({"request": {"clientRequestToken": "mine"}}, "clientRequestToken: 'mine': remove it"),
        ({"training_data_config": {"s3Uri": "s3://b/t"}}, "training_data_uri and training_data_config both set"),
        ({"job_tags": {"team": "x"}}, "jobTags: .*Member must be a list"),
        ({"job_name": 5}, "jobName: 5: Member must be a string"),
        ({"job_tags": [{"key": f"k{n}", "value": ""} for n in range(41)]}, "41 tags are too many: set at most 40"),
        ({"request": {"customModelTags": [{"key": f"k{n}", "value": ""} for n in range(41)]}}, "41 tags are too many"),
        ({"ensure_unique_job_name": "no"}, "ensure_unique_job_name must be True or False"),
        ({"content": "ignored"}, "content must be one of identify, ignore; got 'ignored'"),
        ({"superseded": "stopp"}, "superseded must be one of stop, keep, fail; got 'stopp'"),
        ({"reuse": "forever"}, "reuse must be one of run, dag, never; got 'forever'"),
    ],
)
def test_a_literal_mistake_breaks_the_dag(wrong: dict[str, Any], said: str) -> None:
    """None is dropped silently, and none waits for the run."""
    with pytest.raises(ValueError, match=said):
        operator(**wrong)


REINFORCEMENT = "CreateModelCustomizationJob.customizationType=REINFORCEMENT_FINE_TUNING"


@pytest.mark.skipif(not missing_in_botocore(REINFORCEMENT), reason="this botocore knows reinforcement fine-tuning")
def test_what_botocore_is_too_old_for_breaks_the_dag() -> None:
    """The error names the operation, the botocore that is there, and the first that has it; of members as of values."""
    with pytest.raises(ArgumentError) as caught:
        operator(customization_type="REINFORCEMENT_FINE_TUNING", customization_config={"rftConfig": {}})
    for name in (REINFORCEMENT, "CreateModelCustomizationJob.customizationConfig.rftConfig"):
        assert f"botocore {botocore.__version__} does not know {name}: upgrade boto3 to 1.42.2" in str(caught.value)


@pytest.mark.parametrize(
    "unknown", [{"request": "file.json"}, {"request": "{{ x }}"}, {"customization_job_kwargs": "{{ x }}"}]
)
def test_arguments_beside_an_unknown_request_are_checked(unknown: dict[str, Any]) -> None:
    """Members may still be missing, but wrong ones are reported."""
    with pytest.raises(
        ArgumentError, match=r"(?s)roleArn: 'bad'.*hyperParameters: 'x': Member must be a map"
    ) as caught:
        BedrockModelCustomizationOperator(
            **{"task_id": "customize", "role_arn": "bad", "hyperparameters": "x", **unknown}
        )
    assert "null" not in str(caught.value)
    BedrockModelCustomizationOperator(task_id="customize", **unknown)


@pytest.mark.parametrize("try_number", [1, 2])
def test_a_rendered_request_without_a_job_name_says_so(try_number: int) -> None:
    """What is missing is named by the task too, where nothing can be found by a name."""
    given = dict.fromkeys(("job_name", "custom_model_name"))
    with pytest.raises(BedrockFatalError, match=r"jobName: Member must not be null \(set job_name\)"):
        rendered("request", {}, **given).execute(context(try_number))


def test_what_is_missing_is_named_as_the_operator_calls_it() -> None:
    """Each required member of the request, with the argument that gives it; what was given is not among them."""
    with pytest.raises(ArgumentError) as caught:
        BedrockModelCustomizationOperator(task_id="customize", job_name="router")
    signature = inspect.signature(BedrockModelCustomizationOperator).parameters
    said = dict(re.findall(r"- (\w+): Member must not be null \(set (\w+)\)", str(caught.value)))
    assert said.keys() == {*request_shape().required_members} - {"jobName"}
    assert {"training_data_uri", "role_arn"} <= set(said.values()) <= signature.keys()


def test_what_the_base_model_takes_depends_on_the_whole_request() -> None:
    """A file may say another customization type, which has other hyperparameters."""
    operator(request="file.yaml", hyperparameters={"ofAnotherType": 1})
    with pytest.raises(ArgumentError, match="ofAnotherType"):
        operator(hyperparameters={"ofAnotherType": 1})


def test_the_output_of_another_task_is_left_for_later() -> None:
    """It is no mapping when the DAG is parsed, and is one when the task runs."""
    with DAG("dag"):
        first = operator(task_id="first")
        for name in ("request", "customization_job_kwargs"):
            task = operator(task_id=f"by_{name}", **{name: XComArg(first)})
            assert task.upstream_task_ids == {"first"}


@pytest.mark.parametrize(
    "text", ["{'customModelKmsKeyId': 'alias/x'}", '{"customModelKmsKeyId": "alias/x"}', "customModelKmsKeyId: alias/x"]
)
@pytest.mark.parametrize("name", ["customization_job_kwargs", "request"])
def test_a_mapping_as_text_is_read(name: str, text: str) -> None:
    """A template renders a mapping as text; the job is not made without what it says."""
    assert checked_request(rendered(name, text).asked, TASK_KEY)["customModelKmsKeyId"] == "alias/x"


@pytest.mark.parametrize("value", [[("a", 1)], "alias/x", 5])
@pytest.mark.parametrize("name", ["customization_job_kwargs", "request"])
def test_what_renders_to_no_mapping_fails_for_good(name: str, value: Any) -> None:
    """Before anything is spent; a retry would render the same."""
    with pytest.raises(BedrockFatalError, match=f"{name} must be a mapping of members.*nothing was spent"):
        checked_request(rendered(name, value).asked, TASK_KEY)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("job_name", 5, "jobName: 5: Member must be a string"),
        ("request", "jobTags: {team: x}", r"jobTags: .*Member must be a list"),
        (
            "ensure_unique_job_name",
            "maybe",
            "ensure_unique_job_name must be True or False; got 'maybe'.*nothing was spent",
        ),
        ("reuse", "forever", "reuse must be one of run, dag, never; got 'forever'.*nothing was spent"),
    ],
)
def test_what_a_template_renders_is_checked_before_the_call(name: str, value: Any, said: str) -> None:
    """With an error that says so, and no retry."""
    with pytest.raises(BedrockFatalError, match=said):
        rendered(name, value).execute(context())


@pytest.mark.parametrize("name", ["job_name", "custom_model_name"])
def test_a_name_that_is_missing_when_the_task_runs_fails_for_good(name: str) -> None:
    """For example in a request's file."""
    ti = SimpleNamespace(dag_id="dag", task_id="customize", run_id="run-1", map_index=-1, max_tries=0, try_number=1)
    context: Any = {"ti": ti, "dag_run": SimpleNamespace(partition_key=None)}
    task = operator(**{name: None, "request": "request.json"})
    task.request = "{}"
    with pytest.raises(BedrockFatalError, match=rf"Name: Member must not be null \(set {name}\)"):
        task.execute(context)


def test_members_come_from_default_args_too() -> None:
    """Of the DAG and of the task; an argument of the task wins over them, as with every argument of Airflow."""
    defaults = {"custom_model_kms_key_id": "alias/k", "role_arn": ARGUMENTS["role_arn"], "retries": 3}
    arguments = {name: value for name, value in ARGUMENTS.items() if name != "role_arn"}
    with DAG("dag", default_args=defaults):
        task = BedrockModelCustomizationOperator(**arguments)
        other = BedrockModelCustomizationOperator(
            **{**arguments, "task_id": "other"},
            custom_model_kms_key_id="alias/mine",
            default_args={"customization_type": "FINE_TUNING"},
        )
    assert request_of(task.asked)["customModelKmsKeyId"] == "alias/k"
    assert (task.retries, task.role_arn) == (3, ARGUMENTS["role_arn"])
    assert request_of(other.asked)["customModelKmsKeyId"] == "alias/mine"
    assert request_of(other.asked)["customizationType"] == "FINE_TUNING"


def test_a_mapped_task_takes_every_member() -> None:
    """From ``default_args``, ``partial`` and ``expand``."""
    arguments = {name: value for name, value in ARGUMENTS.items() if name != "job_name"}
    with DAG("dag", default_args={"custom_model_kms_key_id": "alias/k"}):
        mapped = BedrockModelCustomizationOperator.partial(**arguments, customization_type="FINE_TUNING").expand_kwargs(
            [{"job_name": "a", "job_tags": [{"key": "team", "value": "a"}]}]
        )
    task = mapped.unmap({"job_name": "a", "job_tags": [{"key": "team", "value": "a"}]})
    assert isinstance(task, BedrockModelCustomizationOperator)
    request = request_of(task.asked)
    assert request["customModelKmsKeyId"] == "alias/k"
    assert request["customizationType"] == "FINE_TUNING"
    assert request["jobTags"] == [{"key": "team", "value": "a"}]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("job_name", "other"),
        ("custom_model_name", "other"),
        ("role_arn", "arn:aws:iam::123456789012:role/other"),
        ("base_model_id", "amazon.nova-lite-v1:0:300k"),
        ("customization_type", "FINE_TUNING"),
        (
            "customization_config",
            {"distillationConfig": {"teacherModelConfig": {"teacherModelIdentifier": "amazon.nova-pro-v1:0"}}},
        ),
        ("custom_model_kms_key_id", "alias/k"),
        ("job_tags", [{"key": "team", "value": "a"}]),
        ("custom_model_tags", [{"key": "team", "value": "a"}]),
        ("training_data_config", {"s3Uri": "s3://bucket/other.jsonl"}),
        ("validation_data_config", {"validators": [{"s3Uri": "s3://bucket/other.jsonl"}]}),
        ("output_data_config", {"s3Uri": "s3://bucket/other"}),
        ("hyperparameters", {"epochCount": "3"}),
        ("vpc_config", {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]}),
    ],
)
def test_a_task_may_be_mapped_over_each_member(name: str, value: Any) -> None:
    """Over its values, or over the outputs of a task, by ``expand``; all but the token, which the operator derives."""
    instead = {"training_data_config": "training_data_uri", "output_data_config": "output_data_uri"}.get(name, name)
    arguments = {key: one for key, one in ARGUMENTS.items() if key not in (name, instead)}
    with DAG("dag"):
        mapped = BedrockModelCustomizationOperator.partial(**arguments).expand(**{name: [value]})
    task = mapped.unmap({name: value})
    assert isinstance(task, BedrockModelCustomizationOperator)
    given = SHORT_NAMES.get(name) or {xform_name(one): one for one in request_shape().members}[name]
    assert request_of(task.asked)[given] == value


@pytest.mark.parametrize("wrong", [{"over_budget": "stop"}, {"expected_cost": "two"}, {"max_cost": -1}], ids=str)
def test_a_mapped_task_with_a_wrong_amount_or_choice_is_not_retried(wrong: dict[str, Any]) -> None:
    """It gets its arguments only when it runs; an error in a DAG file is a ValueError."""
    with pytest.raises(BedrockFatalError, match=f"{next(iter(wrong))} must be") as caught:
        BedrockModelCustomizationOperator(**ARGUMENTS, **wrong)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", ["deferrable", "wait_for_completion", "stop_on_kill", "stop_on_timeout", "preflight"])
@pytest.mark.parametrize("text", ["False", "{{ params.it }}"])
def test_a_switch_given_as_text_is_refused(name: str, text: str) -> None:
    """It is not rendered, and Python takes any text for true."""
    arguments: dict[str, Any] = {**ARGUMENTS, name: text}
    with pytest.raises(BedrockFatalError, match=f"{name} must be True or False"):
        BedrockModelCustomizationOperator(**arguments)


def test_multiple_outputs_of_other_tasks_does_not_fail_a_task_that_returns_an_arn() -> None:
    """Airflow would refuse its result at its end, when the job is paid for."""
    with DAG("dag", default_args={"multiple_outputs": True}):
        assert not BedrockModelCustomizationOperator(**ARGUMENTS).multiple_outputs


def test_every_member_is_an_argument() -> None:
    """By one of its names at least, and templated; a request has no others."""
    places = {"training_data_uri", "validation_data_uri", "output_data_uri"}
    signature = inspect.signature(BedrockModelCustomizationOperator).parameters
    declared = BedrockModelCustomizationOperator(task_id="customize", request="{{ x }}").asked.members
    names = [SHORT_NAMES.get(name) or name for name in declared if name not in places]
    snake_case = {xform_name(name): name for name in request_shape().members}
    assert sorted(snake_case.get(name, name) for name in names) == sorted(snake_case.values())
    assert declared.keys() <= signature.keys()
    assert declared.keys() <= set(BedrockModelCustomizationOperator.template_fields)


def test_an_unknown_argument_is_refused_by_airflow() -> None:
    """A misspelt member too; with Airflow's own words."""
    with pytest.raises(TypeError, match="vpc_conf"):
        operator(vpc_conf={})


def first_try() -> Any:
    ti = SimpleNamespace(dag_id="dag", task_id="customize", run_id="run-1", map_index=-1, max_tries=0, try_number=1)
    return {"ti": ti, "dag_run": SimpleNamespace(partition_key=None)}


@pytest.mark.parametrize("path", ["request.json", Path("request.json")])
def test_a_file_may_be_a_path(path: Any, tmp_path: Path) -> None:
    """Found like Airflow's template files."""
    (tmp_path / "request.json").write_text('{"customModelKmsKeyId": "{{ key }}"}')
    with DAG("dag", template_searchpath=str(tmp_path)):
        task = operator(request=path)
    task.render_template_fields({"key": "alias/x"})  # type: ignore[typeddict-unknown-key]  # what the file uses
    assert request_of(task.asked)["customModelKmsKeyId"] == "alias/x"


def test_a_file_that_is_not_utf_8_fails_for_good(tmp_path: Path) -> None:
    """PowerShell writes UTF-16."""
    (tmp_path / "request.json").write_text("{}", encoding="utf-16")
    with DAG("dag", template_searchpath=str(tmp_path)):
        task = operator(request="request.json")
    task.render_template_fields({})
    with pytest.raises(BedrockFatalError, match=r"The file request\.json is not UTF-8.*spent nothing"):
        task.execute(first_try())


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    """Airflow finds no template by an absolute path, although the file is there."""
    file = tmp_path / "request.json"
    file.write_text("{}")
    with DAG("dag", template_searchpath=str(tmp_path)):
        task = operator(request=file)
    task.render_template_fields({})
    with pytest.raises(BedrockFatalError, match=f"File {file} does not exist.*relative to the DAG file's folder"):
        task.execute(first_try())


def test_a_file_that_cannot_be_rendered_is_reported(tmp_path: Path) -> None:
    """A retry may help: the value may come from Airflow's API."""
    (tmp_path / "request.json").write_text("{{ 1 / zero }}")
    with DAG("dag", template_searchpath=str(tmp_path)):
        task = operator(request="request.json")
    task.render_template_fields({"zero": 0})  # type: ignore[typeddict-unknown-key]  # what the file uses
    with pytest.raises(BedrockError, match=r"request\.json could not be rendered: division by zero.*spent nothing"):
        task.execute(first_try())


@pytest.mark.parametrize(("old", "new"), [("silence_limit", "no_response_timeout"), ("slot_timeout", "quota_timeout")])
def test_an_old_name_warns_and_works(old: str, new: str) -> None:
    """For one release."""
    with pytest.warns(DeprecationWarning, match=f"{old} was renamed to {new}"):
        task = operator(**{old: 7})
    assert getattr(task, new) == 7
    with pytest.warns(DeprecationWarning, match=f"{old} was renamed to {new}"):
        task = operator(**{old: 7, new: 8})
    assert getattr(task, new) == 8, "the old name may stand in default_args still"


def test_the_warning_of_an_old_name_is_shown_to_who_wrote_the_dag() -> None:
    """Of DeprecationWarnings, Python shows those of ``__main__`` alone, and Airflow those of its own modules too."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("default", category=DeprecationWarning, module="airflow")
        operator(silence_limit=7)
        operator(slot_timeout=7)
        BedrockModelCustomizationSensor(task_id="wait", job_identifier="router", silence_limit=7)
    told = [str(one.message).partition(" was renamed")[0] for one in shown]
    assert told == ["silence_limit", "slot_timeout"], "each once, whichever tasks give it"


def test_the_key_is_read_from_the_task_instance_and_its_run() -> None:
    """Also the earliest moment of a request, before which no job of another is read; a task without a map has -1."""
    ids: dict[str, Any] = {"dag_id": "dag", "task_id": "customize", "run_id": "run-1"}
    ti = SimpleNamespace(**ids, map_index=None, max_tries=4, try_number=2, task=SimpleNamespace(retries=3))
    began = datetime(2026, 11, 1, tzinfo=UTC)
    context: Any = {"ti": ti, "dag_run": SimpleNamespace(partition_key="2026-10", run_after=began)}
    known = TaskKey(
        **ids,
        map_index=-1,
        environment=configuration.environment(),
        partition_key="2026-10",
        ask=4,
        try_number=2,
        retries=3,
        since=began,
    )
    assert task_key_of(context) == known


def test_one_poll_is_a_wait() -> None:
    """The least that ``waiter_max_attempts`` may be."""
    assert operator(waiter_max_attempts=1).waiter_max_attempts == 1
