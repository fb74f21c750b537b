"""Tasks that wait outlive an upgrade: what a release has serialised, every later one must be able to take up.

``serialized.json`` holds it by release. What is written there is never changed: where this version serialises
something else, it gets an entry of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from airflow_bedrock.triggers import BedrockCustomModelDeploymentTrigger, BedrockModelCustomizationTrigger
from airflow_bedrock.triggers.quota import BedrockQuotaTrigger
from airflow_bedrock.triggers.resource import BedrockResourceTrigger

GOLDEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "serialized.json").read_text())
RENAMED = {"silence_limit": "no_response_timeout"}
CONNECTION: dict[str, Any] = {
    "aws_conn_id": "other",
    "region_name": "eu-west-1",
    "verify": "/ca.pem",
    "botocore_config": {"read_timeout": 5},
}
JOB = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijkl"
DEPLOYMENT = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abcdefghijkl"
MADE = {
    "customization job, by default": BedrockModelCustomizationTrigger(
        job_identifier="router-1", waiting_since="2026-01-01T12:30:00+00:00"
    ),
    "customization job": BedrockModelCustomizationTrigger(
        job_identifier=JOB,
        poll_interval=5,
        poll_interval_max=50,
        backoff=True,
        no_response_timeout=0,
        created="2026-01-01T12:00:00+00:00",
        waiting_since="2026-01-01T12:30:00+00:00",
        stop_on_kill=True,
        **CONNECTION,
    ),
    "deployment, by default": BedrockCustomModelDeploymentTrigger(deployment_arn=DEPLOYMENT, deadline=1767268800.5),
    "deployment": BedrockCustomModelDeploymentTrigger(
        deployment_arn=DEPLOYMENT, deadline=1767268800.5, waiter_delay=7, **CONNECTION
    ),
    "any kind": BedrockResourceTrigger(
        declaration="airflow_bedrock.jobs.resources.provisioned_throughput:PROVISIONED_THROUGHPUT",
        job_identifier="load-test",
        poll_interval=7,
        created="2026-01-01T12:00:00+00:00",
        waiting_since="2026-01-01T12:30:00+00:00",
        stop_on_kill=True,
        **CONNECTION,
    ),
    "quota": BedrockQuotaTrigger(
        task="0123456789abcdef",
        asked_at=1767182400.5,
        refused_at=1767182500.5,
        running=10,
        deadline=1767268800.5,
        poll_interval=7,
        **CONNECTION,
    ),
}


@pytest.mark.parametrize("release", GOLDEN)
def test_what_a_release_has_serialised_makes_a_trigger(release: str) -> None:
    """Its class is still there, takes its arguments, and keeps what they say."""
    for path, arguments in GOLDEN[release].values():
        trigger = resolve_name(path)(**arguments)
        again_path, again = trigger.serialize()
        assert again_path == path
        assert {name: again[RENAMED.get(name, name)] for name in arguments} == arguments


def test_what_this_version_serialises_is_on_record() -> None:
    """So that the next one is held to it."""
    latest = list(GOLDEN.values())[-1]
    assert {name: list(trigger.serialize()) for name, trigger in MADE.items()} == latest
