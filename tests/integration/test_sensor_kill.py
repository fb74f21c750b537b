"""A killed wait stops the job only where nobody will pick it up: on_kill through Airflow's own trigger runner. Before
Airflow 3.3, which has no on_kill, the cancel does the same.

The three traps of Airflow 3.3: a triggerer that stalled gets on_kill for tasks that go on elsewhere; after a Clear the
next try may have adopted the job already; and the cancel is repeated each second, which cuts a plain on_kill off.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetTaskStates

from airflow_bedrock.jobs import on_kill
from airflow_bedrock.sensors import BedrockModelCustomizationSensor
from airflow_bedrock.triggers import BedrockModelCustomizationTrigger
from airflow_bedrock.triggers.base import KILLED_BY_CANCEL
from tests.job_server import FakeJob, Fault, JobServer


def task_instance(map_index: int = -1) -> Any:
    try:
        from airflow.executors.workloads.task import TaskInstanceDTO
    except ImportError:  # before Airflow 3.3
        from airflow.executors.workloads import TaskInstance as TaskInstanceDTO  # its name then

    return TaskInstanceDTO(
        id=uuid4(),
        dag_version_id=uuid4(),
        dag_id="dag",
        run_id="run",
        task_id="wait",
        map_index=map_index,
        try_number=1,
        pool_slots=1,
        queue="default",
        priority_weight=1,
    )


class Supervisor:
    """Answers for the supervisor what state the task instance is in.

    :param state: what it answers; an exception is raised.
    :param seconds: how long that takes; 4.5 the first time in a real triggerer.
    """

    def __init__(self, state: Any, seconds: float = 0.0, task: str = "wait") -> None:
        self.state, self.seconds, self.task = state, seconds, task
        self.asked: list[Any] = []

    def send(self, message: Any) -> Any:
        if not isinstance(message, GetTaskStates):  # the connection's secrets are to be masked in logs
            return None
        self.asked.append(message)
        time.sleep(self.seconds)
        if isinstance(self.state, Exception):
            raise self.state
        return SimpleNamespace(task_states={"run": {self.task: self.state}})


class Deleted(Supervisor):
    """Answers for the supervisor once the task instance was deleted.

    :param task_states: those of its run.
    """

    def __init__(self, task_states: dict[str, Any]) -> None:
        super().__init__(None)
        self.task_states = task_states

    def send(self, message: Any) -> Any:
        super().send(message)
        return SimpleNamespace(task_states=self.task_states)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Callable[[Supervisor], Supervisor]:
    def take(supervisor: Supervisor) -> Supervisor:
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
        return supervisor

    return take


@asynccontextmanager
async def running(
    job: FakeJob, map_index: int = -1, **arguments: Any
) -> AsyncIterator[tuple[TriggerRunner, asyncio.Task[Any]]]:
    """Let Airflow's runner run a trigger for the job, until its first poll."""
    runner = TriggerRunner()
    trigger = BedrockModelCustomizationTrigger(job_identifier=job.arn, poll_interval=30, **arguments)
    trigger.task_instance = task_instance(map_index)
    task: asyncio.Task[Any] = asyncio.create_task(runner.run_trigger(1, trigger))
    runner.triggers[1] = {"task": task, "is_watcher": False, "name": "wait", "events": 0}
    await asyncio.sleep(0.7)
    assert not task.done(), task.result()
    try:
        yield runner, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def kill(runner: TriggerRunner, task: asyncio.Task[Any], *, every: float = 0.2) -> None:
    """Cancel as the runner does for a person: again in each of its loops, until the trigger is gone.

    What its on_kill has begun goes on after that, although Airflow no longer waits: the test waits for it.
    """
    for _ in range(600):
        if task.done() and not on_kill._running:
            return
        if not task.done():
            runner.to_cancel.append(1)
            await runner.cancel_triggers()
        await asyncio.sleep(every)
    raise AssertionError("the trigger did not end")


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "upstream_failed", "removed"])
async def test_a_wait_that_is_over_for_good_stops_the_job(
    server: JobServer, supervisor: Callable[[Supervisor], Supervisor], state: str
) -> None:
    """Marked failed or success, or its run timed out."""
    supervisor(Supervisor(state))
    (job,) = server.add(1)
    async with running(job, stop_on_kill=True) as (runner, task):
        await kill(runner, task)
    assert server.counts()["stop"] == 1
    assert job.status == "Stopped"


