"""An auth manager for the test of the views: a reader of one DAG, an admin, and one who may see nothing."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


class PerDagAuthManager(SimpleAuthManager):
    """Lets ``admin`` see all, and a person whose role is the id of a DAG that DAG."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **kwargs: Any) -> bool:
        if user.role == "admin":
            return True
        if not user.role:
            return False
        return details is None or details.id in (None, "~", user.role)
