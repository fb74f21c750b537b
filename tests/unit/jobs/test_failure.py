"""The error of a job without a model names a next step that works, in the operator and in the sensor."""

from __future__ import annotations

import pytest

from airflow_bedrock.customization.job import Job
from airflow_bedrock.jobs.resources.customization_job import failure_message

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijkl"


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_it_is_the_maker_s_task_that_is_to_be_cleared(status: str) -> None:
    """The sensor says so too: clearing it would only read the same job again; and an exact name can be used once."""
    message = failure_message(Job(arn=ARN, name="router", status=status))
    assert "clear the task that made the job" in message
    assert "clear this task" not in message
    assert "with ensure_unique_job_name=False, change job_name first" in message
    assert f"job router is {status}. It has ended" in message  # for no reason that the service gives
