"""S3 objects: checksums as S3 computes, checks and keeps them; conditional writes; events."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.local.checksums import checksum

CONTENT = os.urandom((5 << 20) + 12345)
PARTS = [CONTENT[: 5 << 20], CONTENT[5 << 20 :]]
CRC64 = checksum("CRC64NVME", CONTENT)


@pytest.fixture(scope="module")
def s3(local: LocalBedrock) -> Iterator[Any]:
    # Nothing is sent, nor checked, that the test does not ask for.
    config = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"},
        max_pool_connections=16,
        retries={"total_max_attempts": 1},  # boto3 takes BadDigest for bad luck
    )
    session = boto3.session.Session("local", "local", region_name="us-east-1")
    client = session.client("s3", endpoint_url=local.endpoint_url, config=config)
    yield client
    client.close()


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def crc32(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "big")


def upload(s3: Any, bucket: str, key: str, **how: Any) -> dict[str, Any]:
    """Upload the content in two parts."""
    created = s3.create_multipart_upload(Bucket=bucket, Key=key, **how)
    place = {"Bucket": bucket, "Key": key, "UploadId": created["UploadId"]}
    algorithm = how.get("ChecksumAlgorithm")
    sums = [{f"Checksum{algorithm}": checksum(algorithm, part)} if algorithm else {} for part in PARTS]
    parts = []
    for number, (part, sum_) in enumerate(zip(PARTS, sums, strict=True), 1):
        answer = s3.upload_part(**place, PartNumber=number, Body=part, **sum_)
        assert sum_.items() <= told(answer).items()
        parts.append({"PartNumber": number, "ETag": answer["ETag"], **sum_})
    completed: dict[str, Any] = s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
    return completed


def head(s3: Any, bucket: str, key: str) -> dict[str, str]:
    answer = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    return {name: value for name, value in answer.items() if name.startswith("Checksum")}


def told(answer: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in answer.items() if name.startswith("Checksum")}


def test_same_bytes_have_the_same_checksum(local: LocalBedrock, s3: Any) -> None:
    """Without a wish of the client's S3 takes CRC64NVME, of the full object, whatever way it came."""
    full = {"ChecksumCRC64NVME": CRC64, "ChecksumType": "FULL_OBJECT"}
    assert told(s3.put_object(Bucket=local.bucket, Key="one", Body=CONTENT)) == full
    assert told(upload(s3, local.bucket, "many")) == full
    assert told(upload(s3, local.bucket, "asked", ChecksumAlgorithm="CRC64NVME")) == full
    copied = s3.copy_object(Bucket=local.bucket, Key="copy", CopySource=f"{local.bucket}/many")["CopyObjectResult"]
    assert told(copied) == full
    for key in ("one", "many", "asked", "copy"):
        assert head(s3, local.bucket, key) == full
        got = s3.get_object(Bucket=local.bucket, Key=key, ChecksumMode="ENABLED")
        with got["Body"] as body:
            assert body.read() == CONTENT
        assert told(got) == full
        assert not told(s3.head_object(Bucket=local.bucket, Key=key))
        attributes = s3.get_object_attributes(Bucket=local.bucket, Key=key, ObjectAttributes=["Checksum"])
        assert attributes["Checksum"] == full


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C"])
def test_crc_of_an_upload_is_full_where_it_is_asked_for(local: LocalBedrock, s3: Any, algorithm: str) -> None:
    """CRC32 and CRC32C of a multipart upload are composite, or of the full object."""
    given = {f"Checksum{algorithm}": checksum(algorithm, CONTENT)}
    full = {**given, "ChecksumType": "FULL_OBJECT"}
    assert told(s3.put_object(Bucket=local.bucket, Key="put", Body=CONTENT, **given)) == full
    assert head(s3, local.bucket, "put") == full
    whole = upload(s3, local.bucket, "full", ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
    assert told(whole) == head(s3, local.bucket, "full") == full
    composite = upload(s3, local.bucket, "composite", ChecksumAlgorithm=algorithm)
    assert told(composite) == head(s3, local.bucket, "composite")
    assert composite["ChecksumType"] == "COMPOSITE"
    assert composite[f"Checksum{algorithm}"].endswith("-2")


def test_sha_of_an_upload_is_composite(local: LocalBedrock, s3: Any) -> None:
    """The SHA-256 of a multipart upload is that of its parts' SHA-256, with their number."""
    of_parts = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in PARTS)).digest()
    expected = {"ChecksumSHA256": encoded(of_parts) + "-2", "ChecksumType": "COMPOSITE"}
    assert told(upload(s3, local.bucket, "sha", ChecksumAlgorithm="SHA256")) == expected
    assert head(s3, local.bucket, "sha") == expected
    copied = s3.copy_object(Bucket=local.bucket, Key="sha-copy", CopySource=f"{local.bucket}/sha")["CopyObjectResult"]
    assert told(copied) == {"ChecksumSHA256": encoded(hashlib.sha256(CONTENT).digest()), "ChecksumType": "FULL_OBJECT"}
    changed = s3.copy_object(
        Bucket=local.bucket, Key="sha-copy", CopySource=f"{local.bucket}/sha", ChecksumAlgorithm="CRC32"
    )["CopyObjectResult"]
    assert changed["ChecksumCRC32"] == encoded(crc32(CONTENT))


