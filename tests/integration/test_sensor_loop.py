"""Triggers share one poll loop, through Airflow's SharedStreamManager and by themselves, whatever the service does."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from airflow_bedrock.jobs import poll_loop
from airflow_bedrock.jobs.planner import Planner
from airflow_bedrock.triggers import BedrockModelCustomizationTrigger
from tests.job_server import Call, FakeJob, Fault, JobServer
from tests.until import until

Waiting = dict[str, "asyncio.Task[dict[str, Any]]"]

INTERVAL = 0.4  # seconds


def trigger(job: FakeJob | str, **arguments: Any) -> BedrockModelCustomizationTrigger:
    known = {"job_identifier": job.arn, "created": job.created} if isinstance(job, FakeJob) else {"job_identifier": job}
    return BedrockModelCustomizationTrigger(**{"poll_interval": INTERVAL, **known, **arguments})


async def _first_event(stream: AsyncIterator[Any]) -> dict[str, Any]:
    async for event in stream:
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("the trigger sent no event")


@asynccontextmanager
async def waiting(triggers: list[BedrockModelCustomizationTrigger]) -> AsyncIterator[Waiting]:
    """Let triggers wait as Airflow's trigger runner would; what waits at the end is cancelled."""
    tasks = {waiter.job_identifier: asyncio.create_task(_first_event(waiter.run())) for waiter in triggers}
    triggers.clear()  # the tasks alone keep them, as in Airflow
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def test_many_tasks_cost_one_list_a_round_and_their_ends_nothing_more(server: JobServer) -> None:
    """Calls grow with the rounds; List shows the ends too; the event says how each job ended."""
    jobs = server.add(50)
    async with waiting([trigger(job) for job in jobs]) as tasks:
        await until(lambda: server.counts()["list"] >= 4)
        assert server.counts()["get"] == 0
        assert len({call.client for call in server.calls}) <= 2
        server.end(jobs[:49])
        server.end(jobs[49:], "Failed")
        events = await asyncio.gather(*tasks.values())
    assert server.counts()["get"] == 0
    assert {event["kind"] for event in events} == {"ended"}
    assert [event["status"] for event in events] == ["Completed"] * 49 + ["Failed"]
    assert [event["job_identifier"] for event in events] == [job.arn for job in jobs]


async def test_a_hundred_intervals_make_one_loop_with_one_pool_of_threads(server: JobServer) -> None:
    """And hardly more calls than the shortest of them alone."""
    jobs = server.add(100)
    async with waiting([trigger(job, poll_interval=1 + i / 100) for i, job in enumerate(jobs)]) as tasks:
        await until(lambda: server.counts()["list"] >= 3)
        assert len(poll_loop._loops) == 1
        assert len([thread for thread in threading.enumerate() if thread.name.startswith("bedrock-poll")]) <= 4
        assert server.counts()["get"] == 0
        server.end(jobs)
        events = await asyncio.gather(*tasks.values())
    assert {event["kind"] for event in events} == {"ended"}


async def test_tasks_that_join_and_leave_do_not_disturb_the_others(server: JobServer) -> None:
    """A new task's job is polled at once; that of a cancelled one is not polled again; the loop goes on, or ends."""
    first, cancelled, late = server.add(3)
    async with waiting([trigger(first), trigger(cancelled)]) as tasks:
        await until(lambda: server.counts()["list"] >= 2)
        tasks[cancelled.arn].cancel()
        async with waiting([trigger(late)]) as more:
            server.end([cancelled, late])
            assert (await more[late.arn])["kind"] == "ended"
        server.end([first])
        assert (await tasks[first.arn])["kind"] == "ended"
    asked = [call.job for call in server.calls if call.operation == "get"]
    assert asked.count(cancelled.name) == 1  # when its wait began


async def test_a_new_loop_starts_after_the_last_one_ended(server: JobServer) -> None:
    """The last task of one DAG run ends the loop; the first of the next starts another."""
    for _ in range(3):
        (job,) = server.add(1)
        async with waiting([trigger(job)]) as tasks:
            await until(lambda: bool(server.calls))
            server.end([job])
            assert (await tasks[job.arn])["kind"] == "ended"


