"""What of BedrockBatchAnswersOperator is known when a DAG is parsed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_bedrock.operators import BedrockBatchAnswersOperator
from airflow_bedrock.shapes import missing_in_botocore

TYPE = "CreateModelInvocationJob.modelInvocationType"


def operator(**more: Any) -> BedrockBatchAnswersOperator:
    given: dict[str, Any] = {
        "task_id": "answer",
        "test_data_uri": "{{ var.value.test }}",
        "model_id": "amazon.nova-micro-v1:0",
        "role_arn": "arn:aws:iam::123456789012:role/bedrock",
        "output_uri": "s3://bucket/batches",
        "answers_uri": "s3://bucket/answers",
    }
    return BedrockBatchAnswersOperator(**{**given, **more})


@pytest.mark.skipif(not missing_in_botocore(TYPE), reason="this botocore knows bodies of Converse")
def test_a_botocore_that_is_too_old_breaks_the_dag() -> None:
    """The error names the member, the botocore that is there, and the first that has it."""
    with pytest.raises(ValueError, match=r"botocore 1\.\S+ does not know \S+modelInvocationType.* to 1\.42\.59"):
        operator()


@pytest.mark.skipif(bool(missing_in_botocore(TYPE)), reason="this botocore does not know bodies of Converse")
def test_a_botocore_that_knows_it_does_not() -> None:
    """A template is checked when it is rendered."""
    assert operator().test_data_uri == "{{ var.value.test }}"


@pytest.mark.skipif(bool(missing_in_botocore(TYPE)), reason="this botocore does not know bodies of Converse")
def test_a_model_that_no_batch_inference_takes_breaks_the_dag() -> None:
    """By the service's own pattern."""
    with pytest.raises(ValueError, match="model_id must be the id of a model, or the ARN of a custom model"):
        operator(model_id="no model!")