def test_types_that_do_not_exist_are_refused(local: LocalBedrock, s3: Any) -> None:
    """SHA is never of the full object, CRC64NVME always; a part has the checksum that its upload has."""
    place = {"Bucket": local.bucket, "Key": "refused"}
    with pytest.raises(ClientError, match=r"InvalidRequest.*FULL_OBJECT checksum type cannot be used with the sha256"):
        s3.create_multipart_upload(**place, ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")
    with pytest.raises(ClientError, match=r"InvalidRequest.*COMPOSITE checksum type cannot be used with the crc64nvme"):
        s3.create_multipart_upload(**place, ChecksumAlgorithm="CRC64NVME", ChecksumType="COMPOSITE")
    place["UploadId"] = s3.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")["UploadId"]
    with pytest.raises(ClientError, match="expected checksum Type: sha256, actual checksum Type: crc32"):
        s3.upload_part(**place, PartNumber=1, Body=b"x", ChecksumCRC32=encoded(crc32(b"x")))


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_wrong_checksum_is_refused(local: LocalBedrock, s3: Any, algorithm: str) -> None:
    """A checksum that is not the content's is a BadDigest, and there is no object."""
    wrong = {f"Checksum{algorithm}": checksum(algorithm, b"other")}
    message = f"BadDigest.*The {algorithm} you specified did not match the calculated checksum"
    with pytest.raises(ClientError, match=message):
        s3.put_object(Bucket=local.bucket, Key="wrong", Body=b"content", **wrong)
    place = {"Bucket": local.bucket, "Key": "wrong"}
    upload_id = s3.create_multipart_upload(**place, ChecksumAlgorithm=algorithm)["UploadId"]
    with pytest.raises(ClientError, match=message):
        s3.upload_part(**place, UploadId=upload_id, PartNumber=1, Body=b"content", **wrong)
    with pytest.raises(ClientError, match="404"):
        s3.head_object(**place)
    with pytest.raises(ClientError, match=r"InvalidRequest.*is invalid"):
        s3.put_object(**place, Body=b"content", **{f"Checksum{algorithm}": "AAAA"})


def test_wrong_checksum_of_the_whole_is_refused(local: LocalBedrock, s3: Any) -> None:
    """CompleteMultipartUpload checks the full object's checksum, and each part's, and the upload stays."""
    place: dict[str, Any] = {"Bucket": local.bucket, "Key": "whole"}
    place["UploadId"] = s3.create_multipart_upload(**place, ChecksumAlgorithm="CRC64NVME")["UploadId"]
    etag = s3.upload_part(**place, PartNumber=1, Body=b"content")["ETag"]
    parts: dict[str, Any] = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    with pytest.raises(ClientError, match="BadDigest"):
        s3.complete_multipart_upload(**place, MultipartUpload=parts, ChecksumCRC64NVME=checksum("CRC64NVME", b"other"))
    parts["Parts"][0]["ChecksumCRC64NVME"] = checksum("CRC64NVME", b"other")
    with pytest.raises(ClientError, match="InvalidPart"):
        s3.complete_multipart_upload(**place, MultipartUpload=parts)
    parts["Parts"][0]["ChecksumCRC64NVME"] = right = checksum("CRC64NVME", b"content")
    for _ in range(2):  # it may be repeated
        answer = s3.complete_multipart_upload(**place, MultipartUpload=parts, ChecksumCRC64NVME=right)
        assert told(answer) == {"ChecksumCRC64NVME": right, "ChecksumType": "FULL_OBJECT"}


def test_what_boto3_sends_by_default(local: LocalBedrock) -> None:
    """boto3 sends a CRC32 in a trailer; the body is as it was, and a range has no checksum."""
    s3 = local.client("s3")
    try:
        s3.put_object(Bucket=local.bucket, Key="default", Body=b"content", ContentEncoding="gzip")
        assert head(s3, local.bucket, "default") == {
            "ChecksumCRC32": encoded(crc32(b"content")),
            "ChecksumType": "FULL_OBJECT",
        }
        got = s3.get_object(Bucket=local.bucket, Key="default")
        with got["Body"] as body:
            assert (body.read(), got["ContentEncoding"]) == (b"content", "gzip")
        part = s3.get_object(Bucket=local.bucket, Key="default", Range="bytes=1-3", ChecksumMode="ENABLED")
        with part["Body"] as body:
            assert (body.read(), told(part)) == (b"ont", {})
    finally:
        s3.close()


def test_checksums_are_kept(local: LocalBedrock, s3: Any, tmp_path: Path) -> None:
    """After a restart an object has the checksum that it had, of the same type, and its ETag."""
    bucket = "kept-checksums"

    def known(s3: Any) -> dict[str, Any]:
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
        return {key: (head(s3, bucket, key), s3.head_object(Bucket=bucket, Key=key)["ETag"]) for key in keys}

    with LocalBedrock(state=tmp_path, bucket=bucket) as run:
        mine = run.client("s3")
        for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA256"):
            sum_ = {f"Checksum{algorithm}": checksum(algorithm, b"x")}
            mine.put_object(Bucket=bucket, Key=algorithm, Body=b"x", **sum_)
            upload(mine, bucket, f"{algorithm}-parts", ChecksumAlgorithm=algorithm)
        upload(mine, bucket, "full", ChecksumAlgorithm="CRC32C", ChecksumType="FULL_OBJECT")
        before = known(mine)
    # moto's S3 outlives the service within one process: only what is put back may be seen.
    for key in before:
        s3.delete_object(Bucket=bucket, Key=key)
    with LocalBedrock(state=tmp_path, bucket=bucket) as run:
        after = known(run.client("s3"))
    assert len(after) == 9
    assert after == before


def test_writers_with_if_none_match(local: LocalBedrock, s3: Any) -> None:
    """Of many who put with If-None-Match at once one wins; the others get PreconditionFailed."""

    def put(number: int) -> str:
        try:
            s3.put_object(Bucket=local.bucket, Key="lock", Body=str(number).encode(), IfNoneMatch="*")
        except ClientError as error:
            return f"{error.response['ResponseMetadata']['HTTPStatusCode']} {error.response['Error']['Code']}"
        return str(number)

    with ThreadPoolExecutor(16) as pool:
        found = sorted(pool.map(put, range(16)))
    assert found.count("412 PreconditionFailed") == 15
    (winner,) = set(found) - {"412 PreconditionFailed"}
    with s3.get_object(Bucket=local.bucket, Key="lock")["Body"] as body:
        assert body.read().decode() == winner


def test_writers_with_if_match(local: LocalBedrock, s3: Any) -> None:
    """Eight count up with If-Match, and try again when they lose: no step is lost."""
    place = {"Bucket": local.bucket, "Key": "counter"}
    s3.put_object(**place, Body=b"0")

    def count_up(_: int) -> None:
        while True:
            read = s3.get_object(**place)
            with read["Body"] as body:
                number = int(body.read())
            try:
                s3.put_object(**place, Body=str(number + 1).encode(), IfMatch=read["ETag"])
                return
            except ClientError as error:
                if error.response["Error"]["Code"] != "PreconditionFailed":
                    raise

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_up, range(24)))
    with s3.get_object(**place)["Body"] as body:
        assert body.read() == b"24"


