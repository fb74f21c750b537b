"""The loop that watches all resources of one connection and region, for every trigger of the process.

It sends the requests that the planner of each kind (:mod:`airflow_bedrock.jobs.planner`) returns, and wakes only the
triggers with news. All kinds share its threads and its client. Requests are sent, and responses read, in threads: a
response about 1000 jobs would block the event loop for tens of milliseconds, and the creation of a client for hundreds.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import structlog

from airflow_bedrock.aws_errors import is_denied
from airflow_bedrock.compat import Stats
from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.jobs.connection import Connection
from airflow_bedrock.jobs.planner import Call, Finding, ListJobs, Pace, Planner, Trouble
from airflow_bedrock.jobs.poll_client import CALLS_AT_ONCE, PollClient, trouble_of
from airflow_bedrock.jobs.quota import QuotaQueue, Refusal, Turn
from airflow_bedrock.jobs.resources import Resource, Seen

log = logging.getLogger(__name__)

# Triggers are woken in groups, with pauses in which Airflow sends their events and logs them, in threads. A thousand at
# once would hold up the event loop, and their unfinished work would bring a full pass of the garbage collector.
_WAKE_AT_ONCE = 25
_WAKE_PAUSE = 0.02  # seconds
_TROUBLE_LOG_SECONDS = 300.0
_REPORT_SECONDS = 10.0

T = TypeVar("T")
P = TypeVar("P", Planner, QuotaQueue)


class Watch(Generic[T]):
    """Delivers to one trigger the news of what it waits for, within an ``async with`` statement."""

    __slots__ = ("_findings", "_poll_loop", "_waiter", "identifier", "kind")

    def __init__(self, poll_loop: PollLoop, kind: _Kind, identifier: str) -> None:
        self.kind = kind
        self.identifier = identifier
        self._poll_loop = poll_loop
        self._findings: tuple[T | RuntimeError, ...] = ()
        self._waiter: asyncio.Future[T] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._poll_loop.unwatch(self)

    def deliver(self, finding: T | RuntimeError) -> None:
        """Hand over news; an error is raised to the trigger that waits for them."""
        self._findings = (*self._findings, finding)
        if self._waiter is not None and not self._waiter.done():
            self._hand_over(self._waiter)

    def next(self) -> asyncio.Future[T]:
        """Return a future of the next news. Not a coroutine, since thousands of triggers keep one each.

        :raises RuntimeError: when it is awaited: the loop broke.
        """
        self._waiter = asyncio.get_running_loop().create_future()
        if self._findings:
            self._hand_over(self._waiter)
        return self._waiter

    def _hand_over(self, waiter: asyncio.Future[T]) -> None:
        finding, *remaining = self._findings
        self._findings = tuple(remaining)
        if isinstance(finding, RuntimeError):
            waiter.set_exception(finding)
        else:
            waiter.set_result(finding)


class _Kind:
    """A group that is polled together: one kind of resource, or the queue for its quota."""

    def __init__(self, resource: Resource, planner: Planner | QuotaQueue) -> None:
        self.resource = resource
        self.planner = planner
        self.watches: dict[str, list[Watch[Any]]] = {}
        self.refusal_logged = False


def _has_ended(finding: Any) -> bool:
    return isinstance(finding, Seen) and finding.outcome is not Outcome.RUNNING


def _jitter() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311  # not a secret


class PollLoop:
    """Watches jobs; made by :func:`loop_for`, so that there is one for each connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kinds: dict[tuple[Resource, type[Planner | QuotaQueue]], _Kind] = {}
        self._wake = asyncio.Event()
        self._driver: asyncio.Task[None] | None = None
        self._client = PollClient(connection)
        self._trouble_logged_at = -math.inf
        self._troubles = 0

    def watch(
        self,
        resource: Resource,
        identifier: str,
        pace: Pace,
        *,
        created: datetime | None = None,
        exists: bool = False,
    ) -> Watch[Finding]:
        """Watch a resource at this pace, within the returned context."""
        kind, planner = self._kind(resource, Planner)
        finding = planner.watch(identifier, created, pace, time.monotonic(), exists=exists)
        watch: Watch[Finding] = self._begin(kind, identifier)
        if finding is not None:
            watch.deliver(finding)
        return watch

    def queue(self, resource: Resource, refusal: Refusal, pace: Pace) -> Watch[Turn]:
        """Wait for a slot in the quota of this kind of resource, within the returned context."""
        kind, queue = self._kind(resource, QuotaQueue)
        queue.join(refusal, pace, time.monotonic())
        return self._begin(kind, refusal.task)

    def _kind(self, resource: Resource, planner: type[P]) -> tuple[_Kind, P]:
        key = (resource, planner)
        if key not in self._kinds:
            self._kinds[key] = _Kind(resource, planner(jitter=_jitter))
        kind = self._kinds[key]
        return kind, cast("P", kind.planner)

    def _planners(self) -> Iterator[Planner]:
        return (kind.planner for kind in self._kinds.values() if isinstance(kind.planner, Planner))

    def _begin(self, kind: _Kind, identifier: str) -> Watch[Any]:
        watch: Watch[Any] = Watch(self, kind, identifier)
        kind.watches.setdefault(identifier, []).append(watch)
        self._wake.set()
        if self._driver is None:
            self._driver = asyncio.create_task(self._run(), name="bedrock-poll-loop")
        return watch

    async def unwatch(self, watch: Watch[Any]) -> None:
        """End a watch, at the end of its context. The last one ends the loop."""
        kind = watch.kind
        watches = kind.watches[watch.identifier]
        watches.remove(watch)
        if not watches:
            del kind.watches[watch.identifier]
            kind.planner.unwatch(watch.identifier)
        if not kind.watches:
            del self._kinds[kind.resource, type(kind.planner)]
        if not self._kinds and self._driver is not None:
            await self._end(self._driver)

    async def _end(self, driver: asyncio.Task[None]) -> None:
        _forget(self)  # a trigger that starts while this loop ends gets another loop
        driver.cancel()
        try:
            await asyncio.wait([driver])
        finally:
            self._client.close()
            _report()

    async def _run(self) -> None:
        """Poll and deliver until cancelled; an error in the loop itself ends it, and all watchers get the error."""
        # The log lines below are not about the trigger in whose context this task was started.
        structlog.contextvars.clear_contextvars()
        try:
            async with asyncio.TaskGroup() as calls:
                await self._drive(calls)
        except Exception as error:
            _forget(self)  # a trigger that starts from now on gets another loop
            for kind in self._kinds.values():
                for watch in itertools.chain.from_iterable(kind.watches.values()):
                    broken = RuntimeError("The poll loop broke")
                    broken.__cause__ = error
                    watch.deliver(broken)

    async def _drive(self, calls: asyncio.TaskGroup) -> None:
        free = asyncio.Semaphore(CALLS_AT_ONCE)

        async def make(kind: _Kind, call: Call) -> None:
            try:
                await self._deliver(kind, await self._answer(kind, call))
            finally:
                free.release()
                self._wake.set()

        while True:
            self._wake.clear()
            while not free.locked() and (due := self._next()) is not None:
                await free.acquire()
                calls.create_task(make(*due))
            wakes_at = min((kind.planner.wakes_at() for kind in self._kinds.values()), default=math.inf)
            pause = None if free.locked() else wakes_at - time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _next(self) -> tuple[_Kind, Call] | None:
        for key, kind in self._kinds.items():
            if (call := kind.planner.next(time.monotonic())) is not None:
                self._kinds[key] = self._kinds.pop(key)  # to the back: the kinds take turns
                return kind, call
        return None

    async def _answer(self, kind: _Kind, call: Call) -> list[tuple[str, Any]]:
        tags = {"operation": "list" if isinstance(call, ListJobs) else "get"}
        Stats.incr("bedrock.polls", tags=tags)
        try:
            answer = await self._client.send(kind.resource, call)
        except Exception as error:
            trouble = trouble_of(error, call)
            Stats.incr("bedrock.poll_errors", tags={**tags, "kind": trouble.name.lower()})
            self._log_trouble(kind, call, trouble, error)
            _report_if_due()
            return kind.planner.failed(call, trouble, str(error), time.monotonic())
        _report_if_due()  # before the response is counted, since it resets the lag
        now = time.monotonic()
        if isinstance(call, ListJobs):
            jobs, token = answer
            news = kind.planner.listed(jobs, token, now)
        else:
            news = kind.planner.got(call, answer, now)
        queue = self._kinds.get((kind.resource, QuotaQueue))
        if queue is not None and any(_has_ended(finding) for _, finding in news):
            cast("QuotaQueue", queue.planner).job_ended(now)
        return news

    async def _deliver(self, kind: _Kind, news: list[tuple[str, Any]]) -> None:
        for i, (identifier, finding) in enumerate(news):
            # A copy, since a trigger whose job has ended unwatches it.
            for j, watch in enumerate(tuple(kind.watches.get(identifier, ()))):
                watch.deliver(finding)
                if (i + j) % _WAKE_AT_ONCE == _WAKE_AT_ONCE - 1:
                    await asyncio.sleep(_WAKE_PAUSE)

    @property
    def watched(self) -> int:
        """Number of watched resources."""
        return sum(len(planner) for planner in self._planners())

    def lag(self, now: float) -> float:
        """Age of the oldest response in seconds."""
        return max((planner.lag(now) for planner in self._planners()), default=0.0)

    def _log_trouble(self, kind: _Kind, call: Call, trouble: Trouble, error: Exception) -> None:
        """Log once that List was refused and what to allow; log the number of other errors every five minutes."""
        resource = kind.resource
        if isinstance(call, ListJobs) and trouble is Trouble.REFUSED:
            if kind.refusal_logged:
                return
            kind.refusal_logged = True
            log.warning(
                "Bedrock refused %s. %s%s AWS said: %s",
                resource.list_operation,
                kind.planner.without_list(resource.kind),
                f" Allow bedrock:{resource.list_operation} for the role of connection {self._connection.aws_conn_id}."
                if is_denied(error)
                else "",
                error,
            )
            return
        self._troubles += 1
        if (now := time.monotonic()) - self._trouble_logged_at >= _TROUBLE_LOG_SECONDS:
            log.warning(
                "Polling Bedrock's %ss (connection %s): errors since the last message: %d; polling again. The "
                "latest: %s",
                resource.kind,
                self._connection.aws_conn_id,
                self._troubles,
                error,
            )
            self._troubles = 0
            self._trouble_logged_at = now


_loops: dict[tuple[asyncio.AbstractEventLoop, Connection], PollLoop] = {}
_reported_at = -math.inf


def loop_for(connection: Connection) -> PollLoop:
    """Return this event loop's poll loop for the connection. Use it before the next ``await``."""
    key = (asyncio.get_running_loop(), connection)
    if key not in _loops:
        _loops[key] = PollLoop(connection)
    return _loops[key]


def _forget(poll_loop: PollLoop) -> None:
    for key in [key for key, kept in _loops.items() if kept is poll_loop]:
        del _loops[key]


def _report_if_due() -> None:
    if time.monotonic() - _reported_at >= _REPORT_SECONDS:
        _report()


def _report() -> None:
    """Report all loops of the process in one gauge, so that they do not overwrite each other's."""
    global _reported_at
    _reported_at = now = time.monotonic()
    Stats.gauge("bedrock.jobs_watched", sum(poll_loop.watched for poll_loop in _loops.values()))
    Stats.gauge("bedrock.poll_lag_seconds", max((poll_loop.lag(now) for poll_loop in _loops.values()), default=0.0))
