"""What a web page can make a browser send, played over HTTP: none of it gets through, and AWS's clients still do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from airflow_bedrock.local import LocalBedrock

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

CREDENTIAL = "X-Amz-Credential=x/20261121/us-east-1/{}/aws4_request"
NAVIGATION = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
CHROME = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"}
PAGE = {**CHROME, "Origin": "https://attacker.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}


def connection(port: int, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((address, port), timeout=120)


def send(port: int, lines: str, body: bytes = b"", address: str = "127.0.0.1") -> tuple[int, bytes]:
    """Send a request as it stands, and return the status and the body of the response."""
    head = f"{lines}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with connection(port, address) as sent:
        sent.sendall(head.encode("latin-1") + body)
        with sent.makefile("rb") as answer:
            received = answer.read()
    return int(received.split()[1]), received.partition(b"\r\n\r\n")[2]


def send_for_head(port: int, lines: str) -> tuple[int, bytes]:
    """Send a request as it stands, and return the status and the head of the response."""
    with connection(port) as sent:
        sent.sendall(f"{lines}\r\nConnection: close\r\n\r\n".encode())
        with sent.makefile("rb") as answer:
            received = answer.read()
    return int(received.split()[1]), received.partition(b"\r\n\r\n")[0] + b"\r\n"


def ask(
    port: int, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"", host: str = ""
) -> tuple[int, bytes]:
    told = {"Host": host or f"127.0.0.1:{port}", **(headers or {})}
    return send(port, "\r\n".join([f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in told.items())]), body)


@pytest.fixture
def port(local: LocalBedrock) -> int:
    port = urlsplit(local.endpoint_url).port
    assert port is not None
    return port


ATTACKS = [
    ("POST", "/model-customization-jobs?" + CREDENTIAL.format("bedrock"), "text/plain", b'{"jobName": "attack"}'),
    ("POST", "/2015-03-31/functions?" + CREDENTIAL.format("lambda"), "text/plain", b'{"FunctionName": "attack"}'),
    ("PUT", "/airflow-bedrock-local/attack", "text/plain", b"attack"),
    ("POST", "/_local/faults", "text/plain", b'{"effect": "drop"}'),
    ("DELETE", "/_local/calls", "text/plain", b""),
    ("POST", "/_local/clock", "text/plain", b'{"advance": 3600}'),
    ("POST", "/moto-api/reset", "text/plain", b""),
    ("GET", "/?Action=CreateUser&UserName=attack&" + CREDENTIAL.format("iam"), "text/plain", b""),
    ("GET", "/airflow-bedrock-local", "text/plain", b""),
    ("GET", "/latest/meta-data/", "text/plain", b""),
    ("OPTIONS", "/moto-api/reset", "text/plain", b""),
    (
        "POST",
        "/airflow-bedrock-local",
        "multipart/form-data; boundary=cut",
        b'--cut\r\nContent-Disposition: form-data; name="key"\r\n\r\nattack\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nattack\r\n--cut--\r\n',
    ),
]
"""Method, path, content type and body."""


@pytest.fixture
def untouched(service: Service) -> Iterator[None]:
    """Afterwards everything is there that was there, and nothing else."""
    local = service.local
    local.calls.clear()
    yield
    assert not local.calls
    assert len(local.faults) == 0
    found = service.s3.list_objects_v2(Bucket=local.bucket).get("Contents", [])
    assert "train.jsonl" in {one["Key"] for one in found}
    assert "attack" not in {one["Key"] for one in found}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("method", "path", "content_type", "body"), ATTACKS, ids=lambda one: str(one)[:30])
@pytest.mark.parametrize(
    ("host", "headers"),
    [
        pytest.param("attacker.example:{}", {**CHROME, "Sec-Fetch-Site": "same-origin"}, id="rebinding"),
        pytest.param("attacker.example:{}", {"X-Forwarded-Host": "localhost"}, id="rebinding-old-browser"),
        pytest.param("127.0.0.1:{}", PAGE, id="cross-site"),
        pytest.param("localhost:{}", {**PAGE, "Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-site"}),
        pytest.param("localhost:{}", {**CHROME, "Origin": "null"}, id="sandboxed-frame"),
        pytest.param("localhost:{}", {**CHROME, "Origin": "http://localhost:1"}, id="other-port"),
        pytest.param("localhost:{}", {**CHROME, "Sec-Fetch-Site": "cross-site"}, id="no-origin"),
        pytest.param("localhost:{}", CHROME, id="old-browser"),
        pytest.param("0.0.0.0:{}", CHROME, id="any-address"),
    ],
)
def test_a_page_gets_nothing(
    port: int, host: str, headers: dict[str, str], method: str, path: str, content_type: str, body: bytes
) -> None:
    """Whatever the route, and however the page sends it: 403, and nothing has happened."""
    told = {**headers, "Content-Type": content_type}
    status, answer = ask(port, method, path, told, body, host=host.format(port))
    assert status == 403
    assert json.loads(answer)["__type"] == "AccessDeniedException"


def test_the_attacks_would_work(service: Service, port: int) -> None:
    """Without a page's marks such requests are carried out: what is refused above is not broken anyway."""
    assert ask(port, "PUT", "/airflow-bedrock-local/by-program", body=b"text")[0] == 200
    assert ask(port, "POST", "/_local/faults", body=b'{"effect": "delay", "delay": 0}')[0] == 200
    assert ask(port, "DELETE", "/_local/faults")[0] == 200
    service.s3.delete_object(Bucket=service.local.bucket, Key="by-program")


