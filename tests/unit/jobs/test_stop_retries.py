"""A job is stopped even if the service is slow, hides it or loses its response; and the log is right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.hooks import BedrockHook
from airflow_bedrock.jobs import on_kill, own_jobs, stopping, task_state
from airflow_bedrock.jobs.connection import Connection
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.resources.invocation_job import INVOCATION_JOB
from airflow_bedrock.jobs.service import Service
from tests.paid_jobs import PaidJob, PaidJobs, error

ME = Waiter(until="task", dag_id="d", task_id="t", map_index=-1, run_id="run")
THROTTLED = error("ThrottlingException", "Slow down.", 429)
EXPIRED = error("ExpiredTokenException", "The security token included in the request is expired", 403)
HIDDEN = error("ResourceNotFoundException", "There is no such job.", 404)
DENIED = error("AccessDeniedException", "not allowed", 403)


class Hook(BedrockHook):
    """A hook whose client is the service in memory."""

    clients = 1

    def __init__(self, jobs: PaidJobs) -> None:
        super().__init__(aws_conn_id=None)
        self.jobs = jobs

    @property
    def conn(self) -> Any:
        return self.jobs

    def forget_client(self) -> None:
        self.clients += 1


@dataclass
class World:
    """A job that runs, a clock that only sleeping moves, and what goes wrong until when."""

    jobs: PaidJobs = field(default_factory=PaidJobs)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.jobs._create_model_customization_job(jobName="j", customModelName="m", clientRequestToken="t")
        self.hook = Hook(self.jobs)

    @property
    def job(self) -> PaidJob:
        return self.jobs.jobs[0]

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def fail(self, failure: Exception, *, until: float, only: str = "", after: bool = False) -> None:
        """Let every call fail until then, or those of one operation; also after it was carried out."""

        def strike(operation: str, work: Callable[[], Any]) -> Any:
            if self.now >= until or only not in operation:
                return work()
            if after:
                work()
            raise failure

        self.jobs.strikes = dict.fromkeys(range(1, 1000), strike)

    def stop(self) -> str:
        service = Service(CUSTOMIZATION_JOB, self.hook)
        return stopping.patiently(stopping.stop_unless_others_wait, service, self.job.arn, ME)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    for module in (stopping, own_jobs):
        monkeypatch.setattr(module, "time", world)
    return world


@pytest.mark.parametrize("failure", [THROTTLED, EXPIRED, HIDDEN, ReadTimeoutError(endpoint_url="https://bedrock")])
@pytest.mark.parametrize(
    ("only", "after", "said"),
    [
        ("", False, "is being stopped"),
        ("stop", False, "is being stopped"),
        ("stop", True, "had already ended: Stopped"),
    ],
)
def test_what_passes_by_itself_leaves_no_job(
    world: World, failure: Exception, only: str, after: bool, said: str
) -> None:
    """Throttling, credentials that have expired, a job that is not shown yet, an answer that was lost."""
    world.fail(failure, until=50, only=only, after=after)
    assert f"Job {world.job.arn} {said}" in world.stop()
    assert not world.job.runs
    assert (world.hook.clients > 1) == (failure is EXPIRED)


@pytest.mark.parametrize(
    ("failure", "said", "seconds"),
    [
        (THROTTLED, "was NOT stopped, and may run and be billed on", 60),
        (HIDDEN, "was NOT stopped, and may run and be billed on: connection None does not show it", 120),
        (DENIED, "was NOT stopped, and may run and be billed on", 0),
    ],
)
def test_a_stop_that_fails_reports_the_true_state(world: World, failure: Exception, said: str, seconds: float) -> None:
    """What does not pass is not waited for."""
    world.fail(failure, until=1000)
    assert said in world.stop()
    assert world.now == seconds


def test_a_caller_that_does_not_wait_gets_a_temporary_error(world: World) -> None:
    """A triggerer gives the thread back between two tries."""
    world.fail(THROTTLED, until=1000)
    with pytest.raises(stopping.NotStoppedError, match="Slow down"):
        stopping.stop_job(Service(CUSTOMIZATION_JOB, world.hook), world.job.arn)


@pytest.mark.parametrize(("minutes", "stopped"), [(30, True), (80, False)])
def test_a_triggerer_retries_for_an_hour_while_the_service_throttles(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, minutes: int, stopped: bool
) -> None:
    """It holds no slot meanwhile, and polls less and less often; a minute would leave the job of a busy account."""
    monkeypatch.setattr(on_kill, "time", world)
    monkeypatch.setattr(task_state, "state_of", lambda _: "failed")
    world.fail(THROTTLED, until=60 * minutes)
    ti: Any = SimpleNamespace(dag_id="d", task_id="t", run_id="run", map_index=-1)
    stop = partial(on_kill.stop_for, Service(CUSTOMIZATION_JOB, world.hook), world.job.arn, ti, own_run_only=False)
    tries = 0
    pause: float | None = 0.0
    while pause is not None:
        world.sleep(pause)
        pause = on_kill._try_to_stop(ti, world.job.arn, stop, 0.0, on_kill._TRIGGERER_SECONDS)
        tries += 1
    assert world.job.runs is not stopped
    assert tries < 80
    last = caplog.messages[-1]
    assert ("is being stopped" if stopped else "Stop it in the AWS console if it is not needed. AWS said: ") in last


async def test_stops_that_are_under_way_share_a_client_and_later_ones_do_not() -> None:
    """A run with hundreds of jobs was stopped at the pace at which clients are made; a connection may be edited."""
    connection = Connection.of(aws_conn_id="aws", region_name="us-east-1", verify=None, config=None)
    may_end = asyncio.Event()
    stop = on_kill.begin(may_end.wait())
    first = on_kill.hook_of(connection)
    assert on_kill.hook_of(connection) is first
    may_end.set()
    await stop
    await asyncio.sleep(0)
    assert on_kill.hook_of(connection) is not first
    on_kill._hooks.clear()


def test_a_job_that_is_being_stopped_is_not_said_to_run_on(world: World) -> None:
    """By a person in the console, or by an earlier kill of this task: the service refuses to do it twice."""
    world.job.status = "Stopping"
    assert f"{world.job.arn} is being stopped" in world.stop()


def test_a_stop_that_is_not_allowed_says_what_runs_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: no other try helps."""

    def denied(*_: Any, **__: Any) -> None:
        raise DENIED

    monkeypatch.setattr(PaidJobs, "_stop_model_customization_job", denied)
    assert "COULD NOT BE STOPPED and may run and be billed on" in world.stop()
    assert world.now == 0


