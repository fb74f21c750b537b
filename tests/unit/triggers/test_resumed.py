"""Tasks that wait outlive an upgrade: a worker of this version takes up what a triggerer of an older one ends.

``resumed.json`` holds by release which methods deferred tasks go on with, their arguments, and the event. Like
``serialized.json``, what is written there is never changed.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import airflow_bedrock
from airflow_bedrock import operators, sensors
from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.waiting import job_of_event
from airflow_bedrock.triggers import BedrockModelCustomizationTrigger

GOLDEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "resumed.json").read_text())
LATEST = list(GOLDEN.values())[-1]
CLASSES: dict[str, Any] = {name: getattr(module, name) for module in (operators, sensors) for name in module.__all__}


@pytest.mark.parametrize("release", GOLDEN)
def test_what_a_release_has_deferred_goes_on(release: str) -> None:
    """The methods are still there, and take what the task knew when it was deferred."""
    for name, methods in GOLDEN[release]["methods"].items():
        for method, arguments in methods.items():
            inspect.signature(getattr(CLASSES[name], method)).bind(None, {}, {}, **arguments)


@pytest.mark.parametrize("release", GOLDEN)
def test_the_event_of_a_release_is_understood(release: str) -> None:
    """It names the job, which the worker then reads."""
    event = GOLDEN[release]["event"]
    service: Any = SimpleNamespace(
        resource=CUSTOMIZATION_JOB, get=lambda name: Job(arn="arn", name=name, status="Completed")
    )
    found = job_of_event(service, event, 3600)
    assert (found.name, found.outcome) == (event["job_identifier"], Outcome.SUCCEEDED)


def test_what_this_version_goes_on_with_is_on_record() -> None:
    """So that the next one is held to it."""
    named = {method for methods in LATEST["methods"].values() for method in methods}
    source = "".join(file.read_text() for file in Path(airflow_bedrock.__path__[0]).rglob("*.py"))
    assert set(re.findall(r"method_name=(?:self\.|\")(\w+)", source)) == named
    has = {name: {method for method in named if hasattr(kind, method)} for name, kind in CLASSES.items()}
    assert {name: methods for name, methods in has.items() if methods} == {
        name: set(methods) for name, methods in LATEST["methods"].items()
    }


def test_the_event_of_this_version_is_on_record() -> None:
    """The same members."""
    trigger = BedrockModelCustomizationTrigger(job_identifier="router-1", waiting_since="2026-01-01T12:30:00+00:00")
    assert trigger._event("ended", "Job router-1 is Completed", "Completed") == LATEST["event"]