@pytest.mark.parametrize(
    "headers",
    [
        "Host: attacker.example",
        "Host: 127.0.0.1.attacker.example",
        "Host: localhost.attacker.example",
        "Host: attackerlocalhost",
        "Host: localhost@attacker.example",
        "Host: attacker.example#localhost",
        "Host: localhost, attacker.example",
        "Host: localhost\r\nHost: attacker.example",
        "Host: attacker.example\r\nHost: localhost",
        "Host: attacker.example\r\nX-Forwarded-Host: localhost\r\nForwarded: host=localhost",
        "Host: attacker.example.",
        "Host: 192.0.2.7",
        "Host: 0.0.0.0",
        "Host: [2001:db8::1]",
        "Host: [::1",
        "Host: 2130706433",
        "Host: ",
        "X-No: host",
    ],
)
def test_foreign_hosts_are_refused(port: int, headers: str) -> None:
    """Only a name or an address of the loopback interface is taken for the Host."""
    assert send(port, f"GET /_local/health HTTP/1.1\r\n{headers}")[0] in (400, 403)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:{}",
        "localhost.:{}",
        "127.0.0.1",
        "127.8.9.10:{}",
        "[::1]:{}",
        "[::1]",
        "a.b.localhost:{}",
    ],
)
def test_loopback_hosts_are_accepted(port: int, host: str) -> None:
    """All names and addresses of the loopback interface are, in any case and with any port."""
    assert ask(port, "GET", "/_local/health", host=host.format(port))[0] == 200


@pytest.mark.parametrize(("authority", "status"), [("localhost", 200), ("attacker.example", 403)])
def test_absolute_target(port: int, authority: str, status: int) -> None:
    """A target that names a host is judged by that too."""
    head = f"GET http://{authority}/_local/health HTTP/1.1\r\nHost: {authority}"
    assert send(port, head)[0] == status
    assert send(port, f"GET http://attacker.example/_local/health HTTP/1.1\r\nHost: localhost:{port}")[0] == 403


