"""Trains custom models on Local Bedrock, for tests of what happens to models."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from airflow_bedrock.local import LocalBedrock
from scripts.training_data import record
from tests.integration.local.conftest import wait


def train(local: LocalBedrock, name: str, data: str | None = None, **request: Any) -> str:
    """Train a model of this name from Nova Micro, and return its ARN.

    :param data: the URI of the training data; by default, records of this function's own.
    :param request: other members of CreateModelCustomizationJob.
    """
    with closing(local.client("s3")) as s3, closing(local.client("bedrock")) as bedrock:
        if data is None:
            data = f"s3://{local.bucket}/train.jsonl"
            s3.put_object(Bucket=local.bucket, Key="train.jsonl", Body=record("objects?", "s3") * 20)
        asked = {
            "jobName": name,
            "customModelName": name,
            "roleArn": local.role_arn,
            "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
            "trainingDataConfig": {"s3Uri": data},
            "outputDataConfig": {"s3Uri": f"s3://{local.bucket}/output"},
        }
        arn = bedrock.create_model_customization_job(**asked | request)["jobArn"]
        job = wait(lambda: bedrock.get_model_customization_job(jobIdentifier=arn), "InProgress")
    assert job["status"] == "Completed", job
    return str(job["outputModelArn"])
