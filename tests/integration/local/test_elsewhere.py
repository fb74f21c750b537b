"""Local Bedrock in a process of another interpreter: it is used as if it were in the same process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_bedrock.local.elsewhere import LocalBedrock
from airflow_bedrock.local.faults import Error
from airflow_bedrock.local.settings import Quotas

COMMAND = f"{Path(sys.executable).parent / 'airflow-bedrock'} local"
SETTINGS = {"bucket": "other-bucket", "clock": "manual", "check_role": False, "quotas": Quotas(deployments=3)}


@pytest.fixture(scope="module")
def local() -> Iterator[LocalBedrock]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_BEDROCK_LOCAL", COMMAND)
        with LocalBedrock(
            bucket="other-bucket", clock="manual", check_role=False, quotas=Quotas(deployments=3)
        ) as local:
            yield local


def test_it_is_reached_as_by_its_own_environment(local: LocalBedrock) -> None:
    """Clients, bucket and role, with the settings that were given."""
    assert local.environment()["AWS_ENDPOINT_URL"] == local.endpoint_url
    assert local.environment()["AIRFLOW_VAR_BEDROCK_ROLE_ARN"] == local.role_arn
    buckets = local.client("s3").list_buckets()["Buckets"]
    assert [bucket["Name"] for bucket in buckets] == [local.bucket] == ["other-bucket"]


def test_its_clock_is_moved(local: LocalBedrock) -> None:
    """And time cannot run backwards."""
    before = local.clock.time()
    local.clock.advance(600)
    assert local.clock.time() == before + 600
    with pytest.raises(ValueError, match="only be moved forward"):
        local.clock.advance(-1)


def test_its_faults_are_set_seen_and_removed(local: LocalBedrock) -> None:
    """By the same calls, with the same errors."""
    identifier = local.faults.fail("GetCustomModel", "ThrottlingException", nth=2)
    (standing,) = local.faults
    assert isinstance(standing.fault, Error)
    assert (standing.id, standing.fault.code, standing.fault.skip) == (identifier, "ThrottlingException", 1)
    assert local.faults.remove(identifier)
    assert not local.faults.remove(identifier)
    local.faults.throttle()
    local.faults.clear()
    assert len(local.faults) == 0
    with pytest.raises(ValueError, match="Neither Bedrock nor S3 has an operation Misspelt"):
        local.faults.fail("Misspelt")


def test_its_calls_are_read(local: LocalBedrock) -> None:
    """With their parameters; and forgotten."""
    local.calls.clear()
    local.client("bedrock").list_custom_models(nameContains="x")
    (call,) = local.calls.of("ListCustomModels", nameContains="x")
    assert (call.status, call.number, local.calls[0]) == (200, 1, call)


def test_a_command_that_fails_to_start_it_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its exit code."""
    monkeypatch.setenv("AIRFLOW_BEDROCK_LOCAL", f"{sys.executable} -c 'raise SystemExit(3)'")
    with pytest.raises(RuntimeError, match=r"did not start: .* ended 3"):
        LocalBedrock().start()
