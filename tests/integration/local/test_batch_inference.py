"""Batch inference jobs over HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

NOVA = "amazon.nova-micro-v1:0"


def body(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"text": text}]}]}


def records(count: int) -> str:
    lines = [{"recordId": f"R{n}", "modelInput": body(f"bucket{n}")} for n in range(count)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def request(service: Service, data: str, **changes: Any) -> dict[str, Any]:
    return {
        "jobName": service.name("batch"),
        "roleArn": service.local.role_arn,
        "modelId": NOVA,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": data}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{service.local.bucket}/batch/"}},
    } | changes


def ended(service: Service, arn: str) -> dict[str, Any]:
    while "endTime" not in (job := service.bedrock.get_model_invocation_job(jobIdentifier=arn)):
        pass
    found: dict[str, Any] = job
    return found


def read(service: Service, key: str) -> list[dict[str, Any]]:
    content = service.s3.get_object(Bucket=service.local.bucket, Key=key)["Body"]
    with content:
        return [json.loads(line) for line in content.read().splitlines()]


def test_every_record_is_answered(service: Service) -> None:
    """Each record gets an answer or an error, in a file named after its own; the manifest counts them."""
    data = service.put("batch/in.jsonl", records(120) + json.dumps({"modelInput": {"messages": []}}) + "\n")
    wanted = request(service, data, tags=[{"key": "team", "value": "a"}])
    arn = service.bedrock.create_model_invocation_job(**wanted)["jobArn"]
    job = ended(service, arn)
    assert job["status"] == "Completed", job
    assert job["jobExpirationTime"] - job["submitTime"] == timedelta(hours=24)
    assert (job["totalRecordCount"], job["successRecordCount"], job["errorRecordCount"]) == (121, 120, 1)
    folder = f"batch/{arn.rpartition('/')[2]}"
    lines = read(service, f"{folder}/in.jsonl.out")
    assert lines[7]["recordId"] == "R7"
    assert lines[7]["modelOutput"]["output"]["message"]["content"] == [{"text": "bucket7"}]
    assert lines[120]["error"]["errorCode"] == 400
    assert lines[120]["error"]["errorMessage"]
    (manifest,) = read(service, f"{folder}/manifest.json.out")
    assert (manifest["processedRecordCount"], manifest["outputTokenCount"]) == (121, 120)
    by_id = service.bedrock.get_model_invocation_job(jobIdentifier=arn.rpartition("/")[2])
    assert by_id["jobArn"] == arn
    listed = service.bedrock.list_model_invocation_jobs(nameContains=wanted["jobName"], statusEquals="Completed")
    assert [one["jobArn"] for one in listed["invocationJobSummaries"]] == [arn]


def test_converse_bodies_and_a_custom_model(service: Service) -> None:
    """A custom model answers a batch without being deployed, and bodies may be those of Converse, without tools."""
    questions = service.questions(100)
    lines = [json.dumps({"modelInput": body(question)}) for question, _ in questions]
    tool = {"toolSpec": {"name": "pay", "inputSchema": {"json": {"type": "object"}}}}
    lines.append(json.dumps({"modelInput": {**body("With tools?"), "toolConfig": {"tools": [tool]}}}))
    data = service.put("batch/custom.jsonl", "\n".join(lines))
    wanted = request(service, data, modelId=service.model(), modelInvocationType="Converse")
    arn = service.bedrock.create_model_invocation_job(**wanted)["jobArn"]
    assert ended(service, arn)["status"] == "Completed"
    *answers, refused = read(service, f"batch/{arn.rpartition('/')[2]}/custom.jsonl.out")
    assert refused["error"]["errorCode"] == 400
    said = [one["modelOutput"]["output"]["message"]["content"][0]["text"] for one in answers]
    assert said == [answer for _, answer in questions]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (records(99), "contains less records (99) than the required minimum of: 100"),
        ("no json\n", "line 1"),
        (None, "Could not validate GetObject permissions"),
    ],
)
def test_bad_input_fails_the_job(service: Service, content: str | None, message: str) -> None:
    """Too few records, no records and no file fail the job, and its message says so."""
    data = f"s3://{service.local.bucket}/missing" if content is None else service.put("batch/bad.jsonl", content)
    job = ended(service, service.bedrock.create_model_invocation_job(**request(service, data))["jobArn"])
    assert job["status"] == "Failed"
    assert message in job["message"]


def test_job_is_stopped(service: Service) -> None:
    """A job that is asked to stop is Stopping, then Stopped; it cannot be stopped again."""
    data = service.put("batch/stop.jsonl", records(100))
    arn = service.bedrock.create_model_invocation_job(**request(service, data))["jobArn"]
    service.bedrock.stop_model_invocation_job(jobIdentifier=arn)
    assert service.bedrock.get_model_invocation_job(jobIdentifier=arn)["status"] == "Stopping"
    assert ended(service, arn)["status"] == "Stopped"
    with pytest.raises(ClientError, match="ConflictException"):
        service.bedrock.stop_model_invocation_job(jobIdentifier=arn)


def test_unknown_model_and_job(service: Service) -> None:
    """A model that is not there is a ValidationException, a job that is not there is not found."""
    with pytest.raises(ClientError, match="ValidationException"):
        service.bedrock.create_model_invocation_job(**request(service, "s3://b/k", modelId="nobody.nothing-v1:0"))
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        service.bedrock.get_model_invocation_job(jobIdentifier="abcdefghij12")
