"""One paid job for one intent, whatever happens in whatever order.

Hypothesis drives the operator's way to a job, its kill switch, and a fake of the service through arbitrary
interleavings of crash, lost response, throttling, conflict, Clear, kill, racing workers, and a service that does not
show a new job at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_bedrock.customization.identity import Asker, Identity, identify
from airflow_bedrock.customization.job import Job
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs import submission, task_state
from airflow_bedrock.jobs.stopping import KillSwitch, stop_unless_others_wait
from airflow_bedrock.jobs.submission import Submission

REQUEST = {"jobName": "router", "customModelName": "router", "baseModelIdentifier": "amazon.nova-micro-v1:0:128k"}
BAD_DATA = "Unable to parse Amazon S3 file: f. Data files must conform to JSONL format."
OUTAGE = "An internal error occurred. Please try again later."
Fault = str
FAULTS: list[Fault] = [
    "none",
    "throttled",
    "crash before",
    "crash after",
    "response lost",
    "5xx after accept",
    "another worker between look and call",
]


@pytest.fixture(autouse=True, scope="module")
def airflow_tells_the_state() -> Iterator[None]:
    """Ask the machine instead of Airflow's execution API, which tests/live/test_killing.py asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_state, "state_of", lambda ti: ti.state())
        patch.setattr(submission, "_PAUSE", 0.0)
        yield


WAITER = Waiter(until="task", dag_id="d", task_id="t", map_index=-1, run_id="r")


def find_or_create(service: Service, identity: Identity, switch: KillSwitch | None = None) -> Job:
    """Submit as the operator does."""
    return Submission(
        hook=service,  # type: ignore[arg-type]  # as much of a hook as is used
        request=REQUEST,
        identity=identity,
        waiter=WAITER,
        before_paying=(switch or KillSwitch()).before_paying,
    ).find_or_create()


class CrashError(BaseException):
    """The worker process is gone: nothing of ours runs any more."""


def error(code: str, message: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]  # the rest of the metadata is not read
        "CreateModelCustomizationJob",
    )