async def test_a_job_is_stopped_although_airflow_does_not_come_to_call_on_kill(
    server: JobServer, supervisor: Callable[[Supervisor], Supervisor], caplog: pytest.LogCaptureFixture
) -> None:
    """It logs first, in a thread of the loop's; while many tasks end, none is free before it cancels the next time."""
    caplog.set_level("INFO", "airflow_bedrock.jobs.on_kill")
    supervisor(Supervisor("failed"))
    (job,) = server.add(1)
    threads, may_end = ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(threads)
    try:
        async with running(job, stop_on_kill=True) as (runner, task):
            threads.submit(may_end.wait)
            await kill(runner, task)
    finally:
        may_end.set()
    assert server.counts()["stop"] == 1
    assert f"Job {job.arn} will be stopped if no task waits for it. If the outcome is not logged below" in caplog.text


@pytest.mark.parametrize("task_states", [{}, {"run": {}}])
async def test_a_deleted_run_needs_its_job_no_more(
    server: JobServer, supervisor: Callable[[Supervisor], Supervisor], task_states: dict[str, Any]
) -> None:
    """Airflow deletes a DAG with its runs while tasks are deferred, and a task instance alone."""
    supervisor(Deleted(task_states))
    (job,) = server.add(1)
    async with running(job, stop_on_kill=True) as (runner, task):
        await kill(runner, task)
    assert server.counts()["stop"] == 1


@pytest.mark.parametrize("state", ["deferred", "running", "queued", "scheduled", "up_for_retry", "restarting", None])
async def test_traps_1_and_2_a_wait_that_goes_on_elsewhere_leaves_the_job(
    server: JobServer, supervisor: Callable[[Supervisor], Supervisor], state: str | None
) -> None:
    """The triggerer had stalled, or the task was cleared and its next try has adopted the job, or will."""
    asked = supervisor(Supervisor(state)).asked
    (job,) = server.add(1)
    async with running(job, stop_on_kill=True) as (runner, task):
        await kill(runner, task)
    assert len(asked) == 1
    assert (asked[0].dag_id, asked[0].run_ids, asked[0].task_ids, asked[0].map_index) == ("dag", ["run"], ["wait"], -1)
    assert server.counts()["stop"] == 0


async def test_trap_3_the_repeated_cancel_does_not_cut_the_stop_off(
    server: JobServer, supervisor: Callable[[Supervisor], Supervisor]
) -> None:
    """Learning the state takes seconds, while the runner cancels again and again."""
    asked = supervisor(Supervisor("failed", seconds=2.0)).asked
    (job,) = server.add(1)
    async with running(job, stop_on_kill=True) as (runner, task):
        await kill(runner, task)
        async with asyncio.timeout(120):
            while not server.counts()["stop"]:  # noqa: ASYNC110  # what is waited for happens in another thread
                await asyncio.sleep(0.05)
    assert len(asked) == 1
    assert server.counts()["stop"] == 1


