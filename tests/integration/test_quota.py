"""Tasks that wait for the account's quota: in the triggerer's one loop, and as mapped tasks in dag.test()."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_bedrock.jobs import poll_loop
from airflow_bedrock.local import LocalBedrock, Quotas
from airflow_bedrock.triggers import BedrockModelCustomizationTrigger
from airflow_bedrock.triggers.base import BedrockTrigger
from airflow_bedrock.triggers.quota import BedrockQuotaTrigger
from scripts.training_data import record
from tests.dag_files import load
from tests.job_server import Fault, JobServer
from tests.until import until

INTERVAL = 0.2  # seconds


def refused(
    number: int, *, running: int | None = 1, seconds: float = 3600, since: float = 0.0, interval: float = INTERVAL
) -> BedrockQuotaTrigger:
    """Return the trigger of a task, as it comes out of Airflow's database."""
    now = time.time()
    made = BedrockQuotaTrigger(
        task=f"task-{number:03}",
        asked_at=now - 1000 + number,
        refused_at=now - since,
        running=running,
        deadline=now + seconds,
        poll_interval=interval,
    )
    _, arguments = made.serialize()
    return BedrockQuotaTrigger(**json.loads(json.dumps(arguments)))


@asynccontextmanager
async def waiting(triggers: list[Any]) -> AsyncIterator[list[tuple[int, dict[str, Any]]]]:
    """Let triggers wait as Airflow's trigger runner would; the list gets their events, in their order."""
    events: list[tuple[int, dict[str, Any]]] = []

    async def wait(number: int, waiter: BedrockTrigger) -> None:
        event = await anext(aiter(waiter.run()))
        events.append((number, event.payload))

    tasks = [asyncio.create_task(wait(i, waiter)) for i, waiter in enumerate(triggers)]
    try:
        yield events
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_longest_waiting_task_is_woken_when_a_job_ends(
    server: JobServer, caplog: pytest.LogCaptureFixture
) -> None:
    """In the order of asking and not of starting, through another triggerer; the log says who runs and who waits.

    The loop sees the end at once, since a task waits for that job: the interval of those who queue is an hour.
    """
    first, second = server.add(2)
    waiter = BedrockModelCustomizationTrigger(job_identifier=first.arn, created=first.created, poll_interval=INTERVAL)
    order = [3, 0, 2, 1]
    queue: list[BedrockTrigger] = [refused(number, running=2, interval=3600) for number in order]
    with caplog.at_level(logging.INFO):
        async with waiting([*queue, waiter]) as events:
            await until(lambda: "before this one: 3" in caplog.text)
            assert len(poll_loop._loops) == 1
            assert events == []
            server.end([first])
            await until(lambda: len(events) == 2)
    assert (4, "ended") in [(i, event["kind"]) for i, event in events]
    assert [(order[i], event) for i, event in events if i < 4] == [(0, {"kind": "room"})]
    said = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_bedrock.triggers")]
    assert "Running customization jobs: 2. Tasks waiting for the quota: 4, before this one: 3" in said
    assert "Running customization jobs: 1. Requesting the job again" in said
    server.end([second])
    async with waiting([refused(number, running=2, since=9, interval=3600) for number in (3, 2, 1)]) as events:
        await until(lambda: len(events) == 2)
    assert [(3, 2, 1)[i] for i, _ in events] == [1, 2]


async def test_a_hundred_that_wait_cost_two_lists_a_round_and_no_get(server: JobServer) -> None:
    """One for each status that counts against the quota, beside those for the jobs that others wait for."""
    server.add(1)
    async with waiting([refused(number) for number in range(100)]) as events:
        await until(lambda: server.counts()["list"] >= 1)
        began_at, before = time.monotonic(), server.counts()["list"]
        await until(lambda: server.counts()["list"] >= before + 8)
        seconds = time.monotonic() - began_at
    assert len(events) <= 1  # the first asks again after an interval, whatever runs
    assert server.counts()["get"] == 0
    assert server.counts()["list"] <= before + 8 + 2 * (1 + seconds / (INTERVAL * 0.9))


