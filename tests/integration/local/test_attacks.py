"""An attacker who reaches the service, beyond what a web page can do: names, sizes and numbers that break programs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.local.work import s3 as jobs_s3
from airflow_bedrock.local.work.records import DataError
from scripts.until import until
from tests.integration.local import test_guard, test_http2

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

S3 = {"Authorization": test_http2.SIGNED.replace("bedrock", "s3")}
BEDROCK = {"Authorization": test_http2.SIGNED}
END = b"0\r\n\r\nGET /foundation-models HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n"


def ask(
    local: LocalBedrock, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> tuple[int, bytes]:
    return test_guard.ask(urlsplit(local.endpoint_url).port or 0, method, path, headers, body)


def test_keys_and_buckets_leave_no_folder(tmp_path: Path) -> None:
    """Whatever a key or a bucket is called, its file lies below the state directory, and the state stays whole."""
    state = tmp_path / "deep" / "state"
    with LocalBedrock(state=state, bucket="attacked") as local:
        for bucket in ("..", "%2e%2e", ".", "...", "a%00b", "a..b", "a%2fb", "-ab"):
            assert ask(local, "PUT", f"/{bucket}", S3)[0] in (400, 404)
            assert ask(local, "PUT", f"/{bucket}/state.sqlite", S3, b"attack")[0] in (400, 404)
        for key in ("../../../x", "..%2f..%2fy", "a/../../z", "%2fabs", "a%00b", "..", "../state.sqlite"):
            assert ask(local, "PUT", f"/{local.bucket}/{key}", S3, b"content")[0] == 200
        files = {path.relative_to(tmp_path).parts[:3] for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {("deep", "state", name) for name in ("state.sqlite", "state.sqlite-wal", "s3-other")}
    with LocalBedrock(state=state, bucket="attacked") as again:
        assert len(again.client("s3").list_objects_v2(Bucket="attacked")["Contents"]) == 7


@pytest.mark.parametrize(
    ("headers", "path", "answer"),
    [
        ({"Authorization": test_http2.SIGNED.replace("bedrock", "nobody")}, "/", (404, b"UnknownOperationException")),
        ({"Authorization": test_http2.SIGNED.replace("bedrock", "dynamodb")}, "/", (404, b"UnknownOperationException")),
        ({"X-Amz-Target": "nobody"}, "/", (404, b"UnknownOperationException")),
        ({}, "/an_object/of_nobody", (404, b"NoSuchBucket")),
        ({}, "/sqs_us-east-1/of_nobody", (404, b"NoSuchBucket")),
    ],
    ids=str,
)
def test_requests_that_are_for_no_service(
    local: LocalBedrock,
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    path: str,
    answer: tuple[int, bytes],
) -> None:
    """What moto cannot place is an error of AWS's form, and none of Local Bedrock's own."""
    status, content = ask(local, "GET", path, headers)
    assert (status, answer[1] in content) == (answer[0], True), content
    assert not [one for one in caplog.records if one.exc_info]


def test_a_query_puts_no_header_into_a_response(service: Service) -> None:
    """S3 takes headers of the response from the query; one that holds another is refused."""
    service.put("plain", "content")
    path = f"/{service.local.bucket}/plain?response-content-type=text/plain"
    assert ask(service.local, "GET", path, S3) == (200, b"content")
    status, content = ask(service.local, "GET", f"{path}%0d%0aX-Evil:%20x", S3)
    assert (status, b"InvalidArgument" in content) == (400, True)


def test_a_page_in_a_bucket_has_no_origin(service: Service) -> None:
    """A browser that opens an object runs no script of it with this service's origin."""
    service.s3.put_object(
        Bucket=service.local.bucket, Key="page.html", Body=b"<script>", ContentType="text/html", ACL="public-read"
    )
    port = urlsplit(service.local.endpoint_url).port or 0
    typed = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for path, sandboxed in ((f"/{service.local.bucket}/page.html", True), ("/_local/", False), ("/moto-api/", False)):
        lines = "\r\n".join(
            [f"GET {path} HTTP/1.1", f"Host: localhost:{port}", *(f"{k}: {v}" for k, v in typed.items())]
        )
        status, head = test_guard.send_for_head(port, lines)
        assert (status, b"content-security-policy: sandbox\r\n" in head) == (200, sandboxed)


