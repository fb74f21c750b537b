"""Runs two DAGs and asks the views as several people, in a process of its own; prints what each was given, as JSON.

Airflow's API server, its auth manager and its plugins are made once a process: none of pytest's own.
"""

from __future__ import annotations

import asyncio
import gc
import html
import json
import os
import re
import sys
from typing import Any
from urllib.parse import urljoin

import httpx

gc.disable()  # what follows is imports, for the most part
from tests.integration.plugin_dags.two_dags import ARN, retrain, secret  # noqa: E402  # after the line above

PATH = "/airflow"  # of [api] base_url: a proxy has put Airflow below it
CALLERS = {"anonymous": None, "nobody": "", "reader": "retrain", "stranger": "secret", "admin": "admin"}


async def answers(app: Any, runs: dict[str, list[str]]) -> dict[str, dict[str, tuple[int, str, str]]]:
    """Ask each view as each person, once by a header and once by the cookie of the UI."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    chosen = [f"{ARN}retrain{number} -1 {run_id}" for number, run_id in enumerate(runs["retrain"], start=1)]
    views: dict[str, tuple[str, dict[str, str | list[str]]]] = {
        "job": ("job", {"dag_id": "retrain", "run_id": runs["retrain"][1], "task_id": "train", "map_index": "-1"}),
        "jobs": ("jobs", {"dag_id": "retrain"}),
        "compare": ("jobs", {"dag_id": "retrain", "compare": "1", "job": chosen}),
        "running": ("job", {"dag_id": "retrain", "run_id": runs["retrain"][0], "task_id": "train", "map_index": "-1"}),
        "mapped": ("job", {"dag_id": "retrain", "run_id": runs["retrain"][0], "task_id": "sweep", "map_index": "1"}),
        "models": ("models", {}),
        "unknown": ("jobs", {"dag_id": "no such"}),
        "every": ("jobs", {"dag_id": "~"}),
    }
    found: dict[str, dict[str, tuple[int, str, str]]] = {}
    for name, role in CALLERS.items():
        token = None
        if role is not None:
            token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=role))
        found[name] = {}
        for view, (path, parameters) in views.items():
            for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"_token={token}"}):
                client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://airflow")
                response = await client.get(
                    f"{PATH}/bedrock/{path}",
                    params=parameters,
                    headers=headers if token else {},
                    follow_redirects=False,
                )
                await client.aclose()
                got = (response.status_code, response.text, response.headers.get("content-security-policy", ""))
                assert found[name].setdefault(view, got)[0] == got[0], (name, view, headers, got)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://airflow")
    for path in ("static/style.css", "static/view.js", "static/../__init__.py", "static/%2e%2e/web.py"):
        response = await client.get(f"{PATH}/bedrock/{path}")
        found["anonymous"][path] = (response.status_code, response.text[:40], "")
    found["links"] = await links(app, found["admin"], token)
    posted = await client.post(f"{PATH}/bedrock/jobs")
    found["anonymous"]["POST"] = (posted.status_code, "", "")
    await client.aclose()
    return found


async def links(app: Any, pages: dict[str, Any], token: str | None) -> dict[str, tuple[int, str, str]]:
    """Follow each link of the pages that stays in Airflow, as a browser does."""
    followed: dict[str, tuple[int, str, str]] = {}
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://airflow", headers=headers
    ) as client:
        for _, page, _ in pages.values():
            for link in re.findall(r'(?:href|src)="([^"]+)"', page):
                address = urljoin(f"http://airflow{PATH}/bedrock/", html.unescape(link))
                if address.startswith("http://airflow") and address not in followed:
                    response = await client.get(address)
                    followed[address] = (response.status_code, response.text[:40], "")
    return followed


def main() -> None:
    """Run, ask, print."""
    runs = {
        dag.dag_id: [dag.test(run_conf={"number": number}).run_id for number in (1, 2)] for dag in (retrain, secret)
    }
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"  # as Airflow's API server does, which reads its own connections
    from airflow.api_fastapi.app import create_app
    from airflow.models import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(Connection("bedrock_live", "aws", extra={"endpoint_url": "http://127.0.0.1:1"}))
    sys.stdout.write(json.dumps(asyncio.run(answers(create_app(apps="core"), runs))))


if __name__ == "__main__":
    main()
    gc.freeze()  # all ends with this process, unread
