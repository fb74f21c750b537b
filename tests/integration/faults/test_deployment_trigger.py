"""The deployment trigger on the poll loop, when the service throttles, fails, hangs up or says what nobody knows."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import unquote

import pytest

from airflow_bedrock.jobs import no_response, poll_loop
from airflow_bedrock.triggers import BedrockModelCustomizationTrigger
from airflow_bedrock.triggers.base import BedrockTrigger
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
    event = await event_of()
    assert (event["kind"], event["job_identifier"], event["status"]) == ("ended", ARN, "Active")
    assert len(service.requests) == 7


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (deployment("Failed", failureMessage="no capacity"), "ended", "Failed"),
        (deployment("Paused"), "ended", "Paused"),
        ((403, {"__type": "AccessDeniedException", "message": "not you"}), "refused", "not you"),
        ((404, {"__type": "ResourceNotFoundException", "message": "none"}), "missing", "There is no custom model"),
    ],
)
async def test_what_does_not_pass_ends_the_wait(
    service: Any, monkeypatch: pytest.MonkeyPatch, answer: Any, kind: str, message: str
) -> None:
    """Failed, an unknown status, no permission, and a deployment that stays missing are reported, not waited for."""
    monkeypatch.setattr(no_response, "SECONDS_UNTIL_MISSING", 0.0)
    service.answers(answer)
    event = await event_of()
    assert event["kind"] == kind
    assert message in event["message"]


@pytest.mark.parametrize("answer", [deployment("Creating"), (429, {"__type": "ThrottlingException"})])
async def test_the_deadline_ends_the_wait(service: Any, answer: Any) -> None:
    """Neither a deployment that stays Creating nor throttling for ever outlasts the deadline."""
    service.answers(deployment("Active"))
    await event_of()  # the first wait of a process imports
    service.answers(answer)
    before = len(service.requests)
    assert (await event_of(seconds=3))["kind"] == "late"
    assert len(service.requests) > before + 1


async def test_a_deployment_that_is_hidden_for_a_while_is_waited_for(service: Any, refused: Any) -> None:
    """However often the service says that there is no such deployment: what was just made may be shown late."""
    service.answers(*[refused(404, "ResourceNotFoundException")] * 20, deployment("Active"))
    assert (await event_of())["status"] == "Active"


async def test_deployments_cost_one_list_and_share_the_loop_with_jobs(service: Any) -> None:
    """One loop and one pool of threads for both kinds; what List shows as Active needs no Get."""
    arns = [f"{ARN[:-2]}{i:02}" for i in range(10)]
    asked: list[str] = []
    loops: set[poll_loop.PollLoop] = set()
    status = "Creating"

    def route(target: str) -> tuple[int, dict[str, Any]]:
        nonlocal status
        path = unquote(target)
        asked.append(path)
        loops.update(poll_loop._loops.values())
        if path.startswith("/model-customization-jobs"):
            return 200, {"jobArn": "arn:job", "jobName": "job", "status": "Completed"}
        listed = [path for path in asked if "?" in path]
        status = "Active" if len(listed) > 3 else "Creating"
        rows = [{"customModelDeploymentArn": arn, "status": status} for arn in arns]
        for arn, row in zip(arns, rows, strict=True):
            if arn in path:
                return 200, {**row, "modelDeploymentName": arn[-12:]}
        return 200, {"modelDeploymentSummaries": [{**row, "customModelDeploymentName": "d"} for row in rows]}

    service.route = route
    triggers: list[BedrockTrigger] = [
        BedrockCustomModelDeploymentTrigger(deployment_arn=arn, deadline=time.time() + 60, waiter_delay=0.2)
        for arn in arns
    ]
    triggers.append(BedrockModelCustomizationTrigger(job_identifier="job"))
    events = await asyncio.gather(*(anext(trigger.run()) for trigger in triggers))
    assert [event.payload["kind"] for event in events] == ["ended"] * 11
    assert len(loops) == 1
    assert not [path for path in asked if path.startswith("/model-customization/custom-model-deployments/")]
    assert all("sortBy=CreationTime" in path for path in asked if "?" in path)