def test_a_job_that_goes_on_while_it_is_listed_is_listed_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each status is listed by itself, and a batch job goes through four of them."""
    monkeypatch.setattr(
        Service, "list_all", lambda *_, status: [CUSTOMIZATION_JOB.read({**world.job.summary(), "status": status})]
    )
    assert [one.arn for one in Service(INVOCATION_JOB, world.hook).list_running()] == [world.job.arn]


def test_the_job_of_a_task_is_searched_for_until_there_is_a_response(world: World) -> None:
    """As when execution_timeout runs out just while the service does not answer."""
    world.fail(THROTTLED, until=100)
    service = Service(CUSTOMIZATION_JOB, world.hook)
    found = own_jobs.with_retries(service, lambda: service.find("j"))
    assert found is not None
    world.fail(DENIED, until=1000)
    with pytest.raises(type(DENIED)):
        own_jobs.with_retries(service, lambda: service.find("j"))
    assert (world.now, world.hook.clients) == (100, 1)


def test_credentials_that_have_expired_meanwhile_are_taken_anew(world: World) -> None:
    """Whether a task asks what it has made, or stops it: by a client of the connection as it is then."""
    service = Service(CUSTOMIZATION_JOB, world.hook)
    world.fail(EXPIRED, until=3)
    assert own_jobs.with_retries(service, lambda: service.find("j")) is not None
    assert world.hook.clients == 2


def test_the_log_names_the_job_before_the_service_has_responded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow kills the process five seconds later, while a throttled call may still be repeated."""
    caplog.set_level("INFO")
    monkeypatch.setattr(task_state, "state_of", lambda _: "failed")
    before: list[str] = []

    def stop() -> str:
        before.extend(caplog.messages)
        return "It is being stopped."

    switch = on_kill.KillSwitch(None)
    switch.aim("arn of the job", stop)
    switch.pull()
    switch.wait()
    assert "Job arn of the job will be stopped if no task waits for it" in before[-1]
    assert "the job may still run and be billed; stop it with airflow-bedrock jobs --orphans --stop" in before[-1]


def test_a_second_signal_while_the_first_is_handled_stops_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes as soon as the switch knows of its thread."""
    monkeypatch.setattr(task_state, "state_of", lambda _: "failed")
    stops: list[str] = []
    signals = [1]

    class Interrupted(on_kill.KillSwitch):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "_thread" and value is not None and signals:
                signals.pop()
                self.pull()

    def stop() -> str:
        stops.append("stop")
        return "It is being stopped."

    switch = Interrupted(None)
    switch.aim("job", stop)
    switch.pull()
    switch.wait()
    assert "stop" in stops
