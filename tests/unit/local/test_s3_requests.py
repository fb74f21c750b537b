"""Which S3 operation a request is for, recognized in what boto3 itself sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.moto import environ_of
from airflow_bedrock.local.web.s3 import S3Request, respond_s3_error, s3_request

OBJECT = {"Bucket": "some-bucket", "Key": "a folder/ké+y"}
PART = {**OBJECT, "UploadId": "u", "PartNumber": 1}


@pytest.fixture(scope="module", params=["path", "virtual"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    session = boto3.session.Session("id", "key", region_name="us-east-1")
    client = session.client("s3", config=Config(s3={"addressing_style": request.param}))
    yield client
    client.close()


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("ListBuckets", {}),
        ("CreateBucket", {"Bucket": "some-bucket"}),
        ("DeleteBucket", {"Bucket": "some-bucket"}),
        ("HeadBucket", {"Bucket": "some-bucket"}),
        ("GetBucketLocation", {"Bucket": "some-bucket"}),
        ("ListObjects", {"Bucket": "some-bucket", "Prefix": "a"}),
        ("ListObjectsV2", {"Bucket": "some-bucket", "Prefix": "a"}),
        ("DeleteObjects", {"Bucket": "some-bucket", "Delete": {"Objects": [{"Key": "k"}]}}),
        ("PutBucketTagging", {"Bucket": "some-bucket", "Tagging": {"TagSet": []}}),
        ("PutObject", {**OBJECT, "Body": b"x"}),
        ("GetObject", {**OBJECT, "Range": "bytes=0-1"}),
        ("HeadObject", OBJECT),
        ("DeleteObject", OBJECT),
        ("PutObjectTagging", {**OBJECT, "Tagging": {"TagSet": []}}),
        ("CopyObject", {**OBJECT, "CopySource": "other/key"}),
        ("CreateMultipartUpload", OBJECT),
        ("UploadPart", {**PART, "Body": b"x"}),
        ("UploadPartCopy", {**PART, "CopySource": "other/key"}),
        ("CompleteMultipartUpload", {**OBJECT, "UploadId": "u", "MultipartUpload": {"Parts": []}}),
        ("AbortMultipartUpload", {**OBJECT, "UploadId": "u"}),
    ],
)
def test_operation_bucket_and_key_are_recognized(client: Any, operation: str, parameters: dict[str, Any]) -> None:
    """What boto3 sends for an operation is recognised as that, with bucket and key, in both styles of address."""
    seen: list[S3Request] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        url = urlsplit(request.url)
        headers = [("Host", url.netloc), *((name, "") for name in request.headers)]
        seen.append(s3_request(environ_of(request.method, url.path, url.query, headers, b"")))
        return AWSResponse(request.url, 200, HTTPHeaders(), Empty())

    method = next(name for name, api in client.meta.method_to_api_mapping.items() if api == operation)
    client.meta.events.register("before-send.s3", answer)
    try:
        getattr(client, method)(**parameters)
    finally:
        client.meta.events.unregister("before-send.s3", answer)
    assert seen == [S3Request(operation, parameters.get("Bucket", ""), parameters.get("Key", ""))]
    assert seen[0].parameters == {name: parameters[name] for name in ("Bucket", "Key") if name in parameters}


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("InternalServerException", 500, "InternalError"),
        ("ThrottlingException", 503, "SlowDown"),
        ("ServiceUnavailableException", 503, "ServiceUnavailable"),
        ("ExpiredTokenException", 400, "ExpiredToken"),
        ("AccessDeniedException", 403, "AccessDenied"),
        ("UnrecognizedClientException", 403, "InvalidAccessKeyId"),
    ],
)
def test_s3_has_codes_of_its_own(fault: str, status: int, code: str) -> None:
    """See S3's API reference, Error responses."""
    response = respond_s3_error(ServiceError(fault, "no <reason>", 418))
    assert (response.status, response.error) == (status, code)
    assert response.body == f"<Error><Code>{code}</Code><Message>no &lt;reason&gt;</Message></Error>".encode()


class Empty:
    """A body with next to nothing in it."""

    def stream(self, *_: Any, **__: Any) -> Any:
        return iter([b"<Empty/>"])

    def read(self, *_: Any) -> bytes:
        return b""


def test_what_s3_does_not_know_is_named_by_its_method() -> None:
    """A request that no operation has is recognized all the same."""
    request = environ_of("PATCH", "/bucket/key", "", [("Host", "127.0.0.1:4599")], b"")
    assert s3_request(request) == S3Request("PATCH", "bucket", "key")
