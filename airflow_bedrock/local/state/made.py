"""What is made in other services unless it is there already: buckets, roles, policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError


def make(create: Callable[..., Any], **parameters: Any) -> bool:
    """Create something by a client's method, and return whether it was not there."""
    try:
        create(**parameters)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "EntityAlreadyExists"):
            raise
        return False
    return True


def make_bucket(s3: Any, name: str, region: str) -> None:
    """Create a bucket; us-east-1 is the one region that S3 does not want to be told."""
    elsewhere = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    make(s3.create_bucket, Bucket=name, **elsewhere)
