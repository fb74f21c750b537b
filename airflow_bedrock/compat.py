"""What Airflow before 3.3 has elsewhere, or cannot do yet; and what had another name in an earlier release."""

from __future__ import annotations

import warnings
from typing import Any

from airflow import __version__ as airflow_version
from packaging.version import Version

try:
    from airflow.sdk.exceptions import TaskDeferralTimeout
except ImportError:  # before Airflow 3.2
    from airflow.exceptions import TaskDeferralTimeout  # type: ignore[no-redef]  # the same class, where it was then

__all__ = ["TaskDeferralTimeout", "outputs", "renamed"]


def outputs(result: dict[str, Any], version: str = airflow_version) -> dict[str, Any]:
    """Return what a task with several outputs may return.

    Airflow before 3.1 fails a task that pushes None (https://github.com/apache/airflow/issues/55062). There, what is
    None is left out: an output that was not pushed is None to whoever takes it.
    """
    if Version(version) >= Version("3.1"):
        return result
    return {name: value for name, value in result.items() if value is not None}


def renamed(old: str, given: Any, new: str, value: Any) -> Any:
    """Return what was given by an old name, with a warning; else the value by the new one.

    :param old: works until the next release.
    """
    if given is None:
        return value
    from airflow.exceptions import AirflowProviderDeprecationWarning

    warnings.warn(
        f"{old} is called {new} now. Use the new name; the next release does not know the old one.",
        AirflowProviderDeprecationWarning,
        stacklevel=4,  # whoever makes the operator: between are its __init__ and Airflow's wrapper of that
    )
    return given
