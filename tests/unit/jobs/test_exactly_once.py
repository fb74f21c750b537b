"""One paid job for one ask, whatever happens in whatever order.

Hypothesis drives the operator, its kill switch, and a service in memory through arbitrary interleavings of crash, lost
answer, throttling, edit, Clear, kill, time-out, racing workers, shared jobs, and a service that does not show a new
job at once. A run of all tests plays the same ones each time; ``EXACTLY_ONCE_EXAMPLES=2000`` plays as many, at random.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from botocore.exceptions import NoCredentialsError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_bedrock import configuration
from airflow_bedrock.compat import AirflowTaskTimeout, TaskDeferred
from airflow_bedrock.customization.identity import Token
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks import BedrockHook
from airflow_bedrock.jobs import on_kill, own_jobs, stopping, submission, task_state
from airflow_bedrock.jobs.on_kill import stop_for
from airflow_bedrock.jobs.stopping import NotStoppedError
from airflow_bedrock.operators import BedrockModelCustomizationOperator
from tests.paid_jobs import CrashError, PaidJob, PaidJobs, error, strike
from tests.state_store import Store

T = TypeVar("T")
BAD_DATA = "Unable to parse Amazon S3 file: f. Data files must conform to JSONL format."
OUTAGE = "An internal error occurred. Please try again later."
ENDED = ("failed", "success")
RETRIES = 2


@dataclass(eq=False, repr=False)
class Instance:
    """A task instance, and the processes of ours that have it.

    :param number: its map index in what is expanded: the request is for this one's data.
    :param ask: its ``max_tries``.
    :param seen: jobs that this ask has got.
    :param store: Airflow's task_state_store; None before 3.3.
    """

    environment: str = ""
    run: str = "run-1"
    index: int = -1
    partition: str | None = None
    number: int = 0
    ask: int = RETRIES
    tries: int = 0
    state: str | None = None
    seen: list[PaidJob] = field(default_factory=list)
    held: list[tuple[Task, PaidJob]] = field(default_factory=list)
    former: list[Task] = field(default_factory=list)
    store: Store | None = None

    def __repr__(self) -> str:
        return f"{self.environment}{self.run}[{self.index}], {self.state}"

    def let_go(self) -> None:
        self.former += [task for task, _ in self.held]
        self.held = []

    @property
    def ti(self) -> Any:
        return SimpleNamespace(
            dag_id="d",
            task_id="t",
            run_id=self.run,
            map_index=self.index,
            max_tries=self.ask,
            try_number=self.tries,
            task=SimpleNamespace(retries=RETRIES),
            xcom_push=lambda **_: None,
            xcom_pull=lambda **_: None,
        )

    @property
    def context(self) -> Any:
        dag_run = SimpleNamespace(partition_key=self.partition)
        return {"ti": self.ti, "dag_run": dag_run, "outlet_events": {}, "task_state_store": self.store}


class World:
    """The service, and the deployment of Airflow that asks now; one at a time."""

    service = PaidJobs()
    instances: tuple[Instance, ...] = ()
    environment = ""

    @classmethod
    def state_of(cls, ti: Any) -> str | None:
        [state] = [
            one.state
            for one in cls.instances
            if (one.environment, one.run, one.index) == (cls.environment, ti.run_id, ti.map_index)
        ]
        return state


class Hook(BedrockHook):
    """A hook whose client is the service in memory."""

    conn_region_name = "us-east-1"

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(aws_conn_id=None)

    @property
    def conn(self) -> Any:
        return World.service

    def get_session(self, *_: Any, **__: Any) -> Any:
        raise NoCredentialsError  # STS does not respond


class Task(BedrockModelCustomizationOperator):
    """The operator, in one process."""

    hook: Any = cached_property(lambda self: Hook())

    @cached_property
    def _s3(self) -> Any:
        parse = lambda uri: uri.removeprefix("s3://").split("/", 1)  # noqa: E731  # of a hook
        return SimpleNamespace(conn=World.service, conn_region_name="us-east-1", parse_s3_url=parse)


class AtOnce(threading.Thread):
    """A thread whose work is done when it has been started."""

    def start(self) -> None:
        self.run()

    def join(self, timeout: float | None = None) -> None:
        """It has ended."""


@pytest.fixture(autouse=True, scope="module")
def airflow_tells_the_state() -> Iterator[None]:
    """Ask the machine instead of Airflow's execution API, which tests/live/test_runs.py asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_state, "state_of", World.state_of)
        patch.setattr(configuration, "environment", lambda: World.environment)
        for module in (submission, own_jobs):
            patch.setattr(module, "_PAUSE", 0.0)
        patch.setattr(submission, "_SIBLINGS_SECONDS", 0.0)
        patch.setattr(submission, "SECONDS_UNTIL_MISSING", 0.0)
        patch.setattr(on_kill, "_SECONDS", 0.0)
        patch.setattr(stopping, "_TRANSIENT_SECONDS", 0.0)
        for module in (stopping, own_jobs):
            patch.setattr(module, "SECONDS_UNTIL_MISSING", 0.0)
        patch.setattr(threading, "Thread", AtOnce)  # so that a game can be played again
        yield


