"""EventBridge: every change of a job's status comes to a rule, and from there to a queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

CUSTOMIZATION = "Model Customization Job State Change"


@pytest.fixture
def received(service: Service) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """A queue that gets all of Bedrock's events; the fixture waits for so many of them."""
    events, sqs = service.local.client("events"), service.local.client("sqs")
    name = service.name("events")
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=name, EventPattern=json.dumps({"source": ["aws.bedrock"]}))
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])

    def wait_for(count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for _ in range(20):
            answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            if len(found) >= count:
                break
        return sorted(found, key=lambda event: str(event["detail"].get("lastModifiedTime")))

    yield wait_for
    events.remove_targets(Rule=name, Ids=["queue"])
    events.delete_rule(Name=name)
    for client in (events, sqs):
        client.close()


def test_a_completed_job_sends_two_events(service: Service, received: Callable[[int], list[dict[str, Any]]]) -> None:
    """A job sends InProgress, then Completed with the model that it made."""
    job = service.job(service.create())
    events = received(2)
    assert {event["detail-type"] for event in events} == {CUSTOMIZATION}
    assert {event["source"] for event in events} == {"aws.bedrock"}
    # https://docs.aws.amazon.com/bedrock/latest/userguide/monitoring-eventbridge-how-it-works.html
    assert {(event["account"], event["region"]) for event in events} == {("123456789012", "us-east-1")}
    assert all(event["resources"] == [job["jobArn"]] for event in events)
    by_status = {event["detail"]["jobStatus"]: event["detail"] for event in events}
    assert set(by_status) == {"InProgress", "Completed"}
    assert "outputModelArn" not in by_status["InProgress"]
    assert by_status["Completed"]["outputModelArn"] == job["outputModelArn"]
    assert by_status["Completed"]["jobName"] == job["jobName"]


def test_a_failed_job_says_why(service: Service, received: Callable[[int], list[dict[str, Any]]]) -> None:
    """The event of a failed job has its failureMessage."""
    job = service.job(service.create(trainingDataConfig={"s3Uri": f"s3://{service.local.bucket}/nothing"}))
    failed = [event["detail"] for event in received(2) if event["detail"]["jobStatus"] == "Failed"]
    assert [one["failureMessage"] for one in failed] == [job["failureMessage"]]


def test_a_stopped_job_sends_three_events(service: Service, received: Callable[[int], list[dict[str, Any]]]) -> None:
    """A stopped job sends InProgress, Stopping and Stopped."""
    arn = service.create()
    service.bedrock.stop_model_customization_job(jobIdentifier=arn)
    service.job(arn)
    assert {event["detail"]["jobStatus"] for event in received(3)} == {"InProgress", "Stopping", "Stopped"}


def test_a_batch_job_sends_its_own_form_of_events(
    service: Service, received: Callable[[int], list[dict[str, Any]]]
) -> None:
    """As in AWS's sample: another name of the status, an empty failureMessage, and a time in words."""
    line = json.dumps({"modelInput": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}})
    job = service.bedrock.create_model_invocation_job(
        jobName=service.name("batch"),
        roleArn=service.local.role_arn,
        modelId="amazon.nova-micro-v1:0",
        inputDataConfig={"s3InputDataConfig": {"s3Uri": service.put("batch.jsonl", f"{line}\n" * 100)}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": f"s3://{service.local.bucket}/out"}},
    )["jobArn"]
    events = received(5)
    found = service.bedrock.get_model_invocation_job(jobIdentifier=job)
    assert {event["detail-type"] for event in events} == {"Batch Inference Job State Change"}
    assert all(event["resources"] == [job] for event in events)
    statuses = {event["detail"].pop("status") for event in events}
    assert statuses == {"Submitted", "Validating", "Scheduled", "InProgress", "Completed"}
    detail = {
        "version": "0.0",
        "accountId": "123456789012",
        "batchJobName": found["jobName"],
        "batchJobArn": job,
        "batchModelId": found["modelId"],
        "failureMessage": "",
        "creationTime": f"{found['submitTime']:%b %-d, %Y, %-I:%M:%S %p}",
    }
    assert all(event["detail"] == detail for event in events)
