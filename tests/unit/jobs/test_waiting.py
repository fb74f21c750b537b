"""How a worker waits for a job, and how Airflow's repeated cancelling is outlasted."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from airflow_bedrock.customization.job import Job, Seen
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.jobs import on_kill, waiting
from airflow_bedrock.jobs.on_kill import begin, to_its_end
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.service import Service

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijkl"
NAMELESS = Job(arn=ARN, name="router", status="Completed")


class Bedrock:
    """Polls return what they are given; ``looks`` counts them, ``slept`` has the pauses between them."""

    resource = CUSTOMIZATION_JOB
    hook = SimpleNamespace(conn_region_name="us-east-1", aws_conn_id="aws_default", forget_client=lambda: None)
    hook.at = lambda _: Bedrock.hook
    can_retry = Service.can_retry

    def __init__(self, *answers: str | Exception | Job | None) -> None:
        self.looks = 0
        self.slept: list[float] = []
        self._answers = iter(answers)

    def get(self, job_identifier: str) -> Job | None:
        self.looks += 1
        answer = next(self._answers, "InProgress")
        if isinstance(answer, Job):
            return answer
        if isinstance(answer, Exception):
            raise answer
        model_arn = "model" if answer == "Completed" else None
        return Job(arn=job_identifier, name="router", status=answer, model_arn=model_arn) if answer else None


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append))
    return pauses


def wait(bedrock: Bedrock, max_polls: int | None) -> Seen:
    service: Any = bedrock
    return waiting.wait_for(service, ARN, delay=7.0, max_polls=max_polls, no_response_timeout=0)


@pytest.mark.parametrize("max_polls", [1, 2, 5])
def test_a_worker_polls_waiter_max_attempts_times_and_not_once_more(slept: list[float], max_polls: int) -> None:
    """``waiter_max_attempts`` counts polls, ``waiter_delay`` apart; here the job ends one poll later."""
    bedrock = Bedrock(*["InProgress"] * max_polls, "Completed")
    with pytest.raises(BedrockError, match=f"after {max_polls} polls, 7 s apart"):
        wait(bedrock, max_polls)
    assert bedrock.looks == max_polls
    assert slept == [7.0] * (max_polls - 1)


def test_the_last_poll_counts(slept: list[float]) -> None:
    """A job that has ended by then is no job that was given up."""
    assert wait(Bedrock("InProgress", "InProgress", "Completed"), 3).status == "Completed"
    assert slept == [7.0, 7.0]


def test_a_poll_without_a_response_counts(slept: list[float]) -> None:
    """So that the wait ends when the operator said, whatever the service does."""
    bedrock = Bedrock(EndpointConnectionError(endpoint_url="u"), None, "InProgress", "Completed")
    with pytest.raises(BedrockError, match="after 3 polls"):
        wait(bedrock, 3)


def test_without_a_limit_it_polls_until_the_end(slept: list[float]) -> None:
    """A job takes hours."""
    assert wait(Bedrock(*["InProgress"] * 1000, "Stopping", "Stopped"), None).status == "Stopped"
    assert len(slept) == 1001


def test_a_poll_that_is_refused_for_an_unknown_reason_says_that_the_job_may_run(slept: list[float]) -> None:
    """The wait ends, as nothing says that it would get better; the job does not."""
    with pytest.raises(BedrockError, match=r"is unknown: .*\(Strange\).*not stopped; it may still run and be billed"):
        wait(Bedrock("InProgress", ClientError({"Error": {"Code": "Strange"}}, "Get")), None)


def test_an_end_that_the_triggerer_reported_costs_one_poll(slept: list[float]) -> None:
    """Another one only where the service answers with what was a moment before, or with nothing."""
    event = {"kind": "ended", "job_identifier": ARN, "message": "Job router is Completed"}
    throttled = ClientError({"Error": {"Code": "ThrottlingException"}}, "GetModelCustomizationJob")
    for answers in (["Completed"], ["InProgress", "Completed"], [None, "Failed"], [throttled, "Stopped"], ["New"]):
        bedrock = Bedrock(*answers)
        hook: Any = bedrock
        assert waiting.job_of_event(hook, event, 3600).status == answers[-1]
        assert bedrock.looks == len(answers)


def test_the_log_of_a_task_says_what_became_of_its_job(slept: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """In a worker that waits each change; what the triggerer has said already is not contradicted after it."""
    caplog.set_level(logging.INFO)
    wait(Bedrock("InProgress", "InProgress", "Completed"), None)
    assert caplog.messages == ["Job router is InProgress", "Job router is Completed"]
    caplog.clear()
    bedrock: Any = Bedrock("InProgress", "Completed")
    waiting.job_of_event(bedrock, {"kind": "ended", "job_identifier": ARN, "message": "Job router is Completed"}, 3600)
    assert caplog.messages == ["Job router is Completed"]


def test_an_end_that_cannot_be_confirmed_is_reported_after_five_polls(slept: list[float]) -> None:
    """Triggerer and worker get different states: what became of the job is unknown. It is not stopped."""
    event = {"kind": "ended", "job_identifier": ARN, "message": "job router is Completed"}
    bedrock: Any = Bedrock(None)
    with pytest.raises(BedrockError, match=r"router is Completed, but the worker reads that it is InProgress.*not st"):
        waiting.job_of_event(bedrock, event, 3600)
    assert bedrock.looks == 6
    assert slept == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_a_completed_job_is_read_again_until_it_names_its_model(
    slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """The tasks after this one need the model, and a Clear of theirs would not read the job again."""
    event = {"kind": "ended", "job_identifier": ARN, "message": "Job router is Completed"}
    lost = EndpointConnectionError(endpoint_url="u")
    for answers, polls in (([NAMELESS, NAMELESS, lost, "Completed"], 4), ([NAMELESS] * 5, 5)):
        bedrock: Any = Bedrock(*answers)
        assert waiting.job_of_event(bedrock, event, 3600).model_arn == ("model" if polls == 4 else None)
        assert bedrock.looks == polls
    assert slept == [1.0, 2.0, 4.0, 1.0, 2.0, 4.0, 8.0]
    assert caplog.messages[1:2] == [f"Job {ARN} has completed, but Bedrock does not say which model it made"]


@pytest.mark.parametrize(("code", "forgets"), [("ExpiredTokenException", 1), ("ThrottlingException", 0)])
def test_credentials_that_were_refused_are_taken_anew(slept: list[float], code: str, forgets: int) -> None:
    """The connection may have better ones by now; an error that passes by itself costs no new client."""
    bedrock, forgotten = Bedrock(ClientError({"Error": {"Code": code}}, "Get"), "Completed"), []
    bedrock.hook = SimpleNamespace(conn_region_name="us-east-1", forget_client=lambda: forgotten.append(1))
    assert wait(bedrock, None).status == "Completed"
    assert len(forgotten) == forgets


@pytest.mark.parametrize("cancels", [1, 2, 20])
async def test_work_that_must_be_done_outlasts_repeated_cancelling(cancels: int) -> None:
    """Airflow cancels a trigger again at each turn of its loop while on_kill runs."""
    begun, may_end = asyncio.Event(), asyncio.Event()
    done = False

    async def work() -> None:
        nonlocal done
        begun.set()
        await may_end.wait()
        done = True

    waiter = asyncio.create_task(to_its_end(begin(work())))
    await begun.wait()
    for _ in range(cancels):
        waiter.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiter.done(), "on_kill returned before its work was done"
    may_end.set()
    await waiter
    assert done


async def test_work_that_does_not_end_is_left_when_airflows_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on, but nobody waits for it."""
    monkeypatch.setattr(on_kill, "_SECONDS", 0.05)
    may_end = asyncio.Event()
    await asyncio.wait_for(to_its_end(begin(may_end.wait())), 60)
    (left,) = on_kill._running
    assert not left.done()
    may_end.set()
    await left