LAYOUTS: dict[str, Callable[[], list[Instance]]] = {
    "one task": lambda: [Instance()],
    "mapped": lambda: [Instance(index=number, number=number) for number in (0, 1)],
    "mapped alike": lambda: [Instance(index=number) for number in (0, 1)],
    "two runs": lambda: [Instance(run="run-1"), Instance(run="run-2")],
    "two months, one twice": lambda: [
        Instance(run=f"run-{number}", partition=month, number=int(month))
        for number, month in enumerate(["01", "02", "01"])
    ],
    "two environments": lambda: [Instance(environment="dev"), Instance(environment="prod")],
}
KINDS = ["throttled", "no answer", "5xx", "not found", "denied", "no model's ARN"]
ACTS = [("crash", "before"), ("crash", "after"), ("kill", "before"), ("kill", "after"), ("kill", "before, no answer")]
ACTS += [("timeout", "before"), ("timeout", "after"), ("rival", "before"), ("complete", "before")]
STRIKES = st.dictionaries(st.integers(1, 8), st.sampled_from([*KINDS, *ACTS]), max_size=2)


def one_of(data: st.DataObject, things: list[T]) -> T:
    """Draw one of the things, by its number."""
    return things[data.draw(st.integers(0, len(things) - 1))]


def stop_in_triggerer(task: Task, job: PaidJob, one: Instance) -> None:
    """Stop a job as a trigger does: it tries again while the service does not show the job."""
    while True:
        with suppress(NotStoppedError):
            stop_for(task._service, job.arn, one.ti, own_run_only=False)
            return


