"""What costs money unused: what a month of it costs, and from which day on its end of life is reported."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.base_models import base_models
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.prices import prices
from airflow_bedrock.spend.idle import report

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ARN = "arn:aws:bedrock:us-east-1:123456789012:custom-model/{}/aaaaaaaaaaaa"


@pytest.fixture(autouse=True)
def _no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_bedrock.spend.idle.client_of", lambda *_: SimpleNamespace(close=lambda: None))


def of_region(now: datetime = NOW, **listed: Any) -> dict[str, Any]:
    """Return what is found in a region that lists these, by operation."""

    def paginator(operation: str) -> Any:
        members = ("modelDeploymentSummaries", "provisionedModelSummaries", "modelSummaries")
        return SimpleNamespace(paginate=lambda **_: [{member: listed.get(operation, []) for member in members}])

    conn = SimpleNamespace(meta=SimpleNamespace(region_name="us-east-1"), get_paginator=paginator)
    hook: Any = SimpleNamespace(conn=conn, conn_region_name="us-east-1")
    return report([hook], prices(), now, days=14)


def test_a_model_that_nothing_serves_costs_its_storage() -> None:
    """That of one model, each month."""
    lite = "amazon.nova-lite-v1:0"
    model = {"modelArn": "model", "modelName": "old", "baseModelArn": lite, "creationTime": NOW - timedelta(days=14)}
    (idle,) = of_region(list_custom_models=[model])["idle"]
    assert idle["usd_a_month"] == float(prices().price(lite, "storage", "us-east-1").usd)


@pytest.mark.parametrize(("days", "reported"), [(-1, False), (0, True), (1, True)])
def test_an_end_of_life_is_reported_from_the_legacy_day_on(days: int, reported: bool) -> None:
    """Since then it is announced."""
    base = next(model for model in base_models() if model.ends)
    assert base.legacy
    deployment = {
        "customModelDeploymentName": "router",
        "customModelDeploymentArn": "deployment",
        "modelArn": ARN.format(base.id),
        "createdAt": NOW,
    }
    now = datetime.combine(base.legacy + timedelta(days=days), time(), UTC)
    found = of_region(now, list_custom_model_deployments=[deployment])
    assert bool(found["ending"]) is reported


@pytest.mark.parametrize(("code", "denied"), [("ThrottlingException", False), ("AccessDeniedException", True)])
def test_only_a_denied_call_asks_for_a_permission(code: str, denied: bool) -> None:
    """A throttled call is retried."""
    error = ClientError({"Error": {"Code": code, "Message": "no"}}, "ListCustomModels")
    hook: Any = SimpleNamespace(conn=Mock(get_paginator=Mock(side_effect=error)), conn_region_name="us-east-1")
    with pytest.raises(BedrockError, match=r"^Could not check what is idle in us-east-1: .*ListCustomModels") as raised:
        report([hook], prices(), NOW, days=14)
    assert isinstance(raised.value, BedrockFatalError) is denied
    assert ("Allow the task to list models" in str(raised.value)) is denied
