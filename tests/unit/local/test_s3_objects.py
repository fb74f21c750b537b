"""Objects of S3 while others write them: a read is of one moment."""

from __future__ import annotations

import io
import threading
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.local.checksums import checksum
from airflow_bedrock.local.web import s3_objects
from airflow_bedrock.local.web.protocol import HttpResponse
from airflow_bedrock.local.web.s3 import S3Request
from airflow_bedrock.local.web.s3_objects import Objects


class Watched:
    """A lock that signals when somebody has to wait for it."""

    def __init__(self, told: Queue[str]) -> None:
        self._lock, self._told = threading.Lock(), told

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._told.put("waits")
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def an_object(content: bytes) -> SimpleNamespace:
    unknown = dict.fromkeys(("checksum_value", "checksum_type", "checksum_parts", "checksum_algorithm"))
    return SimpleNamespace(value=content, etag="", **unknown)


def environ(body: bytes = b"") -> dict[str, Any]:
    return {"QUERY_STRING": "", "HTTP_X_AMZ_CHECKSUM_MODE": "ENABLED", "wsgi.input": io.BytesIO(body)}


@pytest.mark.parametrize("operation", ["GetObject", "HeadObject", "GetObjectAttributes"])
def test_an_object_that_is_replaced_while_it_is_read_is_read_whole(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes a key waits until it has been read: content and checksum are those of one moment."""
    told: Queue[str] = Queue()
    objects, bucket = Objects(), {"key": an_object(b"old")}
    objects._locks = [Watched(told) for _ in objects._locks]  # type: ignore[misc]  # it looks like one
    monkeypatch.setattr(s3_objects, "s3_object", lambda _, key, __: bucket.get(key))

    def write() -> HttpResponse:
        told.put("writes")
        bucket["key"] = an_object(b"new")
        return HttpResponse(200, {}, b"")

    put = S3Request("PutObject", "bucket", "key")
    writer = threading.Thread(target=objects.answer, args=(put, environ(b"new"), write))

    def read() -> HttpResponse:
        content = bucket["key"].value
        writer.start()
        assert told.get(timeout=120) == "waits"  # without the lock it writes
        return HttpResponse(200, {}, content)

    answer = objects.answer(S3Request(operation, "bucket", "key"), environ(), read)
    writer.join()
    assert (answer.body, bucket["key"].value, told.get(timeout=120)) == (b"old", b"new", "writes")
    if operation != "GetObjectAttributes":  # moto has it there
        assert answer.headers["x-amz-checksum-crc64nvme"] == checksum("CRC64NVME", b"old")
