"""What the pytest fixtures do for ``dag.test()``."""

from __future__ import annotations

import os
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_bedrock.local import dag_test

BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"


def test_bundles_are_those_of_the_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that sets bundles itself leaves none, though its own patch is undone before the fixture's."""
    seen: list[str] = []
    monkeypatch.delenv(BUNDLES, raising=False)
    monkeypatch.setattr(DAG, "test", lambda dag: seen.append(os.environ[BUNDLES]))
    monkeypatch.setattr(dag_test, "_activate_assets", lambda dag: None)
    dag: Any = DAG("numbers", schedule=None)
    with pytest.MonkeyPatch.context() as fixture:
        dag_test.prepare(fixture)
        with pytest.MonkeyPatch.context() as own:
            own.setenv(BUNDLES, '[{"name": "mine", "classpath": "x.Y", "kwargs": {}}]')
            dag.test()
    assert BUNDLES not in os.environ
    assert all(name in seen[0] for name in ('"tested"', '"mine"'))
