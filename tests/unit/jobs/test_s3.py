"""What identifies the content of data: it is in every job's name, so another identity is another paid job."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import ClientError

from airflow_bedrock.customization.job import Job
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.jobs.s3 import LocationError, check_buckets, describe_data, read_losses
from tests.paid_jobs import error

LIMIT = 256 * 1024 * 1024
CHECKSUMS = {"ChecksumCRC32": "a", "ChecksumCRC32C": "b", "ChecksumSHA256": "c", "ChecksumCRC64NVME": "d"}


class S3:
    """An S3 where each object has its own key as its content, and whatever size and checksums it is said to have."""

    parse_s3_url = staticmethod(S3Hook.parse_s3_url)

    def __init__(self, *keys: str, size: int = 1, bucket: Any = None, **head: str) -> None:
        self.keys, self.size, self.head, self.bucket = keys, size, head, bucket

    @property
    def conn(self) -> S3:
        return self

    def head_object(self, *, Key: str, **_: Any) -> dict[str, Any]:
        if Key not in self.keys:
            raise error("404", "Not Found", 404)
        return {"ContentLength": self.size, "ETag": f'"{Key}"', **self.head}

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:
        return {"Body": _Body(Key.encode())}

    def head_bucket(self, **_: Any) -> dict[str, Any]:
        if isinstance(self.bucket, Exception):
            raise self.bucket
        return self.bucket or {}

    def get_paginator(self, _: str) -> S3:
        return self

    def paginate(self, *, Prefix: str, **_: Any) -> list[dict[str, Any]]:
        found = [{"Key": key, "ETag": f'"{key}"', "Size": self.size} for key in self.keys if key.startswith(Prefix)]
        return [{"Contents": found[:3]}, {"Contents": found[3:]}, {}]

    def describe(self, key: str) -> dict[str, Any]:
        uri = f"s3://bucket/{key}"
        [described] = describe_data(cast("Any", self), [uri], folders=[uri] if key.endswith("/") else ())
        assert described.pop("uri") == uri
        return described


class _Body(io.BytesIO):
    def iter_chunks(self, size: int) -> Iterator[bytes]:
        while chunk := self.read(size):
            yield chunk


def test_an_object_is_known_by_its_bytes_as_it_was_before_every_upgrade() -> None:
    """Whatever checksum S3 has of it."""
    for head in (dict[str, str](), {"ChecksumType": "FULL_OBJECT", **CHECKSUMS}):
        described = S3("train.jsonl", size=LIMIT, **head).describe("train.jsonl")
        assert described == {"size": LIMIT, "content": "45959b45dadd8b7aa48e15be930f06eb9ec24e51"}


@pytest.mark.parametrize(
    ("head", "content"),
    [
        ({"ChecksumType": "FULL_OBJECT", **CHECKSUMS}, "CRC64NVME:d"),
        ({"ChecksumType": "FULL_OBJECT", "ChecksumCRC32": "a", "ChecksumSHA256": "c"}, "SHA256:c"),
        ({"ChecksumType": "FULL_OBJECT", "ChecksumCRC32": "a", "ChecksumCRC32C": "b"}, "CRC32C:b"),
        ({"ChecksumType": "FULL_OBJECT", "ChecksumCRC32": "a"}, "CRC32:a"),
        ({"ChecksumType": "COMPOSITE", **CHECKSUMS}, 'ETag:"train.jsonl"'),
        ({}, 'ETag:"train.jsonl"'),
    ],
)
def test_a_larger_object_is_known_by_its_best_checksum(head: dict[str, str], content: str) -> None:
    """That of a part, uploaded in parts, says nothing of the whole."""
    assert S3("train.jsonl", size=LIMIT + 1, **head).describe("train.jsonl")["content"] == content


@pytest.mark.parametrize(
    ("count", "size", "digest"),
    [
        (5, 1, "41f5c98df6f7c8e06b110fcb577dcc968b3db0c7"),
        (4, LIMIT // 4, "d04c1c87f15e12dd8fb323c67d65716e83382437"),
        (4, LIMIT // 4 + 1, "0fbe088713c9bb66927a9b084e66fc3989e33840"),
        (1000, 1, "d6752d414d3e6f740effd2195d08fd86f06720de"),
        (1001, 1, "5d79858e333c2199ed13b7a78d1458ee7bf37571"),
    ],
)
def test_logs_are_known_by_their_bytes_up_to_the_same_limits_for_ever(count: int, size: int, digest: str) -> None:
    """Beyond 1,000 objects, or 256 MiB, by their ETags."""
    keys = [f"logs/{number}" for number in range(count)]
    assert S3("other", *reversed(keys), size=size).describe("logs/") == {"objects": count, "digest": digest}


def test_a_folder_s_own_object_is_not_what_is_in_it() -> None:
    """The console of S3 makes one, which is empty."""
    assert S3("logs/", "logs/a").describe("logs/")["objects"] == 2


@pytest.mark.parametrize(("operation", "code"), [("head_object", "403"), ("get_object", "AccessDenied")])
def test_what_may_not_be_read_is_an_error(operation: str, code: str) -> None:
    """Else a change of the data would be no reason for another job, and nobody would have said so."""
    s3: Any = S3("train.jsonl")

    def denied(**_: Any) -> None:
        raise error(code, "Forbidden", 403)

    setattr(s3, operation, denied)
    uris = ["s3://bucket/train.jsonl"]
    with pytest.raises(BedrockError, match=r"Access denied to s3://bucket/train\.jsonl.*Nothing was spent"):
        describe_data(s3, uris)


def test_where_there_is_nothing_there_is_nothing_to_learn_from() -> None:
    """Said before anything is paid for."""
    s3 = S3("other")
    with pytest.raises(LocationError, match="There is no object under s3://bucket/logs/"):
        s3.describe("logs/")
    with pytest.raises(LocationError, match=r"There is no object at s3://bucket/train\.jsonl"):
        s3.describe("train.jsonl")
    with pytest.raises(LocationError, match="names a bucket, but no object in it"):
        describe_data(cast("Any", s3), ["s3://bucket"])


def refused(code: str, region: str | None) -> ClientError:
    headers = {"x-amz-bucket-region": region} if region else {}
    return ClientError(
        {"Error": {"Code": code, "Message": "No"}, "ResponseMetadata": cast("Any", {"HTTPHeaders": headers})}, "Head"
    )


@pytest.mark.parametrize(
    "tell", [lambda at: {"BucketRegion": at}, lambda at: refused("301", at), lambda at: refused("403", at)]
)
def test_a_bucket_must_be_in_the_job_s_region_if_s3_says_where_it_is(tell: Any) -> None:
    """S3 says so even to callers without access, and in another region."""

    def check(bucket_region: str | None, region: str | None) -> None:
        check_buckets(cast("Any", S3(bucket=tell(bucket_region))), ["s3://bucket/train.jsonl"], region)

    check("us-east-1", "us-east-1")
    check(None, "us-east-1")
    check("us-east-1", None)
    with pytest.raises(LocationError, match="Bucket bucket is in eu-west-1, but the job would run in us-east-1"):
        check("eu-west-1", "us-east-1")


def test_a_bucket_that_does_not_exist_is_named() -> None:
    """Another fault of S3's is no verdict."""
    with pytest.raises(LocationError, match="There is no bucket bucket"):
        check_buckets(cast("Any", S3(bucket=refused("404", None))), ["s3://bucket/k"], "us-east-1")
    with pytest.raises(ClientError):
        check_buckets(cast("Any", S3(bucket=refused("500", None))), ["s3://bucket/k"], "us-east-1")


@pytest.mark.parametrize(
    ("names", "losses"),
    [
        ([], []),
        (["x/step_wise_training_metrics.csv"], [(2.0, None)]),
        (["x/step_wise_training_metrics.csv", "x/validation_metrics.csv"], [(2.0, 3.0)]),
    ],
)
def test_losses_are_read_from_the_files_that_there_are(names: list[str], losses: list[Any]) -> None:
    """A job without validation data writes no file of validation losses."""
    s3: Any = S3()
    s3.list_keys = lambda bucket, prefix: [f"{prefix}{name}" for name in names]

    def get_object(*, Bucket: str, Key: str) -> dict[str, Any]:
        column, value = ("validation_loss", 3.0) if "validation" in Key else ("training_loss", 2.0)
        content = f"step_number,epoch_number,{column}\n0,1,{value}\n".encode()
        return {"Body": _Body(content), "ContentLength": len(content)}

    s3.get_object = get_object
    job = Job(arn="arn:job/abc", name="j", status="Completed", output_data_uri="s3://bucket/out")
    read = read_losses(s3, job)
    assert [(epoch["training_loss"], epoch["validation_loss"]) for epoch in read["losses_by_epoch"]] == losses
    assert len(read["losses_by_step"]) == len(losses)