class ExactlyOnce(RuleBasedStateMachine):
    """Task instances of one task, asked again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.instances: list[Instance] = []
        self.arguments: dict[str, Any] = {}
        self.version = 0  # of the template
        self.excused: list[PaidJob] = []  # that may run although nobody waits, as docs/exactly-once.md says
        self.begin()

    @initialize(
        layout=st.sampled_from(list(LAYOUTS)),
        reuse=st.sampled_from(["run", "dag", "never"]),
        superseded=st.sampled_from(["stop", "stop", "keep", "fail"]),
        hidden=st.integers(0, 2),
        unlisted=st.integers(0, 2),
        asked=st.integers(0, 3),
        stored=st.booleans(),
    )
    def begin(
        self,
        layout: str = "one task",
        reuse: str = "run",
        superseded: str = "stop",
        hidden: int = 0,
        unlisted: int = 0,
        asked: int = 0,
        stored: bool = False,
    ) -> None:
        """Begin where so many have asked, and nothing has disturbed them: most of what can happen comes then."""
        World.service = self.service = PaidJobs()
        World.instances = tuple(LAYOUTS[layout]())
        self.instances = list(World.instances)
        self.arguments = {"reuse": reuse, "superseded": superseded}
        for one in self.instances if stored else ():
            one.store = Store()
        for one in self.instances[:asked]:
            self.attempt(one)
        self.service.looks_until_shown, self.service.lists_until_shown = hidden, unlisted

    def task(self, one: Instance, **more: Any) -> Task:
        arguments: dict[str, Any] = {
            "task_id": "t",
            "job_name": "router",
            "custom_model_name": "router",
            "role_arn": "arn:aws:iam::123456789012:role/bedrock",
            "base_model_id": "amazon.nova-micro-v1:0:128k",
            "training_data_uri": f"s3://bucket/{one.number}.jsonl",
            "output_data_uri": "s3://bucket/output",
            "hyperparameters": {"epochCount": str(1 + self.version % 5)},
            "preflight": False,
            "deferrable": True,
        }
        return Task(**{**arguments, **self.arguments, **more})

    @contextmanager
    def asking(self, one: Instance, strikes: dict[int, Any] | None = None) -> Iterator[None]:
        """Let the calls be those of an instance, until the end of the block."""
        service, before = self.service, (World.environment, self.service.caller, self.service.strikes)
        World.environment, service.caller, service.strikes = one.environment, one, strikes or {}
        service.calls = 0
        try:
            yield
        finally:
            World.environment, service.caller, service.strikes = before

    def attempt(self, one: Instance, strikes: dict[int, Any] | None = None) -> None:
        """Let a worker take the task up."""
        one.tries += 1
        one.state = "running"
        one.let_go()
        self.run(one, lambda task: task.execute(one.context), strikes)

    def run(self, one: Instance, work: Callable[[Task], Any], strikes: dict[int, Any] | None = None) -> None:
        task = self.task(one)
        acts: dict[str, Callable[[], None]] = {
            "crash": self.crash,
            "kill": partial(self.kill, one, task),
            "timeout": self.time_out,
            "rival": partial(self.rival, one, work),
            "complete": self.complete_all,
        }
        planned = {
            number: strike(kind, print) if isinstance(kind, str) else strike(f"act {kind[1]}", acts[kind[0]])
            for number, kind in (strikes or {}).items()
        }
        earlier = self.waited_for_by(one)
        with self.asking(one, planned):
            try:
                got = work(task)
            except TaskDeferred as deferred:
                job = self.service.by_arn(deferred.trigger.job_identifier)
                self.got(one, job, earlier)
                one.held.append((task, job))
            except CrashError:
                if one.state in ENDED:
                    self.excuse(one)
                else:
                    one.state = "up_for_retry"
            except BedrockFatalError as failed:
                self.end(one, "failed")
                if self.arguments["superseded"] == "fail" and "superseded=" in str(failed):
                    self.excuse(one)
            except BedrockError:
                if one.state not in ENDED:
                    one.state = "up_for_retry"
            else:
                self.got(one, self.service.by_arn(got), earlier)
                self.end(one, "success")

    def end(self, one: Instance, state: str) -> None:
        """A worker ends the task for good; a second one that has it is notified by Airflow."""
        self.excused += [job for job in self.waited_for_by(one) if not job.shown]
        if one.state not in ENDED:
            one.state = state
        with self.asking(one):
            for task, _ in one.held:
                task.on_kill()
        one.let_go()

    def got(self, one: Instance, job: PaidJob, earlier: list[PaidJob]) -> None:
        """Note which job a try has got, and that it no longer waits for what it has superseded."""
        one.seen.append(job)
        assert job.maker.environment == one.environment
        for other in earlier:
            if other is not job and other.runs:
                shared = any(self.waits(each, other) for each in self.instances if each is not one)
                kept = self.arguments["superseded"] != "stop"
                assert shared or kept or not other.shown, "superseded, and left running"
                self.excused.append(other)

    def waits(self, one: Instance, job: PaidJob) -> bool:
        """Whether an instance may wait for a job, as its tags say."""
        waiting = f" t {one.index} {one.run} ask:"
        tagged = any(waiting in value for value in job.tags.values())
        return job.maker.environment == one.environment and tagged and one.state not in ENDED

    def waited_for_by(self, one: Instance) -> list[PaidJob]:
        return [job for job in self.service.running() if self.waits(one, job)]

    def excuse(self, one: Instance) -> None:
        """No process of ours lived when the task was ended: docs/exactly-once.md says what that leaves."""
        waited_for = [job for each in self.instances for job in self.waited_for_by(each)]
        self.excused += [job for job in self.service.running() if job not in waited_for]

    def crash(self) -> None:
        raise CrashError

    def time_out(self) -> None:
        self.service.strikes = {}  # it strikes once
        raise AirflowTaskTimeout

    def kill(self, one: Instance, task: Task) -> None:
        """A person ends the task for good while a process of ours has it."""
        self.excused += [job for job in self.waited_for_by(one) if not job.shown]
        if one.state not in ENDED:
            one.state = "failed"
        for each in (task, *(held for held, _ in one.held)):
            each.on_kill()

    def rival(self, one: Instance, work: Callable[[Task], Any]) -> None:
        """Airflow runs the same try in a second worker: its beginning, or what comes after the wait."""
        if one.state in ENDED:
            return  # Airflow starts none then
        calls = self.service.calls
        self.run(one, work)
        self.service.calls = calls

    def complete_all(self) -> None:
        for job in self.service.running():
            job.end("Completed")

    def pick(self, data: st.DataObject, *states: str | None) -> Instance | None:
        found = [one for one in self.instances if one.state in states]
        return one_of(data, found) if found else None

    @rule(data=st.data(), strikes=STRIKES)
    def a_worker_takes_a_task_up(self, data: st.DataObject, strikes: dict[int, Any]) -> None:
        if one := self.pick(data, None, "running", "up_for_retry"):
            self.attempt(one, strikes)

    @precondition(lambda self: self.service.running())
    @rule(data=st.data(), ended=st.sampled_from(["Completed", "Completed", "Stopped", BAD_DATA, OUTAGE]))
    def a_job_ends(self, data: st.DataObject, ended: str) -> None:
        job = one_of(data, self.service.running())
        if ended in (BAD_DATA, OUTAGE):
            job.end("Failed", ended)
        else:
            job.end(ended)

    @precondition(lambda self: any(not job.runs for one in self.instances for _, job in one.held))
    @rule(data=st.data(), strikes=STRIKES)
    def a_worker_takes_up_what_has_ended(self, data: st.DataObject, strikes: dict[int, Any]) -> None:
        """The trigger has reported the end; a worker that is killed meanwhile is followed by a whole try."""
        ended = [one for one in self.instances for _, job in one.held if not job.runs]
        one = one_of(data, ended)
        [job, *_] = [job for _, job in one.held if not job.runs]
        one.let_go()
        one.state = "running"
        event = {"kind": "ended", "job_identifier": job.arn, "message": "it has ended"}
        self.run(one, lambda task: task.execute_complete(one.context, event), strikes)

    @precondition(lambda self: any(job.has_model for job in self.service.jobs))
    @rule(data=st.data())
    def a_model_is_deleted(self, data: st.DataObject) -> None:
        one_of(data, [job for job in self.service.jobs if job.has_model]).has_model = False

    @rule()
    def the_template_is_edited(self) -> None:
        """A template with the time in it, a variable edited: no reason to pay without a Clear."""
        self.version += 1

    @precondition(lambda self: any(one.held for one in self.instances))
    @rule(data=st.data(), strikes=STRIKES)
    def a_worker_is_lost_and_the_next_try_asks_for_something_else(
        self, data: st.DataObject, strikes: dict[int, Any]
    ) -> None:
        """As with ``macros.datetime.now()`` in the request."""
        one = one_of(data, [one for one in self.instances if one.held])
        self.version += 1
        self.attempt(one, strikes)

    @precondition(lambda self: self.version)
    @rule()
    def the_edit_is_taken_back(self) -> None:
        self.version -= 1

    @rule()
    def the_data_is_replaced(self) -> None:
        self.service.content += b"x"

    @precondition(lambda self: len(self.instances) > 1)
    @rule()
    def the_expand_comes_out_in_another_order(self) -> None:
        numbers = [one.number for one in self.instances]
        for one, number in zip(self.instances, [*numbers[1:], numbers[0]], strict=True):
            one.number = number

    @rule(data=st.data())
    def a_task_is_cleared(self, data: st.DataObject) -> None:
        """Waiting, running or ended; by then List shows what was made before. Its siblings do not run again."""
        self.clear(one_of(data, self.instances))

    def clear(self, one: Instance) -> None:
        if self.arguments["superseded"] == "keep":
            self.excused += self.waited_for_by(one)
        one.ask = one.tries + RETRIES
        one.state, one.seen = None, []
        one.let_go()
        for job in self.service.jobs:
            job.unlisted = -1

    @precondition(lambda self: any(one.state == "running" for one in self.instances))
    @rule(data=st.data())
    def a_clear_is_not_recognised(self, data: st.DataObject) -> None:
        """Airflow 3.0.6 leaves max_tries of a running task as it is: an automatic retry."""
        if one := self.pick(data, "running"):
            one.state = None
            one.let_go()

    @rule(data=st.data(), state=st.sampled_from(ENDED), trigger=st.booleans())
    def a_person_ends_a_task(self, data: st.DataObject, state: str, trigger: bool) -> None:
        """In a worker that waits, in a triggerer; or where no process of ours has the task."""
        one = self.pick(data, None, "running", "up_for_retry")
        if one is None:
            return
        one.state = state
        with self.asking(one):
            for task, job in one.held:
                if trigger:
                    stop_in_triggerer(task, job, one)
                else:
                    task.on_kill()
        if not one.held:
            self.excuse(one)
        one.let_go()

    @precondition(lambda self: any(one.former and one.state not in ENDED for one in self.instances))
    @rule(data=st.data())
    def a_late_kill_of_a_former_worker_arrives(self, data: st.DataObject) -> None:
        one = one_of(data, [one for one in self.instances if one.former and one.state not in ENDED])
        before = self.service.running()
        with self.asking(one):
            one_of(data, one.former).on_kill()
        assert self.service.running() == before

    @invariant()
    def no_job_runs_that_nobody_may_wait_for(self) -> None:
        for job in self.service.running():
            assert job in self.excused or any(self.waits(one, job) for one in self.instances), job

    @invariant()
    def an_ask_pays_once(self) -> None:
        """Or again after a failure of which the service says that another try may help."""
        by_ask: dict[str, list[PaidJob]] = {}
        for job in self.service.jobs:
            token = Token.read(job.token)
            assert token is not None
            by_ask.setdefault(token.ask, []).append(job)
        for made in by_ask.values():
            assert all(job.failure == OUTAGE for job in made[:-1])

    @invariant()
    def a_retry_does_not_pay_for_what_its_ask_has_already(self) -> None:
        for one in self.instances:
            for number, (earlier, later) in enumerate(itertools.pairwise(one.seen), start=1):
                if later in one.seen[:number] or later.maker is not one:
                    continue
                assert not earlier.runs
                assert not earlier.has_model

    @invariant()
    def two_environments_never_meet(self) -> None:
        for job in self.service.jobs:
            assert job.stopped_by is None or job.stopped_by.environment == job.maker.environment


EXAMPLES = os.environ.get("EXACTLY_ONCE_EXAMPLES")
ExactlyOnce.TestCase.settings = settings(
    max_examples=int(EXAMPLES or 300), stateful_step_count=20, derandomize=not EXAMPLES
)
TestExactlyOnce = ExactlyOnce.TestCase


FAULTS: list[Any] = [None, *KINDS[:3], *ACTS[:2], ("rival", "before")]


@pytest.mark.parametrize("faults", list(itertools.product(FAULTS, repeat=2)))
def test_two_faulty_tries_and_a_third_pay_once(faults: tuple[Any, Any]) -> None:
    """Every pair of faults at Create, then a try that nothing disturbs: one job, and it is found."""
    machine = ExactlyOnce()
    create = 4  # after HeadObject, GetObject and GetModelCustomizationJob
    [one] = machine.instances
    for fault in faults:
        machine.attempt(one, {create: fault} if fault else {})
    machine.attempt(one)
    [job] = machine.service.jobs
    assert [held for _, held in one.held] == [job]


@pytest.mark.parametrize(("layout", "reuse"), [("mapped alike", "run"), ("mapped alike", "dag"), ("two runs", "dag")])
@pytest.mark.parametrize(
    ("end", "state"), [((), "running"), (("Completed",), "success"), (("Failed", BAD_DATA), "failed")]
)
@pytest.mark.parametrize("another", [False, True])
def test_a_retry_takes_up_what_its_ask_has_adopted(
    layout: str, reuse: str, end: tuple[str, ...], state: str, another: bool
) -> None:
    """Even if the request differs, and if the service has another job for just that request; and it stops none."""
    machine = ExactlyOnce()
    machine.begin(layout, reuse, asked=2)
    maker, adopter = machine.instances
    [job] = machine.service.jobs
    machine.the_template_is_edited()
    if another:
        machine.clear(maker)
        machine.attempt(maker)
        assert job.runs
    made = list(machine.service.jobs)
    if end:
        job.end(*end)
    machine.attempt(adopter)
    assert machine.service.jobs == made
    assert all(each.stopped_by is None for each in made)
    assert adopter.state == state
    assert adopter.seen[-1] is job


def shared() -> tuple[ExactlyOnce, Instance, Instance, PaidJob]:
    """Two map indexes wait for one job; the first has made it."""
    machine = ExactlyOnce()
    machine.begin("mapped alike", asked=2)
    maker, adopter = machine.instances
    [job] = machine.service.jobs
    return machine, maker, adopter, job


def ended_by_a_person(machine: ExactlyOnce, one: Instance) -> None:
    one.state = "failed"
    with machine.asking(one):
        for task, _ in one.held:
            task.on_kill()
    one.let_go()


def test_a_second_kill_reads_the_state_again() -> None:
    """The task may have been cleared meanwhile: then its next try adopts the job."""
    machine, maker, adopter, job = shared()
    ended_by_a_person(machine, maker)
    machine.clear(maker)
    ended_by_a_person(machine, adopter)
    with machine.asking(maker):
        maker.former[0].on_kill()
    assert job.runs


@pytest.mark.parametrize("strikes", [{}, {1: ("kill", "before")}, {3: ("kill", "before")}, {1: ("timeout", "before")}])
def test_a_cleared_task_leaves_no_job_that_it_alone_waits_for(strikes: dict[int, Any]) -> None:
    """It adopted the job in an earlier ask, and its maker has ended since: only the tags say so."""
    machine, maker, adopter, job = shared()
    machine.the_data_is_replaced()
    machine.clear(adopter)
    ended_by_a_person(machine, maker)
    assert job.runs
    machine.attempt(adopter, strikes)
    assert not job.runs
    assert len(machine.service.running()) == (0 if strikes else 1)


@pytest.mark.parametrize("maker_is_cleared", [False, True])
@pytest.mark.parametrize(("layout", "reuse"), [("mapped alike", "run"), ("two runs", "dag")])
def test_a_cleared_task_no_longer_waits_for_what_it_has_left_to_others(
    layout: str, reuse: str, maker_is_cleared: bool
) -> None:
    """It waits for another job since, so that who stays is the last one that waits for the former."""
    machine = ExactlyOnce()
    machine.begin(layout, reuse, asked=2)
    stays, leaves = machine.instances[:: -1 if maker_is_cleared else 1]
    [job] = machine.service.jobs
    machine.the_data_is_replaced()
    machine.clear(leaves)
    machine.attempt(leaves)
    assert job.runs
    ended_by_a_person(machine, stays)
    assert not job.runs
    assert [held.runs for _, held in leaves.held] == [True]


def test_a_tag_that_cannot_be_written_on_leaving_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job runs on, for the other one as well as for nobody."""
    machine, _, leaves, job = shared()
    machine.the_data_is_replaced()
    machine.clear(leaves)

    def denied(*_: Any, **__: Any) -> None:
        raise error("AccessDeniedException", "not allowed", 403)

    monkeypatch.setattr(PaidJobs, "_tag_resource", denied)
    machine.attempt(leaves)
    assert job.runs
    assert "Allow bedrock:TagResource" in caplog.text


