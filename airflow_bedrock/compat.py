"""Names that moved between releases of Airflow, features that older releases lack, and renamed arguments.

A name that ``airflow.sdk`` has in every release since 3.0 is imported from there; a name that moved is imported from
here. (The amazon provider's common-compat has them too, but not in the release that Amazon's managed Airflow 3.0.6
pins.)
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version
from packaging.version import Version

from airflow_bedrock._lazy import lazy_exports

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "Stats",
    "TaskDeferralTimeout",
    "TaskDeferred",
    "conf",
    "outputs",
    "renamed",
]

if TYPE_CHECKING:
    from airflow.sdk import BaseHook
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralTimeout,
        TaskDeferred,
    )
    from airflow.sdk.observability.stats import Stats
else:
    _SDK = "airflow.sdk" if Version(airflow_version) >= Version("3.2") else "airflow"
    _STATS = "airflow.sdk.observability.stats" if _SDK == "airflow.sdk" else "airflow.stats"
    _HOOK = "airflow.sdk" if Version(airflow_version) >= Version("3.1") else "airflow.hooks.base"
    __getattr__ = lazy_exports(
        __name__,
        dict.fromkeys(__all__, f"{_SDK}.exceptions")
        | {"BaseHook": _HOOK, "Stats": _STATS, "conf": f"{_SDK}.configuration"},
    )


def outputs(result: dict[str, Any], version: str = airflow_version) -> dict[str, Any]:
    """Return what a task with several outputs can push.

    Airflow before 3.1 fails a task that pushes None (https://github.com/apache/airflow/issues/55062). There, outputs
    that are None are left out: a downstream task reads a missing output as None.
    """
    if Version(version) >= Version("3.1"):
        return result
    return {name: value for name, value in result.items() if value is not None}


def renamed(old: str, given: Any, new: str, value: Any, default: Any = None) -> Any:
    """Return the value of the new argument, or that of the old one with a warning.

    :param old: the old name, which works until the next release.
    :param default: the new argument's default: ``default_args`` may still have the old name.
    """
    if given is None:
        return value
    from airflow.exceptions import AirflowProviderDeprecationWarning

    warnings.warn(
        f"{old} was renamed to {new}. Use the new name; the next release removes the old one.",
        AirflowProviderDeprecationWarning,
        stacklevel=3,  # Airflow's wrapper of __init__: Python hides a DeprecationWarning of a DAG file's own module
    )
    return given if value == default else value
