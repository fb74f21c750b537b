"""The quotas that requests are checked against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.state.bedrock import Bedrock


def _active(resources: Mapping[str, Any]) -> int:
    return sum(one.active for one in resources.values())


_USED: dict[str, tuple[str, Callable[[Bedrock], int]]] = {
    "scheduled_jobs": ("scheduled model customization jobs", lambda one: _active(one.jobs)),
    "custom_models": ("custom models", lambda one: len(one.models) + _active(one.jobs) + _active(one.copies)),
    "deployments": ("custom model deployments", lambda one: len(one.deployments)),
    "changing_deployments": ("custom model deployments in progress", lambda one: _active(one.deployments)),
    "model_units": (
        "model units without a commitment",
        lambda one: sum(throughput.units for throughput in one.throughputs.values() if throughput.commitment is None),
    ),
    "import_jobs": ("model import jobs in progress", lambda one: _active(one.imports)),
    "imported_models": ("imported models", lambda one: len(one.imported) + _active(one.imports)),
}
"""What each of the settings' quotas limits, and how much of it is used; models that are being made count."""


def check_quotas(bedrock: Bedrock, *names: str, wanted: int = 1) -> None:
    """Check that the quotas allow one more, or this many more.

    :raises ServiceError: ServiceQuotaExceededException.
    """
    for name in names:
        what, used = _USED[name]
        most = getattr(bedrock.world.settings.quotas, name)
        if used(bedrock) + wanted > most:
            raise ServiceError(
                "ServiceQuotaExceededException",
                f"You have reached the quota of {most} {what}. "
                "Wait until one has ended, delete one, or ask AWS for more.",
            )
