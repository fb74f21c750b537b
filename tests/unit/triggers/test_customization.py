"""The trigger's arguments survive the way to a triggerer, and say which triggers share a loop."""

from __future__ import annotations

import asyncio
import inspect
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.triggers.base import BaseEventTrigger, BaseTrigger

from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.jobs.no_response import NoResponseTimeout
from airflow_bedrock.jobs.planner import GetJob, Trouble, Unanswered
from airflow_bedrock.jobs.poll_client import PollClient
from airflow_bedrock.jobs.poll_loop import PollLoop
from airflow_bedrock.jobs.waiting import job_of_event
from airflow_bedrock.triggers import (
    BedrockCustomModelDeploymentTrigger,
    BedrockModelCustomizationTrigger,
    resource,
)
from airflow_bedrock.triggers.base import BedrockTrigger

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijkl"
CREATED = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)


def trigger(**arguments: Any) -> BedrockModelCustomizationTrigger:
    return BedrockModelCustomizationTrigger(**{"job_identifier": ARN, **arguments})


def test_what_is_serialized_makes_the_same_trigger_again() -> None:
    """Plain JSON types, and every argument."""
    made = trigger(
        poll_interval=5,
        poll_interval_max=50,
        backoff=True,
        no_response_timeout=0,
        created=CREATED,
        stop_on_kill=True,
        aws_conn_id="other",
        region_name="eu-west-1",
        verify="/ca.pem",
        botocore_config={"read_timeout": 5},
    )
    path, arguments = made.serialize()
    assert path == "airflow_bedrock.triggers.customization.BedrockModelCustomizationTrigger"
    again = BedrockModelCustomizationTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)
    signatures = [inspect.signature(kind) for kind in (BedrockModelCustomizationTrigger, BedrockTrigger)]
    assert {*arguments, "connection", "silence_limit"} == {
        name for signature in signatures for name in signature.parameters
    }
    assert again.created == CREATED


def test_the_arguments_that_the_operator_gives_are_enough() -> None:
    """All else has a default, some of them in Airflow's configuration."""
    made = trigger(poll_interval=30, aws_conn_id="aws_default", region_name=None, verify=None, botocore_config=None)
    assert (made.pace.interval, made.pace.ceiling, made.no_response_timeout) == (30, 600, 3600)
    assert not made.stop_on_kill


def test_the_defaults_come_from_airflows_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Section [bedrock]."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__POLL_INTERVAL", "7")
    monkeypatch.setenv("AIRFLOW__BEDROCK__POLL_INTERVAL_MAX", "77")
    monkeypatch.setenv("AIRFLOW__BEDROCK__NO_RESPONSE_TIMEOUT", "777")
    made = trigger()
    assert (made.pace.interval, made.pace.ceiling, made.no_response_timeout) == (7, 77, 777)


def test_the_old_name_in_the_configuration_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    """And holds."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__SILENCE_LIMIT", "777")
    with pytest.warns(DeprecationWarning, match=r"silence_limit was renamed to \[bedrock\] no_response_timeout"):
        made = trigger()
    assert made.no_response_timeout == 777
    monkeypatch.setenv("AIRFLOW__BEDROCK__NO_RESPONSE_TIMEOUT", "888")
    with pytest.warns(DeprecationWarning, match="Use the new name"):
        assert trigger().no_response_timeout == 888


def test_a_default_ceiling_gives_way_to_a_longer_interval() -> None:
    """A DAG that polls each half hour is no error."""
    assert trigger(poll_interval=1800).pace.ceiling == 1800


def test_triggers_of_the_same_place_share_a_loop_whatever_they_wait_for() -> None:
    """Job, pace, age and timeout are a trigger's own."""
    one = trigger(botocore_config={"read_timeout": 5, "connect_timeout": 5})
    other = trigger(
        job_identifier="router-1",
        poll_interval=61,
        poll_interval_max=601,
        backoff=True,
        created=CREATED,
        no_response_timeout=1,
        stop_on_kill=True,
        botocore_config={"connect_timeout": 5, "read_timeout": 5},
    )
    assert one.connection == other.connection
    assert hash(one.connection) == hash(other.connection)