def test_a_tag_that_is_throttled_on_leaving_is_written_by_another_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nobody could stop the job for as long as this task runs."""
    machine, stays, leaves, job = shared()
    machine.the_data_is_replaced()
    machine.clear(leaves)
    write, refusals = PaidJobs._tag_resource, [error("ThrottlingException", "Slow down.", 429)] * 2

    def throttled(self: PaidJobs, **given: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return write(self, **given)

    monkeypatch.setattr(PaidJobs, "_tag_resource", throttled)
    monkeypatch.setattr(stopping, "_TRANSIENT_SECONDS", 60.0)
    monkeypatch.setattr(stopping, "TRY_AGAIN_SECONDS", 0.0)
    machine.attempt(leaves)
    assert not refusals
    ended_by_a_person(machine, stays)
    assert not job.runs


def test_a_timeout_while_an_error_is_reported_stops_the_job() -> None:
    """It is fatal there too: the data is denied, and while the job of the first try is searched for, time is over."""
    machine = ExactlyOnce()
    [one] = machine.instances
    machine.attempt(one)
    task, service = machine.task(one), machine.service
    one.tries += 1
    service.calls = 0
    service.strikes = {1: strike("denied", print), 2: strike("throttled", print)}
    service.strikes[3] = strike("act before", machine.time_out)
    [job] = service.jobs
    with pytest.raises(BedrockFatalError, match=f"execution_timeout.*{job.arn} is being stopped"):
        task.execute(one.context)
    assert not job.runs


def test_a_timeout_when_the_wait_is_over_says_what_became_of_the_job() -> None:
    """It is fatal there too: while the job that the trigger waited for is read."""
    machine = ExactlyOnce()
    [one] = machine.instances
    machine.attempt(one)
    machine.complete_all()
    [job] = machine.service.jobs
    task, event = machine.task(one), {"kind": "ended", "job_identifier": job.arn, "message": "it has ended"}
    machine.service.calls, machine.service.strikes = 0, {1: strike("act before", machine.time_out)}
    with pytest.raises(BedrockFatalError, match=f"execution_timeout.*{job.arn} had already ended: Completed"):
        task.execute_complete(one.context, event)


def test_the_last_log_line_of_an_ended_task_is_correct(caplog: pytest.LogCaptureFixture) -> None:
    """First of the maker, whose job another one waits for; then of that one, with which the job ends."""
    caplog.set_level(logging.INFO)
    machine, maker, adopter, job = shared()
    ended_by_a_person(machine, maker)
    waits = f"d.t.{adopter.index}. in run {adopter.run} may wait for it"
    kept = f"The task is failed. Job {job.arn} still runs and is billed: {waits}"
    assert job.runs
    assert re.search(kept, caplog.messages[-1])
    ended_by_a_person(machine, adopter)
    assert not job.runs
    assert f"The task is failed. Job {job.arn} is being stopped; the tokens trained so far" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("Completed", None),
        ("Failed", "costs nothing more; no custom model was made"),
        ("Stopped", "the tokens trained until it was stopped are billed"),
    ],
)
def test_the_last_log_line_of_a_task_whose_job_has_ended_is_correct(
    status: str, said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails says what is billed; what is done says nothing of a job that runs."""
    machine = ExactlyOnce()
    [one] = machine.instances
    machine.attempt(one)
    [job] = machine.service.jobs
    job.end(status, BAD_DATA if status == "Failed" else None)
    task, event = machine.task(one), {"kind": "ended", "job_identifier": job.arn, "message": "it has ended"}
    caplog.clear()
    with machine.asking(one):
        if said is None:
            assert task.execute_complete(one.context, event) == job.arn
        else:
            with pytest.raises(BedrockFatalError, match=f"is {status}.*{said}.*{job.arn}"):
                task.execute_complete(one.context, event)
    assert not any("still runs" in message or "was left running" in message for message in caplog.messages)


