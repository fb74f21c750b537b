"""Airflow finds this package among its providers."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from airflow_bedrock import __version__
from airflow_bedrock.get_provider_info import get_provider_info

if TYPE_CHECKING:
    from tests.packaging.conftest import Run


def test_airflow_lists_the_package(run: Run, airflow: list[str]) -> None:
    """`airflow providers list` shows the package, its version and what it is for."""
    listed = json.loads(run(*airflow, "providers", "list", "--output", "json").stdout)
    (ours,) = [provider for provider in listed if provider["package_name"] == "airflow-bedrock"]
    assert ours["version"] == __version__
    assert "model customization" in ours["description"]


def test_the_catalogue_holds_what_is_there(run: Run) -> None:
    """Every module that the provider description names can be imported."""
    kinds = [get_provider_info().get(kind, []) for kind in ("operators", "sensors", "hooks", "triggers")]
    modules = [module for kind in kinds for each in kind for module in each["python-modules"]]
    assert "airflow_bedrock.operators.customization" in modules
    run(sys.executable, "-c", f"import {', '.join(modules)}")
