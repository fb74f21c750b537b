"""The loop that watches all resources of one connection and region, for every trigger of the process.

It asks what the planner of each kind (:mod:`airflow_bedrock.jobs.planner`) tells it to, and wakes only those triggers
for which there is something new. All kinds share its threads and its client. The calls, and reading their answers,
happen in threads: a response about 1000 jobs would block the event loop for tens of milliseconds, and making a client
for hundreds.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial, reduce
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import structlog
from asgiref.sync import sync_to_async
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

from airflow_bedrock.aws_errors import (
    error_code,
    is_about_credentials,
    is_denied,
    is_not_found,
    is_throttled,
    is_transient,
)
from airflow_bedrock.compat import Stats
from airflow_bedrock.jobs.connection import Connection
from airflow_bedrock.jobs.planner import (
    PAGE_SIZE,
    Ask,
    Ended,
    Finding,
    GetJob,
    ListJobs,
    Pace,
    Planner,
    Trouble,
)
from airflow_bedrock.jobs.quota import QuotaQueue, Refusal, Turn
from airflow_bedrock.jobs.resources import Resource, Seen

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient

log = logging.getLogger(__name__)

_CALLS_AT_ONCE = 4
_WAKE_AT_ONCE = 25  # triggers; each writes log lines, and together they must not hold up the event loop
_TROUBLE_LOG_SECONDS = 300.0
_REPORT_SECONDS = 10.0

# One attempt a call: the planner polls again anyway, and has to hear of throttling to slow everybody down.
_CLIENT_CONFIG = Config(
    retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=30, max_pool_connections=_CALLS_AT_ONCE
)


T = TypeVar("T")
P = TypeVar("P", Planner, QuotaQueue)


class Watch(Generic[T]):
    """What one trigger hears about what it waits for, for as long as it is in the ``with`` statement."""

    __slots__ = ("_findings", "_poll_loop", "_waiter", "identifier", "kind", "pace")

    def __init__(self, poll_loop: PollLoop, kind: _Kind, identifier: str, pace: Pace) -> None:
        self.kind = kind
        self.identifier = identifier
        self.pace = pace
        self._poll_loop = poll_loop
        self._findings: tuple[T | RuntimeError, ...] = ()
        self._waiter: asyncio.Future[T] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._poll_loop.unwatch(self)

    def tell(self, finding: T | RuntimeError) -> None:
        """Hand over news; an error is raised to the trigger that waits for them."""
        self._findings = (*self._findings, finding)
        if self._waiter is not None and not self._waiter.done():
            self._hand_over(self._waiter)

    def next(self) -> asyncio.Future[T]:
        """Return what will be the next news. A future and no coroutine: thousands of triggers keep one each.

        :raises RuntimeError: when it is awaited: the loop broke.
        """
        self._waiter = asyncio.get_running_loop().create_future()
        if self._findings:
            self._hand_over(self._waiter)
        return self._waiter

    def _hand_over(self, waiter: asyncio.Future[T]) -> None:
        finding, *left = self._findings
        self._findings = tuple(left)
        if isinstance(finding, RuntimeError):
            waiter.set_exception(finding)
        else:
            waiter.set_result(finding)


class _Kind:
    """What is asked about together: one kind of resource, or the queue for its quota."""

    def __init__(self, resource: Resource, planner: Planner | QuotaQueue) -> None:
        self.resource = resource
        self.planner = planner
        self.watches: dict[str, list[Watch[Any]]] = {}
        self.refusal_logged = False


def _jitter() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311  # not a secret


class PollLoop:
    """Watches jobs; made by :func:`loop_for`, so that there is one for each connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kinds: dict[tuple[Resource, type[Planner | QuotaQueue]], _Kind] = {}
        self._wake = asyncio.Event()
        self._drivers = 0
        self._own_driver: asyncio.Task[None] | None = None
        self._caller = _Caller(connection)
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
        """Watch a resource at this pace, for as long as the context that is returned lasts."""
        kind, planner = self._kind(resource, Planner)
        known = planner.watch(identifier, created, pace, time.monotonic(), exists=exists)
        watch: Watch[Finding] = self._begin(kind, identifier, pace)
        if known is not None:
            watch.tell(known)
        return watch

    def queue(self, resource: Resource, refusal: Refusal, pace: Pace) -> Watch[Turn]:
        """Wait for a slot in the quota of this kind of resource, for as long as the context that is returned lasts."""
        kind, queue = self._kind(resource, QuotaQueue)
        queue.join(refusal, pace, time.monotonic())
        return self._begin(kind, refusal.task, pace)

    def _kind(self, resource: Resource, planner: type[P]) -> tuple[_Kind, P]:
        key = (resource, planner)
        if key not in self._kinds:
            self._kinds[key] = _Kind(resource, planner(jitter=_jitter))
        kind = self._kinds[key]
        return kind, cast("P", kind.planner)

    def _planners(self) -> Iterator[Planner]:
        return (kind.planner for kind in self._kinds.values() if isinstance(kind.planner, Planner))

    def _begin(self, kind: _Kind, identifier: str, pace: Pace) -> Watch[Any]:
        watch: Watch[Any] = Watch(self, kind, identifier, pace)
        kind.watches.setdefault(identifier, []).append(watch)
        self._wake.set()
        return watch

    def unwatch(self, watch: Watch[Any]) -> None:
        """Watch no more; the context does this."""
        kind = watch.kind
        watches = kind.watches[watch.identifier]
        watches.remove(watch)
        if watches:
            pace = reduce(Pace.faster, (left.pace for left in watches))
            kind.planner.keep_pace(watch.identifier, pace, time.monotonic())
        else:
            del kind.watches[watch.identifier]
            kind.planner.unwatch(watch.identifier)
        if not kind.watches:
            del self._kinds[kind.resource, type(kind.planner)]
        self._release()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Make sure that the loop runs, where Airflow does not run it as a shared stream."""
        if not self._drivers and self._own_driver is None:
            self._own_driver = asyncio.create_task(self.run(), name="bedrock-poll-loop")
        try:
            yield
        finally:
            if not self._kinds and (driver := self._own_driver) is not None:
                _forget(self)  # a trigger that comes while this one ends gets another
                driver.cancel()
                # What broke the loop was told to those who watched.
                with suppress(asyncio.CancelledError, Exception):
                    await driver
                self._release()

    async def run(self) -> None:
        """Ask and tell until cancelled; an error of the loop's own ends it, and all who watch hear of it."""
        # The one trigger in whose context this was started is not the one that the log lines below are about.
        structlog.contextvars.clear_contextvars()
        self._drivers += 1
        for kind in self._kinds.values():
            kind.planner.lost_asks()
        try:
            async with asyncio.TaskGroup() as calls:
                await self._drive(calls)
        except Exception as error:
            _forget(self)  # a trigger that comes from now on gets another
            for kind in self._kinds.values():
                for watch in itertools.chain.from_iterable(kind.watches.values()):
                    broken = RuntimeError("The poll loop broke")
                    broken.__cause__ = error
                    watch.tell(broken)
            raise
        finally:
            self._drivers -= 1
            self._release()

    async def _drive(self, calls: asyncio.TaskGroup) -> None:
        free = asyncio.Semaphore(_CALLS_AT_ONCE)

        async def call(kind: _Kind, ask: Ask) -> None:
            try:
                await self._tell(kind, await self._answer(kind, ask))
            finally:
                free.release()
                self._wake.set()

        while True:
            self._wake.clear()
            while not free.locked() and (question := self._next()) is not None:
                await free.acquire()
                calls.create_task(call(*question))
            wakes_at = min((kind.planner.wakes_at() for kind in self._kinds.values()), default=math.inf)
            pause = None if free.locked() else wakes_at - time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _next(self) -> tuple[_Kind, Ask] | None:
        for key, kind in self._kinds.items():
            if (ask := kind.planner.next(time.monotonic())) is not None:
                self._kinds[key] = self._kinds.pop(key)  # to the back: the kinds take turns
                return kind, ask
        return None

    async def _answer(self, kind: _Kind, ask: Ask) -> list[tuple[str, Any]]:
        tags = {"operation": "list" if isinstance(ask, ListJobs) else "get"}
        Stats.incr("bedrock.polls", tags=tags)
        try:
            answer = await self._caller.ask(kind.resource, ask)
        except Exception as error:
            trouble = trouble_of(error, ask)
            Stats.incr("bedrock.poll_errors", tags={**tags, "kind": trouble.name.lower()})
            self._log_trouble(kind, ask, trouble, error)
            _report_if_due()
            return kind.planner.failed(ask, trouble, str(error), time.monotonic())
        _report_if_due()  # before the response counts, since after it nothing lags
        now = time.monotonic()
        if isinstance(ask, ListJobs):
            jobs, token = answer
            news = kind.planner.listed(jobs, token, now)
        else:
            news = kind.planner.got(ask, answer, now)
        queue = self._kinds.get((kind.resource, QuotaQueue))
        if queue is not None and any(isinstance(finding, Ended) for _, finding in news):
            cast("QuotaQueue", queue.planner).job_ended(now)
        return news

    async def _tell(self, kind: _Kind, news: list[tuple[str, Any]]) -> None:
        for i, (identifier, finding) in enumerate(news):
            # A copy: a trigger that is told of an end leaves.
            for j, watch in enumerate(tuple(kind.watches.get(identifier, ()))):
                watch.tell(finding)
                if (i + j) % _WAKE_AT_ONCE == _WAKE_AT_ONCE - 1:
                    await asyncio.sleep(0)

    @property
    def watched(self) -> int:
        """How many resources are watched."""
        return sum(len(planner) for planner in self._planners())

    def lag(self, now: float) -> float:
        """How old the oldest response is, in seconds."""
        return max((planner.lag(now) for planner in self._planners()), default=0.0)

    def _log_trouble(self, kind: _Kind, ask: Ask, trouble: Trouble, error: Exception) -> None:
        """Say once what to allow, and of all else once in a while how often it happened."""
        resource = kind.resource
        if isinstance(ask, ListJobs) and trouble is Trouble.REFUSED:
            if kind.refusal_logged:
                return
            kind.refusal_logged = True
            log.warning(
                "Bedrock refused %s. %s%s AWS said: %s",
                resource.list_operation,
                kind.planner.without_list(resource.noun),
                f" Allow bedrock:{resource.list_operation} to the role of connection {self._connection.aws_conn_id}."
                if is_denied(error)
                else "",
                error,
            )
            return
        self._troubles += 1
        if (now := time.monotonic()) - self._trouble_logged_at >= _TROUBLE_LOG_SECONDS:
            log.warning(
                "Polling Bedrock's %ss (connection %s): %d errors since the last message; polling again. The "
                "latest: %s",
                resource.noun,
                self._connection.aws_conn_id,
                self._troubles,
                error,
            )
            self._troubles = 0
            self._trouble_logged_at = now

    def _release(self) -> None:
        if not self._kinds and not self._drivers:
            _forget(self)
            self._caller.close()
            _report()


