"""Airflow finds this package among its providers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_bedrock import __version__

if TYPE_CHECKING:
    from tests.packaging.conftest import Run


def test_airflow_lists_the_package(run: Run, airflow: list[str]) -> None:
    """`airflow providers list` shows the package, its version and what it is for."""
    listed = json.loads(run(*airflow, "providers", "list", "--output", "json").stdout)
    (ours,) = [provider for provider in listed if provider["package_name"] == "airflow-bedrock"]
    assert ours["version"] == __version__
    assert "model customization" in ours["description"]
