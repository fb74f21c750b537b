"""What each of several watchers of one job gets, and what becomes of the interval when another one leaves."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.customization.job import Job
from airflow_bedrock.jobs import planner, poll_loop
from airflow_bedrock.jobs.connection import Connection
from airflow_bedrock.jobs.planner import GetJob, ListJobs, Pace, Planner, Trouble
from airflow_bedrock.jobs.poll_loop import PollLoop, loop_for
from airflow_bedrock.jobs.quota import Refusal
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from tests.paid_jobs import error

CONNECTION = Connection.of(aws_conn_id=None, region_name="us-east-1", verify=None, config=None)
OTHER = Connection.of(aws_conn_id=None, region_name="eu-west-1", verify=None, config=None)
FAST, SLOW = Pace(interval=10.0, ceiling=100.0), Pace(interval=60.0, ceiling=600.0)
JOB = Job(arn="arn:job", name="job", status="InProgress")


def planner_of(loop: PollLoop) -> Planner:
    (planner,) = loop._planners()
    return planner


async def test_news_that_comes_before_the_wait_is_not_lost() -> None:
    """In their order: a trigger that writes its log while the next news come would wait for ever."""
    loop = loop_for(CONNECTION)
    async with loop.watch(CUSTOMIZATION_JOB, "job", SLOW) as watch:
        later = Job(arn="arn:job", name="job", status="Stopping")
        watch.deliver(JOB)
        watch.deliver(later)
        watch.deliver(RuntimeError("the loop broke"))
        assert await watch.next() is JOB
        assert await watch.next() is later
        with pytest.raises(RuntimeError, match="the loop broke"):
            await watch.next()
        waited = watch.next()
        assert not waited.done()
        watch.deliver(JOB)
        watch.deliver(later)
        assert [await waited, await watch.next()] == [JOB, later]


async def test_a_loop_ends_with_its_last_watcher() -> None:
    """Else it would poll for nobody, for as long as Airflow runs."""
    loop = loop_for(CONNECTION)
    async with loop.watch(CUSTOMIZATION_JOB, "job", SLOW):
        async with loop.watch(CUSTOMIZATION_JOB, "job", SLOW):
            (driver,) = (task for task in asyncio.all_tasks() if task.get_name() == "bedrock-poll-loop")
            assert loop_for(CONNECTION) is loop
        await asyncio.sleep(0)
        assert not driver.done()
    assert driver.done()
    assert loop.lag(9.0) == 0.0
    assert loop_for(CONNECTION) is not loop
    async with loop_for(CONNECTION).watch(CUSTOMIZATION_JOB, "job", SLOW):
        """And so that one ends too."""


async def test_the_end_of_one_connection_s_loop_ends_no_other() -> None:
    """Else who comes to the other one would poll with a loop and a client of its own."""
    one, other = loop_for(CONNECTION), loop_for(OTHER)
    async with other.watch(CUSTOMIZATION_JOB, "job", SLOW):
        async with one.watch(CUSTOMIZATION_JOB, "job", SLOW):
            assert one is not other
        assert loop_for(OTHER) is other
        assert other.lag(9.0) == 0.0


async def test_the_missing_permission_is_logged_once_and_other_errors_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With how many there were: thousands of polls are no thousand lines."""
    loop = loop_for(CONNECTION)
    denied = error("AccessDeniedException", "You may not.", 403)
    async with loop.watch(CUSTOMIZATION_JOB, "job", SLOW) as watch:
        for _ in range(3):
            loop._log_trouble(watch.kind, ListJobs(None), Trouble.REFUSED, denied)
        (said,) = (record.getMessage() for record in caplog.records)
        assert "Allow bedrock:ListModelCustomizationJobs" in said
        assert "polling each of 1 by Get instead" in said
        for _ in range(3):
            loop._log_trouble(watch.kind, GetJob("job"), Trouble.NO_ANSWER, OSError("gone"))
        loop._trouble_logged_at = -math.inf
        loop._log_trouble(watch.kind, GetJob("job"), Trouble.NO_ANSWER, OSError("gone"))
    told = [record.getMessage() for record in caplog.records[1:]]
    assert [one.partition("message: ")[2].partition(";")[0] for one in told] == ["1", "3"]


async def test_a_later_watcher_gets_the_state_at_once_and_the_faster_one_sets_the_interval() -> None:
    """Not after a poll interval."""
    loop = loop_for(CONNECTION)
    async with loop.watch(CUSTOMIZATION_JOB, "job", SLOW):
        planner = planner_of(loop)
        planner.got(GetJob("job"), JOB, 0.0)
        async with loop.watch(CUSTOMIZATION_JOB, "job", FAST) as faster:
            assert await faster.next() == JOB
            assert planner._watched["job"].pace == FAST
        async with loop.watch(CUSTOMIZATION_JOB, "another", SLOW):
            assert loop.watched == 2
        assert loop.watched == 1
    assert loop.watched == 0
    assert loop_for(CONNECTION) is not loop
    async with loop_for(CONNECTION).watch(CUSTOMIZATION_JOB, "job", SLOW):
        """And so it ends again."""