class Service:
    """Bedrock as the reference describes it; it also is the operator's hook and its client."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.fault: Fault = "none"
        self.meanwhile: Callable[[], None] = lambda: None
        self.looks_until_shown = 0

    @property
    def conn(self) -> Service:
        return self

    def get_customization_job(self, identifier: str) -> Job | None:
        for name, job in self.jobs.items():
            if identifier in (name, job["jobArn"]):
                if job["hidden"]:
                    job["hidden"] -= 1
                    return None
                return Job.from_response(job)
        return None

    def list_customization_jobs(self, name_contains: str) -> list[Job]:
        return [
            Job(arn=job["jobArn"], name=name, status=job["status"], model_name=job["customModelName"])
            for name, job in self.jobs.items()
            if name_contains in name and not job["hidden"]
        ]

    def tags_of(self, arn: str) -> dict[str, str]:
        [job] = [job for job in self.jobs.values() if job["jobArn"] == arn]
        return {tag["key"]: tag["value"] for tag in job["tags"]}

    def tag_resource(self, resourceARN: str, tags: list[dict[str, str]]) -> None:
        [job] = [job for job in self.jobs.values() if job["jobArn"] == resourceARN]
        job["tags"] += tags

    def has_custom_model(self, model_arn: str) -> bool:
        return any(job.get("outputModelArn") == model_arn and job["model"] for job in self.jobs.values())

    def stop_model_customization_job(self, jobIdentifier: str) -> None:
        for job in self.jobs.values():
            if job["jobArn"] == jobIdentifier and job["status"] == "InProgress":
                job["status"] = "Stopped"
                job["stopped_by_us"] = True

    def create_model_customization_job(self, **request: Any) -> dict[str, str]:
        fault, self.fault = self.fault, "none"
        if fault == "throttled":
            raise error("ThrottlingException", "Slow down.", 429)
        if fault == "crash before":
            raise CrashError
        if fault == "another worker between look and call":
            self.meanwhile()
        arn = self._accept(request)
        if fault == "crash after":
            raise CrashError
        if fault == "response lost":
            raise ReadTimeoutError(endpoint_url="https://bedrock")
        if fault == "5xx after accept":
            raise error("InternalServerException", "Oops.", 500)
        return {"jobArn": arn}

    def _accept(self, request: dict[str, Any]) -> str:
        for job in self.jobs.values():
            if job["clientRequestToken"] == request["clientRequestToken"]:
                return str(job["jobArn"])  # a token seen before: ignored without an error
        name = request["jobName"]
        if name in self.jobs:
            raise error("ValidationException", "The provided job name is currently in use.")
        self.jobs[name] = {
            "jobArn": f"arn:aws:bedrock:us-east-1:1:model-customization-job/m/{len(self.jobs)}",
            "jobName": name,
            "clientRequestToken": request["clientRequestToken"],
            "customModelName": request["customModelName"],
            "tags": list(request["jobTags"]),
            "status": "InProgress",
            "hidden": self.looks_until_shown,
            "model": False,
        }
        return str(self.jobs[name]["jobArn"])

    def alive(self) -> list[dict[str, Any]]:
        return [job for job in self.jobs.values() if job["status"] == "InProgress"]


class OneIntent(RuleBasedStateMachine):
    """One task instance, asked for the same thing again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.service = Service()
        self.ask = 0
        self.tries = 0
        self.version = 0  # of what is asked for
        self.state: str | None = None
        self.reasons = 1  # how many jobs may have been paid for: one, and one more for each thing that calls for it
        self.held: tuple[KillSwitch, Job] | None = None  # by the worker that has the task now
        self.rival: KillSwitch | None = None  # of a second worker that has the task at the same moment
        self.former: list[KillSwitch] = []  # of workers that had it before, and may still get their kill

    @initialize(hidden=st.integers(0, 2))
    def service_shows_a_new_job_late(self, hidden: int) -> None:
        self.service.looks_until_shown = hidden

    @property
    def identity(self) -> Identity:
        asker = Asker(dag_id="d", task_id="t", run_id="r", ask=self.ask, try_number=max(1, self.tries))
        return identify(REQUEST, [{"version": self.version}], asker, "run")

    @property
    def ti(self) -> Any:
        machine = self
        return SimpleNamespace(
            dag_id="d",
            task_id="t",
            run_id="r",
            map_index=-1,
            state=lambda: machine.state,
        )

    def attempt(self, fault: Fault) -> None:
        self.service.fault = fault
        self.service.meanwhile = lambda: self.attempt("none")
        self.state = "running"
        self.tries += 1
        self.let_go()
        switch = KillSwitch()
        switch.arm(self.ti)
        try:
            job = find_or_create(self.service, self.identity, switch)
        except CrashError:
            self.state = "up_for_retry"
        except BedrockFatalError:
            self.state = "failed"
        except BedrockError:
            self.state = "up_for_retry"
        else:
            switch.aim(job.arn, partial(stop_unless_others_wait, self.service, job.arn, WAITER))  # type: ignore[arg-type]  # as much of a hook as is used
            self.rival = self.held[0] if self.held else None
            self.held = (switch, job)

    def let_go(self) -> None:
        self.former += [switch for switch in (self.held and self.held[0], self.rival) if switch]
        self.held = self.rival = None

    @precondition(lambda self: self.state in (None, "running", "up_for_retry"))
    @rule(fault=st.sampled_from(FAULTS))
    def a_worker_takes_the_task_up(self, fault: Fault) -> None:
        self.attempt(fault)

    @precondition(lambda self: self.service.alive())
    @rule(said=st.sampled_from([BAD_DATA, OUTAGE]))
    def the_job_fails(self, said: str) -> None:
        [job] = self.service.alive()
        job.update(status="Failed", failureMessage=said)
        if said == OUTAGE:
            self.reasons += 1  # the service asks for another try

    @precondition(lambda self: self.service.alive())
    @rule()
    def the_job_completes(self) -> None:
        [job] = self.service.alive()
        job.update(status="Completed", outputModelArn=f"arn:model/{job['jobName']}", model=True)

    @precondition(lambda self: self.service.alive())
    @rule()
    def somebody_stops_the_job(self) -> None:
        [job] = self.service.alive()
        job["status"] = "Stopped"

    @precondition(lambda self: any(job["model"] for job in self.service.jobs.values()))
    @rule()
    def the_model_is_deleted(self) -> None:
        for job in self.service.jobs.values():
            if job["model"]:
                job["model"] = False

    @rule()
    def the_request_or_the_data_comes_out_differently(self) -> None:
        """A template with the time in it, data replaced, a variable edited: no reason to pay without a Clear."""
        self.version += 1

    @rule()
    def the_task_is_cleared(self) -> None:
        self.ask += 1
        self.state = None
        self.let_go()
        self.reasons += 1  # a person asks again, and may be given another job if the last one left no model

    @precondition(lambda self: self.held)
    @rule(state=st.sampled_from(["failed", "success"]))
    def a_person_ends_the_task(self, state: str) -> None:
        """A task that no worker holds cannot be killed; docs/exactly-once.md says what that leaves."""
        assert self.held is not None
        switch, _ = self.held
        self.state = state
        switch.pull()
        if self.rival:
            self.rival.pull()  # it hears of the end as well, and may hold a newer job
        self.let_go()
        assert self.service.alive() == []

    @precondition(lambda self: self.former and self.state not in ("failed", "success"))
    @rule(data=st.data())
    def a_late_kill_of_a_former_worker_arrives(self, data: st.DataObject) -> None:
        before = self.service.alive()
        data.draw(st.sampled_from(self.former)).pull()
        assert self.service.alive() == before

    @invariant()
    def at_most_one_job_is_alive(self) -> None:
        assert len(self.service.alive()) <= 1

    @invariant()
    def no_job_without_a_reason_is_paid_for(self) -> None:
        assert len(self.service.jobs) <= self.reasons

    @invariant()
    def no_ask_is_paid_for_again_after_a_failure_that_it_cannot_mend(self) -> None:
        by_ask: dict[str, list[dict[str, Any]]] = {}
        for job in self.service.jobs.values():
            by_ask.setdefault(job["clientRequestToken"].split("-")[2], []).append(job)
        for made in by_ask.values():
            ended = [job["status"] == "Stopped" or job.get("failureMessage") == BAD_DATA for job in made]
            assert not any(ended[:-1])


