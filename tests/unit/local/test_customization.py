"""A job's phases, seen step by step with a clock of the test's own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from airflow_bedrock.local.api.customization_jobs import (
    create_model_customization_job,
    get_model_customization_job,
    stop_model_customization_job,
)
from airflow_bedrock.local.clock import ManualClock
from airflow_bedrock.local.faults import Faults
from airflow_bedrock.local.settings import Settings
from airflow_bedrock.local.state.bedrock import Bedrock, World
from airflow_bedrock.local.web.protocol import present
from scripts.training_data import record


class MemoryS3:
    """What a job uses of S3 and EventBridge, in memory: a server would bring threads and real time along."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.writable = True
        self.events: list[dict[str, Any]] = []
        self.region: str | None = None  # us-east-1

    def client(self, service: str, region: str) -> Any:
        return self

    def put_events(self, Entries: list[dict[str, Any]]) -> None:
        self.events += [json.loads(entry["Detail"]) for entry in Entries]

    def get_bucket_location(self, *, Bucket: str) -> dict[str, Any]:
        return {"LocationConstraint": self.region}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **more: Any) -> None:
        if not self.writable:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
        self.objects[f"s3://{Bucket}/{Key}"] = Body

    def delete_object(self, *, Bucket: str, Key: str) -> None:
        del self.objects[f"s3://{Bucket}/{Key}"]

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        if f"s3://{Bucket}/{Key}" not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        body = self.objects[f"s3://{Bucket}/{Key}"]
        return {"Body": StreamingBody(io.BytesIO(body), len(body)), "ContentLength": len(body)}


class Stage:
    """A world of 100-second jobs in which only the test lets time pass."""

    def __init__(self, start: float | None = None) -> None:
        self.clock, self.s3 = ManualClock(start), MemoryS3()
        self.world = World(Settings(job_seconds=100, check_role=False), self.s3, self.clock, Faults(self.clock.time))
        self.bedrock: Bedrock = self.world.bedrock("123456789012", "us-east-1")
        self.s3.objects["s3://b/train.jsonl"] = records(20)
        self.s3.objects["s3://b/validate.jsonl"] = records(8)

    def create(self, **changes: Any) -> None:
        request = {
            "jobName": "job",
            "customModelName": "model",
            "roleArn": "arn:aws:iam::123456789012:role/r",
            "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
            "trainingDataConfig": {"s3Uri": "s3://b/train.jsonl"},
            "validationDataConfig": {"validators": [{"s3Uri": "s3://b/validate.jsonl"}]},
            "outputDataConfig": {"s3Uri": "s3://b/out/"},
        }
        create_model_customization_job(self.bedrock, request | changes)
        self.world.runner.run_due()

    def wait(self, seconds: float) -> dict[str, Any]:
        for _ in range(round(seconds)):
            self.clock.advance(1)
        return self.job()

    def job(self) -> dict[str, Any]:
        return present(get_model_customization_job(self.bedrock, {"jobIdentifier": "job"}))


def records(count: int) -> bytes:
    return record().encode() * count


def phases(job: dict[str, Any]) -> list[str]:
    return [phase["status"] for phase in job["statusDetails"].values()]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_phases_follow_one_another_over_the_jobs_time(stage: Stage) -> None:
    """Validation, data processing and training take their shares of the job's time; the model comes at the end."""
    stage.create()
    assert phases(stage.job()) == ["InProgress", "NotStarted", "NotStarted"]
    assert phases(stage.wait(16)) == ["Completed", "InProgress", "NotStarted"]
    assert phases(stage.wait(15)) == ["Completed", "Completed", "InProgress"]
    half = stage.wait(35)
    assert (half["status"], phases(half)) == ("InProgress", ["Completed", "Completed", "InProgress"])
    assert not stage.bedrock.models
    job = stage.wait(35)
    assert (job["status"], phases(job)) == ("Completed", ["Completed"] * 3)
    assert list(stage.bedrock.models) == [job["outputModelArn"]]
    assert (job["endTime"] - job["creationTime"]).total_seconds() == pytest.approx(100, abs=2)


def test_what_does_not_exist_yet_is_absent(stage: Stage) -> None:
    """While a job runs it has no model, no end, no failure and no losses; afterwards it has."""
    stage.create()
    later = {"outputModelArn", "endTime", "trainingMetrics"}
    running = stage.wait(50)
    assert not later & set(running)
    assert running["validationMetrics"] == []
    assert running["hyperParameters"] == {"epochCount": "2", "learningRate": "0.00001", "learningRateWarmupSteps": "10"}
    ended = stage.wait(51)
    assert later <= set(ended)
    assert "failureMessage" not in ended
    assert len(ended["validationMetrics"]) == 1


