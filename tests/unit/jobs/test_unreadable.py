"""Responses that say that a call succeeded, and are not the service's: of a proxy, or cut off."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import UnreadableResponseError, is_transient, with_remedy
from airflow_bedrock.converse import ConverseModel
from airflow_bedrock.customization.remedy import Remedy, remedy_for_error
from airflow_bedrock.evaluation.inference import Later
from airflow_bedrock.hooks.bedrock import BedrockHook, BedrockRuntimeHook
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.service import Service

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijkl"

REQUEST: dict[str, Any] = {
    "roleArn": "arn:aws:iam::123456789012:role/bedrock",
    "baseModelIdentifier": "amazon.nova-micro-v1:0",
    "trainingDataConfig": {"s3Uri": "s3://bucket/train.jsonl"},
    "outputDataConfig": {"s3Uri": "s3://bucket/output"},
}


class Raw(io.BytesIO):
    """A body, as urllib3 streams it."""

    def stream(self) -> Any:
        yield self.read()


def answer_with(client: Any, body: bytes, status: int = 200) -> None:
    """Make all responses to a client HTTP 200, or another status, with this body."""
    headers: Any = {"content-type": "text/html"}

    def answer(request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, status, headers, Raw(body))

    client.meta.events.register("before-send", answer)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Service]:
    """Return a function that makes a service all of whose responses are HTTP 200 with this body."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://key:secret@/?region_name=us-east-1")

    def answering(body: bytes) -> Service:
        hook = BedrockHook()
        answer_with(hook.conn, body)
        return Service(CUSTOMIZATION_JOB, hook)

    return answering


@pytest.mark.parametrize(
    "call",
    [
        lambda service: service.list_all(),
        lambda service: service.get(ARN),
        lambda service: service.create({"jobName": "router", "customModelName": "router", **REQUEST}),
        lambda service: service.tags_of(ARN),
        lambda service: service.has_model(ARN),
    ],
    ids=["List", "Get", "Create", "tags", "model"],
)
@pytest.mark.parametrize(
    "body", [b"<html>Please sign in</html>", b"", b'{"modelCustomizationJobSum', b'{"a": "\xff"}', b"[]"]
)
def test_what_is_not_the_service_s_is_no_response(
    service: Callable[[bytes], Service], call: Callable[[Service], Any], body: bytes
) -> None:
    """Botocore reads it as a response without members: a List would seem empty, and a second job would be paid for."""
    with pytest.raises(UnreadableResponseError, match="HTTP 200, text/html") as caught:
        call(service(body))
    assert is_transient(caught.value)


@pytest.mark.parametrize("status", [403, 404, 407, 408])
def test_an_error_without_a_name_decides_nothing(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """It comes from a proxy: Bedrock may have accepted the request, so the next try searches for the job."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://key:secret@/?region_name=us-east-1")
    hook = BedrockHook()
    answer_with(hook.conn, b"<html>Request timeout</html>", status)
    with pytest.raises(ClientError) as caught:
        Service(CUSTOMIZATION_JOB, hook).create({"jobName": "router", "customModelName": "router", **REQUEST})
    assert remedy_for_error(caught.value) is Remedy.RETRY
    assert "S3" not in with_remedy(caught.value)
    s3: Any = S3Hook().conn
    answer_with(s3, b"", status)  # which S3 does itself, since a response to HEAD has no body
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket="bucket", Key="train.jsonl")
    assert not is_transient(caught.value)


def test_an_answer_of_a_proxy_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation asks again; what InvokeModel returns is the model's, in whatever form."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://key:secret@/?region_name=us-east-1")
    client = BedrockRuntimeHook().conn
    answer_with(client, b"<html>")
    bedrock: Any = None  # it is no deployment
    model = ConverseModel(client, bedrock, "amazon.nova-micro-v1:0")
    with pytest.raises(Later, match="UnreadableResponseError"):
        model.ask({"messages": [{"role": "user", "content": [{"text": "Where?"}]}]})
    assert client.invoke_model(modelId="amazon.nova-micro-v1:0", body=b"{}")["body"].read() == b"<html>"


def test_half_of_a_surrogate_pair_is_readable(service: Callable[[bytes], Service]) -> None:
    """A text that was cut off may end with one; botocore reads it."""
    job = service(
        rb'{"jobArn": "arn:aws:a:b:c:d", "jobName": "j", "status": "Failed", "failureMessage": "\ud83d"}'
    ).get(ARN)
    assert job is not None
    assert job.failure_message == "\ud83d"


def test_a_job_without_an_arn_is_no_response(service: Callable[[bytes], Service]) -> None:
    """As of a gateway that answers in JSON."""
    with pytest.raises(UnreadableResponseError, match="no model customization job"):
        service(b'{"message": "hello"}').get(ARN)


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_response_that_has_nothing_to_say_may_be_empty(service: Callable[[bytes], Service], body: bytes) -> None:
    """As those of Stop and TagResource."""
    service(body).stop(ARN)
    service(body).tag(ARN, [{"key": "a", "value": "b"}])