@pytest.mark.parametrize(
    "path", ["/_local/", "/_local/health", "/_local/jobs", "/_local/calls?operation=Converse", "/_local/faults"]
)
def test_pages_that_only_show_can_be_opened(port: int, path: str) -> None:
    """A link on any page opens them in a window; no page gets them into itself, by a frame, a script or an image."""
    assert ask(port, "GET", path, CHROME | NAVIGATION)[0] == 200
    assert ask(port, "GET", path, CHROME)[0] == 200
    for other in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Mode": "cors"}):
        assert ask(port, "GET", path, CHROME | NAVIGATION | other)[0] == 403
    assert ask(port, "POST", path, CHROME | NAVIGATION)[0] == 403
    assert ask(port, "GET", path, CHROME | NAVIGATION, host="attacker.example")[0] == 403


def test_its_own_pages_can_use_it(port: int) -> None:
    """What a person types into the address bar, and what a page of its own fetches, is answered."""
    own = {**CHROME, "Origin": f"http://localhost:{port}", "Sec-Fetch-Site": "same-origin"}
    assert ask(port, "GET", "/moto-api/", {**CHROME, "Sec-Fetch-Site": "none"})[0] == 200
    assert ask(port, "GET", "/moto-api/", own, host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize("name", ["recorder", "%72ecorder"])
@pytest.mark.parametrize(
    "headers", [{}, {**CHROME, "Sec-Fetch-Site": "none"}], ids=["a program", "a link in an e-mail"]
)
def test_requests_are_not_recorded(port: int, name: str, headers: dict[str, str]) -> None:
    """A GET starts moto's recorder: it would write each request, with its prompts, to the folder of the service."""
    assert ask(port, "GET", f"/moto-api/{name}/start-recording", headers)[0] == 403
    assert not Path("moto_recording").exists()


@pytest.mark.parametrize(("host", "style"), [("127.0.0.1", "path"), ("localhost", "virtual"), ("localhost", "path")])
def test_boto3(
    local: LocalBedrock, port: int, host: str, style: Literal["path", "virtual"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 reads and writes, by addresses of either style."""
    resolve = socket.getaddrinfo
    # Not every resolver knows the names below localhost.
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda name, *more: resolve(name.rpartition(".")[2] if host == "localhost" else name, *more),
    )
    s3 = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(s3={"addressing_style": style}),
    )
    try:
        s3.put_object(Bucket=local.bucket, Key="guard/key", Body=b"text")
        with s3.get_object(Bucket=local.bucket, Key="guard/key")["Body"] as body:
            assert body.read() == b"text"
        s3.delete_object(Bucket=local.bucket, Key="guard/key")
    finally:
        s3.close()


def test_aws_cli(local: LocalBedrock) -> None:
    """The AWS CLI is a program, not a page."""
    environment = {**os.environ, **local.environment(), "AWS_PAGER": ""}
    aws = str(Path(sys.executable).parent / "aws")
    command = [aws, "bedrock", "list-model-customization-jobs", "--max-items", "1"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_hosts_that_were_allowed() -> None:
    """On every interface any address is its own, and of names those that were given."""
    names = ["local-bedrock", "local.bedrock.example"]
    with LocalBedrock("0.0.0.0", allow_hosts=names) as local:  # noqa: S104  # that is the test
        port = urlsplit(local.endpoint_url).port or 0
        for host in ("192.0.2.7", "[2001:db8::1]", "Local-Bedrock", "localhost"):
            assert ask(port, "GET", "/_local/health", host=f"{host}:{port}")[0] == 200
            assert ask(port, "GET", "/_local/health", PAGE, host=f"{host}:{port}")[0] == 403
        assert ask(port, "GET", "/_local/health", host="attacker.example")[0] == 403
        # No part of such a name is the name of a bucket.
        assert (
            ask(port, "PUT", f"/{local.bucket}/by-name", body=b"text", host=f"local.bedrock.example:{port}")[0] == 200
        )
        with closing(local.client("s3")) as s3:
            assert s3.head_object(Bucket=local.bucket, Key="by-name")["ContentLength"] == 4
