"""What the table of base models says against a request."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_bedrock.base_models import base_models
from airflow_bedrock.customization.model_rules import hyperparameter_problems, warnings

MICRO = "amazon.nova-micro-v1:0:128k"


def request(**more: Any) -> dict[str, Any]:
    return {"baseModelIdentifier": MICRO, **more}


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("epochCount", "5", False),
        ("epochCount", "6", True),
        ("epochCount", "1.5", True),
        ("epochCount", "many", True),
        ("learningRate", "1e-05", False),
        ("learningRate", "0.1", True),
        ("batchSize", "1", False),
        ("batchSize", "2", True),
        ("stepCount", "10", True),
    ],
)
def test_a_hyperparameter_is_checked_by_name_and_range(name: str, value: str, wrong: bool) -> None:
    """Nova has no stepCount and no batchSize but 1; its epochs are whole and at most five."""
    found = hyperparameter_problems(request(hyperParameters={name: value}))
    assert [problem.path for problem in found] == ([f"hyperParameters.{name}"] if wrong else [])


@pytest.mark.parametrize("identifier", ["new.model-v1:0", "{{ params.base_model }}", None])
def test_a_model_that_is_not_known_is_not_judged(identifier: str | None) -> None:
    """The service may be newer than the table."""
    assert hyperparameter_problems({"baseModelIdentifier": identifier, "hyperParameters": {"x": "1"}}) == []


def test_every_default_of_the_table_passes() -> None:
    """The table does not contradict itself."""
    for model in base_models():
        for name, method in model.methods.items():
            defaults = {name: one.default for name, one in method.hyperparameters.items() if one.default is not None}
            asked = {"baseModelIdentifier": model.customizable_id, "customizationType": name}
            assert hyperparameter_problems({**asked, "hyperParameters": defaults}) == []


def test_what_the_table_lacks_is_a_warning() -> None:
    """Unknown model, method, region and teacher are said, not refused."""
    assert warnings(request(), "us-east-1") == []
    assert "does not know new.model-v1:0" in warnings({"baseModelIdentifier": "new.model-v1:0"}, "us-east-1")[0]
    assert "no CONTINUED_PRE_TRAINING" in warnings(request(customizationType="CONTINUED_PRE_TRAINING"), "us-east-1")[0]
    assert "not eu-west-1" in warnings(request(), "eu-west-1")[0]
    teacher = {"distillationConfig": {"teacherModelConfig": {"teacherModelIdentifier": "amazon.nova-micro-v1:0"}}}
    distilled = request(customizationType="DISTILLATION", customizationConfig=teacher)
    assert "other teachers" in warnings(distilled, "us-east-1")[0]