async def test_it_is_given_up_at_the_deadline(server: JobServer) -> None:
    """By the wall clock, so that a restart does not prolong it."""
    server.add(1)
    async with waiting([refused(0, seconds=-1)]) as events:
        await until(lambda: events)
    assert events == [(0, {"kind": "late"})]


async def test_without_permission_to_list_the_first_in_the_queue_tries_again(
    server: JobServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And one line says what to allow."""
    server.add(1)
    server.fault = lambda call: Fault(403, "AccessDeniedException")
    with caplog.at_level(logging.INFO):
        async with waiting([refused(1, running=None), refused(0, running=None)]) as events:
            await until(lambda: events)
    assert events[0] == (1, {"kind": "room"})
    said = [record.getMessage() for record in caplog.records if "ListModelCustomizationJobs" in record.getMessage()]
    assert len(said) == 1
    assert "Allow bedrock:ListModelCustomizationJobs" in said[0]
    assert "the first of the 2 tasks that wait" in said[0]
    assert "Running customization jobs: unknown. Requesting the job again" in caplog.messages


DAG_FILE = """
from airflow.sdk import DAG
from airflow_bedrock.operators import BedrockModelCustomizationOperator

with DAG("mapped_for_the_quota", schedule=None) as dag:
    BedrockModelCustomizationOperator.partial(
        task_id="customize",
        job_name="router",
        custom_model_name="router",
        role_arn=%(role_arn)r,
        base_model_id="amazon.nova-micro-v1:0:128k",
        training_data_uri=%(data)r,
        output_data_uri="s3://%(bucket)s/output",
        wait_for_completion=False,
        waiter_delay=0.5,
    ).expand(hyperparameters=[{"epochCount": "1"}, {"epochCount": "2"}, {"epochCount": "3"}])
"""


@pytest.fixture
def mapped(local_bedrock: LocalBedrock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A DAG with three mapped tasks, each of which asks for a job of its own and leaves it."""
    bundle = {
        "name": "dags-folder",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    client = local_bedrock.client("s3")
    client.put_object(Bucket=local_bedrock.bucket, Key="train.jsonl", Body=record() * 20)
    client.close()
    file = tmp_path / "mapped.py"
    data = f"s3://{local_bedrock.bucket}/train.jsonl"
    file.write_text(DAG_FILE % {"role_arn": local_bedrock.role_arn, "bucket": local_bedrock.bucket, "data": data})
    return load(file).dag


def refusals(local: LocalBedrock) -> int:
    calls = local.calls.of("CreateModelCustomizationJob")
    return sum(call.error == "ServiceQuotaExceededException" for call in calls)


@contextmanager
def jobs_end_once_another_is_refused(local: LocalBedrock) -> Iterator[None]:
    """The clock stands until then, so that jobs end neither too soon nor too late, however slow the machine is."""
    over = threading.Event()

    def turn_the_clock() -> None:
        seen = 0
        while not over.wait(0.05):
            if (now := refusals(local)) > seen:
                seen = now
                local.clock.advance(3600)

    thread = threading.Thread(target=turn_the_clock)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.local_bedrock(clock="manual", quotas=Quotas(scheduled_jobs=1))
def test_three_mapped_tasks_on_a_quota_of_one_get_their_jobs_one_after_the_other(
    airflow_database: Path, local_bedrock: LocalBedrock, mapped: Any
) -> None:
    """Each in the triggerer, until the job of the one before has ended; in dag.test(), as a laptop runs it."""
    with jobs_end_once_another_is_refused(local_bedrock):
        assert mapped.test().state == "success"
    assert refusals(local_bedrock) >= 2
    client = local_bedrock.client("bedrock")
    listed = client.list_model_customization_jobs(sortBy="CreationTime", sortOrder="Ascending")
    client.close()
    one, two, three = listed["modelCustomizationJobSummaries"]
    assert one["endTime"] <= two["creationTime"]
    assert two["endTime"] <= three["creationTime"]