def test_conditions_of_uploads_copies_and_deletions(local: LocalBedrock, s3: Any) -> None:
    """CompleteMultipartUpload, CopyObject and DeleteObject have them too; a key that is not there matches none."""
    there = {"Bucket": local.bucket, "Key": "there"}
    etag = s3.put_object(**there, Body=b"x")["ETag"]

    def complete(key: str, **condition: str) -> None:
        place = {"Bucket": local.bucket, "Key": key}
        place["UploadId"] = s3.create_multipart_upload(**place)["UploadId"]
        part = {"PartNumber": 1, "ETag": s3.upload_part(**place, PartNumber=1, Body=b"y")["ETag"]}
        s3.complete_multipart_upload(**place, MultipartUpload={"Parts": [part]}, **condition)

    refused = pytest.raises(ClientError, match=r"\(PreconditionFailed\)")
    missing = pytest.raises(ClientError, match=r"\(NoSuchKey\)")
    with refused:
        complete("there", IfNoneMatch="*")
    with refused:
        complete("there", IfMatch='"other"')
    with missing:
        complete("missing", IfMatch=etag)
    with missing:
        s3.put_object(Bucket=local.bucket, Key="missing", Body=b"", IfMatch=etag)
    with refused:
        s3.delete_object(**there, IfMatch='"other"')
    with refused:
        s3.copy_object(**there, CopySource=f"{local.bucket}/there", IfNoneMatch="*", MetadataDirective="REPLACE")
    with s3.get_object(**there)["Body"] as body:
        assert body.read() == b"x"
    complete("there", IfMatch=etag)
    complete("new", IfNoneMatch="*")
    etag = s3.head_object(**there)["ETag"]
    s3.delete_object(**there, IfMatch=etag)
    with pytest.raises(ClientError, match="404"):
        s3.head_object(**there)


