"""What is said of a job that is to be stopped, and whose end keeps it: where a wrong answer leaves it billed."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.jobs import on_kill, stopping, task_state
from airflow_bedrock.jobs.resources import Resource
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.resources.import_job import IMPORT_JOB
from airflow_bedrock.jobs.resources.provisioned_throughput import PROVISIONED_THROUGHPUT
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.stopping import (
    NotStoppedError,
    delete,
    patiently,
    stop_job,
    stop_unless_others_wait,
    why_kept,
)
from airflow_bedrock.operators import BedrockModelCustomizationOperator
from tests.paid_jobs import error

JOB = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijkl"
UNITS = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl"
GONE = error("ResourceNotFoundException", "It does not exist.", 404)
DENIED = error("AccessDeniedException", "You may not.", 403)
BEING_MADE = error("ValidationException", "The provisioned model is in a mutating state.")
SILENT = EndpointConnectionError(endpoint_url="https://bedrock")
CREATING = {"provisionedModelArn": UNITS, "provisionedModelName": "router", "status": "Creating"}
ME = Waiter(until="task", dag_id="d", task_id="t", map_index=-1, run_id="r")


class Calls:
    """A client whose operations answer, or raise, one thing after the other; the last one again."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[str] = []
        self._answers = {operation: list(given) for operation, given in answers.items()}

    @property
    def conn(self) -> Calls:
        """It is its own hook."""
        return self

    def at(self, _: str) -> Calls:
        return self

    def tags_of(self, arn: str) -> dict[str, str]:
        return cast("dict[str, str]", self.list_tags_for_resource(resourceARN=arn))

    def __getattr__(self, operation: str) -> Any:
        def call(**_: Any) -> Any:
            self.asked.append(operation)
            answers = self._answers[operation]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def service(calls: Calls, resource: Resource = CUSTOMIZATION_JOB) -> Service:
    return Service(resource, cast("Any", calls))


def units(*stops: Any, looks: tuple[Any, ...] = (CREATING,)) -> tuple[Service, Calls]:
    """Return provisioned throughput that answers so when it is deleted, which is how it is stopped."""
    calls = Calls(delete_provisioned_model_throughput=stops, get_provisioned_model_throughput=looks)
    return service(calls, PROVISIONED_THROUGHPUT), calls


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses, which alone move the clock."""
    pauses: list[float] = []
    monkeypatch.setattr(stopping, "time", SimpleNamespace(sleep=pauses.append, monotonic=lambda: sum(pauses)))
    return pauses


def test_what_cannot_be_stopped_is_reported_without_a_call() -> None:
    """No permission to read its tags is needed for that."""
    said = stop_unless_others_wait(service(Calls(), IMPORT_JOB), JOB, ME)
    assert said.endswith("Bedrock has no operation that stops a model import job.")


def test_there_is_nothing_to_stop_of_what_is_gone() -> None:
    """Nobody has to search for it in the console: there is no bill. A job cannot be deleted, so its ARN may lead on."""
    said = f"Provisioned throughput {UNITS} does not exist; there was nothing to stop."
    assert (
        patiently(stop_job, service(Calls(delete_provisioned_model_throughput=[GONE]), PROVISIONED_THROUGHPUT), UNITS)
        == said
    )
    said = f"Job {JOB} was NOT stopped, and may run and be billed on"
    assert patiently(stop_job, service(Calls(stop_model_customization_job=[GONE])), JOB).startswith(said)
    assert patiently(stop_unless_others_wait, service(Calls(list_tags_for_resource=[GONE])), JOB, ME).startswith(said)


@pytest.mark.parametrize("look", [SILENT, DENIED])
def test_a_refused_stop_is_reported_where_nothing_else_is_known(look: Exception) -> None:
    """It may run, and be billed."""
    calls = Calls(stop_model_customization_job=[DENIED], get_model_customization_job=[look])
    said = patiently(stop_job, service(calls), JOB)
    assert said.startswith(f"Job {JOB} COULD NOT BE STOPPED and may run and be billed on")
    assert "You may not." in said


@pytest.mark.parametrize("look", [CREATING, SILENT])
def test_what_is_being_made_is_stopped_when_it_has_been_made(slept: list[float], look: Any) -> None:
    """Also if a read of it gets no response: it is billed from now on."""
    throughput, calls = units(BEING_MADE, BEING_MADE, {}, looks=(look,))
    assert patiently(stop_job, throughput, UNITS) == (
        f"Provisioned throughput {UNITS} is deleted; the time so far is billed."
    )
    assert slept == [5.0, 5.0]
    assert calls.asked.count("delete_provisioned_model_throughput") == 3


def test_a_caller_that_cannot_wait_gets_the_seconds_worth_waiting(slept: list[float]) -> None:
    """The triggerer: it has other tasks."""
    throughput, _ = units(BEING_MADE)
    with pytest.raises(
        NotStoppedError, match="is billed by the hour until it is deleted, and cannot be stopped yet"
    ) as no:
        stop_job(throughput, UNITS)
    assert no.value.seconds == PROVISIONED_THROUGHPUT.stop_seconds == 1800
    assert slept == []


async def test_the_triggerer_tries_until_it_has_been_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is marked failed leaves no throughput behind that was being made."""
    monkeypatch.setattr(stopping, "TRY_AGAIN_SECONDS", 0.0)
    states = iter(["failed", "failed", "failed"])
    monkeypatch.setattr(task_state, "state_of", lambda ti: next(states))
    throughput, calls = units(BEING_MADE, BEING_MADE, {})
    task_key = TaskKey(dag_id="d", task_id="t", run_id="r")
    calls._answers["list_tags_for_resource"] = [
        {tag["key"]: tag["value"] for tag in Waiter.of(task_key, waits=True).tags(task_key)}
    ]
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=None)  # of no mapped task
    await on_kill.stop_unless_wanted(lambda: throughput, UNITS, ti, own_run_only=False)
    assert calls.asked.count("delete_provisioned_model_throughput") == 3


