"""Eventual consistency on demand: new resources are taken out of answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_bedrock.local.errors import not_found
from airflow_bedrock.local.moto import OperationModel

_CREATED = ("creationTime", "createdAt", "submitTime")


def without_new(operation: OperationModel, result: Mapping[str, Any], since: float) -> dict[str, Any]:
    """Return an operation's result as it is while it does not know what was created after a moment.

    :param since: seconds since the epoch.
    :raises ServiceError: ResourceNotFoundException, when the result is about one resource, and that is new.
    """
    if _is_new(result, since):
        raise not_found(f"{operation.name} found nothing: the resource is hidden by a fault that was set.")
    return {
        name: [item for item in value if not _is_new(item, since)] if isinstance(value, list) else value
        for name, value in result.items()
    }


def _is_new(resource: Any, since: float) -> bool:
    if not isinstance(resource, Mapping):
        return False
    created = next((resource[name] for name in _CREATED if name in resource), None)
    return isinstance(created, datetime) and created.timestamp() > since
