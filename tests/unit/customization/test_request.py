"""The request is made from the arguments and checked by the service's own model."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_bedrock.customization.request import RequestError, build_request, check_request, data_uris

ARGUMENTS: dict[str, Any] = {
    "job_name": "router",
    "custom_model_name": "router",
    "role_arn": "arn:aws:iam::123456789012:role/bedrock",
    "base_model_id": "amazon.nova-micro-v1:0:128k",
    "training_data_uri": "s3://bucket/train.jsonl",
    "output_data_uri": "s3://bucket/output",
}


def test_the_smallest_request_passes() -> None:
    """Hyperparameters are not required; the service has defaults."""
    request = build_request(**ARGUMENTS)
    check_request(request)
    assert "hyperParameters" not in request


def test_numbers_become_the_strings_that_the_service_takes() -> None:
    """A hyperparameter may be written as a number."""
    request = build_request(**ARGUMENTS, hyperparameters={"epochCount": 2, "learningRate": 1e-05})
    assert request["hyperParameters"] == {"epochCount": "2", "learningRate": "1e-05"}
    check_request(request)


@pytest.mark.parametrize("given", ["s3://bucket/valid.jsonl", ["s3://bucket/valid.jsonl"]])
def test_validation_data_may_be_one_or_several(given: Any) -> None:
    """One URI is a list of one."""
    request = build_request(**ARGUMENTS, validation_data_uri=given)
    check_request(request)
    assert data_uris(request) == ["s3://bucket/train.jsonl", "s3://bucket/valid.jsonl"]


def test_every_mistake_is_named_at_once() -> None:
    """A bad role, a bad enum and an unknown member come in one error, before anything is sent."""
    request = build_request(
        **{**ARGUMENTS, "role_arn": "bedrock"}, extra={"customizationType": "FINETUNING", "vpc": {}}
    )
    with pytest.raises(RequestError) as caught:
        check_request(request)
    message = str(caught.value)
    assert "nothing was sent" in message
    for member in ("roleArn", "customizationType", "vpc"):
        assert member in message
