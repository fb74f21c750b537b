"""S3 sends events about its objects to EventBridge, and a rule sends them to a queue."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

Receive = Callable[[int], list[dict[str, Any]]]


@pytest.fixture
def received(service: Service) -> Iterator[Receive]:
    """A queue that gets the events of the bucket under ``data/``; the fixture waits for so many of them."""
    events, sqs = service.local.client("events"), service.local.client("sqs")
    name, bucket = service.name("s3"), service.local.bucket
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    detail = {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": "data/"}]}}
    for rule, state in ((name, "ENABLED"), (f"{name}-off", "DISABLED")):
        pattern = json.dumps({"source": ["aws.s3"], "detail": detail})
        events.put_rule(Name=rule, EventPattern=pattern, State=state)
        events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": arn}])
    service.s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )

    def wait_for(count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for _ in range(20):
            answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            if len(found) >= count:
                break
        return sorted(found, key=lambda event: str(event["detail"]["object"]["sequencer"]))

    yield wait_for
    service.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    for rule in (name, f"{name}-off"):
        events.remove_targets(Rule=rule, Ids=["queue"])
        events.delete_rule(Name=rule)
    for client in (events, sqs):
        client.close()


def test_object_created_has_the_documented_form(service: Service, received: Receive) -> None:
    """Every member of the documented event is there, and no other."""
    bucket = service.local.bucket
    answer = service.s3.put_object(Bucket=bucket, Key="data/a b.jsonl", Body=b"12345")
    service.put("elsewhere/a", "1")
    (event,) = received(1)
    told = event["detail"]
    assert re.fullmatch(r"[0-9a-f-]{36}", event.pop("id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event.pop("time"))
    assert re.fullmatch(r"[0-9A-F]{18}", told["object"].pop("sequencer"))
    assert re.fullmatch(r"[0-9A-F]{16}", told.pop("request-id"))
    assert event == {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "region": "us-east-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": {"key": "data/a b.jsonl", "size": 5, "etag": answer["ETag"].strip('"')},
            "requester": "123456789012",
            "source-ip-address": "127.0.0.1",
            "reason": "PutObject",
        },
    }


def test_the_event_names_the_operation(service: Service, received: Receive) -> None:
    """A copy, a multipart upload and a deletion say what they are; the sequencer puts them into order."""
    s3, place = service.s3, {"Bucket": service.local.bucket, "Key": "data/one"}
    s3.put_object(**place, Body=b"1")
    s3.copy_object(**{**place, "Key": "data/two"}, CopySource=f"{place['Bucket']}/data/one")
    upload = {**place, "UploadId": s3.create_multipart_upload(**place)["UploadId"]}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=b"1")["ETag"]}
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
    s3.delete_object(**place)
    events = received(4)
    assert [(event["detail-type"], event["detail"]["reason"]) for event in events[:1] + events[-1:]] == [
        ("Object Created", "PutObject"),
        ("Object Deleted", "DeleteObject"),
    ]
    assert {event["detail"]["reason"] for event in events[1:-1]} == {"CopyObject", "CompleteMultipartUpload"}
    assert events[-1]["detail"]["deletion-type"] == "Permanently Deleted"
    assert len(events) == 4
