"""What the table of base models says against a request."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from airflow_bedrock.base_models import base_models
from airflow_bedrock.customization.model_rules import hyperparameter_problems, life_warning, warnings

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
        ("batchSize", "64", False),
        ("batchSize", "65", True),
        ("stepCount", "10", True),
    ],
)
def test_a_hyperparameter_is_checked_by_name_and_range(name: str, value: str, wrong: bool) -> None:
    """Nova has no stepCount and no batchSize above 64; its epochs are whole and at most five."""
    found = list(hyperparameter_problems(request(hyperParameters={name: value})))
    assert [problem.path for problem in found] == ([f"hyperParameters.{name}"] if wrong else [])


@pytest.mark.parametrize("identifier", ["new.model-v1:0", "{{ params.base_model }}", None])
def test_a_model_that_is_not_known_is_not_judged(identifier: str | None) -> None:
    """The service may be newer than the table."""
    assert not list(hyperparameter_problems({"baseModelIdentifier": identifier, "hyperParameters": {"x": "1"}}))


def test_every_default_of_the_table_passes() -> None:
    """The table does not contradict itself."""
    for model in base_models():
        for name, method in model.methods.items():
            defaults = {name: one.default for name, one in method.hyperparameters.items() if one.default is not None}
            asked = {"baseModelIdentifier": model.customizable_id, "customizationType": name}
            assert not list(hyperparameter_problems({**asked, "hyperParameters": defaults}))


def test_what_the_table_lacks_is_a_warning() -> None:
    """Unknown model, method and region are said, not refused."""
    assert warnings(request(), "us-east-1") == []
    assert "no entry for new.model-v1:0" in warnings({"baseModelIdentifier": "new.model-v1:0"}, "us-east-1")[0]
    assert "not CONTINUED_PRE_TRAINING" in warnings(request(customizationType="CONTINUED_PRE_TRAINING"), "us-east-1")[0]
    assert "not eu-west-1" in warnings(request(), "eu-west-1")[0]


HAIKU = "anthropic.claude-3-haiku-20240307-v1:0:200k"
TUNED = f"arn:aws:bedrock:us-west-2:123456789012:custom-model/{HAIKU}/abcdefghijkl"


@pytest.mark.parametrize("identifier", [HAIKU, TUNED])
@pytest.mark.parametrize(
    ("today", "said"),
    [
        (date(2026, 3, 9), None),
        (date(2026, 3, 10), "reach their end of life on 2026-09-10 (days left: 184)"),
        (date(2026, 9, 9), "reach their end of life on 2026-09-10 (days left: 1)"),
        (date(2026, 9, 10), "reached their end of life on 2026-09-10"),
    ],
)
def test_the_end_of_a_base_model_is_reported_in_time(identifier: str, today: date, said: str | None) -> None:
    """From its Legacy day on a base model's end is warned about, also for a custom model of it."""
    found = life_warning(identifier, today)
    assert found is None if said is None else said in str(found)
    asked = {"baseModelIdentifier": identifier}
    assert warnings(asked, "us-west-2", today) == ([found] if found else [])


def test_a_model_without_an_end_is_not_warned_about() -> None:
    """No end is known of Nova Micro, and nothing of a model that is not in the table."""
    assert all(bool(model.legacy) is bool(model.ends) for model in base_models())
    assert life_warning(MICRO) is None
    assert life_warning("new.model-v1:0") is None