def test_a_retry_does_not_read_its_siblings_tags_in_vain() -> None:
    """Of 200 mapped tasks that are tried again, most find their job by its name; one that adopted reads few.

    So do the first tries, for one that is their own what: List shows it in the model's name.
    """
    machine = ExactlyOnce()
    calls: list[int] = []
    machine.instances = [Instance(index=number, number=number % 100) for number in range(200)]
    World.instances = tuple(machine.instances)
    for one in machine.instances:
        machine.attempt(one)
        calls.append(machine.service.calls)
    assert len(machine.service.jobs) == 100
    for one in machine.instances:
        machine.attempt(one)
        calls.append(machine.service.calls)
    assert len(machine.service.jobs) == 100
    assert max(calls) < 10


@pytest.mark.parametrize(
    ("retry", "call"), [(False, 1), (False, 2), (False, 3), (False, 4), (True, 1), (True, 2), (True, 3)]
)
@pytest.mark.parametrize("when", ["before", "after", "before, no answer"])
def test_a_task_that_is_killed_at_any_call_leaves_no_job(retry: bool, call: int, when: str) -> None:
    """Before Create, inside it with a lost answer, and while the next try searches for what a lost one has made."""
    machine = ExactlyOnce()
    [one] = machine.instances
    if retry:
        machine.attempt(one, {4: ("crash", "after")})
        assert machine.service.running()
    machine.attempt(one, {call: ("kill", when)})
    assert one.state == "failed"
    assert machine.service.running() == []


