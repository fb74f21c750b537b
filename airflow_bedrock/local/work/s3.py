"""A job's reads and writes in S3; they fail with the service's messages."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from airflow_bedrock.datasets.rules.logs import is_log
from airflow_bedrock.local.work.permissions import Role
from airflow_bedrock.local.work.records import DataError
from airflow_bedrock.uris import bucket_and_key

MAX_UNPACKED = 1 << 30
"""Maximum size of a decompressed file, in bytes; AWS's own logs have some megabytes."""


def region_of(s3: Any, bucket: str) -> str | None:
    """Return the region of a bucket; None if it does not exist."""
    try:
        return s3.get_bucket_location(Bucket=bucket).get("LocationConstraint") or "us-east-1"
    except ClientError:
        return None


def read_lines(s3: Any, uri: str, max_bytes: int | None = None) -> Iterator[bytes]:
    """Return the lines of an object, without line ends.

    :param max_bytes: the maximum size of the object.
    :raises DataError: it cannot be read, or is too large.
    """
    bucket, key = bucket_and_key(uri)
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        raise unreadable(uri) from error
    with answer["Body"]:
        size = answer.get("ContentLength", 0)
        if max_bytes is not None and size > max_bytes:
            raise DataError(f"Input size exceeded in file {uri}: it has {size} bytes; at most {max_bytes} are allowed")
        yield from answer["Body"].iter_lines(chunk_size=1 << 20)


def read_folder(s3: Any, uri: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Return the URI and the lines of every log below a prefix, in the order of their keys; gzip is decompressed.

    :raises DataError: there is no object, or one cannot be read.
    """
    bucket, prefix = bucket_and_key(uri)
    try:
        pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix))
    except ClientError as error:
        raise unlistable(bucket) from error
    keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
    if not keys:
        raise unreadable(uri)
    for key in keys:
        file = f"s3://{bucket}/{key}"
        if is_log(file):
            yield file, _unpacked(s3, file) if key.endswith(".gz") else read_lines(s3, file)


def check_writable(role: Role, s3: Any, uri: str) -> None:
    """Check by a test write that results can be written below ``uri``, with the permissions of a role.

    :raises DataError: they cannot.
    """
    if not role.may_write(uri):
        raise unwritable(uri)
    bucket, folder = bucket_and_key(uri)
    key = probe_key(folder)
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
        s3.delete_object(Bucket=bucket, Key=key)
    except ClientError as error:
        raise unwritable(uri) from error


def probe_key(folder: str) -> str:
    """Return the key of the test write."""
    return f"{folder.rstrip('/')}/.write_access_check_file.tmp".lstrip("/")


def unreadable(uri: str) -> DataError:
    """Return the service's error for an object that cannot be read."""
    bucket, key = bucket_and_key(uri)
    return DataError(f"Could not validate GetObject permissions to access Amazon S3 bucket: {bucket} at key {key}")


def unlistable(bucket: str) -> DataError:
    """Return the error for a bucket whose objects cannot be listed."""
    return DataError(f"Could not validate ListBucket permissions to access Amazon S3 bucket: {bucket}")


def unwritable(uri: str) -> DataError:
    """Return the service's error for a folder that cannot be written to."""
    bucket, folder = bucket_and_key(uri)
    return DataError(
        f"Amazon S3 perms missing (PutObject): Could not validate PutObject permissions to access S3 bucket: "
        f"{bucket} at key {probe_key(folder)}"
    )


def write(s3: Any, uri: str, content: bytes, content_type: str) -> None:
    """Write an object."""
    bucket, key = bucket_and_key(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType=content_type)


def _unpacked(s3: Any, uri: str) -> Iterator[bytes]:
    bucket, key = bucket_and_key(uri)
    left = MAX_UNPACKED
    try:
        with s3.get_object(Bucket=bucket, Key=key)["Body"] as body, gzip.GzipFile(fileobj=body) as file:
            while line := file.readline(left + 1):
                left -= len(line)
                if left < 0:
                    raise DataError(
                        f"Input size exceeded in file {uri}: it has more than {MAX_UNPACKED} bytes decompressed"
                    )
                yield line.rstrip(b"\r\n")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"The file {uri} cannot be decompressed: {error}") from error
