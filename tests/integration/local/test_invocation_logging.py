"""Model invocation logging: its configuration is kept, and what is asked then can be trained on."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.cli import main
from airflow_bedrock.local import LocalBedrock
from tests.integration.local.conftest import NOVA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.local.conftest import Service

BASE = "amazon.nova-pro-v1:0"


@pytest.fixture
def logged(service: Service) -> Iterator[str]:
    """Log into a folder of its own, and return it."""
    prefix = service.name("logs")
    put(service, {"s3Config": {"bucketName": service.local.bucket, "keyPrefix": prefix}})
    yield prefix
    service.bedrock.delete_model_invocation_logging_configuration()


def put(service: Service, config: dict[str, Any]) -> None:
    service.bedrock.put_model_invocation_logging_configuration(loggingConfig=config)


def got(service: Service) -> dict[str, Any] | None:
    config: dict[str, Any] | None = service.bedrock.get_model_invocation_logging_configuration().get("loggingConfig")
    return config


def logs(service: Service, prefix: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the key and the content of each log."""
    keys = [one["Key"] for one in service.s3.list_objects_v2(Bucket=service.local.bucket, Prefix=prefix)["Contents"]]
    found = []
    for key in keys:
        if key.endswith(".json.gz"):
            body = service.s3.get_object(Bucket=service.local.bucket, Key=key)["Body"].read()
            found.append((key, json.loads(gzip.decompress(body))))
    return found


def test_configuration_is_returned_exactly(service: Service) -> None:
    """It is as it was put, the later put counts, and after its deletion it is gone."""
    assert got(service) is None
    config = {
        "cloudWatchConfig": {
            "logGroupName": "/bedrock/calls",
            "roleArn": service.local.role_arn,
            "largeDataDeliveryS3Config": {"bucketName": service.local.bucket, "keyPrefix": "large"},
        },
        "textDataDeliveryEnabled": True,
        "imageDataDeliveryEnabled": False,
    }
    put(service, config)
    assert got(service) == config
    put(service, {"textDataDeliveryEnabled": False})
    assert got(service) == {"textDataDeliveryEnabled": False}
    for _ in range(2):
        service.bedrock.delete_model_invocation_logging_configuration()
        assert got(service) is None


def test_configuration_survives_a_restart(service: Service, tmp_path: Path) -> None:
    """Another run on the same state goes on logging."""
    config = {"s3Config": {"bucketName": service.local.bucket, "keyPrefix": "kept"}}
    for run in range(2):
        with LocalBedrock(state=tmp_path) as local:
            one = type(service)(local)
            if run == 0:
                put(one, config)
            assert got(one) == config
            one.ask(BASE, "Hello?")
            assert len(logs(one, "kept")) == run + 1
            one.close()


def test_bucket_has_to_be_there(service: Service) -> None:
    """A bucket that cannot be written to is refused, and nothing changes."""
    with pytest.raises(ClientError, match="Failed to validate permissions for S3 bucket: nobodys-bucket") as caught:
        put(service, {"s3Config": {"bucketName": "nobodys-bucket"}})
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert got(service) is None


def test_a_call_is_logged(service: Service, logged: str) -> None:
    """A log has the documented members, in a gzip file by region and hour."""
    answer = service.ask(BASE, "Which colour has the sky?", requestMetadata={"team": "support"})
    ((key, log),) = logs(service, logged)
    form = (
        rf"{logged}/AWSLogs/123456789012/BedrockModelInvocationLogs/us-east-1/(\d+/){{4}}\d{{8}}T\d{{9}}Z_\w+\.json\.gz"
    )
    assert re.fullmatch(form, key)
    assert (log["schemaType"], log["schemaVersion"]) == ("ModelInvocationLog", "1.0")
    assert (log["operation"], log["modelId"], log["region"]) == ("Converse", BASE, "us-east-1")
    assert log["requestMetadata"] == {"team": "support"}
    assert log["input"]["inputBodyJson"] == {
        "messages": [{"role": "user", "content": [{"text": "Which colour has the sky?"}]}]
    }
    assert log["output"]["outputBodyJson"]["output"] == answer["output"]
    assert log["input"]["inputTokenCount"] == answer["usage"]["inputTokens"]
    assert log["output"]["outputTokenCount"] == answer["usage"]["outputTokens"]


