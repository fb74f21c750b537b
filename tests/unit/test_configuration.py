"""The section ``[bedrock]`` of Airflow's configuration: what distinguishes deployments of Airflow."""

from __future__ import annotations

import pytest

from airflow_bedrock import configuration
from airflow_bedrock.get_provider_info import get_provider_info

ENVIRONMENT = "AIRFLOW__BEDROCK__ENVIRONMENT"
BASE_URL = "AIRFLOW__API__BASE_URL"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.delenv(BASE_URL, raising=False)


def test_a_deployment_of_which_nothing_is_known_is_airflow() -> None:
    """Neither its name nor its address is set."""
    assert configuration.environment() == "airflow"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://airflow.example.org", "airflow.example.org"),
        ("https://airflow.example.org/", "airflow.example.org"),
        ("http://Airflow.Example.org", "airflow.example.org"),
        ("https://example.org/Dev/", "example.org/Dev"),
        ("https://user:secret@example.org:8080", "example.org:8080"),
        ("", "airflow"),
        ("https://", "airflow"),
    ],
)
def test_a_deployment_is_known_by_its_address(monkeypatch: pytest.MonkeyPatch, url: str, expected: str) -> None:
    """How it is reached, by which scheme and as whom, does not count, nor does a final slash."""
    monkeypatch.setenv(BASE_URL, url)
    assert configuration.environment() == expected


def test_its_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment that moves keeps its jobs by its name."""
    monkeypatch.setenv(BASE_URL, "https://example.org")
    monkeypatch.setenv(ENVIRONMENT, " prod ")
    assert configuration.environment() == "prod"
    monkeypatch.setenv(ENVIRONMENT, "")
    assert configuration.environment() == "example.org"


def test_the_ledger_is_below_the_registry_unless_it_has_its_own_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either, there is no ledger."""
    assert configuration.ledger_uri() == ""
    monkeypatch.setenv("AIRFLOW__BEDROCK__REGISTRY_URI", "s3://bucket/models/")
    assert configuration.ledger_uri() == "s3://bucket/models/spend"
    monkeypatch.setenv("AIRFLOW__BEDROCK__LEDGER_URI", "s3://bucket/ledger")
    assert configuration.ledger_uri() == "s3://bucket/ledger"


def test_every_option_says_what_it_is() -> None:
    """``airflow config list`` and Airflow's providers manager read it."""
    options = get_provider_info()["config"]["bedrock"]["options"]
    assert "environment" in options
    for option in options.values():
        assert option["description"].endswith(".")
        assert option["version_added"]
        assert option["default"] is not None
