"""Call Airflow's public REST API within the API server's process, with the viewer's credential."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import quote

import httpx
from airflow import __version__ as airflow_version
from packaging.version import Version
from starlette.requests import Request

from airflow_bedrock.plugin.shapes import checked

_CREDENTIALS = ("authorization", "cookie")
_PAGE = 100  # entries; Airflow's own limit by default
_MOST = 2500  # maximum number of entries read: more than two mapped tasks may have
_KEPT = 5000
_AT_ONCE = 8  # number of parallel requests: Airflow handles each in a thread
_ORDERS = Version(airflow_version) >= Version("3.3")  # whether XComs can be ordered


class RefusedError(Exception):
    """Airflow denied access, or the object does not exist.

    :param status: the HTTP status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"Airflow returned HTTP {status}")
        self.status = status


class Entry(NamedTuple):
    """An XCom that the user may see: its key and place, and when it was pushed."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    key: str
    timestamp: str
    run_after: str

    @property
    def task_instance(self) -> tuple[str, str, str, int]:
        """The task instance that pushed it."""
        return self.dag_id, self.run_id, self.task_id, self.map_index


class Run(NamedTuple):
    """A run that the user may see, its date, and its period: its partition, or the first day of its data interval."""

    dag_id: str
    run_id: str
    run_after: str
    period: str = ""


class AirflowApi:
    """Airflow's API with the caller's credential; a context for one request of the caller.

    :param request: the caller's own request, to a view.
    """

    _values: ClassVar[OrderedDict[Entry, Any]] = OrderedDict()
    """Cached values of all callers, by entry; a value is used only if Airflow listed its entry for the caller."""

    def __init__(self, request: Request) -> None:
        headers = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=request.scope["airflow"]),
            base_url="http://airflow.invalid/api/v2",  # no request leaves the process
            headers=headers,
        )
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._client.aclose()

    async def get(self, path: str, **parameters: Any) -> Any:
        """Return a response's JSON.

        :param path: the path under ``/api/v2``.
        :raises RefusedError: Airflow refused.
        """
        return await self._read(await self._client.get(path, params=parameters))

    async def runs(self, dag_id: str, offset: int, most: int) -> tuple[list[Run], int]:
        """Return the runs of a DAG from the offset on, the latest first, and their total number.

        :raises RefusedError: the caller may not see them.
        """
        page = await self.get(f"/dags/{_part(dag_id)}/dagRuns", order_by="-run_after", limit=most, offset=offset)
        found = [Run(one["dag_id"], one["dag_run_id"], one["run_after"], _period(one)) for one in page["dag_runs"]]
        return found, page["total_entries"]

    async def waiting(self, entries: Iterable[Entry]) -> set[tuple[str, str, str, int]]:
        """Return the task instances that run now, or wait in the triggerer."""
        listed = list(entries)
        if not listed:
            return set()
        body = {
            "state": ["running", "deferred", "up_for_reschedule"],
            "dag_ids": sorted({entry.dag_id for entry in listed}),
            "dag_run_ids": sorted({entry.run_id for entry in listed}),
            "task_ids": sorted({entry.task_id for entry in listed}),
            "page_limit": _PAGE,
        }
        found = await self._read(await self._client.post("/dags/~/dagRuns/~/taskInstances/list", json=body))
        return {(one["dag_id"], one["dag_run_id"], one["task_id"], one["map_index"]) for one in found["task_instances"]}

    async def latest(self, key: str, most: int = _PAGE) -> list[tuple[Entry, dict[str, Any]]]:
        """Return the latest XComs with the key, of all DAGs, newest first, with their values.

        :param most: maximum number, at most a page.
        :raises RefusedError: the caller may not see them.
        """
        entries = await self.entries(key, most=_PAGE if _ORDERS else _MOST)
        return await self.values(entries[:most])

    async def of_runs(self, key: str, runs: Collection[Run]) -> list[Entry]:
        """Return the XComs with the key that the tasks of these runs have pushed, newest first.

        :param runs: consecutive runs of a DAG.
        :raises RefusedError: the caller may not see them.
        """
        if not runs:
            return []
        dag_ids = {run.dag_id for run in runs}
        due = [run.run_after for run in runs]
        found = await self.entries(
            key,
            dag_id=dag_ids.pop() if len(dag_ids) == 1 else "~",
            run_after_gte=min(due),
            run_after_lte=max(due),
        )
        theirs = {(run.dag_id, run.run_id) for run in runs}
        return [entry for entry in found if (entry.dag_id, entry.run_id) in theirs]

    async def entries(
        self, key: str, *, dag_id: str = "~", run_id: str = "~", most: int = _MOST, **filters: str
    ) -> list[Entry]:
        """Return the latest XComs with the key, newest first.

        :param filters: filters of Airflow's API.
        :raises RefusedError: the caller may not see them.
        """
        path = f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances/~/xcomEntries"
        entries: list[Entry] = []
        while len(entries) < most:
            page = await self.get(
                path, xcom_key=key, order_by="-timestamp", limit=_PAGE, offset=len(entries), **filters
            )
            found = [Entry(**{name: one[name] for name in Entry._fields}) for one in page["xcom_entries"]]
            entries += found
            if not found or len(entries) >= page["total_entries"]:
                break
        return sorted(entries, key=lambda entry: entry.timestamp, reverse=True)

    async def values(self, entries: Collection[Entry]) -> list[tuple[Entry, dict[str, Any]]]:
        """Return the XComs with their values, if they have the right shape."""
        values = await asyncio.gather(*map(self._value, entries))
        known = ((entry, checked(entry.key, value)) for entry, value in zip(entries, values, strict=True))
        return [(entry, value) for entry, value in known if value is not None]

    async def _value(self, entry: Entry) -> Any:
        if entry in self._values:
            self._values.move_to_end(entry)
            return self._values[entry]
        path = (
            f"/dags/{_part(entry.dag_id)}/dagRuns/{_part(entry.run_id)}/taskInstances/{_part(entry.task_id)}"
            f"/xcomEntries/{_part(entry.key)}"
        )
        try:
            async with self._turns:
                found = await self.get(path, map_index=entry.map_index, stringify="false")
        except RefusedError:
            return None  # it has been deleted, or the caller can list but not read it
        self._values[entry] = found["value"]
        while len(self._values) > _KEPT:
            self._values.popitem(last=False)
        return found["value"]

    async def _read(self, response: httpx.Response) -> Any:
        if response.is_error or response.is_redirect:
            raise RefusedError(response.status_code)
        return response.json()


def _period(run: Mapping[str, Any]) -> str:
    return str(run.get("partition_key") or (run.get("data_interval_start") or run["run_after"])[:10])


def _part(text: str) -> str:
    return text if text == "~" else quote(text, safe="")