async def test_news_for_many_watchers_does_not_block_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A triggerer's event loop serves other triggers too: after each 25 reports, they run."""
    loop, turns = loop_for(CONNECTION), 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with AsyncExitStack() as watching:
        watches = [await watching.enter_async_context(loop.watch(CUSTOMIZATION_JOB, "job", SLOW)) for _ in range(100)]
        other = asyncio.create_task(count())
        await asyncio.sleep(0)
        before = turns
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            await pause(0)

        pause = asyncio.sleep
        monkeypatch.setattr(asyncio, "sleep", sleep)
        await loop._deliver(watches[0].kind, [("job", JOB)])
        monkeypatch.undo()
        other.cancel()
        assert turns - before == 4
        assert pauses.count(0.02) == 4  # in which Airflow's threads log the events


async def test_the_gauges_fall_when_the_last_one_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a dashboard would show jobs that nobody waits for."""
    gauges: dict[str, float] = {}
    monkeypatch.setattr(poll_loop, "Stats", SimpleNamespace(gauge=gauges.__setitem__))
    async with loop_for(CONNECTION).watch(CUSTOMIZATION_JOB, "job", SLOW):
        monkeypatch.setattr(poll_loop, "_reported_at", time.monotonic())
        poll_loop._report_if_due()
        assert gauges == {}
        monkeypatch.setattr(poll_loop, "_reported_at", -math.inf)
        poll_loop._report_if_due()
        assert gauges["bedrock.jobs_watched"] == 1
    assert gauges == {"bedrock.jobs_watched": 0, "bedrock.poll_lag_seconds": 0.0}


async def test_the_end_of_a_job_wakes_those_who_wait_for_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot is free: they need not wait for their own next poll. Where nothing has ended, none is."""
    loop, statuses, told = loop_for(CONNECTION), ["Completed", "InProgress", "InProgress", "InProgress"], list[float]()

    async def answer(resource: object, ask: object) -> Any:
        return [Job(arn=f"arn:{i}", name=str(i), status=status) for i, status in enumerate(statuses)], None

    monkeypatch.setattr(loop._client, "send", answer)
    refusal = Refusal(task="t", asked_at=0.0, refused_at=0.0, running=1)
    async with AsyncExitStack() as watching:
        watches = [await watching.enter_async_context(loop.watch(CUSTOMIZATION_JOB, str(i), FAST)) for i in range(4)]
        queue: Any = (await watching.enter_async_context(loop.queue(CUSTOMIZATION_JOB, refusal, FAST))).kind.planner
        monkeypatch.setattr(queue, "job_ended", told.append)
        assert loop.watched == 4
        for later in (1.0, 20.0):
            ask = planner_of(loop).next(time.monotonic() + later)
            assert isinstance(ask, ListJobs)
            await loop._answer(watches[0].kind, ask)
            assert len(told) == 1


async def test_a_poll_that_fails_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """And reported to the waiting tasks."""
    loop = loop_for(CONNECTION)

    async def throttled(resource: object, ask: object) -> Any:
        raise error("ThrottlingException", "Slow down.", 429)

    monkeypatch.setattr(loop._client, "send", throttled)
    async with loop.watch(CUSTOMIZATION_JOB, "job", SLOW) as watch:
        ((identifier, finding),) = await loop._answer(watch.kind, GetJob("job"))
    assert (identifier, "Slow down." in finding.why) == ("job", True)
    assert "errors since the last message: 1; polling again" in caplog.text


async def test_a_loop_that_breaks_says_why_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """To all who watch; who comes from then on is not given a loop that asks nothing."""
    loop = loop_for(CONNECTION)

    async def broken(calls: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "_drive", broken)
    async with loop.watch(CUSTOMIZATION_JOB, "job", SLOW) as watch:
        with pytest.raises(RuntimeError, match="The poll loop broke") as told:
            await watch.next()
        assert isinstance(told.value.__cause__, ExceptionGroup)
        other = loop_for(CONNECTION)
        assert other is not loop
        async with other.watch(CUSTOMIZATION_JOB, "job", SLOW):
            """And so that one ends too."""


async def test_a_new_watcher_wakes_a_sleeping_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not left until the next poll of those who were there before."""
    monkeypatch.setattr(planner, "GATHER_SECONDS", 0.0)
    loop, asked = loop_for(CONNECTION), asyncio.Queue[str]()

    async def answer(resource: object, ask: GetJob) -> Job:
        asked.put_nowait(ask.identifier)
        return Job(arn=ask.identifier, name=ask.identifier, status="InProgress")

    monkeypatch.setattr(loop._client, "send", answer)
    hourly = Pace(interval=3600.0, ceiling=3600.0)
    async with loop.watch(CUSTOMIZATION_JOB, "first", hourly):
        assert await asyncio.wait_for(asked.get(), 120) == "first"
        for _ in range(20):
            await asyncio.sleep(0)  # until the loop sleeps
        async with loop.watch(CUSTOMIZATION_JOB, "later", hourly):
            assert await asyncio.wait_for(asked.get(), 120) == "later"
