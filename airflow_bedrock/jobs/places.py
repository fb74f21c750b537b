"""What a customization job reads from S3 and leaves there, seen through the amazon provider's S3Hook."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import error_code
from airflow_bedrock.customization.job import Job
from airflow_bedrock.customization.metrics import TRAINING_METRICS, VALIDATION_METRICS, losses_by_epoch

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class LocationError(Exception):
    """A place that the job is to read from or to write to does not exist, or is in another region."""


def describe_data(s3: S3Hook, uris: Iterable[str], folders: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return what tells the content of each place apart from another content.

    Of an object that is ETag, size and version; of a folder the number and a digest of the objects below it. A place
    that the caller may not look at is described by its URI alone: the job's role may still read it.

    :param folders: which of the URIs may be prefixes of what is to be read, such as invocation logs.
    :raises LocationError: there is nothing.
    """
    return [_describe_folder(s3, uri) if uri in folders else _describe(s3, uri) for uri in uris]


def _describe(s3: S3Hook, uri: str) -> dict[str, Any]:
    bucket, key = s3.parse_s3_url(uri)
    if not key:
        raise LocationError(f"{uri} names a bucket, but no object in it")
    try:
        head = cast("S3Client", s3.conn).head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchKey", "NoSuchBucket"):
            raise LocationError(f"There is no object at {uri}") from error
        return _unseen(s3, uri, error)
    return {"uri": uri, "etag": head["ETag"], "size": head["ContentLength"], "version": head.get("VersionId")}


def _describe_folder(s3: S3Hook, uri: str) -> dict[str, Any]:
    bucket, key = s3.parse_s3_url(uri)
    if key and not key.endswith("/"):
        with suppress(LocationError):
            return _describe(s3, uri)  # a single log
    pages = cast("S3Client", s3.conn).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
    content, count = hashlib.blake2b(digest_size=20), 0
    try:
        for page in pages:
            for found in page.get("Contents", []):  # in the order of their keys
                content.update(f"{found['Key']}\0{found['ETag']}\0".encode())
                count += 1
    except ClientError as error:
        return _unseen(s3, uri, error)
    if not count:
        raise LocationError(f"There is no object below {uri}")
    return {"uri": uri, "objects": count, "digest": content.hexdigest()}


def _unseen(s3: S3Hook, uri: str, error: ClientError) -> dict[str, Any]:
    if error_code(error) not in ("403", "AccessDenied"):
        raise error
    s3.log.warning("May not look at %s: a change of its content will not be noticed", uri)
    return {"uri": uri}


def check_buckets(s3: S3Hook, uris: Iterable[str], region: str | None) -> None:
    """Check that the buckets exist, in the region of the job, as far as the caller may see.

    :raises LocationError: one does not exist, or is in another region.
    """
    for bucket in sorted({s3.parse_s3_url(uri)[0] for uri in uris}):
        found = _bucket_region(s3, bucket)
        if found and region and found != region:
            raise LocationError(f"Bucket {bucket} is in {found}, but the job would run in {region}")


def _bucket_region(s3: S3Hook, bucket: str) -> str | None:
    try:
        return cast("S3Client", s3.conn).head_bucket(Bucket=bucket).get("BucketRegion")
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchBucket"):
            raise LocationError(f"There is no bucket {bucket}") from error
        # 301 from another region's bucket, 403 where the caller may not look: S3 names the region all the same.
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if error_code(error) in ("301", "403"):
            return headers.get("x-amz-bucket-region")
        raise


def read_losses(s3: S3Hook, job: Job) -> list[dict[str, float | int | None]]:
    """Read the metrics files of a completed job: the training and validation loss of each epoch.

    Empty where the caller may not read the output location or the job wrote no metrics.
    """
    if job.artifacts_uri is None:
        return []
    bucket, prefix = s3.parse_s3_url(job.artifacts_uri)
    try:
        keys: list[str] = s3.list_keys(bucket, prefix=prefix)
        return losses_by_epoch(*(_lines(s3, bucket, keys, name) for name in (TRAINING_METRICS, VALIDATION_METRICS)))
    except ClientError as error:
        if error_code(error) not in ("403", "AccessDenied"):
            raise
        s3.log.warning("May not read the metrics files in %s: the result has no losses by epoch", job.artifacts_uri)
        return []


def _lines(s3: S3Hook, bucket: str, keys: list[str], name: str) -> list[str]:
    found = [key for key in keys if key.endswith(f"/{name}")]
    return str(s3.read_key(found[0], bucket)).splitlines() if found else []
