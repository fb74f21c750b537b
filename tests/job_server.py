"""An HTTP server that knows customization jobs and counts who asks about them: for tests with faults, and benchmarks.

It answers ListModelCustomizationJobs, GetModelCustomizationJob and StopModelCustomizationJob like the service, from a
table that its user writes; there is no work behind it, so that what is measured is the client.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

_PATH = "/model-customization-jobs"
_ENDED = ("Completed", "Failed", "Stopped")
_ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/{:012d}"


@dataclass(frozen=True)
class Call:
    """A request that came in."""

    at: float
    """time.time()"""
    operation: str
    """``list``, ``get`` or ``stop``"""
    job: str | None
    """The job's name, where the call is about one."""
    client: str
    """Address and port of the connection: each process that asks has its own."""
    access_key: str
    """Whose credentials signed it."""


@dataclass
class FakeJob:
    """A row of the table; the test writes its members."""

    arn: str
    name: str
    created: datetime
    status: str = "InProgress"
    phase: str = "InProgress"
    """The status of the training phase."""
    failure_message: str | None = None
    listed: bool = True
    """Whether List shows it: the service's List may lag behind."""
    exists: bool = True
    """Whether Get finds it."""
    tags: dict[str, str] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        created, now = _iso(self.created), _iso(self.created + timedelta(seconds=60))
        phase = {"creationTime": created, "lastModifiedTime": now}
        described = {
            "jobArn": self.arn,
            "jobName": self.name,
            "baseModelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0:128k",
            "status": self.status,
            "statusDetails": {
                "validationDetails": {"status": "Completed", **phase},
                "dataProcessingDetails": {"status": "Completed", **phase},
                "trainingDetails": {"status": self.phase, **phase},
            },
            "creationTime": created,
            "lastModifiedTime": now,
            "customizationType": "FINE_TUNING",
        }
        if self.status in _ENDED:
            described["endTime"] = now
        return described

    def description(self) -> dict[str, Any]:
        described = {
            **self.summary(),
            "outputModelName": f"{self.name}-model",
            "roleArn": "arn:aws:iam::123456789012:role/bedrock",
            "hyperParameters": {"epochCount": "2", "learningRate": "0.00001"},
            "validationMetrics": [],
        }
        if self.status == "Completed":
            described["outputModelArn"] = f"arn:aws:bedrock:us-east-1:123456789012:custom-model/m/{self.name}"
            described["trainingMetrics"] = {"trainingLoss": 0.5}
        if self.failure_message:
            described["failureMessage"] = self.failure_message
        return described


@dataclass(frozen=True)
class Fault:
    """What is answered instead."""

    status: int
    code: str
    message: str = "for the test"


@dataclass
class JobServer:
    """Serves the table on 127.0.0.1 while in a ``with`` statement, in a thread of its own.

    :param fault: asked about each call; what it returns is answered instead.
    """

    fault: Callable[[Call], Fault | None] = lambda call: None
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    """By name."""
    calls: list[Call] = field(default_factory=list)
    _bodies: dict[Any, bytes] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, name="job-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        async def stop() -> None:
            self._server.close()
            connections = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(stop(), self._loop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connection(self, access_key: str = "key") -> str:
        """Return an Airflow connection that leads here, for ``AIRFLOW_CONN_AWS_DEFAULT``."""
        extra = {"endpoint_url": self.url, "region_name": "us-east-1"}
        return json.dumps({"conn_type": "aws", "login": access_key, "password": "secret", "extra": extra})

    def add(self, count: int, prefix: str = "job") -> list[FakeJob]:
        """Add running jobs, a second apart in creation, the last one now."""
        now = datetime.now(UTC).replace(microsecond=0)
        made = []
        for i in range(count):
            number = len(self.jobs)
            job = FakeJob(_ARN.format(number), f"{prefix}-{number}", now - timedelta(seconds=count - i))
            self.jobs[job.name] = job
            made.append(job)
        return made

    def changed(self) -> None:
        """Forget the answers that were kept ready; to be called after each change of a job."""
        self._bodies.clear()

    def end(self, jobs: list[FakeJob], status: str = "Completed") -> None:
        """Let jobs end, all at this moment."""
        for job in jobs:
            job.status = status
            job.phase = {"Completed": "Completed"}.get(status, "Stopped")
        self.changed()

    def counts(self) -> Counter[str]:
        """Return the number of calls by operation."""
        return Counter(call.operation for call in list(self.calls))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = "{}:{}".format(*writer.get_extra_info("peername"))
        try:
            while request := await reader.readline():
                method, target, _ = request.decode().split()
                headers: dict[str, str] = {}
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                asked = await reader.readexactly(int(headers.get("content-length", 0)))
                access_key = headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
                status, more, body = self._answer(method, target, client, access_key, asked)
                head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, target: str, client: str, access_key: str, asked: bytes) -> tuple[int, str, bytes]:
        url = urlsplit(target)
        named = url.path.removeprefix(_PATH).strip("/")
        if url.path == "/listTagsForResource":
            return self._tags(json.loads(asked)["resourceARN"])
        operation = "stop" if method == "POST" else "get" if named else "list"
        key = unquote(named.removesuffix("/stop")) if operation == "stop" else unquote(named)
        job = self._find(key)
        call = Call(time.time(), operation, job.name if job else key or None, client, access_key)
        self.calls.append(call)
        if not url.path.startswith(_PATH):
            return _error(Fault(404, "UnknownOperationException"))
        if (fault := self.fault(call)) is not None:
            return _error(fault)
        if operation == "list":
            return 200, "content-type: application/json\r\n", self._list(url.query)
        if job is None or not job.exists:
            return _error(Fault(404, "ResourceNotFoundException", "The provided job does not exist."))
        if operation == "stop":
            self.end([job], "Stopped")
            return 200, "content-type: application/json\r\n", b"{}"
        return 200, "content-type: application/json\r\n", json.dumps(job.description()).encode()

    def _tags(self, arn: str) -> tuple[int, str, bytes]:
        job = self._find(arn)
        tags = [{"key": key, "value": value} for key, value in (job.tags if job else {}).items()]
        return 200, "content-type: application/json\r\n", json.dumps({"tags": tags}).encode()

    def _find(self, key: str) -> FakeJob | None:
        if key.startswith("arn:"):
            number = key.rpartition("/")[2]
            jobs = list(self.jobs.values())
            return jobs[int(number)] if number.isdigit() and int(number) < len(jobs) else None
        return self.jobs.get(key)

    def _list(self, query: str) -> bytes:
        if query not in self._bodies:
            asked = {name: values[0] for name, values in parse_qs(query).items()}
            after = datetime.fromisoformat(asked.get("creationTimeAfter", "1970-01-01T00:00:00Z"))
            start, size = int(asked.get("nextToken", 0)), int(asked.get("maxResults", 100))
            statuses = asked.get("statusEquals", "")
            shown = [
                job
                for job in self.jobs.values()
                if job.listed and job.exists and job.created > after and job.status in (statuses or job.status)
            ]
            shown.sort(key=lambda job: job.created, reverse=asked.get("sortOrder") == "Descending")
            page: dict[str, Any] = {
                "modelCustomizationJobSummaries": [job.summary() for job in shown[start : start + size]]
            }
            if start + size < len(shown):
                page["nextToken"] = str(start + size)
            self._bodies[query] = json.dumps(page).encode()
        return self._bodies[query]


def _error(fault: Fault) -> tuple[int, str, bytes]:
    headers = f"content-type: application/json\r\nx-amzn-errortype: {fault.code}\r\n"
    return fault.status, headers, json.dumps({"message": fault.message}).encode()


def _iso(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
