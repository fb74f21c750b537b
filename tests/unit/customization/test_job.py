"""A job's description becomes an outcome, a result and log lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.customization.job import Job, Outcome, changes, duration
from airflow_bedrock.jobs.resources.customization_job import failure_message

START = datetime(2026, 1, 1, tzinfo=UTC)
ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijkl"


def response(status: str = "InProgress", **more: Any) -> dict[str, Any]:
    return {"jobArn": ARN, "jobName": "router-1", "status": status, "clientRequestToken": "token", **more}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("InProgress", Outcome.RUNNING),
        ("Stopping", Outcome.RUNNING),
        ("Completed", Outcome.SUCCEEDED),
        ("Failed", Outcome.FAILED),
        ("Stopped", Outcome.STOPPED),
    ],
)
def test_each_status_of_the_service_has_its_outcome(status: str, outcome: Outcome) -> None:
    """Stopping is not an end; Completed alone is success."""
    assert Job.from_response(response(status)).outcome is outcome


@given(st.text())
def test_no_other_status_is_success(status: str) -> None:
    """A status that the code does not know fails closed."""
    job = Job.from_response(response(status))
    assert (job.outcome is Outcome.SUCCEEDED) == (status == "Completed")


def test_list_names_the_model_in_another_member_than_get() -> None:
    """By its model's name a retry distinguishes its jobs from others, without a Get for each."""
    assert Job.from_response(response(outputModelName="router")).model_name == "router"
    assert Job.from_response(response(customModelName="router")).model_name == "router"


def test_a_running_job_has_no_result_yet() -> None:
    """Fields that do not exist yet are None, as the service leaves them out."""
    result = Job.from_response(response(validationMetrics=[])).result()
    assert result["custom_model_arn"] is None
    assert result["training_loss"] is None
    assert result["validation_loss"] is None


def test_the_result_of_a_completed_job_is_complete_and_plain() -> None:
    """Every documented key is there, in JSON types, with the seconds of each phase."""
    job = Job.from_response(
        response(
            "Completed",
            outputModelArn="arn:model",
            outputModelName="router",
            baseModelArn="arn:base",
            outputDataConfig={"s3Uri": "s3://bucket/out/"},
            trainingMetrics={"trainingLoss": 0.5},
            validationMetrics=[{"validationLoss": 0.75}, {"validationLoss": 0.8}],
            creationTime=START,
            endTime=START + timedelta(hours=1),
            statusDetails={
                "validationDetails": {
                    "status": "Completed",
                    "creationTime": START,
                    "lastModifiedTime": START + timedelta(seconds=30),
                },
                "dataProcessingDetails": {"status": "NotStarted"},
            },
        )
    )
    assert job.result() == {
        "job_arn": ARN,
        "job_name": "router-1",
        "status": "Completed",
        "base_model_arn": "arn:base",
        "custom_model_arn": "arn:model",
        "custom_model_name": "router",
        "training_loss": 0.5,
        "validation_loss": 0.75,
        "validation_losses": [0.75, 0.8],
        "output_data_uri": "s3://bucket/out/",
        "artifacts_uri": "s3://bucket/out/model-customization-job-abcdefghijkl/",
        "created": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T01:00:00+00:00",
        "phase_seconds": {"validation": 30.0, "data processing": None},
        "phases": [
            {
                "name": "validation",
                "status": "Completed",
                "started": "2026-01-01T00:00:00+00:00",
                "changed": "2026-01-01T00:00:30+00:00",
            },
            {"name": "data processing", "status": "NotStarted", "started": None, "changed": None},
        ],
    }


def phases(validation: str, processing: str) -> dict[str, Any]:
    return {"validationDetails": {"status": validation}, "dataProcessingDetails": {"status": processing}}


def test_a_poll_without_a_change_logs_nothing() -> None:
    """The log has one line for all that has changed, not a line a poll."""
    job = Job.from_response(response(statusDetails=phases("InProgress", "NotStarted")))
    assert changes(None, job) == "Job router-1 is InProgress: validation InProgress"
    assert changes(job, job) == ""


def test_each_change_of_status_and_of_phase_is_logged_once() -> None:
    """What was said before is not said again."""
    before = Job.from_response(response(statusDetails=phases("InProgress", "NotStarted")))
    now = Job.from_response(response("Stopping", statusDetails=phases("Completed", "InProgress")))
    assert changes(before, now) == "Job router-1 is Stopping: validation Completed, data processing InProgress"
    later = Job.from_response(response("Stopping", statusDetails=phases("Completed", "Stopped")))
    assert changes(now, later) == "Job router-1: data processing Stopped"


@pytest.mark.parametrize(
    ("status", "bill", "step"),
    [
        ("Failed", "costs nothing more", "clear"),
        ("Stopped", "the tokens trained until it was stopped are billed", "clear"),
        ("Paused", "may still run and be billed", "upgrade airflow-bedrock"),
    ],
)
def test_the_error_names_the_job_the_cause_the_bill_and_the_next_step(status: str, bill: str, step: str) -> None:
    """Each ending that is not success says all four."""
    message = failure_message(Job.from_response(response(status, failureMessage="Unable to parse Amazon S3 file")))
    assert "router-1" in message
    assert ARN in message
    assert "https://us-east-1.console.aws.amazon.com/bedrock/home" in message
    assert "Unable to parse Amazon S3 file" in message
    assert bill in message
    assert step in message


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (50.4, "50 s"),
        (60, "1 min 0 s"),
        (725, "12 min 5 s"),
        (3600, "1 h 0 min"),
        (11_520, "3 h 12 min"),
    ],
)
def test_a_duration_is_short_enough_for_a_log(seconds: float, said: str) -> None:
    """Two units at the most."""
    assert duration(seconds) == said
