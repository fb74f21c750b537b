"""Opens a list of a DAG's 1,000 jobs in Airflow's API server, in process: this package's view, or Airflow's own.

Argument: ``view``, or ``xcoms`` for what Airflow's page of XComs asks for, a list and the value of each row. The first
run fills the database of ``AIRFLOW_HOME``. Printed: the figures as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

JOBS = 1000
ROWS = 50  # of a page of Airflow's, by default
HEARTBEAT = 0.005  # seconds
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/"


def fill() -> None:
    """Write a DAG with a run for each job: one task has asked for it, one has waited for it, one has evaluated it."""
    from airflow.models import DagRun, TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.settings import get_engine
    from sqlalchemy import insert

    runs = [(number, f"run-{number}", BEGIN + timedelta(hours=number)) for number in range(1, JOBS + 1)]
    of = [(*run, task) for run in runs for task in TASKS]
    common = {"dag_id": "retrain"}
    rows: dict[Any, list[dict[str, Any]]] = {
        DagRun: [
            {**common, "id": number, "run_id": run, "run_type": "manual", "run_after": at, "state": "success"}
            for number, run, at in runs
        ],
        TaskInstance: [
            {**common, "id": uuid4(), "run_id": run, "task_id": task, "pool": "default_pool", "state": "success"}
            for _, run, _, task in of
        ],
        XComModel: [
            {
                **common,
                "dag_run_id": number,
                "run_id": run,
                "task_id": task,
                "key": TASKS[task][0],
                "value": TASKS[task][1](number),
                "timestamp": at,
            }
            for number, run, at, task in of
        ],
    }
    with get_engine().begin() as connection:
        for model, of_model in rows.items():
            connection.execute(insert(model.__table__), of_model)


def _job(number: int) -> dict[str, Any]:
    return {
        "job_arn": f"{ARN}{number}",
        "job_name": f"job-{number}",
        "status": "Completed",
        "custom_model_arn": f"model-{number}",
        "asked": {"hyperparameters": {"epochCount": "2"}, "training_data": {"s3Uri": f"s3://bucket/{number}/"}},
        "losses_by_step": [[step, 2 / step] for step in range(1, 201)],
        "bill": {"usd": 1.5, "basis": "2 epochs"},
    }


def _evaluation(number: int) -> dict[str, Any]:
    candidate = {"model": f"model-{number}", "value": number / JOBS}
    models = {"candidate": candidate, "baseline": {"value": 0.5}}
    return {"verdict": "better", "metric": "accuracy", "models": models}


TASKS = {
    "train": ("bedrock_job", _job),
    "wait": ("bedrock_job", _job),
    "evaluate": ("bedrock_evaluation", _evaluation),
}


async def view(client: httpx.AsyncClient) -> None:
    """Open the page of this package."""
    page = (await client.get("/bedrock/jobs", params={"dag_id": "retrain"})).raise_for_status().text
    assert page.count("<tr>") > 15, page


async def xcoms(client: httpx.AsyncClient) -> None:
    """Ask for what Airflow's own page asks for: the rows, and the value of each."""
    path = "/api/v2/dags/retrain/dagRuns/~/taskInstances/~/xcomEntries"
    found = (await client.get(path, params={"limit": ROWS})).raise_for_status().json()["xcom_entries"]

    async def value(row: dict[str, Any]) -> None:
        of = f"/api/v2/dags/retrain/dagRuns/{row['run_id']}/taskInstances/{row['task_id']}/xcomEntries/{row['key']}"
        (await client.get(of, params={"map_index": -1})).raise_for_status()

    assert len(found) == ROWS
    await asyncio.gather(*map(value, found))


async def measure(what: str) -> dict[str, float]:
    """Open the page twice, as the first person and as the next."""
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    app = create_app(apps="core")
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="admin", role="ADMIN"))
    blocked = 0.0

    async def beat() -> None:
        nonlocal blocked
        while True:
            before = time.perf_counter()
            await asyncio.sleep(HEARTBEAT)
            blocked = max(blocked, time.perf_counter() - before - HEARTBEAT)

    headers = {"Authorization": f"Bearer {token}"}
    times = []
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://airflow", headers=headers
    ) as client:
        (await client.get("/api/v2/pools")).raise_for_status()  # what the server does once
        heart = asyncio.create_task(beat())
        for _ in range(2):
            begun = time.perf_counter()
            await {"view": view, "xcoms": xcoms}[what](client)
            times.append(time.perf_counter() - begun)
        heart.cancel()
    return {"first opening, s": times[0], "next opening, s": times[1], "longest block of the loop, s": blocked}


def main() -> None:
    """Fill the database where it is empty, then measure."""
    os.environ |= {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
    filled = Path(os.environ["AIRFLOW_HOME"], "filled")
    if not filled.exists():
        dags = Path(os.environ["AIRFLOW_HOME"], "dags")
        dags.mkdir()
        (dags / "retrain.py").write_text("from airflow.sdk import DAG\ndag = DAG('retrain', schedule=None)\n")
        for command in (("db", "migrate"), ("dags", "reserialize")):
            airflow = Path(sys.executable).parent / "airflow"
            subprocess.run([airflow, *command], check=True, capture_output=True)
        fill()
        filled.touch()
    print(json.dumps(asyncio.run(measure(sys.argv[1]))))


if __name__ == "__main__":
    main()