@pytest.mark.parametrize(
    ("method", "place", "headers", "body"),
    [
        ("PUT", "/nasty", {"x-amz-checksum-crc32": "é"}, b"x"),
        ("PUT", "/nasty", {"x-amz-checksum-xxhash64": "AAAA"}, b"x"),
        ("PUT", "/nasty", {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "AAAA"}, b"x"),
        ("PUT", "/nasty", {"content-md5": "!"}, b"x"),
        ("PUT", "/nasty", {"if-none-match": "other"}, b"x"),
        ("PUT", "/nasty", {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, b"zz\r\nx"),
        ("PUT", "/nasty", {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, b"-5\r\nx\r\n0\r\n"),
        (
            "PUT",
            "/nasty",
            {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "1e9"},
            b"1\r\nx\r\n0\r\n",
        ),
        ("PUT", "/nasty", {"x-amz-copy-source": "{bucket}/there", "x-amz-checksum-algorithm": "ROT13"}, b""),
        ("POST", "/nasty?uploads", {"x-amz-checksum-algorithm": "ROT13"}, b""),
        ("POST", "/nasty?uploads", {"x-amz-checksum-type": "FULL_OBJECT"}, b""),
    ],
)
def test_invalid_requests_are_refused(
    local: LocalBedrock, method: str, place: str, headers: dict[str, str], body: bytes
) -> None:
    """A request that no SDK would send is an error in S3's form, and makes no object."""
    connection = HTTPConnection(local.endpoint_url.removeprefix("http://"))
    credential = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    sent = {name: value.replace("{bucket}", local.bucket).encode() for name, value in headers.items()}
    try:
        connection.request(method, f"/{local.bucket}{place}", body, {**sent, "Authorization": credential})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status in (400, 501)
    assert b"<Error><Code>" in content


@pytest.mark.parametrize("body", ["", "<", "<a/>", "<CompleteMultipartUpload><Part>x</Part></CompleteMultipartUpload>"])
def test_completion_that_names_no_part_is_refused(local: LocalBedrock, s3: Any, body: str) -> None:
    """What is not a list of parts completes nothing."""
    place = {"Bucket": local.bucket, "Key": "nasty"}
    upload_id = s3.create_multipart_upload(**place)["UploadId"]
    s3.upload_part(**place, UploadId=upload_id, PartNumber=1, Body=b"x")
    credential = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    connection = HTTPConnection(local.endpoint_url.removeprefix("http://"))
    try:
        path = f"/{local.bucket}/nasty?uploadId={upload_id}"
        connection.request("POST", path, body.encode(), {"Authorization": credential})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert (answer.status, b"MalformedXML" in content) == (400, True)
    with pytest.raises(ClientError, match="404"):
        s3.head_object(**place)