async def test_a_state_that_cannot_be_read_leaves_the_job(
    server: JobServer,
    supervisor: Callable[[Supervisor], Supervisor],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the log says so, since somebody may have to stop it."""
    monkeypatch.setattr(on_kill, "_SECONDS", 1.5)
    supervisor(Supervisor(ConnectionError("gone")))
    (job,) = server.add(1)
    async with running(job, stop_on_kill=True) as (runner, task):
        await kill(runner, task)
        async with asyncio.timeout(120):
            while "NOT stopped" not in caplog.text:  # noqa: ASYNC110  # what is waited for happens in another thread
                await asyncio.sleep(0.05)
    assert server.counts()["stop"] == 0


async def test_a_stop_that_fails_is_logged(
    server: JobServer, supervisor: Callable[[Supervisor], Supervisor], caplog: pytest.LogCaptureFixture
) -> None:
    """With what to do."""
    supervisor(Supervisor("failed"))
    (job,) = server.add(1)
    server.fault = lambda call: Fault(403, "AccessDeniedException") if call.operation == "stop" else None
    async with running(job, stop_on_kill=True) as (runner, task):
        await kill(runner, task)
    assert job.status == "InProgress"
    assert "COULD NOT BE STOPPED" in caplog.text


async def test_a_mapped_task_reads_its_own_state(
    server: JobServer, supervisor: Callable[[Supervisor], Supervisor]
) -> None:
    """Airflow answers under the task's id with the map index."""
    supervisor(Supervisor("failed", task="wait_3"))
    (job,) = server.add(1)
    async with running(job, map_index=3, stop_on_kill=True) as (runner, task):
        await kill(runner, task)
    assert server.counts()["stop"] == 1


async def test_without_stop_on_kill_nothing_is_stopped(
    server: JobServer, supervisor: Callable[[Supervisor], Supervisor]
) -> None:
    """The default of trigger and sensor."""
    asked = supervisor(Supervisor("failed")).asked
    (job,) = server.add(1)
    async with running(job) as (runner, task):
        await kill(runner, task)
    assert asked == []
    assert server.counts()["stop"] == 0


@pytest.mark.skipif(KILLED_BY_CANCEL, reason="before Airflow 3.3 a cancel says nothing, and the state is asked for")
@pytest.mark.parametrize("message", [(), ("EOF - shutting down",)], ids=["no message", "Airflow's message"])
async def test_the_end_of_the_triggerer_stops_nothing(
    server: JobServer, supervisor: Callable[[Supervisor], Supervisor], message: tuple[str, ...]
) -> None:
    """A deployment of Airflow is no reason."""
    asked = supervisor(Supervisor("failed")).asked
    (job,) = server.add(1)
    async with running(job, stop_on_kill=True) as (_, task):
        task.cancel(*message)
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(*on_kill._running)
    assert asked == []
    assert server.counts()["stop"] == 0


@pytest.mark.parametrize(("state", "stops"), [("failed", 1), ("running", 0), (None, 0)])
@pytest.mark.parametrize("stop_on_kill", [True, False])
def test_a_sensor_in_a_worker_stops_the_job_only_if_enabled_and_the_task_has_ended(
    server: JobServer,
    supervisor: Callable[[Supervisor], Supervisor],
    state: str | None,
    stops: int,
    stop_on_kill: bool,
) -> None:
    """An evicted worker, whose task goes on, does not."""
    supervisor(Supervisor(state))
    (job,) = server.add(1)
    sensor = BedrockModelCustomizationSensor(
        task_id="wait", job_identifier=job.name, mode="poke", stop_on_kill=stop_on_kill
    )
    ti = task_runner.RuntimeTaskInstance.model_construct(**task_instance().model_dump(), task=sensor)
    sensor.poke({"ti": ti})
    sensor.on_kill()
    assert server.counts()["stop"] == (stops if stop_on_kill else 0)


def test_a_sensor_in_a_worker_reads_the_state_again_after_an_error(
    server: JobServer, supervisor: Callable[[Supervisor], Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor is busy at first; the task was marked failed."""
    monkeypatch.setattr(on_kill, "_ASK_AGAIN_SECONDS", 0.05)
    answers = supervisor(Supervisor(RuntimeError("busy")))
    (job,) = server.add(1)
    sensor = BedrockModelCustomizationSensor(task_id="wait", job_identifier=job.name, mode="poke", stop_on_kill=True)
    ti = task_runner.RuntimeTaskInstance.model_construct(**task_instance().model_dump(), task=sensor)
    sensor.poke({"ti": ti})
    sensor.on_kill()
    assert server.counts()["stop"] == 0
    answers.state = "failed"
    for thread in [thread for thread in threading.enumerate() if thread.name == "bedrock-kill"]:
        thread.join()
    assert server.counts()["stop"] == 1