def test_what_somebody_else_deletes_meanwhile_is_deleted(slept: list[float]) -> None:
    """Between the read and the call, or after a call without a response."""
    throughput, calls = units(GONE, looks=(CREATING, GONE))
    delete(throughput, UNITS, delay=7, max_polls=5)
    assert calls.asked.count("delete_provisioned_model_throughput") == 1
    assert slept == []


def test_a_deletion_is_repeated_until_it_is_accepted_and_then_waited_for(slept: list[float]) -> None:
    """Then polled, as often as it may be."""
    throughput, calls = units(BEING_MADE, {}, looks=(CREATING, CREATING, GONE))
    delete(throughput, UNITS, delay=7, max_polls=3)
    assert calls.asked.count("delete_provisioned_model_throughput") == 2
    assert slept == [7, 7]
    throughput, calls = units({})
    with pytest.raises(BedrockError, match=r"still exists after 3 polls, 7 s apart\. It is billed by the hour"):
        delete(throughput, UNITS, delay=7, max_polls=3)
    assert calls.asked.count("delete_provisioned_model_throughput") == 1


@pytest.mark.parametrize(
    ("deletions", "looks", "said"),
    [
        ((SILENT,), (CREATING,), "was not deleted"),
        (({},), (CREATING, SILENT), "is being deleted, but could not be checked"),
    ],
    ids=["not begun", "begun"],
)
def test_a_deletion_without_a_response_says_what_is_billed(
    deletions: tuple[Any, ...], looks: tuple[Any, ...], said: str
) -> None:
    """And that another try goes on."""
    throughput, _ = units(*deletions, looks=looks)
    rest = "It is billed by the hour until it is deleted; a retry continues the deletion: Could not connect"
    with pytest.raises(BedrockError, match=rf"{said}\. {rest}"):
        delete(throughput, UNITS, delay=7, max_polls=5)