OneIntent.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestOneIntent = OneIntent.TestCase


@pytest.mark.parametrize("faults", list(itertools.product(FAULTS, repeat=2)))
def test_two_faulty_tries_and_a_third_pay_once(faults: tuple[Fault, Fault]) -> None:
    """Every pair of faults, then a try that nothing disturbs: one job, and it is found."""
    machine = OneIntent()
    for fault in (*faults, "none"):
        machine.attempt(fault)
    assert len(machine.service.jobs) == 1
    assert machine.held is not None
    assert machine.held[1].arn == machine.service.alive()[0]["jobArn"]


def test_a_kill_between_accept_and_record_stops_the_job() -> None:
    """It is remembered until the job is known."""
    machine = OneIntent()
    switch = KillSwitch()
    switch.arm(machine.ti)
    job = find_or_create(machine.service, machine.identity, switch)
    machine.state = "failed"
    switch.pull()
    assert len(machine.service.alive()) == 1
    switch.aim(job.arn, partial(stop_unless_others_wait, machine.service, job.arn, WAITER))  # type: ignore[arg-type]  # as much of a hook as is used
    assert machine.service.alive() == []


@pytest.mark.parametrize("look", ["get_customization_job", "has_custom_model"])
@pytest.mark.parametrize(
    ("code", "status", "fatal"), [("AccessDeniedException", 403, True), ("ThrottlingException", 429, False)]
)
def test_a_look_that_fails_before_the_request_says_that_nothing_was_spent(
    monkeypatch: pytest.MonkeyPatch, look: str, code: str, status: int, fatal: bool
) -> None:
    """And no retry where it is not allowed."""
    machine = OneIntent()
    machine.attempt("none")
    machine.the_job_completes()

    def fails(*_: Any) -> None:
        raise error(code, "said the service", status)

    monkeypatch.setattr(machine.service, look, fails)
    with pytest.raises(BedrockError, match=r"made no job and spent nothing.*said the service") as caught:
        find_or_create(machine.service, machine.identity)
    assert isinstance(caught.value, BedrockFatalError) == fatal
    assert len(machine.service.jobs) == 1


@pytest.mark.parametrize(("exact", "said"), [(False, "set reuse='never'"), (True, "set another job_name")])
def test_who_gets_a_model_again_is_told_how_to_train_anew(
    caplog: pytest.LogCaptureFixture, exact: bool, said: str
) -> None:
    """An exact name serves once, whatever reuse says."""
    machine = OneIntent()
    identity = replace(machine.identity, exact=exact)
    with caplog.at_level("INFO"):
        for _ in range(2):
            find_or_create(machine.service, identity)
            if machine.service.alive():
                machine.the_job_completes()
    assert said in caplog.text
