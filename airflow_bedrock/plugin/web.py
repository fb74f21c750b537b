"""The web application of the views: four pages and their stylesheet. It serves only GET, and changes nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from airflow_bedrock import configuration, shown
from airflow_bedrock.plugin import rows
from airflow_bedrock.plugin.airflow_api import AirflowApi, Entry, RefusedError, Run
from airflow_bedrock.plugin.live import seen_now
from airflow_bedrock.prices import PriceFileError, Prices, prices

_ROWS = 15  # on a page: each needs up to three values from Airflow, about 15 ms each
_PAGES = 12  # maximum number of pages of runs that are searched for one with a job
_COMPARED = 2
_REFUSED = {
    401: "Sign in to Airflow to see this.",
    403: "Airflow does not let you see this. Ask an administrator for access to the runs and XComs of the DAG.",
    404: "This DAG, run or task does not exist, or Airflow does not let you see it.",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
log = logging.getLogger(__name__)
_templates = Environment(loader=PackageLoader("airflow_bedrock.plugin"), autoescape=True)
_templates.filters |= rows.FILTERS


async def job(request: Request) -> Response:
    """The job of a task instance, with the XComs of the run's other tasks: the wait, the evaluation."""
    query = request.query_params
    dag_id, run_id, task_id = (query.get(name, "") for name in ("dag_id", "run_id", "task_id"))
    map_index = _map_index(query.get("map_index", ""))
    async with AirflowApi(request) as airflow:
        of_run, evaluations = await asyncio.gather(
            *(airflow.entries(key, dag_id=dag_id, run_id=run_id) for key in (shown.JOB, shown.EVALUATION))
        )
        # A task after a mapped one has the same map index, or none.
        about, evaluated = await asyncio.gather(
            *(
                airflow.values([one for one in entries if one.map_index in (map_index, -1)])
                for entries in (of_run, evaluations)
            )
        )
    this = (dag_id, run_id, task_id, map_index)
    found = next((row for row in rows.jobs(about, evaluated, []) if this in row["task_instances"]), None)
    if found and rows.runs(found) and (aws_conn_id := configuration.live_aws_conn_id()):
        found |= await seen_now(found["job_arn"], aws_conn_id)
    return _page(
        "job.html",
        job=found,
        task={"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index},
        mapped=sorted(one.map_index for one in of_run if one.task_id == task_id and one.map_index >= 0),
    )


async def jobs(request: Request) -> Response:
    """The jobs of a DAG by run, latest first: one row per job, and any two of them side by side."""
    dag_id, chosen = request.query_params.get("dag_id", ""), request.query_params.getlist("job")
    begin = rows.Place.read(request.query_params.get("from", ""))
    async with AirflowApi(request) as airflow:
        if "compare" in request.query_params and len(pair := await _chosen(airflow, dag_id, chosen)) == _COMPARED:
            return _page("compare.html", dag_id=dag_id, pair=pair, differences=rows.differences(*pair))
        for _ in range(_PAGES):
            runs, total = await airflow.runs(dag_id, begin.runs, _ROWS)
            entries = await airflow.of_runs(shown.JOB, runs)
            if entries or begin.runs + len(runs) >= total:
                break
            begin = rows.Place(begin.runs + len(runs))
        taken, following = rows.page_of(entries, runs, begin, _ROWS)
        found = await _rows(airflow, taken, runs[: following.runs - begin.runs + 1])
    return _page(
        "jobs.html",
        dag_id=dag_id,
        rows=found,
        periods={run.run_id: run.period for run in runs},
        chosen=[one for one in chosen if one not in map(rows.choice, found)],
        begin=begin,
        following=following if following.runs < total else None,
    )


async def models(request: Request) -> Response:
    """The models that serve, the running jobs and unused resources, of all DAGs that the user may see."""
    async with AirflowApi(request) as airflow:
        jobs, evaluations, promotions, idle = await asyncio.gather(
            *(airflow.latest(key) for key in (shown.JOB, shown.EVALUATION, shown.PROMOTION)),
            airflow.latest(shown.IDLE, most=1),
        )
        waiting = await airflow.waiting(entry for entry, _ in jobs)
    return _page(
        "models.html",
        models=rows.models(promotions, evaluations, idle, await asyncio.to_thread(_prices)),
        idle=idle[0] if idle else None,
        running=rows.running(jobs, waiting),
        budget=rows.budget(jobs),
    )


def _map_index(text: str) -> int:
    """Return the map index in an address; by default that of a task that is not mapped."""
    try:
        return int(text)
    except ValueError:
        return -1


async def _rows(airflow: AirflowApi, entries: list[Entry], runs: list[Run]) -> list[dict[str, Any]]:
    """Return the rows of the entries, with the models of their runs."""
    if not entries:
        return []
    others = await asyncio.gather(*(airflow.of_runs(key, runs) for key in (shown.EVALUATION, shown.PROMOTION)))
    return rows.jobs(*await asyncio.gather(*map(airflow.values, (entries, *others))))


async def _chosen(airflow: AirflowApi, dag_id: str, chosen: list[str]) -> list[dict[str, Any]]:
    """Return the rows of the first two selected jobs, on any page."""
    found = []
    for one in chosen[:_COMPARED]:
        arn, map_index, run_id = [*one.split(" ", 2), "", ""][:3]
        of_run = await airflow.entries(shown.JOB, dag_id=dag_id, run_id=run_id)
        entries = [entry for entry in of_run if str(entry.map_index) == map_index]
        runs = [Run(entry.dag_id, entry.run_id, entry.run_after) for entry in entries[:1]]
        found += [row for row in await _rows(airflow, entries, runs) if row["job_arn"] == arn]
    return found


def _prices() -> Prices | None:
    """Return the prices of models; None if this machine cannot read the user's file with prices."""
    try:
        return prices(configuration.prices())
    except PriceFileError as error:
        log.warning("The views show no price: %s", error)
        return None


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_templates.get_template(template).render(values), status, _HEADERS)


async def _refused(request: Request, error: Any) -> Response:
    status = error.status if error.status in _REFUSED else 502
    message = _REFUSED.get(status, f"Airflow's REST API returned HTTP {error.status}. See the API server's log.")
    return _page("refused.html", status, message=message)


application = Starlette(
    routes=[
        *(Route(f"/{view.__name__}", view, methods=["GET"]) for view in (job, jobs, models)),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ],
    exception_handlers={RefusedError: _refused},
)