def test_a_worker_that_is_killed_gives_its_stop_time_to_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its process the thread would end, and the job would run on; a kill before there was a job strikes it too."""
    monkeypatch.setattr(task_state, "state_of", lambda ti: "failed")
    for before in (True, False):
        kill, stopped, may_end = on_kill.KillSwitch(ME), list[str](), threading.Event()

        def stop(stopped: list[str] = stopped, may_end: threading.Event = may_end) -> str:
            may_end.wait(0.05)
            stopped.append(JOB)
            return "It is stopped."

        if before:
            kill.pull()
            with pytest.raises(BedrockError, match="no job was made and nothing was spent"):
                kill.before_paying()
        kill.aim(JOB, stop)
        if not before:
            kill.before_paying()
            assert stopped == []
            kill.pull()
        assert stopped == [JOB]


def test_a_worker_ends_when_what_was_begun_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of the kill returns within a second; a stop may take longer, and ends with the process."""
    monkeypatch.setattr(task_state, "state_of", lambda ti: "failed")
    monkeypatch.setattr(on_kill, "_HANDLER_SECONDS", 0.0)
    task = BedrockModelCustomizationOperator(task_id="t", request="{{ x }}")
    may_end, stopped = threading.Event(), list[str]()

    def stop() -> str:
        may_end.wait(0.05)
        stopped.append(JOB)
        return "It is stopped."

    context: Any = {"ti": SimpleNamespace(**vars(ME), max_tries=0, try_number=1), "dag_run": SimpleNamespace()}
    with task._killable(context) as kill:
        kill.aim(JOB, stop)
        task.on_kill()
        assert stopped == []
    assert stopped == [JOB]


def test_a_kill_before_anything_was_begun_pays_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It came while the modules were loaded: what the task then asks for is refused by ourselves."""
    monkeypatch.setattr(task_state, "state_of", lambda ti: "failed")
    task = BedrockModelCustomizationOperator(task_id="t", request="{{ x }}")
    context: Any = {"ti": SimpleNamespace(**vars(ME), max_tries=0, try_number=1), "dag_run": SimpleNamespace()}
    task.on_kill()
    with pytest.raises(BedrockError, match="no job was made and nothing was spent"), task._killable(context) as kill:
        kill.before_paying()


@pytest.mark.parametrize("stops", [True, False])
def test_a_kill_stops_only_where_it_is_to(monkeypatch: pytest.MonkeyPatch, stops: bool) -> None:
    """With ``stop_on_kill=False`` a job that was made runs on."""
    task = BedrockModelCustomizationOperator(task_id="t", request="{{ x }}", stop_on_kill=stops)
    asked: list[Any] = []
    monkeypatch.setattr(task, "_stop_own_jobs", asked.append)
    context: Any = {"ti": SimpleNamespace(**vars(ME), max_tries=0, try_number=1), "dag_run": SimpleNamespace()}
    monkeypatch.setattr(task_state, "state_of", lambda ti: "failed" if ti is context["ti"] else "running")
    with task._killable(context):
        task.on_kill()
    assert bool(asked) is stops


async def test_the_state_of_a_task_is_read_until_there_is_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's API server may be starting anew while the task is ended: the job would run on."""
    monkeypatch.setattr(on_kill, "_ASK_AGAIN_SECONDS", 0.0)
    answers = iter([OSError("gone"), OSError("gone"), "failed"])

    def state_of(ti: Any) -> str:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(task_state, "state_of", state_of)
    calls = Calls(stop_model_customization_job=[{}], list_tags_for_resource=[{}])
    await on_kill.stop_unless_wanted(lambda: service(calls), JOB, ME, own_run_only=False)
    assert calls.asked.count("stop_model_customization_job") == 1


@pytest.mark.parametrize(
    ("until", "state", "lasts", "kept"),
    [
        *(("task", state, False, False) for state in ("success", "failed", "skipped", "upstream_failed", "removed")),
        *(("task", state, False, True) for state in (None, "running", "deferred", "up_for_retry", "scheduled")),
        *(("run", state, False, False) for state in ("success", "failed")),
        *(("run", state, False, True) for state in ("queued", "running")),
        ("task", "success", True, True),
        ("task", "failed", True, False),
        ("run", "success", True, True),
    ],
)
def test_whose_end_stops_a_job(until: Any, state: str | None, lasts: bool, kept: bool) -> None:
    """Of a task instance, or of a DAG run; what serves is kept for the tasks that have succeeded with it."""
    waiter = Waiter(until=until, dag_id="d", task_id="t", map_index=-1, run_id="r")
    why = why_kept(waiter, lambda one: state, lasts=lasts)
    assert (why is not None) is kept
    assert why is None or "d.t in run r" in why


def test_a_job_is_kept_for_a_tag_that_cannot_be_read_and_for_a_state_that_cannot() -> None:
    """Who may wait for it loses nothing."""

    def unknown(waiter: Waiter) -> str:
        raise ClientError({"Error": {"Code": "500"}}, "Get")

    assert why_kept(None) == "a task whose tag this version cannot read may wait for it"
    assert "its state could not be read" in str(why_kept(ME, unknown))
