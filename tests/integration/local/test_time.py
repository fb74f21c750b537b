"""Time: a clock that the test moves, one that runs fast, and what goes by them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_bedrock.local import LocalBedrock

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service


@pytest.fixture
def still(service: Service) -> Iterator[Service]:
    """A Local Bedrock whose time stands still, and whose jobs take an hour."""
    with LocalBedrock(clock="manual", job_seconds=3600, deployment_seconds=600) as local:
        yield type(service)(local)


def phases(service: Service, arn: str) -> list[str]:
    job = service.bedrock.get_model_customization_job(jobIdentifier=arn)
    return [job["status"], *(phase["status"] for phase in job["statusDetails"].values())]


def test_nothing_happens_until_the_clock_is_moved(still: Service) -> None:
    """A job of an hour goes through its phases as the test moves the clock, and its times are the clock's."""
    began = still.local.clock.now()
    arn = still.create()
    still.local.clock.advance(0)
    assert phases(still, arn) == ["InProgress", "InProgress", "NotStarted", "NotStarted"]
    still.local.clock.advance(600)
    assert phases(still, arn) == ["InProgress", "Completed", "InProgress", "NotStarted"]
    still.local.clock.advance(1800)
    assert phases(still, arn) == ["InProgress", "Completed", "Completed", "InProgress"]
    still.local.clock.advance(1200)
    job = still.bedrock.get_model_customization_job(jobIdentifier=arn)
    assert job["status"] == "Completed"
    assert job["creationTime"] == began
    assert job["endTime"] - began == timedelta(hours=1)
    deployment = still.deploy(job["outputModelArn"])
    still.local.clock.advance(599)
    get = still.bedrock.get_custom_model_deployment
    assert get(customModelDeploymentIdentifier=deployment)["status"] == "Creating"
    still.local.clock.advance(1)
    assert get(customModelDeploymentIdentifier=deployment)["status"] == "Active"


def test_the_clock_is_moved_over_http(still: Service) -> None:
    """POST /_local/clock moves it, GET returns it; invalid requests are refused."""
    arn = still.create()
    before = datetime.fromisoformat(clock(still)["time"])
    after = datetime.fromisoformat(clock(still, {"advance": 3600})["time"])
    assert after - before == timedelta(hours=1)
    assert phases(still, arn)[0] == "Completed"
    for body in ({"advance": -1}, {"advance": "much"}, {"forward": 1}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            clock(still, body)
        with caught.value as error:
            assert error.code == 400


def test_a_real_clock_cannot_be_moved(service: Service) -> None:
    """Where time is real, moving it is refused, and the answer says what to do."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        clock(service, {"advance": 1})
    with caught.value as error:
        assert 'clock=\\"manual\\"' in error.read().decode()


def test_a_fast_clock(service: Service) -> None:
    """At speed 3600 a job of an hour takes a second, and looks like a job of an hour."""
    with LocalBedrock(speed=3600, job_seconds=3600) as local:
        run = type(service)(local)
        job = run.job(run.create())
        assert job["status"] == "Completed"
        assert job["endTime"] - job["creationTime"] >= timedelta(hours=1)
        assert job["endTime"] > datetime.now(UTC)
        assert local.environment()["AIRFLOW__BEDROCK__POLL_INTERVAL"] == "0.1"


def test_invalid_clock_settings() -> None:
    """A clock that is neither, and a manual one with a speed, are refused at once."""
    for settings in ({"clock": "broken"}, {"clock": "manual", "speed": 2.0}, {"speed": 0.0}):
        with pytest.raises(ValueError, match="clock"):
            LocalBedrock(**settings)


def clock(service: Service, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{service.local.endpoint_url}/_local/clock", data=data)  # noqa: S310  # loopback HTTP
    with urllib.request.urlopen(request) as answer:  # noqa: S310  # as above
        return json.load(answer)
