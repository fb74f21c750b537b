"""Views in Airflow's UI, on Airflow 3.1 and later: a job, the jobs of a DAG, the models, and what runs now.

Airflow decides who sees what: each view calls Airflow's REST API with the viewer's credential.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version
from airflow.plugins_manager import AirflowPlugin
from packaging.version import Version

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX = "bedrock"
_HAS_VIEWS = Version(airflow_version) >= Version("3.1")


class Views:
    """The web application, imported on the first visit, since every process of Airflow loads plugins."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; ``scope["app"]`` is Airflow's own application, which mounts this one."""
        scope["airflow"] = scope["app"]
        await (await asyncio.to_thread(_application))(scope, receive, send)


def _application() -> ASGIApp:
    # The first import runs in a thread, so that the server can handle other requests.
    from airflow_bedrock.plugin.web import application

    return application


def _view(name: str, destination: str, path: str, **more: Any) -> dict[str, Any]:
    # The address is relative to Airflow's, which may have a path prefix.
    return {
        "name": name,
        "destination": destination,
        "href": f"{_PREFIX}/{path}",
        "url_route": f"bedrock-{destination.replace('_', '-')}",
        **more,
    }


class BedrockPlugin(AirflowPlugin):
    """Adds the views, if this Airflow supports them."""

    name = "airflow_bedrock"
    fastapi_apps = [{"app": Views(), "url_prefix": f"/{_PREFIX}", "name": "Amazon Bedrock"}] if _HAS_VIEWS else []
    external_views = (
        [
            _view("Bedrock", "nav", "models", category="browse"),
            _view("Bedrock jobs", "dag", "jobs?dag_id={DAG_ID}"),
            _view(
                "Bedrock job",
                "task_instance",
                "job?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
            ),
        ]
        if _HAS_VIEWS
        else []
    )
