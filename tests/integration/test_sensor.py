"""The sensor in all its modes, against a server that speaks the API: what ends a wait, and how."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from botocore import exceptions as exceptions_of_botocore

from airflow_bedrock.compat import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs import no_response, waiting
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.sensors import BedrockModelCustomizationSensor
from tests.job_server import Call, Fault, JobServer

Answer = Callable[[dict[str, Any]], Any]
MODES = [{"deferrable": True}, {"mode": "poke"}, {"mode": "reschedule"}]


@pytest.fixture(params=MODES, ids=["deferrable", "poke", "reschedule"])
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


def execute(arguments: dict[str, Any], first_poke: datetime | None = None) -> Any:
    """Run the sensor as a worker does, through a deferral or through reschedules, to its end."""
    context: Any = {"ti": SimpleNamespace(get_first_reschedule_date=lambda _: first_poke)}
    for _ in range(1000):  # each takes some milliseconds
        sensor = BedrockModelCustomizationSensor(**{"task_id": "wait", "poke_interval": 0.05, **arguments})
        try:
            return sensor.execute(context)
        except AirflowRescheduleException:
            first_poke = first_poke or datetime.now(UTC)
        except TaskDeferred as deferred:
            return resume(sensor, deferred, context)
    raise AssertionError("the sensor was rescheduled for ever")


def resume(sensor: Any, deferred: TaskDeferred, context: Any) -> Any:
    """Run the trigger as dag.test() does, then resume as a worker does."""

    async def event() -> Any:
        async for happened in deferred.trigger.run():
            return happened.payload
        raise AssertionError("the trigger sent no event")

    timeout = deferred.timeout.total_seconds() if deferred.timeout else None
    try:
        payload = asyncio.run(asyncio.wait_for(event(), timeout))
    except TimeoutError:
        return sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    return sensor.resume_execution(deferred.method_name, {"event": payload}, context)


def ends_after(server: JobServer, looks: int, status: str, message: str | None = None) -> Callable[[Call], None]:
    """Let all jobs end when they have been polled so often."""

    def end(call: Call) -> None:
        if len(server.calls) == looks:
            for job in server.jobs.values():
                job.failure_message = message
            server.end(list(server.jobs.values()), status)

    return end


def test_success_only_on_completed(server: JobServer, mode: dict[str, Any]) -> None:
    """The result mapping is the return value."""
    (job,) = server.add(1)
    server.fault = ends_after(server, 3, "Completed")
    result = execute({"job_identifier": job.name, **mode})
    assert (result["job_arn"], result["status"], result["training_loss"]) == (job.arn, "Completed", 0.5)


@pytest.mark.parametrize("status", ["Failed", "Stopped", "Paused"])
def test_every_other_end_fails_without_a_retry(server: JobServer, mode: dict[str, Any], status: str) -> None:
    """With the service's message; an unknown status is never success."""
    (job,) = server.add(1)
    server.fault = ends_after(server, 3, status, "Unable to parse Amazon S3 file")
    with pytest.raises(BedrockFatalError, match=f"{job.name} is {status}: Unable to parse") as raised:
        execute({"job_identifier": job.name, **mode})
    assert isinstance(raised.value, AirflowFailException)
    assert f"/_local/#{quote(job.arn, safe=':/')}" in str(raised.value), "no console of AWS knows a local job"
    assert ".console.aws" not in str(raised.value)


def test_stopping_is_still_running(server: JobServer, mode: dict[str, Any]) -> None:
    """The service may still bill it."""
    (job,) = server.add(1)
    job.status = "Stopping"
    server.fault = ends_after(server, 4, "Stopped")
    with pytest.raises(BedrockFatalError, match="is Stopped"):
        execute({"job_identifier": job.name, **mode})
    assert len(server.calls) >= 4


