"""S3's events on EventBridge, in the documented form; moto's have other names and values, and go to every bus.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

import itertools
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from airflow_bedrock.local import moto

log = logging.getLogger(__name__)

_REASONS = {
    "s3:ObjectCreated:Put": "PutObject",
    "s3:ObjectCreated:Post": "POST Object",
    "s3:ObjectCreated:Copy": "CopyObject",
    "s3:ObjectCreated:CompleteMultipartUpload": "CompleteMultipartUpload",
    "s3:ObjectRemoved:Delete": "DeleteObject",
}
"""The operations that events name; other events name none."""

_changing: ContextVar[str] = ContextVar("changing", default="")

_sequence = itertools.count(time.time_ns())
"""The number of the latest event; a later event has a greater one."""


def install() -> None:
    """Make moto send S3's events from here."""
    moto.send_s3_events_with(_send)


@contextmanager
def changing(operation: str) -> Iterator[None]:
    """Send the events of an operation that puts or deletes an object: moto reports tags and parts too, S3 does not."""
    token = _changing.set(operation)
    try:
        yield
    finally:
        _changing.reset(token)


def _send(account: str, bucket: Any, what: Any, key: Any) -> None:
    name = str(what.value)
    if _changing.get() not in ("", _REASONS.get(name)):
        return
    try:
        moto.put_on_default_bus(account, bucket.region_name, s3_event(account, bucket, name, key))
    except Exception:  # an error of a target must not fail the writer
        log.exception("Local Bedrock: an event of %s could not be sent", bucket.arn)


def s3_event(account: str, bucket: Any, name: str, key: Any) -> dict[str, Any]:
    """Return the event for a change of an object.

    :param name: S3's own, such as ``s3:ObjectCreated:Put``.
    """
    kind = moto.s3_event_kind(name)
    about = {"key": key.name, "size": key.size, "etag": key.etag.strip('"'), "sequencer": f"{next(_sequence):018X}"}
    if key.version_id != "null":
        about["version-id"] = key.version_id
    if kind == "Object Deleted":
        del about["size"]
    detail = {
        "version": "0",
        "bucket": {"name": bucket.name},
        "object": about,
        "request-id": uuid.uuid4().hex[:16].upper(),
        "requester": account,
        "source-ip-address": "127.0.0.1",
    }
    if name in _REASONS:
        detail["reason"] = _REASONS[name]
    if kind == "Object Deleted":
        detail["deletion-type"] = "Permanently Deleted"
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": kind,
        "source": "aws.s3",
        "account": account,
        "time": time.time(),  # moto writes it in the documented form
        "region": bucket.region_name,
        "resources": [bucket.arn],
        "detail": detail,
    }
