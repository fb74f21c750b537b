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


def test_the_description_names_what_is_there(run: Run) -> None:
    """Every module and class that the provider description names can be imported."""
    info = get_provider_info()
    modules = [module for each in info["triggers"] for module in each["python-modules"]]
    assert "airflow_bedrock.triggers.customization" in modules
    names = [*modules, *info["extra-links"], *info["notifications"]]
    run(sys.executable, "-c", f"import pkgutil; print(*map(pkgutil.resolve_name, {names!r}))")
