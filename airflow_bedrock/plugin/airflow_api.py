"""Airflow's public REST API, asked within the API server's own process, with the credential of the person who looks."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

import httpx
from starlette.requests import Request

from airflow_bedrock.plugin.shapes import checked

_CREDENTIALS = ("authorization", "cookie")
_PAGE = 100  # entries; Airflow's own limit by default
_KEPT = 5000
_AT_ONCE = 8  # requests: Airflow answers each in a thread of its own


class RefusedError(Exception):
    """Airflow did not let the person see it, or there is no such thing.

    :param status: of its HTTP response.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"Airflow answered {status}")
        self.status = status


class Entry(NamedTuple):
    """One XCom that the person may see; which one, and when it was pushed."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    key: str
    timestamp: str
    run_after: str

    @property
    def task_instance(self) -> tuple[str, str, str, int]:
        """Which task instance has pushed it."""
        return self.dag_id, self.run_id, self.task_id, self.map_index


class AirflowApi:
    """Asks with the caller's credential.

    :param request: the caller's own request, to a view.
    """

    _values: ClassVar[OrderedDict[Entry, Any]] = OrderedDict()
    """Values by their entries, of all callers: one is read only for an entry that Airflow has listed for the caller."""

    def __init__(self, request: Request) -> None:
        headers = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=request.scope["airflow"]),
            base_url="http://airflow.invalid/api/v2",  # nothing leaves the process
            headers=headers,
        )
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def get(self, path: str, **parameters: Any) -> Any:
        """Return a response's JSON.

        :param path: below ``/api/v2``.
        :raises RefusedError: Airflow refused.
        """
        return await self._read(await self._client.get(path, params=parameters))

    async def running(self) -> set[tuple[str, str, str, int]]:
        """Return the task instances of all DAGs that run, or wait in the triggerer."""
        body = {"state": ["running", "deferred", "up_for_reschedule"], "page_limit": _PAGE}
        found = await self._read(await self._client.post("/dags/~/dagRuns/~/taskInstances/list", json=body))
        return {(one["dag_id"], one["dag_run_id"], one["task_id"], one["map_index"]) for one in found["task_instances"]}

    async def xcoms(
        self, key: str, *, dag_id: str = "~", run_id: str = "~", task_id: str = "~", limit: int = _PAGE
    ) -> list[tuple[Entry, dict[str, Any]]]:
        """Return the latest XComs with the key, newest first, with their values; those of the right shape.

        :raises RefusedError: the caller may not see them.
        """
        path = f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances/{_part(task_id)}/xcomEntries"
        entries: list[Entry] = []
        while len(entries) < limit:
            page = await self.get(
                path, xcom_key=key, order_by="-timestamp", limit=min(_PAGE, limit - len(entries)), offset=len(entries)
            )
            found = [Entry(**{name: one[name] for name in Entry._fields}) for one in page["xcom_entries"]]
            entries += found
            if not found or len(entries) >= page["total_entries"]:
                break
        entries.sort(key=lambda entry: entry.timestamp, reverse=True)  # Airflow before 3.3 does not order them
        values = await asyncio.gather(*map(self._value, entries))
        known = ((entry, checked(key, value)) for entry, value in zip(entries, values, strict=True))
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
            return None  # it was deleted meanwhile, or may be listed and not read
        self._values[entry] = found["value"]
        while len(self._values) > _KEPT:
            self._values.popitem(last=False)
        return found["value"]

    async def _read(self, response: httpx.Response) -> Any:
        if response.is_error or response.is_redirect:
            raise RefusedError(response.status_code)
        return response.json()


def _part(text: str) -> str:
    return text if text == "~" else quote(text, safe="")
