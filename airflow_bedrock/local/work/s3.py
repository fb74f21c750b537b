"""A job's reads and writes in S3, failing with the messages that the service gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from airflow_bedrock.local.work.records import DataError


def split_uri(uri: str) -> tuple[str, str]:
    """Split ``s3://bucket/key`` into bucket and key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def read_lines(s3: Any, uri: str) -> Iterator[bytes]:
    """Return the lines of an object, without their ends.

    :raises DataError: when it cannot be read.
    """
    bucket, key = split_uri(uri)
    try:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        raise DataError(
            f"Could not validate GetObject permissions to access Amazon S3 bucket: {bucket} at key {key}"
        ) from error
    with body:
        yield from body.iter_lines(chunk_size=1 << 20)


def check_writable(s3: Any, uri: str) -> None:
    """Check that results can be written below ``uri``, by writing there.

    :raises DataError: when they cannot.
    """
    bucket, folder = split_uri(uri)
    key = f"{folder.rstrip('/')}/.write_access_check_file.tmp".lstrip("/")
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
        s3.delete_object(Bucket=bucket, Key=key)
    except ClientError as error:
        raise DataError(
            f"Amazon S3 perms missing (PutObject): Could not validate PutObject permissions to access S3 bucket: "
            f"{bucket} at key {key}"
        ) from error


def write(s3: Any, uri: str, text: str) -> None:
    """Write an object."""
    bucket, key = split_uri(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType="text/csv")