@pytest.mark.parametrize(
    "differing",
    [
        {"aws_conn_id": "other"},
        {"aws_conn_id": None},
        {"region_name": "eu-west-1"},
        {"verify": False},
        {"botocore_config": {"read_timeout": 5}},
    ],
)
def test_triggers_of_different_places_do_not_share(differing: dict[str, Any]) -> None:
    """Nobody gets answers from another account."""
    assert trigger().connection != trigger(**differing).connection


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"job_identifier": ""}, "job_identifier"),
        ({"poll_interval": 0}, "interval"),
        ({"poll_interval": 60, "poll_interval_max": 30}, "interval"),
        ({"no_response_timeout": -1}, "no_response_timeout"),
        ({"created": "2026-01-01T00:00:00"}, "time zone"),
    ],
)
def test_wrong_arguments_are_refused_where_they_are_given(wrong: dict[str, Any], message: str) -> None:
    """In the worker that defers, not in the triggerer."""
    with pytest.raises(ValueError, match=message):
        trigger(**wrong)


def test_a_triggerer_with_queues_takes_it() -> None:
    """Triggers of assets have no queue; Airflow counts those as watchers."""
    assert not issubclass(BedrockModelCustomizationTrigger, BaseEventTrigger)
    assert getattr(BedrockModelCustomizationTrigger, "supports_triggerer_queue", True)


def test_no_response_is_logged_at_once_and_ends_the_wait_at_the_timeout(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the event says ends the task of this version, and of the next."""
    clock = iter([0.0, 1.0, 100.0, 100.0, 100.0])
    monkeypatch.setattr(resource, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    made, timeout = trigger(no_response_timeout=100), NoResponseTimeout(100)
    assert [made._unanswered(Unanswered("gone"), timeout) for _ in range(2)] == [None, None]
    assert [record.getMessage().partition(" for ")[0] for record in caplog.records] == [f"No response about job {ARN}"]
    over = made._unanswered(Unanswered("gone"), timeout)
    denied = made._unanswered(Unanswered("no", refused=True), timeout)
    service: Any = SimpleNamespace(resource=made.resource)
    for event, kind, said in ((over, "silent", "no response for"), (denied, "refused", "Access denied to job")):
        assert event is not None
        assert (event["kind"], event["job_identifier"], event["status"]) == (kind, ARN, None)
        with pytest.raises(BedrockError, match=said):
            job_of_event(service, event, 3600)
    never = trigger(no_response_timeout=0)
    assert never._unanswered(Unanswered("no", refused=True), NoResponseTimeout(0)) is None


async def test_what_was_just_made_is_not_missing_by_one_answer() -> None:
    """Only a response gives an ARN; a sensor may have been given any name."""
    deployment = BedrockCustomModelDeploymentTrigger(deployment_arn="arn:d", deadline=0.0)
    named = trigger(job_identifier="any")
    assert await is_missing(named)
    for exists in (trigger(job_identifier="any", created=CREATED), trigger(), deployment):
        assert not await is_missing(exists)


async def is_missing(made: Any) -> bool:
    """Whether one response that does not find it ends its wait."""
    loop = PollLoop(made.connection)
    async with made._watch(loop):
        (planner,) = loop._planners()
        return planner.failed(GetJob(made.job_identifier), Trouble.MISSING, "no", 0.0) != []


async def test_a_cancel_is_no_kill_where_airflow_distinguishes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Since 3.3: a triggerer that ends would ask for the state of each of its thousand tasks."""
    made, killed = trigger(), list[int]()

    async def on_kill() -> None:
        killed.append(1)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(made, "on_kill", on_kill)
    monkeypatch.setattr(PollClient, "send", never)
    waiting = asyncio.ensure_future(anext(made.run()))
    for _ in range(5):
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert killed == ([] if hasattr(BaseTrigger, "on_kill") else [1])


def test_a_deployment_is_polled_each_half_minute() -> None:
    """Unless it is told otherwise; it is made in minutes."""
    made = BedrockCustomModelDeploymentTrigger(deployment_arn="arn:d", deadline=0.0)
    assert made.serialize()[1] == {
        "deployment_arn": "arn:d",
        "deadline": 0.0,
        "waiter_delay": 30.0,
        **made.connection.arguments(),
    }