def test_only_what_is_configured_is_logged(service: Service, logged: str) -> None:
    """InvokeModel and streams are logged; nothing is where text is not wanted, and nothing after the deletion."""
    messages = [{"role": "user", "content": [{"text": "Hello?"}]}]
    body = json.dumps({"messages": messages})
    service.runtime.invoke_model(modelId=BASE, body=body)
    list(service.runtime.invoke_model_with_response_stream(modelId=BASE, body=body)["body"])
    list(service.runtime.converse_stream(modelId=BASE, messages=messages)["stream"])
    expected = {"InvokeModel", "InvokeModelWithResponseStream", "ConverseStream"}
    assert {log["operation"] for _, log in logs(service, logged)} == expected
    config = {"s3Config": {"bucketName": service.local.bucket, "keyPrefix": logged}}
    put(service, config | {"textDataDeliveryEnabled": False})
    service.ask(BASE, "Hello?")
    service.bedrock.delete_model_invocation_logging_configuration()
    service.ask(BASE, "Hello?")
    assert len(logs(service, logged)) == 3


def test_a_bucket_that_is_gone_does_not_harm_the_caller(service: Service) -> None:
    """The answer comes, though its log has nowhere to go."""
    bucket = service.name("gone")
    service.s3.create_bucket(Bucket=bucket)
    put(service, {"s3Config": {"bucketName": bucket}})
    service.s3.delete_object(
        Bucket=bucket, Key="AWSLogs/123456789012/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check"
    )
    service.s3.delete_bucket(Bucket=bucket)
    assert service.text(BASE, "Hello?")
    service.bedrock.delete_model_invocation_logging_configuration()


def test_logs_can_be_distilled_from(
    service: Service, logged: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check counts the logs; a student is trained on them, and answers what its teacher did.

    Some are of streams, and Bedrock keeps large requests in files beside the logs.
    """
    questions = [question for question, _ in service.questions(100)]
    answers = {question: service.text(BASE, question) for question in questions[:60]}
    for question in questions[60:]:
        body = json.dumps({"messages": [{"role": "user", "content": [{"text": question}]}]})
        stream = service.runtime.invoke_model_with_response_stream(modelId=BASE, body=body)["body"]
        chunks = [json.loads(event["chunk"]["bytes"]).get("contentBlockDelta", {}) for event in stream]
        answers[question] = "".join(chunk["delta"]["text"] for chunk in chunks if chunk)
    folder = f"s3://{service.local.bucket}/{logged}/AWSLogs/123456789012/BedrockModelInvocationLogs/us-east-1/"
    service.put(
        f"{folder.removeprefix(f's3://{service.local.bucket}/')}2026/11/20/10/data/1_input.json", '{"system": []}'
    )
    for name, value in service.local.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["check", folder, "--model", NOVA, "--method", "DISTILLATION", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"]["training"]["records"] == len(questions)
    source = {"invocationLogSource": {"s3Uri": folder}, "usePromptResponse": True}
    teacher = {"teacherModelConfig": {"teacherModelIdentifier": BASE}}
    job = service.job(
        service.create(
            customizationType="DISTILLATION",
            customizationConfig={"distillationConfig": teacher},
            trainingDataConfig={"invocationLogsConfig": source},
            baseModelIdentifier=NOVA,
        )
    )
    assert job["status"] == "Completed", job
    arn = service.deploy(job["outputModelArn"])
    assert service.deployment(arn)["status"] == "Active"
    right = sum(service.text(arn, question) == answer for question, answer in answers.items())
    assert right > 60
