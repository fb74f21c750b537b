"""What the tests of waiting share: a server that answers about jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_bedrock.jobs import poll_loop
from tests.faults.paid import World
from tests.job_server import JobServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobServer]:
    """A server to which the connection aws_default leads."""
    with JobServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", server.connection())
        yield server
    assert poll_loop._loops == {}, "a loop outlived those who waited"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A Local Bedrock whose clock stands, for each module its own."""
    world = World()
    yield world
    world.close()