@pytest.mark.parametrize("hidden", [0, 1])
@pytest.mark.parametrize("reuse", ["run", "dag", "never"])
def test_a_timeout_before_the_first_response_stops_the_job_of_its_own_ask(reuse: str, hidden: int) -> None:
    """The job that the Clear kept running, since other data is asked for, runs on; so it does before there is one."""
    machine = ExactlyOnce()
    machine.begin("one task", reuse, "keep", asked=1)
    [one] = machine.instances
    for _ in range(2):
        machine.service.content += b"x"
        machine.clear(one)
        if len(machine.service.jobs) == 1:
            machine.attempt(one, {1: ("timeout", "before")})
    machine.service.looks_until_shown = machine.service.lists_until_shown = hidden
    machine.attempt(one)
    kept, own = machine.service.jobs
    machine.version += 1  # what this try asks for is known by neither name
    machine.attempt(one, {1: ("timeout", "before")})
    assert (kept.runs, own.runs) == (True, False)


def test_a_timeout_before_the_first_response_stops_no_job_of_another_run_of_the_partition() -> None:
    """Their names are the same: the tags distinguish them."""
    machine = ExactlyOnce()
    machine.begin("two months, one twice", "dag")
    first, _, again = machine.instances
    machine.attempt(first)
    machine.the_template_is_edited()
    machine.attempt(again)
    machine.attempt(first, {1: ("timeout", "before")})
    made, of_other_run = machine.service.jobs
    assert (made.runs, of_other_run.runs) == (False, True)


