"""What Airflow before 3.3 has elsewhere, or cannot do yet."""

from __future__ import annotations

from typing import Any

from airflow import __version__ as airflow_version
from packaging.version import Version

try:
    from airflow.sdk.exceptions import TaskDeferralTimeout
except ImportError:  # before Airflow 3.2
    from airflow.exceptions import TaskDeferralTimeout  # type: ignore[no-redef]  # the same class, where it was then

__all__ = ["TaskDeferralTimeout", "outputs"]


def outputs(result: dict[str, Any], version: str = airflow_version) -> dict[str, Any]:
    """Return what a task with several outputs may return.

    Airflow before 3.1 fails a task that pushes None (https://github.com/apache/airflow/issues/55062). There, what is
    None is left out: an output that was not pushed is None to whoever takes it.
    """
    if Version(version) >= Version("3.1"):
        return result
    return {name: value for name, value in result.items() if value is not None}