@pytest.mark.parametrize("seconds", ["1e12", "1e18", "1e308", "NaN", "-1", "1e999"])
def test_a_time_that_is_invalid_is_refused(seconds: str) -> None:
    """The clock stays, and everything answers."""
    with LocalBedrock(clock="manual") as local:
        before = ask(local, "GET", "/_local/clock")
        assert ask(local, "POST", "/_local/clock", body=f'{{"advance": {seconds}}}'.encode())[0] == 400
        assert ask(local, "GET", "/_local/clock") == before
        assert ask(local, "GET", "/foundation-models", BEDROCK)[0] == 200


def test_a_delay_without_end_ends_with_the_service() -> None:
    """No number is too large for a wait, and the service stops all the same."""
    with LocalBedrock() as local:
        local.faults.delay("ListFoundationModels", 1e308)
        with test_guard.connection(urlsplit(local.endpoint_url).port or 0) as waiting:
            lines = "GET /foundation-models HTTP/1.1", "Host: localhost", f"Authorization: {test_http2.SIGNED}", "", ""
            waiting.sendall("\r\n".join(lines).encode())
            until(lambda: next(iter(local.faults)).struck, "the request is delayed")
            local.stop()
            assert waiting.recv(15) == b"HTTP/1.1 200 \r\n"


@pytest.mark.parametrize("own", [":authority", "host"])
def test_one_request_has_one_host(local: LocalBedrock, own: str) -> None:
    """HTTP/2 has two places for it; where they differ nothing is answered."""
    other = "host" if own == ":authority" else ":authority"
    headers = {own: urlsplit(local.endpoint_url).netloc, other: "attacker.example"}
    with pytest.raises(ConnectionError):
        test_http2.ask(local, "GET", "/foundation-models", headers=headers)
    assert test_http2.ask(local, "GET", "/foundation-models")[0][0] == 200


def test_a_request_behind_another_is_judged_too(local: LocalBedrock) -> None:
    """Whether the first one ends by its length, by chunks or by both, the second one's host counts."""
    port = urlsplit(local.endpoint_url).port or 0
    for length in ("", "Content-Length: 6\r\n"):
        head = f"POST /_local/clock HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{length}Transfer-Encoding: chunked\r\n\r\n"
        with test_guard.connection(port) as sent:
            sent.sendall(head.encode() + END)
            with sent.makefile("rb") as answer:
                answers = answer.read()
        assert b"attacker.example" in answers
        assert b"modelSummaries" not in answers


def test_a_shut_door_stays_shut_for_odd_targets(local: LocalBedrock) -> None:
    """A navigation may open what only shows, and nothing beside it, whatever the path looks like."""
    for path in ("/_local/../moto-api/reset", "/_local/%2e%2e/moto-api/reset", "//moto-api/reset", "/_local/calls/x"):
        status, content = ask(local, "GET", path, test_guard.NAVIGATION)
        assert status in (403, 404), content
    assert json.loads(ask(local, "GET", "/_local/health", test_guard.NAVIGATION)[1])["status"] == "ok"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"x" * 10_000, mtime=0), "more than 1000 bytes decompressed"),
        (gzip.compress(b"x\n" * 10_000, mtime=0), "more than 1000 bytes decompressed"),
        (gzip.compress(b"line", mtime=0)[:-9], "cannot be decompressed"),
        (b"no gzip", "cannot be decompressed"),
        (gzip.compress(b"line", mtime=0)[:12] + b"\xff" * 20, "cannot be decompressed"),
    ],
)
def test_gzip_of_another_size_or_kind(
    service: Service, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a job reads is unpacked line by line, and no further than a limit; what is no gzip fails the job."""
    monkeypatch.setattr(jobs_s3, "MAX_UNPACKED", 1000)
    place = {"Bucket": service.local.bucket, "Key": f"{service.name('packed')}/file.gz"}
    service.s3.put_object(**place, Body=content)
    ((_, lines),) = jobs_s3.read_folder(service.s3, f"s3://{place['Bucket']}/{place['Key']}")
    with pytest.raises(DataError, match=message):
        list(lines)