@pytest.mark.parametrize("waits", [True, False])
def test_a_worker_reads_its_task_s_state_before_it_hands_over_the_job(waits: bool) -> None:
    """It asks for the task's state once more before it leaves the job to the triggerer, or to a sensor."""
    machine = ExactlyOnce()
    [one] = machine.instances
    one.tries += 1
    create = {4: strike("act after", partial(setattr, one, "state", "failed"))}
    with machine.asking(one, create), suppress(TaskDeferred):
        machine.task(one, deferrable=waits, wait_for_completion=waits).execute(one.context)
    assert [job.status for job in machine.service.jobs] == ["Stopped"]


def test_data_that_is_ignored_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is its bucket, without preflight: a worker may have no way to S3."""
    machine = ExactlyOnce()
    machine.arguments["content"] = "ignore"
    for operation in ("head_bucket", "_head_object", "_get_object"):
        monkeypatch.setattr(PaidJobs, operation, None)
    [one] = machine.instances
    machine.attempt(one)
    assert [job for _, job in one.held] == machine.service.jobs


def test_a_timeout_before_the_first_response_stops_a_job_that_list_shows_late() -> None:
    """Its name holds what was asked for, which is not what is asked for now: List alone shows it."""
    machine = ExactlyOnce()
    machine.arguments["reuse"] = "dag"
    machine.service.lists_until_shown = 2
    [one] = machine.instances
    machine.attempt(one)
    machine.version += 1
    machine.attempt(one, {1: ("timeout", "before")})
    assert machine.service.running() == []


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(("layout", "reuse"), [("one task", "run"), ("one task", "dag"), ("mapped alike", "run")])
@pytest.mark.parametrize("end", [None, "Completed"])
def test_a_retry_waits_for_its_own_job_before_it_takes_another(
    layout: str, reuse: str, stored: bool, end: str | None
) -> None:
    """What it asks for now is what an earlier ask, kept by a Clear, or its sibling has made: a template came back."""
    machine = ExactlyOnce()
    machine.begin(layout, reuse, "keep", asked=1, stored=stored)
    maker, one = machine.instances[0], machine.instances[-1]
    machine.the_template_is_edited()
    if one is maker:
        machine.clear(one)
    machine.service.looks_until_shown = machine.service.lists_until_shown = 2
    machine.attempt(one)
    machine.the_edit_is_taken_back()
    other, own = machine.service.jobs
    if end:
        other.end(end)
    while not one.held:  # what List shows, and Get does not, fails a try
        machine.attempt(one)
    assert [job for _, job in one.held] == [own]
    assert len(machine.service.jobs) == 2


@pytest.mark.parametrize(("stored", "waits"), [(False, 120.0), (True, 0.0)])
def test_a_retry_whose_ask_has_requested_nothing_waits_for_nothing(
    stored: bool, waits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes its sibling's job: at once where Airflow's store says that it has none of its own, else later."""
    slept: list[float] = []
    monkeypatch.setattr(submission, "SECONDS_UNTIL_MISSING", 120.0)
    monkeypatch.setattr(time, "sleep", slept.append)
    machine = ExactlyOnce()
    machine.begin("mapped alike", asked=1, stored=stored)
    _, one = machine.instances
    machine.attempt(one, {3: ("crash", "before")})
    machine.attempt(one)
    assert [job for _, job in one.held] == machine.service.jobs
    assert sum(slept) == waits


