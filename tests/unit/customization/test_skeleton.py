"""The skeletons that ``airflow-bedrock skeleton`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from airflow_bedrock.base_models import base_models
from airflow_bedrock.cli import main
from airflow_bedrock.customization.request import check_request, read_request
from airflow_bedrock.customization.skeleton import customization_types, skeleton

KNOWN = set(customization_types())


@pytest.mark.parametrize("customization_type", customization_types())
def test_every_skeleton_is_a_request_that_the_service_would_take(customization_type: str) -> None:
    """As it stands, for every type that botocore knows; nothing has to be guessed."""
    request = skeleton(customization_type)
    check_request(request)
    assert request["customizationType"] == customization_type


def test_the_hyperparameters_of_the_base_model_are_filled_in() -> None:
    """With its defaults, and they pass."""
    for model in base_models():
        for name in model.methods.keys() & KNOWN:
            check_request(skeleton(name, model.customizable_id))
    assert skeleton(base_model_id="amazon.nova-micro-v1:0:128k")["hyperParameters"]["epochCount"] == "2"


def test_the_teacher_is_one_of_the_base_model() -> None:
    """Nova's do not teach Llama."""
    for model in base_models():
        if method := model.methods.get("DISTILLATION"):
            config = skeleton("DISTILLATION", model.customizable_id)["customizationConfig"]["distillationConfig"]
            assert config["teacherModelConfig"]["teacherModelIdentifier"] in method.teachers


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_the_command_prints_what_the_operator_reads(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both forms are the same request."""
    assert main(["skeleton", "--type", "DISTILLATION", "--format", form]) == 0
    printed = capsys.readouterr().out
    assert read_request(printed) == skeleton("DISTILLATION")
    assert (json.loads if form == "json" else yaml.safe_load)(printed) == skeleton("DISTILLATION")


def test_no_number_that_may_be_left_out_is_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    """The service's minimum, submitted unchanged, would train on prompts of one token; left out, there is a default."""
    for customization_type in customization_types():
        request = skeleton(customization_type)
        assert not [leaf for leaf in leaves(request) if isinstance(leaf, (int, float)) and leaf is not False]
    if "REINFORCEMENT_FINE_TUNING" not in KNOWN:
        pytest.skip("this botocore does not know reinforcement fine-tuning")
    assert main(["skeleton", "--type", "REINFORCEMENT_FINE_TUNING"]) == 0
    printed = capsys.readouterr().out
    assert "lambdaArn" in printed
    assert "maxPromptLength" not in printed


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for member in value:
            yield from leaves(member)
    else:
        yield value
