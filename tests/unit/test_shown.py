"""What tasks tell the views in Airflow's UI, and what the views take of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_bedrock.customization.job import Job, Outcome, ResourceState
from airflow_bedrock.plugin.shapes import checked
from airflow_bedrock.shown import EVALUATION, IDLE, JOB, PROMOTION, evaluation_shown, job_shown, pushed

AWS = "https://bedrock.us-east-1.amazonaws.com"


def test_what_a_job_was_asked_for_reaches_the_views() -> None:
    """By the request's members, and no others."""
    request = {
        "customizationType": "FINE_TUNING",
        "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
        "hyperParameters": {"epochCount": "2"},
        "trainingDataConfig": {"s3Uri": "s3://bucket/train.jsonl"},
        "roleArn": "arn:aws:iam::123456789012:role/secret",
    }
    job = Job(arn="job", name="job", status="Failed", failure_message="no record")
    told = checked(JOB, job_shown(job, AWS, request=request))
    assert told is not None
    assert told["failure_message"] == "no record"
    assert told["asked"] == {
        "customization_type": "FINE_TUNING",
        "base_model_id": "amazon.nova-micro-v1:0:128k",
        "hyperparameters": {"epochCount": "2"},
        "training_data": {"s3Uri": "s3://bucket/train.jsonl"},
    }


def test_the_views_find_what_earlier_releases_pushed() -> None:
    """The keys of the XComs stay."""
    found = [JOB, EVALUATION, PROMOTION, IDLE]
    assert found == ["bedrock_job", "bedrock_evaluation", "bedrock_promotion", "bedrock_idle"]


def test_a_job_that_was_just_created_reaches_the_views() -> None:
    """Create returns its ARN, and nothing else."""
    created = ResourceState(arn="job", name="job", status="InProgress", outcome=Outcome.RUNNING)
    told = checked(JOB, job_shown(created, AWS))
    assert told is not None
    assert (told["job_arn"], told["status"]) == ("job", "InProgress")


def test_the_score_of_each_model_reaches_the_views() -> None:
    """By the metric that the evaluation decided by."""
    scores = {"exact_match": {"value": 0.9, "low": 0.8}, "chrf": {"value": 0.1}}
    models = {role: {"model": "called", "answered_by": role, "metrics": scores} for role in ("candidate", "baseline")}
    result = {"metric": "exact_match", "models": models}
    returned = {"verdict": "better", "reason": "", "cost": 1.0, "report_uri": "r", "report_html_uri": "h"}
    told = checked(EVALUATION, evaluation_shown(result, {**returned, "region_name": "us-east-1"}, AWS))
    assert told == {
        "verdict": "better",
        "metric": "exact_match",
        "models": {role: {"model": role, "value": 0.9} for role in ("candidate", "baseline")},
    }


@pytest.mark.parametrize(("map_index", "asked"), [(None, -1), (-1, -1), (3, 3)])
def test_a_task_instance_gets_what_it_has_pushed_itself(map_index: int | None, asked: int) -> None:
    """Of a mapped task, not what its other instances have; one that is not mapped may have no index."""
    ti = SimpleNamespace(task_id="train", map_index=map_index, xcom_pull=lambda **given: given)
    assert pushed(ti, JOB) == {"task_ids": "train", "key": JOB, "map_indexes": asked}
