"""The engine and a resource that lacks what it can do without: one declaration is all that a kind costs.

A model copy job has no name but that of the model which it makes, is got by its ARN alone, does not show the
clientRequestToken that made it, and cannot be stopped.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pkgutil import resolve_name
from typing import Any

import pytest

from airflow_bedrock.customization.identity import TaskKey, identify
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs.connection import Connection
from airflow_bedrock.jobs.resources.copy_job import COPY_JOB
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.stopping import stop_unless_others_wait
from airflow_bedrock.jobs.submission import Submission
from airflow_bedrock.jobs.waiting import job_of_event, wait_for
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.triggers.resource import BedrockResourceTrigger
from tests.kms_keys import make_key
from tests.trained_models import train

pytestmark = pytest.mark.local_bedrock(job_seconds=0.5)

CONNECTION = Connection.of(aws_conn_id="aws_default", region_name="us-west-2", verify=None, config=None)
_numbers = itertools.count()


class Copies:
    """One task that copies a model to another region, asked again and again."""

    def __init__(self, local: LocalBedrock, source: str) -> None:
        self.local = local
        self.source = source
        self.service = Service(COPY_JOB, CONNECTION.bedrock())
        self.name = f"copied-{next(_numbers)}"

    def submission(self, *, retry: int = 0, clear: int = 0, index: int = -1, **more: Any) -> Submission:
        task_key = TaskKey(
            dag_id=self.name, task_id="t", run_id="r", map_index=index, ask=clear, try_number=1 + retry + clear
        )
        request = {"sourceModelArn": self.source, "targetModelName": self.name, **more}
        return Submission(
            service=self.service,
            request=request,
            identity=identify(request, [], task_key, "run", name="targetModelName", model_name=None),
            waiter=Waiter.of(task_key, waits=True),
        )

    def ask(self, **when: Any) -> Seen:
        return self.submission(**when).find_or_create()

    def wait(self, arn: str) -> Seen:
        return wait_for(self.service, arn, delay=0.1, max_polls=1200, no_response_timeout=0)

    def made(self) -> list[str]:
        return [seen.arn for seen in self.service.list_all(self.name)]


@pytest.fixture(scope="module")
def source(local_bedrock_module: LocalBedrock) -> str:
    """A custom model in us-east-1."""
    return train(local_bedrock_module, "source")


@pytest.fixture
def copies(local_bedrock_module: LocalBedrock, source: str) -> Iterator[Copies]:
    copies = Copies(local_bedrock_module, source)
    yield copies
    local_bedrock_module.faults.clear()
    copies.service.hook.conn.close()


def test_it_is_made_once_waited_for_and_reused(copies: Copies) -> None:
    """A retry finds it by List while it runs, a Clear when it has completed: by its token, which a tag says."""
    make_key(copies.local, "alias/k", region="us-west-2")
    made = copies.ask()
    assert copies.ask(retry=1).arn == made.arn
    ended = copies.wait(made.arn)
    assert (ended.outcome, ended.name.startswith(copies.name)) == (Outcome.SUCCEEDED, True)
    assert copies.ask(clear=1).arn == made.arn
    assert copies.ask(clear=1, modelKmsKeyId="alias/k").arn != made.arn, "another thing is asked for"
    assert len(copies.made()) == 2


def test_a_lost_response_makes_no_second_one(copies: Copies) -> None:
    """The service has accepted it; the next try finds it although what is asked for differs."""
    copies.local.faults.drop("CreateModelCopyJob", times=None)
    with pytest.raises(BedrockError, match="the next try of this task finds that copy job by its name"):
        copies.ask()
    (arn,) = copies.made()
    assert copies.ask(retry=1, modelKmsKeyId="alias/k").arn == arn
    assert copies.made() == [arn]


def test_the_engine_says_that_it_cannot_be_stopped(copies: Copies) -> None:
    """And does not try; also where an earlier one is superseded."""
    submission = copies.submission()
    arn = submission.find_or_create().arn
    said = stop_unless_others_wait(copies.service, arn, submission.waiter)
    assert said == (
        f"Copy job {arn} still runs and {COPY_JOB.billed}: Bedrock has no operation that stops a model copy job."
    )


def test_a_request_that_is_refused_says_that_nothing_was_made(copies: Copies) -> None:
    """There is no such model; no retry can fix that."""
    copies.source = copies.source.replace(copies.source[-12:], "abcdefghijkl")
    with pytest.raises(BedrockFatalError, match=r"refused the request for copy job.*nothing was created or spent"):
        copies.ask()
    assert copies.made() == []


async def test_the_triggerers_loop_waits_for_it(copies: Copies) -> None:
    """By the trigger of any kind, made again from what is serialised; a worker takes up its event."""
    made = BedrockResourceTrigger(
        declaration="airflow_bedrock.jobs.resources.copy_job:COPY_JOB",
        job_identifier=copies.ask().arn,
        poll_interval=0.1,
        created=datetime.now(UTC),
        **CONNECTION.arguments(),
    )
    path, arguments = made.serialize()
    trigger = resolve_name(path)(**arguments)
    (event,) = [event async for event in trigger.run()]
    assert job_of_event(copies.service, event.payload, 0).outcome is Outcome.SUCCEEDED
