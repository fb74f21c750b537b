"""What a form of the example DAGs may name: no bucket, role or account that is not on a list in the DAG's file.

An API call passes by the form, so that each text which a run can be given is tried as its conf. Airflow holds conf
against the schema in the task too; what the schema lets through, a task refuses, or it is no name of these.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from airflow_bedrock.base_models import base_model
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.registry import register
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
    ("prepare_at_scale", "source"): by_task("prepare_at_scale", "engine"),
    ("prepare_at_scale", "records"): by_task("prepare_at_scale", "engine"),
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


HYPERPARAMETERS = {
    "epochs": "epochCount",
    "learning_rate": "learningRate",
    "learning_rates": "learningRate",
    "warmup_steps": "learningRateWarmupSteps",
}
METHODS = {"distill_from_logs": "DISTILLATION", "reinforce_with_a_grader": "REINFORCEMENT_FINE_TUNING"}


@pytest.mark.parametrize("name", sorted(file.stem for file in DAGS.glob("*.py")))
def test_a_form_offers_what_the_base_models_take_and_says_the_range(name: str) -> None:
    """Airflow's form changes a number out of range to the nearest end in silence: the help text says the ends."""
    params, method = dag(name).params, METHODS.get(name, "FINE_TUNING")
    schemas = {param: params.get_param(param).schema for param in params}
    offered = [model for one in ("base_model", "student") for model in schemas.get(one, {}).get("enum", ())]
    for model in offered or ["amazon.nova-2-lite-v1:0:256k"]:
        known = base_model(model)
        assert known is not None, f"{name} offers {model}, which base_models.toml does not know"
        for param, hyperparameter in HYPERPARAMETERS.items():
            if param not in schemas or (known.methods.get(method) is None and not offered):
                continue
            schema = schemas[param].get("items", schemas[param])
            allowed = known.methods[method].hyperparameters[hyperparameter]
            low, high = schema["minimum"], schema["maximum"]
            assert (allowed.min or 0) <= low <= high <= (allowed.max or high), (name, param, model)
            assert f"{low:g} to {high:g}" in schemas[param]["description_md"], (name, param)