class _Caller:
    """Makes the calls, in threads of its own, with one client that is made once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pool = ThreadPoolExecutor(max_workers=_CALLS_AT_ONCE, thread_name_prefix="bedrock-poll")
        self._client: BedrockClient | None = None
        self._reads_fast: set[Resource] = set()
        self._making = asyncio.Lock()

    async def ask(self, resource: Resource, ask: Ask) -> Any:
        """Ask the service: one resource for GetJob; a page of them, and what continues after it, for ListJobs."""
        call = partial(_get, resource, ask) if isinstance(ask, GetJob) else partial(_list, resource, ask)
        return await self._call(resource, call)

    def close(self) -> None:
        """Let the threads end, and the connections close, when the calls under way have."""
        self._pool.shutdown(wait=False)
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _call(self, resource: Resource, call: Callable[[BedrockClient], Any]) -> Any:
        async with self._making:
            if self._client is None:
                # Not run_in_executor: before Airflow 3.2, a hook finds its connection only from asgiref's threads.
                make = sync_to_async(self._make_client, thread_sensitive=False, executor=self._pool)
                self._client = await make()
                self._reads_fast.clear()
            if resource not in self._reads_fast:
                self._reads_fast.add(resource)
                _read_pages_fast(self._client, resource)
        client = self._client
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call, client)
        except Exception as error:
            if is_about_credentials(error) and self._client is client:
                self._client = None
            raise

    def _make_client(self) -> BedrockClient:
        hook = self._connection.bedrock()
        return hook.get_client_type(region_name=hook.region_name, config=_CLIENT_CONFIG.merge(hook.config))


def _get(resource: Resource, ask: GetJob, client: BedrockClient) -> Seen:
    return resource.read(getattr(client, xform_name(resource.get_operation))(**{resource.identifier: ask.identifier}))


def _list(resource: Resource, ask: ListJobs, client: BedrockClient) -> tuple[list[Seen], str | None]:
    arguments: dict[str, Any] = {"maxResults": PAGE_SIZE, "sortBy": "CreationTime", "sortOrder": "Descending"}
    if ask.created_after is not None:
        arguments[resource.created_after] = ask.created_after
    if ask.token is not None:
        arguments["nextToken"] = ask.token
    if ask.status is not None:
        arguments["statusEquals"] = ask.status
    page: dict[str, Any] = getattr(client, xform_name(resource.list_operation))(**arguments)
    return page["seen"], page["nextToken"]


def _read_pages_fast(client: BedrockClient, resource: Resource) -> None:
    """Read good answers of the resource's List in botocore's stead; the member ``seen`` is what is on the page."""

    def read(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
        if response_dict["status_code"] < 300:
            seen, token = resource.read_page(response_dict["body"])
            customized_response_dict.update(seen=seen, nextToken=token)
            response_dict["body"] = b"{}"

    client.meta.events.register(f"before-parse.bedrock.{resource.list_operation}", read)


def trouble_of(error: Exception, ask: Ask) -> Trouble:
    """Sort an error of a poll. What is not plainly about the request is no response, so that nothing ends by it."""
    if is_not_found(error):
        return Trouble.MISSING
    if is_throttled(error):
        return Trouble.THROTTLED
    if is_transient(error) or is_about_credentials(error):
        return Trouble.NO_ANSWER
    if isinstance(error, ParamValidationError):
        return Trouble.REFUSED
    # Whatever else is wrong with List, Get may do.
    if isinstance(error, ClientError) and (isinstance(ask, ListJobs) or error_code(error) in _REFUSALS):
        return Trouble.REFUSED
    return Trouble.NO_ANSWER


_REFUSALS = frozenset({"AccessDenied", "AccessDeniedException", "ValidationException"})

_loops: dict[tuple[asyncio.AbstractEventLoop, Connection], PollLoop] = {}
_reported_at = -math.inf


def loop_for(connection: Connection) -> PollLoop:
    """Return this event loop's poll loop for the connection; to be watched or run before the next ``await``."""
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
    """Tell the gauges about all loops of the process, so that they do not overwrite each other's."""
    global _reported_at
    _reported_at = now = time.monotonic()
    Stats.gauge("bedrock.jobs_watched", sum(poll_loop.watched for poll_loop in _loops.values()))
    Stats.gauge("bedrock.poll_lag_seconds", max((poll_loop.lag(now) for poll_loop in _loops.values()), default=0.0))
