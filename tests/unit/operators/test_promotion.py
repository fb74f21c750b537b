"""What a promotion announces to the assets that it updates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_bedrock.exceptions import ArgumentError
from airflow_bedrock.operators import BedrockPromoteModelOperator
from airflow_bedrock.registry.register import ModelVersion, Register


def test_outlets_get_what_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's accessor of outlets is empty, and so false, until an outlet is looked up. The views get it too.

    An outlet that is not an asset has no event: it must not fail a task that has promoted its model.
    """
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_DEFAULT", '{"conn_type": "aws", "extra": {"endpoint_url": "http://127.0.0.1:1"}}'
    )
    asset = Asset("champion")
    task = BedrockPromoteModelOperator(
        task_id="promote",
        deployment_name="router",
        model_arn="{{ 1 }}",
        registry_uri="s3://b/r",
        outlets=[{"a": "file"}, asset],
    )
    events: Any = OutletEventAccessors()
    before, after = ModelVersion(model_arn="m1"), ModelVersion(model_arn="m2", period="2026", evaluation="e")
    register = Register(name="router", deployment_arn="d", champion=after, previous=(before,))
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: pushed.update(value))
    context: Any = {"outlet_events": events, "ti": ti}
    task._announced(context, register, after)
    assert events[asset].extra == {"deployment_arn": "d", "model_arn": "m2", "period": "2026", "replaced": "m1"}
    assert (pushed["evaluation"], pushed["local_page"]) == ("e", "http://127.0.0.1:1/_local/")


@pytest.mark.parametrize("rendered", ["", "None"])
def test_an_empty_comparison_is_an_error(rendered: str) -> None:
    """A template that finds nothing must not skip the check of what the model was compared with."""
    with pytest.raises(ArgumentError, match="compared_with must"):
        BedrockPromoteModelOperator(
            task_id="promote",
            deployment_name="router",
            model_arn="{{ 1 }}",
            registry_uri="s3://b/r",
            compared_with=rendered,
        )