def test_progress_is_seen_while_it_trains(stage: Stage) -> None:
    """Steps, epoch and losses are known while training goes on."""
    stage.create()
    stage.wait(70)
    progress = next(iter(stage.bedrock.jobs.values())).progress
    assert progress.steps == 40
    assert 15 <= progress.step <= 30
    assert progress.training_loss is not None
    assert progress.validation_loss is not None


def test_metrics_files_have_every_step_and_epoch(stage: Stage) -> None:
    """The artefacts have a row for each step and epoch, and the job's metrics come from them."""
    stage.create()
    job = stage.wait(101)
    folder = f"s3://b/out/model-customization-job-{job['jobArn'].rpartition('/')[2]}"
    training = stage.s3.objects[f"{folder}/training_artifacts/step_wise_training_metrics.csv"].decode().splitlines()
    assert training[0] == "step_number,epoch_number,training_loss,perplexity"
    assert [row.split(",")[:2] for row in training[1:]] == [[str(n), str(1 + (n > 20))] for n in range(1, 41)]
    validation = stage.s3.objects[
        f"{folder}/validation_artifacts/post_fine_tuning_validation/validation/validation_metrics.csv"
    ].decode()
    last = validation.splitlines()[-1].split(",")
    assert last[:2] == ["40", "2"]
    assert float(last[2]) == job["validationMetrics"][0]["validationLoss"]
    losses = [float(row.split(",")[2]) for row in training[21:]]
    assert job["trainingMetrics"]["trainingLoss"] == pytest.approx(sum(losses) / 20)


def test_every_change_of_status_sends_an_event(stage: Stage) -> None:
    """There is an event for each status, and none in between."""
    stage.create()
    stage.wait(50)
    stop_model_customization_job(stage.bedrock, {"jobIdentifier": "job"})
    stage.wait(12)
    assert [event["jobStatus"] for event in stage.s3.events] == ["InProgress", "Stopping", "Stopped"]
    assert [event["creationTime"] for event in stage.s3.events] == [stage.s3.events[0]["creationTime"]] * 3


def missing_data(stage: Stage) -> None:
    del stage.s3.objects["s3://b/train.jsonl"]


def broken_line(stage: Stage) -> None:
    stage.s3.objects["s3://b/validate.jsonl"] += b"\n\n"


def too_few(stage: Stage) -> None:
    stage.s3.objects.update({"s3://b/train.jsonl": records(4), "s3://b/validate.jsonl": records(3)})


def not_writable(stage: Stage) -> None:
    stage.s3.writable = False


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            missing_data,
            "Could not validate GetObject permissions to access Amazon S3 bucket: b at key train.jsonl",
        ),
        (
            broken_line,
            "Unable to parse Amazon S3 file: s3://b/validate.jsonl. Data files must conform to JSONL format.",
        ),
        (too_few, "The number of records in training and validation data is 7; it must be between 8 and 20000"),
        (
            not_writable,
            "Amazon S3 perms missing (PutObject): Could not validate PutObject permissions to access S3 bucket: b "
            "at key out/.write_access_check_file.tmp",
        ),
    ],
)
def test_bad_data_fails_the_job_in_validation(stage: Stage, damage: Callable[[Stage], None], message: str) -> None:
    """What is wrong with the data fails the job, in its first phase and with the service's message."""
    damage(stage)
    stage.create()
    job = stage.wait(1)
    assert job["status"] == "Failed"
    assert job["failureMessage"].startswith(message)
    assert phases(job) == ["Failed", "NotStarted", "NotStarted"]
    assert job["endTime"] == job["lastModifiedTime"]
    assert not stage.bedrock.models


def test_stopping_comes_before_stopped_and_leaves_no_model(stage: Stage) -> None:
    """A job that is stopped is Stopping for a while, then Stopped, with its phase, and there is no model."""
    stage.create()
    stage.wait(50)
    stop_model_customization_job(stage.bedrock, {"jobIdentifier": "job"})
    assert (stage.job()["status"], phases(stage.job())) == ("Stopping", ["Completed", "Completed", "Stopping"])
    for _ in range(2):  # the request may arrive while the job is at work: then it wakes a job that is Stopping
        stage.world.runner.run_due()
        stage.world.runner.wake(stage.job()["jobArn"])
    assert stage.wait(5)["status"] == "Stopping"
    job = stage.wait(6)
    assert (job["status"], phases(job)) == ("Stopped", ["Completed", "Completed", "Stopped"])
    assert "outputModelArn" not in stage.wait(100)
    assert not stage.bedrock.models


def test_fault_of_local_bedrock_fails_the_job(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody foresaw fails the job rather than leaving it InProgress for ever, and is logged."""
    del stage.s3.objects["s3://b/train.jsonl"]
    stage.s3.get_object = None  # type: ignore[assignment,method-assign]  # calling it raises a TypeError
    stage.create()
    job = stage.wait(1)
    assert (job["status"], job["failureMessage"][:21]) == ("Failed", "Internal server error")
    assert "job failed because of an internal error" in caplog.text