@pytest.mark.parametrize("named", ["arn", "name", "output"])
def test_it_takes_an_arn_a_name_or_an_operators_output(server: JobServer, mode: dict[str, Any], named: str) -> None:
    """A job that has already ended needs neither a deferral nor a second poll."""
    (job,) = server.add(1)
    server.end([job])
    identifier = {"arn": job.arn, "name": job.name, "output": {"job_arn": job.arn}}[named]
    assert execute({"job_identifier": identifier, **mode})["job_arn"] == job.arn
    assert server.counts() == {"get": 1}


def test_a_job_that_does_not_exist_is_an_error_at_once(server: JobServer, mode: dict[str, Any]) -> None:
    """Not after the time-out, and not to be retried."""
    with pytest.raises(BedrockFatalError, match="no Bedrock model customization job nobody"):
        execute({"job_identifier": "nobody", **mode})
    assert len(server.calls) == 1


def test_a_job_that_was_just_made_may_be_shown_late(server: JobServer, mode: dict[str, Any]) -> None:
    """A response gave its ARN, so it exists: a sensor that failed would leave it running."""
    (job,) = server.add(1)
    hidden = dict(server.jobs)
    server.jobs.clear()
    server.fault = lambda call: server.jobs.update(hidden) if len(server.calls) == 4 else None
    server.end([job])
    assert execute({"job_identifier": job.arn, **mode})["job_arn"] == job.arn
    assert len(server.calls) > 3


