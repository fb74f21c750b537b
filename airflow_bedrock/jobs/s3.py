"""Read the data of a customization job and its output from S3, with the amazon provider's S3Hook."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import error_code
from airflow_bedrock.customization.job import Job
from airflow_bedrock.customization.metrics import (
    TRAINING_METRICS,
    VALIDATION_METRICS,
    losses_by_epoch,
    losses_by_step,
)
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

READ_LIMIT = 256 * 1024 * 1024
"""Maximum bytes of an object, or of all objects under a prefix, that are read to identify the content."""

READ_LIMIT_OBJECTS = 1000
"""Maximum number of objects under a prefix that are read to identify the content."""

_ALGORITHMS = ("CRC64NVME", "SHA256", "CRC32C", "CRC32")  # S3's checksums of full objects, the best first
_DENIED = ("403", "AccessDenied")
_METRICS_LIMIT = 64 * 1024 * 1024  # bytes: about a million steps


class LocationError(BedrockFatalError):
    """A location that the job reads from or writes to does not exist, or is in another region; nothing was made."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}. This try made nothing and spent nothing.")


def describe_data(s3: S3Hook, uris: Iterable[str], folders: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return what identifies the content of each location, however it was uploaded.

    :param folders: which of the URIs may be prefixes, such as those of invocation logs.
    :raises LocationError: there is no object.
    :raises BedrockError: the caller is not allowed to read it; a new permission takes a while to take effect.
    """

    def describe(uri: str) -> dict[str, Any]:
        try:
            return _describe_folder(s3, uri) if uri in folders else _describe(s3, uri)
        except ClientError as error:
            if error_code(error) not in _DENIED:
                raise
            raise BedrockError(
                f"Access denied to {uri}, or it does not exist; its content decides whether a new job is made. Allow "
                "s3:GetObject (for a folder also s3:ListBucket, for an encrypted object kms:Decrypt) for "
                f'the connection, or set content="ignore". Nothing was spent. S3 said: {error}'
            ) from error

    return [describe(uri) for uri in uris]


def _describe(s3: S3Hook, uri: str) -> dict[str, Any]:
    bucket, key = s3.parse_s3_url(uri)
    if not key:
        raise LocationError(f"{uri} names a bucket, but no object in it")
    client = cast("S3Client", s3.conn)
    try:
        head = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        return {"uri": uri, "size": head["ContentLength"], "content": _content(client, bucket, key, head)}
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchKey", "NoSuchBucket"):
            raise LocationError(f"There is no object at {uri}") from error
        raise


def _content(client: S3Client, bucket: str, key: str, head: Mapping[str, Any]) -> str:
    """Return what identifies an object's bytes, independent of everything else.

    Up to ``READ_LIMIT`` they are read, even if S3 has a checksum: two uploads of the same bytes may have different
    checksums, or none, and then only the bytes show that they are the same. Larger objects are identified by a checksum
    of the full object, which all uploads have by default, or else by the ETag: then the same bytes uploaded in another
    way may count as changed, but changed bytes never count as the same. A version's id says nothing about bytes.
    """
    if head["ContentLength"] <= READ_LIMIT:
        return _digest(client, bucket, key, head["ETag"])
    if head.get("ChecksumType") == "FULL_OBJECT":
        for algorithm in _ALGORITHMS:
            if checksum := head.get(f"Checksum{algorithm}"):
                return f"{algorithm}:{checksum}"
    return f"ETag:{head['ETag']}"


def _digest(client: S3Client, bucket: str, key: str, etag: str) -> str:
    """Read an object, which must not change while it is read, and return the digest of its bytes."""
    digest = hashlib.blake2b(digest_size=20)
    with closing(client.get_object(Bucket=bucket, Key=key, IfMatch=etag)["Body"]) as body:
        for chunk in body.iter_chunks(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _describe_folder(s3: S3Hook, uri: str) -> dict[str, Any]:
    """Return what identifies all objects under a prefix; beyond the limit only their ETags."""
    bucket, key = s3.parse_s3_url(uri)
    if key and not key.endswith("/"):
        with suppress(LocationError):
            return _describe(s3, uri)  # a single log
    client = cast("S3Client", s3.conn)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
    found = sorted((one["Key"], one["ETag"], one["Size"]) for page in pages for one in page.get("Contents", []))
    if not found:
        raise LocationError(f"There is no object under {uri}")
    if len(found) <= READ_LIMIT_OBJECTS and sum(size for *_, size in found) <= READ_LIMIT:
        contents = [f"{key}\0{_digest(client, bucket, key, etag)}\0" for key, etag, _ in found]
    else:
        contents = [f"{key}\0{etag}\0" for key, etag, _ in found]
    return {
        "uri": uri,
        "objects": len(found),
        "digest": hashlib.blake2b("".join(contents).encode(), digest_size=20).hexdigest(),
    }


def check_buckets(s3: S3Hook, uris: Iterable[str], region: str | None) -> None:
    """Check that the buckets to which the caller has access exist in the job's region.

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
        # 301 for a bucket of another region, 403 if access is denied: S3 names the region in both.
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if error_code(error) in ("301", "403"):
            return headers.get("x-amz-bucket-region")
        raise


def read_losses(s3: S3Hook, job: Job) -> dict[str, list[Any]]:
    """Read the losses of a completed job from its metrics files.

    :return: ``losses_by_epoch`` and ``losses_by_step`` as :mod:`airflow_bedrock.customization.metrics` returns them;
        empty if the job wrote no readable metrics.
    """
    training, validation = _metrics(s3, job)
    warn = partial(log.warning, "In %s: %s", job.artifacts_uri)
    return {
        "losses_by_epoch": losses_by_epoch(training, validation, warn),
        "losses_by_step": losses_by_step(training),
    }


def _metrics(s3: S3Hook, job: Job) -> tuple[list[str], list[str]]:
    """Return the lines of the files of training and validation metrics.

    No error in reading them fails a job that has completed: the log says what cannot be read.
    """
    if job.artifacts_uri is None:
        return [], []
    try:
        bucket, prefix = s3.parse_s3_url(job.artifacts_uri)
        keys: list[str] = s3.list_keys(bucket, prefix=prefix)
        return _lines(s3, bucket, keys, TRAINING_METRICS), _lines(s3, bucket, keys, VALIDATION_METRICS)
    except Exception as error:
        log.warning("Could not read the metrics files in %s: %s", job.artifacts_uri, error)
        return [], []


def _lines(s3: S3Hook, bucket: str, keys: list[str], name: str) -> list[str]:
    found = [key for key in keys if key.endswith(f"/{name}")]
    if not found:
        return []
    response = cast("S3Client", s3.conn).get_object(Bucket=bucket, Key=found[0])
    with closing(response["Body"]) as body:
        if response["ContentLength"] > _METRICS_LIMIT:
            log.warning("Did not read %s: it is larger than %d bytes", found[0], _METRICS_LIMIT)
            return []
        return body.read().decode(errors="replace").splitlines()