def test_a_retry_after_a_failure_waits_for_the_job_of_the_try_between() -> None:
    """The first try's request again, whose job failed: the second try asked for another, which List shows late."""
    machine = ExactlyOnce()
    machine.arguments["reuse"] = "dag"
    [one] = machine.instances
    machine.attempt(one)
    [first] = machine.service.jobs
    first.end("Failed", "An internal error occurred. Please try again later.")
    machine.service.looks_until_shown = machine.service.lists_until_shown = 1
    machine.version += 1
    machine.attempt(one)
    machine.version -= 1
    machine.attempt(one)
    assert len(machine.service.jobs) == 2


@pytest.mark.parametrize("look", ["get_model_customization_job", "get_custom_model"])
@pytest.mark.parametrize(
    ("code", "status", "fatal"), [("AccessDeniedException", 403, True), ("ThrottlingException", 429, False)]
)
def test_a_read_that_fails_before_the_request_says_that_nothing_was_spent(
    monkeypatch: pytest.MonkeyPatch, look: str, code: str, status: int, fatal: bool
) -> None:
    """And no retry where it is not allowed."""
    machine = ExactlyOnce()
    [one] = machine.instances
    machine.attempt(one)
    machine.complete_all()

    def fails(*_: Any, **__: Any) -> None:
        raise error(code, "said the service", status)

    monkeypatch.setattr(PaidJobs, f"_{look}", fails)
    with pytest.raises(BedrockError, match=r"made no job and spent nothing.*said the service") as caught:
        machine.task(one).execute(one.context)
    assert isinstance(caught.value, BedrockFatalError) == fatal
    assert len(machine.service.jobs) == 1


@pytest.mark.parametrize(("exact", "said"), [(False, "set reuse='never'"), (True, "set another job_name")])
def test_a_reused_model_s_log_says_how_to_train_again(caplog: pytest.LogCaptureFixture, exact: bool, said: str) -> None:
    """An exact name serves once, whatever reuse says."""
    machine = ExactlyOnce()
    machine.arguments["ensure_unique_job_name"] = not exact
    [one] = machine.instances
    with caplog.at_level("INFO"):
        for _ in range(2):
            machine.attempt(one)
            machine.complete_all()
    assert said in caplog.text


@pytest.mark.parametrize("stops", [True, False])
def test_a_kill_stops_the_job_where_the_task_wants_that(stops: bool, caplog: pytest.LogCaptureFixture) -> None:
    """In the worker and in the triggerer, to which the job is handed over without a word of its end."""
    caplog.set_level(logging.INFO)
    machine = ExactlyOnce()
    [one] = machine.instances
    one.tries += 1
    task = machine.task(one, stop_on_kill=stops, waiter_max_attempts=3, waiter_delay=2)
    with machine.asking(one), pytest.raises(TaskDeferred) as deferred:
        task.execute(one.context)
    assert deferred.value.trigger.stop_on_kill is stops
    assert deferred.value.timeout == timedelta(seconds=6)
    assert "left running" not in caplog.text
    [job] = machine.service.jobs
    with machine.asking(one):
        task.on_kill()
        assert (f"Job {job.arn} is left running: the task is without a state and will continue" in caplog.text) is stops
        one.state = "failed"
        task.on_kill()
    assert job.runs is not stops


@pytest.mark.parametrize("tries", [1, 2])
def test_a_task_that_made_nothing_says_so(tries: int, caplog: pytest.LogCaptureFixture) -> None:
    """Killed, or out of time, before it could ask for a job; a first try does not search for what it may have made."""
    caplog.set_level(logging.INFO)
    machine = ExactlyOnce()
    [one] = machine.instances
    one.tries = tries - 1
    machine.attempt(one, {1: ("kill", "before")})
    assert "The task is failed. This try made no job and spent nothing." in caplog.text
    one.state = None
    one.tries = tries
    with machine.asking(one, {1: strike("act before", machine.time_out)}):
        with pytest.raises(BedrockFatalError, match=r"execution_timeout.*This try made no job and spent nothing\."):
            machine.task(one).execute(one.context)
        assert (machine.service.calls > 1) is (tries > 1)


@pytest.mark.parametrize("stops", [True, False])
def test_a_timeout_stops_the_job_where_the_task_wants_that(stops: bool) -> None:
    """Else a retry adopts it."""
    machine = ExactlyOnce()
    [one] = machine.instances
    machine.attempt(one)
    [job] = machine.service.jobs
    one.tries += 1
    said = "is being stopped.*To train anyway" if stops else "was left running, as configured.*a retry adopts it"
    timed_out = pytest.raises(BedrockError, match=f"execution_timeout.*{job.arn} {said}")
    with machine.asking(one, {1: strike("act before", machine.time_out)}), timed_out as failed:
        machine.task(one, stop_on_timeout=stops).execute(one.context)
    assert isinstance(failed.value, BedrockFatalError) is stops
    assert job.runs is not stops