def test_a_job_that_stays_hidden_is_an_error(
    server: JobServer, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ARN may be one of another account."""
    monkeypatch.setattr(no_response, "SECONDS_UNTIL_MISSING", 0.2)
    (job,) = server.add(1)
    server.fault = lambda call: Fault(404, "ResourceNotFoundException")
    with pytest.raises(BedrockFatalError, match="may run there and be billed"):
        execute({"job_identifier": job.arn, **mode})


@pytest.mark.parametrize("skips", ["soft_fail", "never_fail"])
def test_failures_may_be_skipped(server: JobServer, mode: dict[str, Any], skips: str) -> None:
    """At the first poll and at later ones."""
    (job,) = server.add(1)
    server.fault = ends_after(server, 3, "Failed")
    for _ in range(2):
        with pytest.raises(AirflowSkipException):
            execute({"job_identifier": job.name, skips: True, **mode})


def test_never_fail_skips_whatever_went_wrong(server: JobServer, mode: dict[str, Any]) -> None:
    """Also what soft_fail does not: an error that another try might fix."""
    (job,) = server.add(1)
    server.fault = lambda call: Fault(403, "AccessDeniedException")
    with pytest.raises(AirflowSkipException):
        execute({"job_identifier": job.name, "never_fail": True, **mode})
    with pytest.raises(BedrockError, match=r"unknown.*not stopped.*Allow bedrock:GetModelCustomizationJob"):
        execute({"job_identifier": job.name, "soft_fail": True, **mode})


def test_silent_fail_waits_on_whatever_a_poll_raises(server: JobServer, mode: dict[str, Any]) -> None:
    """No permission for a while; the end of the job is what counts."""
    (job,) = server.add(1)
    server.end([job])
    server.fault = lambda call: Fault(403, "AccessDeniedException") if len(server.calls) <= 3 else None
    assert execute({"job_identifier": job.name, "silent_fail": True, **mode})["status"] == "Completed"


def test_temporary_errors_are_absorbed(
    server: JobServer, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Throttling beyond botocore's own retries is a poll without an answer."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (job,) = server.add(1)
    server.end([job])
    server.fault = lambda call: Fault(429, "ThrottlingException") if len(server.calls) <= 2 else None
    assert execute({"job_identifier": job.name, **mode})["status"] == "Completed"


def test_replaced_credentials_are_used(
    server: JobServer, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the connection as it is by then, at the first poll, later, and when the job has ended."""
    (job,) = server.add(1)
    server.end([job])
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", server.connection("old"))

    def outdated(call: Call) -> Fault | None:
        if call.access_key != "old":
            return None
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", server.connection("new"))
        return Fault(403, "UnrecognizedClientException")

    server.fault = outdated
    assert execute({"job_identifier": job.name, **mode})["status"] == "Completed"
    assert {call.access_key for call in server.calls} == {"old", "new"}


@pytest.mark.parametrize(
    "error",
    [
        exceptions_of_botocore.EndpointConnectionError(endpoint_url="https://bedrock"),
        exceptions_of_botocore.ReadTimeoutError(endpoint_url="https://bedrock"),
        exceptions_of_botocore.NoCredentialsError(),
        exceptions_of_botocore.MetadataRetrievalError(error_msg="busy"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("entry", ["poke", "execute_complete"])
def test_no_temporary_error_fails_a_worker(
    server: JobServer, monkeypatch: pytest.MonkeyPatch, error: Exception, entry: str
) -> None:
    """Network and credentials, while it polls and when it reads a job that has ended."""
    (job,) = server.add(1)
    server.end([job])
    errors = [error, error]
    look = Service.get

    def unsteady(self: Service, job_identifier: str) -> Any:
        if errors:
            raise errors.pop()
        return look(self, job_identifier)

    monkeypatch.setattr(Service, "get", unsteady)
    monkeypatch.setattr(waiting, "_PAUSES", (0.01,))
    if entry == "poke":
        assert execute({"job_identifier": job.name, "mode": "poke"})["status"] == "Completed"
    else:
        sensor = BedrockModelCustomizationSensor(task_id="wait", job_identifier=job.name)
        event = {"kind": "ended", "job_identifier": job.arn, "message": "it is Completed"}
        assert sensor.execute_complete({}, event)["status"] == "Completed"
    assert not errors


def test_a_worker_reads_an_ended_job_until_no_response_timeout(
    server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes of throttling do not make a completed job a failed task."""
    monkeypatch.setattr(waiting, "_PAUSES", (0.01,))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (job,) = server.add(1)
    server.end([job])
    server.fault = lambda call: Fault(429, "ThrottlingException") if len(server.calls) <= 20 else None
    event = {"kind": "ended", "job_identifier": job.arn, "message": "it is Completed"}
    arguments: dict[str, Any] = {"task_id": "wait", "job_identifier": job.name}
    assert BedrockModelCustomizationSensor(**arguments).execute_complete({}, event)["status"] == "Completed"
    server.fault = lambda call: Fault(429, "ThrottlingException")
    with pytest.raises(BedrockError, match=r"unknown: no response"):
        BedrockModelCustomizationSensor(**arguments, no_response_timeout=0.1).execute_complete({}, event)


def test_a_rescheduled_poll_without_a_change_logs_nothing(server: JobServer, caplog: pytest.LogCaptureFixture) -> None:
    """The first one says what it sees, the last one how it ended."""
    (job,) = server.add(1)
    server.fault = ends_after(server, 5, "Completed")
    with caplog.at_level("INFO", logger="airflow_bedrock"):
        execute({"job_identifier": job.name, "mode": "reschedule"})
    said = [record.message for record in caplog.records if record.name == "airflow_bedrock.jobs.waiting"]
    assert [line.partition(":")[0] for line in said] == [
        f"Job {job.name} is InProgress",
        f"Job {job.name} is Completed",
    ]


@pytest.mark.parametrize("mode", MODES[:2], ids=["deferrable", "poke"])
def test_no_response_is_an_unknown_state(
    server: JobServer, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the job, and says that it was not stopped; a retry may help."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (job,) = server.add(1)
    server.fault = lambda call: Fault(500, "InternalServerException") if len(server.calls) > 1 else None
    with pytest.raises(BedrockError, match=r"unknown.*not stopped") as raised:
        execute({"job_identifier": job.name, "no_response_timeout": 0.3, **mode})
    assert f"job {job.arn if 'deferrable' in mode else job.name} is unknown" in str(raised.value)
    assert not isinstance(raised.value, BedrockFatalError)
    assert server.counts()["stop"] == 0


def test_the_timeout_ends_the_wait_and_leaves_the_job(server: JobServer, mode: dict[str, Any]) -> None:
    """A sensor's time-out is not retried, and can be skipped."""
    (job,) = server.add(1)
    arguments = {"job_identifier": job.name, "timeout": 0.5, "poke_interval": 0.2, **mode}
    with pytest.raises(AirflowSensorTimeout):
        execute(arguments)
    with pytest.raises(AirflowSkipException):
        execute({**arguments, "soft_fail": True})
    assert server.counts()["stop"] == 0
    assert job.status == "InProgress"


def test_a_rescheduled_wait_counts_from_its_first_poll(server: JobServer) -> None:
    """The wall clock from the first poll on, whatever happened to processes in between."""
    (job,) = server.add(1)
    with pytest.raises(AirflowSensorTimeout):
        execute(
            {"job_identifier": job.name, "timeout": 3600, "mode": "reschedule"},
            first_poke=datetime.now(UTC) - timedelta(days=1),
        )
    assert len(server.calls) == 1


def test_a_deferral_passes_on_what_is_known(server: JobServer) -> None:
    """The ARN, the job's age, the wait's limit."""
    (job,) = server.add(1)
    sensor = BedrockModelCustomizationSensor(task_id="wait", job_identifier=job.name, timeout=1234)
    with pytest.raises(TaskDeferred) as raised:
        sensor.execute({"ti": SimpleNamespace()})  # type: ignore[typeddict-item]  # all of the context that it reads
    _, arguments = raised.value.trigger.serialize()
    assert arguments["job_identifier"] == job.arn
    assert datetime.fromisoformat(arguments["created"]) == job.created
    assert raised.value.timeout == timedelta(seconds=1234)


def test_a_worker_polls_again_after_an_early_event(server: JobServer) -> None:
    """The service may answer with what was a moment ago."""
    (job,) = server.add(1)
    sensor = BedrockModelCustomizationSensor(task_id="wait", job_identifier=job.name)
    event = {"kind": "ended", "job_identifier": job.arn, "message": "it is Completed"}
    server.fault = ends_after(server, 2, "Completed")
    assert sensor.execute_complete({}, event)["status"] == "Completed"


def test_an_event_of_another_version_fails_closed(server: JobServer) -> None:
    """Nothing is taken for success."""
    sensor = BedrockModelCustomizationSensor(task_id="wait", job_identifier="one")
    for event in ({}, {"status": "success"}):
        with pytest.raises(AirflowException, match="no event that this version understands"):
            sensor.execute_complete({}, event)


def test_a_sensor_that_comes_back_waits_again(server: JobServer) -> None:
    """It was removed from the DAG file for a while; Airflow then resumes it without an event."""
    (job,) = server.add(1)
    sensor = BedrockModelCustomizationSensor(task_id="wait", job_identifier=job.name)
    context: Any = {"ti": SimpleNamespace()}
    with pytest.raises(TaskDeferred):
        sensor.resume_execution("execute_complete", None, context)


def test_its_log_says_how_long_it_waits_at_most(server: JobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it leaves the worker."""
    (job,) = server.add(1)
    sensor = BedrockModelCustomizationSensor(task_id="wait", job_identifier=job.name, timeout=3600)
    said: list[str] = []
    monkeypatch.setattr(sensor.log, "info", lambda text, *values: said.append(text % values))
    context: Any = {"ti": SimpleNamespace(get_first_reschedule_date=lambda _: None)}
    with pytest.raises(TaskDeferred):
        sensor.execute(context)
    assert "Waiting in the triggerer, for 1 h 0 min at most" in said


def test_the_views_are_given_the_result(server: JobServer, mode: dict[str, Any]) -> None:
    """Beside what they were given of the job while it ran."""
    (job,) = server.add(1)
    server.end([job])
    pushed: list[Any] = []
    ti = SimpleNamespace(
        get_first_reschedule_date=lambda _: None, xcom_push=lambda key, value: pushed.append((key, value))
    )
    sensor = BedrockModelCustomizationSensor(task_id="wait", job_identifier=job.name, poke_interval=0.05, **mode)
    context: Any = {"ti": ti}
    sensor.execute(context)
    [(key, value)] = pushed
    assert (key, value["status"], value["training_loss"]) == ("bedrock_job", "Completed", 0.5)