async def test_without_permission_to_list_each_job_is_polled_by_get(
    server: JobServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log says what to allow."""
    server.fault = lambda call: Fault(403, "AccessDeniedException") if call.operation == "list" else None
    jobs = server.add(10)
    with caplog.at_level(logging.WARNING):
        async with waiting([trigger(job) for job in jobs]) as tasks:
            await until(lambda: server.counts()["get"] >= 30)
            server.end(jobs)
            await asyncio.gather(*tasks.values())
    assert server.counts()["list"] == 1
    said = [record.getMessage() for record in caplog.records if "ListModelCustomizationJobs" in record.getMessage()]
    assert len(said) == 1
    assert "Allow bedrock:ListModelCustomizationJobs" in said[0]


@pytest.mark.parametrize(
    "fault", [Fault(429, "ThrottlingException"), Fault(500, "InternalServerException"), Fault(403, "ExpiredToken")]
)
async def test_a_list_that_fails_is_no_refusal(
    server: JobServer, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """List is tried again; no job is polled by Get for an hour, and no log asks for a permission that exists."""
    server.fault = lambda call: fault if len(server.calls) == 2 else None
    jobs = server.add(20)
    with caplog.at_level(logging.WARNING):
        async with waiting([trigger(job, poll_interval_max=2 * INTERVAL) for job in jobs]) as tasks:
            await until(lambda: server.counts()["list"] >= 4)
            assert server.counts()["get"] == 0
            server.end(jobs)
            await asyncio.gather(*tasks.values())
    said = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_bedrock.jobs")]
    assert len(said) == 1
    assert "errors since the last message: 1" in said[0]
    assert "Allow" not in said[0]


async def test_a_list_that_is_not_denied_is_no_reason_to_allow_it(
    server: JobServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the service takes no List, each job is asked for; the log says what it said."""
    server.fault = lambda call: Fault(400, "UnsupportedOperation") if call.operation == "list" else None
    jobs = server.add(5)
    with caplog.at_level(logging.WARNING):
        async with waiting([trigger(job) for job in jobs]) as tasks:
            await until(lambda: server.counts()["get"] >= 10)
            server.end(jobs)
            await asyncio.gather(*tasks.values())
    said = [record.getMessage() for record in caplog.records if "ListModelCustomizationJobs" in record.getMessage()]
    assert len(said) == 1
    assert "UnsupportedOperation" in said[0]
    assert "Allow" not in said[0]


@pytest.mark.parametrize(
    "fault", [Fault(429, "ThrottlingException"), Fault(500, "InternalServerException"), Fault(403, "ExpiredToken")]
)
async def test_no_temporary_error_ends_a_wait(server: JobServer, fault: Fault) -> None:
    """Throttling, a fault of the service, credentials that are being refreshed: absorbed, and over."""
    jobs = server.add(5)
    server.end(jobs)
    server.fault = lambda call: fault if len(server.calls) <= 4 else None
    async with waiting([trigger(job) for job in jobs]) as tasks:
        events = await asyncio.gather(*tasks.values())
    assert {event["kind"] for event in events} == {"ended"}


async def test_an_outage_ends_no_wait(server: JobServer) -> None:
    """Connections that are refused are polls without an answer."""
    jobs = server.add(3)
    nowhere = server.connection().replace(str(server.port), "9")
    connection = os.environ["AIRFLOW_CONN_AWS_DEFAULT"]
    os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = nowhere
    try:
        async with waiting([trigger(job, no_response_timeout=0.1) for job in jobs]) as tasks:
            events = await asyncio.gather(*tasks.values())
    finally:
        os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = connection
    assert {event["kind"] for event in events} == {"silent"}
    assert "no response for" in events[0]["message"]
    assert events[0]["status"] is None


@pytest.mark.parametrize("count", [1, 3], ids=["by Get", "by List"])
async def test_errors_far_apart_are_not_one_outage(server: JobServer, count: int) -> None:
    """Two errors with more than the limit between them, in which the service answered, end nothing."""
    failed_at: list[float] = []

    def fault(call: Call) -> Fault | None:
        if len(server.calls) < 3 or len(failed_at) == 2 or (failed_at and call.at < failed_at[0] + 1.5):
            return None
        failed_at.append(call.at)
        return Fault(500, "InternalServerException")

    server.fault = fault
    jobs = server.add(count)
    async with waiting([trigger(job, no_response_timeout=1) for job in jobs]) as tasks:
        await until(lambda: len(failed_at) == 2)
        looked = len(server.calls)
        await until(lambda: len(server.calls) > looked + 1)
        server.end(jobs)
        events = await asyncio.gather(*tasks.values())
    assert {event["kind"] for event in events} == {"ended"}


async def test_replaced_credentials_are_used(server: JobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is made anew from the connection as it is then."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", server.connection("old"))

    def outdated(call: Call) -> Fault | None:
        return Fault(403, "UnrecognizedClientException") if call.access_key == "old" else None

    server.fault = outdated
    jobs = server.add(3)
    server.end(jobs)
    async with waiting([trigger(job) for job in jobs]) as tasks:
        await until(lambda: len(server.calls) >= 2)
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", server.connection("new"))
        events = await asyncio.gather(*tasks.values())
    assert {event["kind"] for event in events} == {"ended"}


async def test_a_job_that_does_not_exist_ends_the_wait_at_once(server: JobServer) -> None:
    """Nobody waits for a time-out."""
    async with waiting([trigger("nobody", poll_interval=3600)]) as tasks:
        event = await asyncio.wait_for(tasks["nobody"], 120)
    assert event["kind"] == "missing"
    assert "nobody" in event["message"]


async def test_access_denied_ends_the_wait_unless_it_has_no_timeout(server: JobServer) -> None:
    """No permission for Get: an event; with no_response_timeout=0, as silent_fail asks for, the wait goes on."""
    server.fault = lambda call: Fault(403, "AccessDeniedException")
    job, other = server.add(2)
    async with waiting([trigger(job), trigger(other, no_response_timeout=0)]) as tasks:
        assert (await tasks[job.arn])["kind"] == "refused"
        server.fault = lambda call: None
        server.end([other])
        assert (await tasks[other.arn])["kind"] == "ended"


async def test_two_tasks_that_wait_for_one_job_both_get_its_end(server: JobServer) -> None:
    """By its ARN and by its name."""
    (job,) = server.add(1)
    async with waiting([trigger(job), trigger(job.name)]) as tasks:
        await until(lambda: server.counts()["list"] + server.counts()["get"] >= 2)
        server.end([job])
        events = await asyncio.gather(*tasks.values())
    assert [event["job_identifier"] for event in events] == [job.arn, job.name]


async def test_the_log_has_a_line_for_each_change_and_none_for_a_poll(
    server: JobServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Status, phases with their times, and how long the task waited."""
    (job,) = server.add(1)
    with caplog.at_level(logging.INFO):
        async with waiting([trigger(job)]) as tasks:
            await until(lambda: len(server.calls) >= 5)
            job.status = "Stopping"
            server.changed()
            await until(lambda: "is Stopping" in caplog.text)
            server.end([job], "Stopped")
            await tasks[job.arn]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_bedrock.triggers")]
    began, first, stopping, ended = lines
    assert began == f"Waiting for job {job.arn}, polling every {INTERVAL} s"
    assert first.startswith(f"Job {job.name} is InProgress: validation Completed in 1 min 0 s, data processing ")
    assert stopping == f"Job {job.name} is Stopping"
    assert ended.startswith(f"Job {job.name} is Stopped: training Stopped; waited for ")


async def test_polls_errors_jobs_and_lag_are_counted(server: JobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a dashboard: names that Airflow's Stats sends to StatsD or OpenTelemetry."""

    class Recorder:
        counted: dict[str, int]
        gauges: dict[str, float]
        most: dict[str, float]
        tags: list[dict[str, str]]

        def __init__(self) -> None:
            self.counted, self.gauges, self.most, self.tags = {}, {}, {}, []

        def incr(self, name: str, tags: dict[str, str]) -> None:
            self.counted[name] = self.counted.get(name, 0) + 1
            self.tags.append(tags)

        def gauge(self, name: str, value: float) -> None:
            self.gauges[name] = value
            self.most[name] = max(value, self.most.get(name, 0))

    recorder = Recorder()
    monkeypatch.setattr(poll_loop, "Stats", recorder)
    monkeypatch.setattr(poll_loop, "_REPORT_SECONDS", 0)
    jobs = server.add(4)
    server.fault = lambda call: Fault(500, "InternalServerException") if 2 <= len(server.calls) <= 9 else None
    async with waiting([trigger(job) for job in jobs]) as tasks:
        await until(lambda: len(server.calls) >= 11)
        server.end(jobs)
        await asyncio.gather(*tasks.values())
    assert recorder.counted["bedrock.polls"] == len(server.calls)
    assert recorder.counted["bedrock.poll_errors"] == 8
    assert {"operation": "list"} in recorder.tags
    assert {"operation": "list", "kind": "no_answer"} in recorder.tags
    assert recorder.most["bedrock.jobs_watched"] == 4
    outage = server.calls[9].at - server.calls[1].at
    assert recorder.most["bedrock.poll_lag_seconds"] >= outage
    assert recorder.gauges == {"bedrock.jobs_watched": 0, "bedrock.poll_lag_seconds": 0}


async def test_a_defect_of_the_loop_fails_the_waiting_tasks(server: JobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw is no endless wait."""

    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError

    (job,) = server.add(1)
    with monkeypatch.context() as patched:
        patched.setattr(Planner, "got", broken)
        async with waiting([trigger(job)]) as tasks:
            with pytest.raises(RuntimeError, match="broke"):
                await asyncio.wait_for(tasks[job.arn], 120)
    server.end([job])
    async with waiting([trigger(job)]) as tasks:
        assert (await asyncio.wait_for(tasks[job.arn], 120))["kind"] == "ended"


async def test_finished_triggers_leave_no_cycles_behind(server: JobServer) -> None:
    """So that they are freed at once, and leave the garbage collector nothing to do."""
    jobs = server.add(200)
    async with waiting([trigger(job) for job in jobs]) as tasks:
        await until(lambda: server.counts()["list"] >= 2)
        gc.disable()
        try:
            server.end(jobs)
            await asyncio.gather(*tasks.values())
            tasks.clear()
            arns = {job.arn for job in jobs}  # other tests' triggers may be held by what pytest keeps of them
            # By type(), since isinstance() makes lazy proxies of other packages import what they stand for.
            triggers = [thing for thing in gc.get_objects() if type(thing) is BedrockModelCustomizationTrigger]
            alive = [one for one in triggers if one.job_identifier in arns]
            del triggers
        finally:
            gc.enable()
    assert len(alive) < len(jobs) / 2  # the last ones are held while the loop ends; a cycle would keep them all
