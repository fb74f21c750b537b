"""Calls Airflow's REST API as one of its users: DAGs, their runs, and the task instances of a run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from scripts.until import LateError, until

ENDED = {"success", "failed"}
_TIMEOUT = 300.0  # seconds for a response; the machine may be slow
_PASSING = (401, 500, 503)  # Airflow's responses while its database is down; 401, since it then finds no user
_PAGE = 100  # the maximum that Airflow lists at once


@contextmanager
def connect(url: str, name: str | None = None, password: str | None = None) -> Iterator[AirflowApi]:
    """Sign in to an Airflow, and yield a client of its API.

    :param name: the name of a user; without one, Airflow must allow everybody everything.
    :raises httpx.HTTPError: Airflow refuses, or does not respond.
    """
    with httpx.Client(base_url=url, timeout=_TIMEOUT) as client:
        secret = {"username": name, "password": password}
        response = client.post("/auth/token", json=secret) if name else client.get("/auth/token")
        client.headers["Authorization"] = f"Bearer {response.raise_for_status().json()['access_token']}"
        yield AirflowApi(client)


@dataclass(eq=False)
class AirflowApi:
    """A client, signed in.

    :param retry_seconds: how long to repeat a GET to which Airflow does not respond, as while it is being killed.
    """

    client: httpx.Client
    retry_seconds: float = 0.0

    def __call__(self, method: str, path: str, **arguments: Any) -> Any:
        """Call an endpoint (below ``/api/v2``) and return the decoded response.

        :param arguments: of ``httpx.Client.request``.
        :raises httpx.HTTPError: Airflow refuses, or does not respond.
        """
        deadline = time.monotonic() + self.retry_seconds
        while True:
            try:
                return self.client.request(method, f"/api/v2{path}", **arguments).raise_for_status().json()
            except httpx.HTTPError as error:
                refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code not in _PASSING
                if refused or method != "GET" or time.monotonic() > deadline:
                    raise
                time.sleep(2)

    def listed(self, path: str, member: str, **params: Any) -> list[dict[str, Any]]:
        """Return all that an endpoint lists, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            page = self("GET", path, params={**params, "limit": _PAGE, "offset": len(found)})
            found += page[member]
            if len(found) >= page["total_entries"] or not page[member]:
                return found

    def until_read(self, *dags: str) -> None:
        """Wait until Airflow has read DAGs.

        :raises LateError: it cannot import a DAG file, or takes too long.
        """
        until(lambda: self._read() >= set(dags), f"Airflow reads the DAGs {', '.join(dags)}")

    def _read(self) -> set[str]:
        if errors := self.listed("/importErrors", "import_errors"):
            raise LateError("\n".join(error["stack_trace"] for error in errors))
        return {dag["dag_id"] for dag in self.listed("/dags", "dags")}

    def unpause(self, *dags: str) -> None:
        """Let the DAGs run."""
        for dag in dags:
            self("PATCH", f"/dags/{dag}", json={"is_paused": False})

    def start(self, dag: str, conf: dict[str, Any] | None = None) -> Run:
        """Trigger a run."""
        body = {"logical_date": None, "conf": conf or {}}
        return Run(self, dag, self("POST", f"/dags/{dag}/dagRuns", json=body)["dag_run_id"])

    def runs(self, dag: str, **params: Any) -> list[dict[str, Any]]:
        """Return the runs of a DAG, as Airflow describes them."""
        return self.listed(f"/dags/{dag}/dagRuns", "dag_runs", **params)

    def states(self, dag: str) -> Counter[str]:
        """Count the states of the runs of a DAG."""
        return Counter(run["state"] for run in self.runs(dag))

    def is_idle(self, dag: str) -> bool:
        """Whether all runs of a DAG have ended."""
        return self.states(dag).keys() <= ENDED

    def has_no_backfill(self, dag: str) -> bool:
        """Whether all backfills of a DAG are complete."""
        return all(one["completed_at"] for one in self.listed("/backfills", "backfills", dag_id=dag))


@dataclass(frozen=True, eq=False)
class Run:
    """A DAG run, and what a user can do with it."""

    api: AirflowApi
    dag: str
    run_id: str

    @property
    def path(self) -> str:
        """The run's endpoint."""
        return f"/dags/{self.dag}/dagRuns/{self.run_id}"

    def described(self) -> Any:
        """Return the run, as Airflow describes it."""
        return self.api("GET", self.path)

    @property
    def state(self) -> str:
        """The run's state."""
        return str(self.described()["state"])

    def has_ended(self) -> bool:
        """Whether the run has succeeded or failed."""
        return self.state in ENDED

    def instances(self, task: str | None = None) -> list[dict[str, Any]]:
        """Return the task instances, of one task or of all, by map index."""
        found = self.api.listed(f"{self.path}/taskInstances", "task_instances")
        chosen = [one for one in found if task in (None, one["task_id"])]
        return sorted(chosen, key=lambda one: (one["task_id"], one["map_index"]))

    def task_states(self) -> dict[str, str | None]:
        """Return the state of each task; for a mapped task, that of its last map index."""
        return {one["task_id"]: one["state"] for one in self.instances()}

    def returned(self, task: str, key: str = "return_value") -> Any:
        """Return what a task has returned, or pushed with another key."""
        path = f"{self.path}/taskInstances/{task}/xcomEntries/{key}"
        return self.api("GET", path, params={"stringify": False})["value"]

    def clear(self, *tasks: str) -> None:
        """Clear tasks; without names, all tasks of the run."""
        body: dict[str, Any] = {"dry_run": False, "dag_run_id": self.run_id, "only_failed": False}
        if tasks:
            body["task_ids"] = list(tasks)
        self.api("POST", f"/dags/{self.dag}/clearTaskInstances", json=body)

    def mark_failed(self) -> None:
        """Mark the run failed, as often as it takes: it may meet the scheduler's own change in the database."""
        until(self._marked_failed, f"the run is marked failed: {self.run_id}")

    def _marked_failed(self) -> bool:
        try:
            self.api("PATCH", self.path, json={"state": "failed"})
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
                raise
            return False
        return True
