"""The web application of the views: four pages and their stylesheet. It answers to GET alone, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from airflow_bedrock import shown
from airflow_bedrock.plugin import rows
from airflow_bedrock.plugin.airflow_api import AirflowApi, RefusedError

_MOST_ROWS = 1000
_COMPARED = 2
_REFUSED = {
    401: "Sign in to Airflow to see this.",
    403: "Airflow does not let you see this. Ask an administrator for access to the XComs of the DAG.",
    404: "Airflow knows no such DAG, run or task, or does not let you see it.",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_templates = Environment(loader=PackageLoader("airflow_bedrock.plugin"), autoescape=True)
_templates.filters |= rows.FILTERS


async def job(request: Request) -> Response:
    """The job of a task instance; where another task of the run waits for it, with what that one knows."""
    asked = request.query_params
    dag_id, run_id, task_id = (asked.get(name, "") for name in ("dag_id", "run_id", "task_id"))
    airflow = AirflowApi(request)
    of_run = await airflow.xcoms(shown.JOB, dag_id=dag_id, run_id=run_id)
    map_index = int(asked["map_index"]) if asked.get("map_index", "").lstrip("-").isdigit() else -1
    mine = [value for entry, value in of_run if (entry.task_id, entry.map_index) == (task_id, map_index)]
    arn = mine[0].get("job_arn") if mine else None
    about = [value for _, value in of_run if value.get("job_arn") == arn] if arn else []
    return _page("job.html", job=rows.merged(about) if about else None, task_id=task_id)


async def jobs(request: Request) -> Response:
    """The jobs of a DAG, newest first: one row a job, and any two of them side by side."""
    dag_id = request.query_params.get("dag_id", "")
    found = await _rows(AirflowApi(request), dag_id)
    chosen = request.query_params.getlist("job")[:_COMPARED]
    side_by_side = [row for arn in chosen for row in found if row["job_arn"] == arn]
    if len(side_by_side) == _COMPARED:
        return _page("compare.html", dag_id=dag_id, pair=side_by_side, differences=rows.differences(*side_by_side))
    return _page("jobs.html", dag_id=dag_id, rows=found)


async def models(request: Request) -> Response:
    """The models that serve, and the jobs that run now, of all DAGs that the person may see."""
    airflow = AirflowApi(request)
    running, jobs, evaluations, promotions = await asyncio.gather(
        airflow.running(),
        airflow.xcoms(shown.JOB),
        airflow.xcoms(shown.EVALUATION),
        airflow.xcoms(shown.PROMOTION),
    )
    return _page(
        "models.html",
        models=rows.models(promotions, evaluations),
        running=rows.running(jobs, running),
        month=rows.month(jobs),
    )


async def _rows(airflow: AirflowApi, dag_id: str) -> list[dict[str, Any]]:
    kinds = (shown.JOB, shown.EVALUATION, shown.PROMOTION)
    found = await asyncio.gather(*(airflow.xcoms(key, dag_id=dag_id, limit=_MOST_ROWS) for key in kinds))
    return rows.jobs(*found)


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_templates.get_template(template).render(values), status, _HEADERS)


def _refusing(view: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await view(request)
        except RefusedError as error:
            status = error.status if error.status in _REFUSED else 502
            said = _REFUSED.get(status, f"Airflow's REST API answered {error.status}. See the API server's log.")
            return _page("refused.html", status, said=said)

    return answer


application = Starlette(
    routes=[
        *(Route(f"/{view.__name__}", _refusing(view), methods=["GET"]) for view in (job, jobs, models)),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ]
)
