"""The deployment trigger on aiobotocore, when the service throttles, fails, hangs up or says what nobody knows."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_bedrock.triggers.deployment import BedrockCustomModelDeploymentTrigger

ARN = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abcdefghijkl"


def deployment(status: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return 200, {"customModelDeploymentArn": ARN, "modelDeploymentName": "d", "status": status, **more}


async def event_of(seconds: float = 60) -> dict[str, Any]:
    """Run the trigger as a triggerer does: made again from what it serialises."""
    trigger = BedrockCustomModelDeploymentTrigger(
        deployment_arn=ARN,
        deadline=time.time() + seconds,
        waiter_delay=0.01,
        botocore_config={"retries": {"total_max_attempts": 1}},
    )
    _, arguments = trigger.serialize()
    events = [event async for event in BedrockCustomModelDeploymentTrigger(**arguments).run()]
    assert len(events) == 1
    payload: dict[str, Any] = events[0].payload
    return payload


async def test_faults_that_pass_are_absorbed(service: Any, refused: Any) -> None:
    """Not there yet, throttling, HTTP 500 and 503, a lost connection: the wait goes on until it is Active."""
    service.answers(
        refused(404, "ResourceNotFoundException"),
        refused(429, "ThrottlingException"),
        refused(500, "InternalServerException"),
        (503, {}),
        (0, {}),
        deployment("Creating"),
        deployment("Active"),
    )
    assert await event_of() == {"kind": "active", "deployment_arn": ARN, "message": "it is Active"}
    assert len(service.requests) == 7


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (deployment("Failed", failureMessage="no capacity"), "failed", "no capacity"),
        (deployment("Paused"), "unknown", "Paused"),
        ((403, {"__type": "AccessDeniedException", "message": "not you"}), "refused", "not you"),
        ((404, {"__type": "ResourceNotFoundException", "message": "none"}), "missing", "does not exist"),
    ],
)
async def test_what_does_not_pass_ends_the_wait(service: Any, answer: Any, kind: str, message: str) -> None:
    """Failed, an unknown status, no permission, and a deployment that stays missing are reported, not waited for."""
    service.answers(answer)
    event = await event_of()
    assert event["kind"] == kind
    assert message in event["message"]


@pytest.mark.parametrize("answer", [deployment("Creating"), (429, {"__type": "ThrottlingException"})])
async def test_the_deadline_ends_the_wait(service: Any, answer: Any) -> None:
    """Neither a deployment that stays Creating nor throttling for ever outlasts the deadline."""
    service.answers(answer)
    assert (await event_of(seconds=0.3))["kind"] == "late"
    assert len(service.requests) > 1
