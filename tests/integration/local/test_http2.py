"""HTTP/2 in clear, from the first byte, on the port that speaks HTTP/1.1 too."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded

from airflow_bedrock.local import LocalBedrock

SIGNED = "AWS4-HMAC-SHA256 Credential=key/20261121/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0"
MESSAGES = json.dumps({"messages": [{"role": "user", "content": [{"text": "bucket"}]}]}).encode()
CONVERSE = "/model/amazon.nova-micro-v1%3A0/converse"


class Dropped(ConnectionError):
    """The server has closed the connection; whether that is seen as a reset, or a broken pipe, is chance."""


def ask(
    local: LocalBedrock, method: str, *paths: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> list[tuple[int, bytes]]:
    """Send requests at once over one connection, and return the status and the content of each response."""
    address = urlsplit(local.endpoint_url)
    # An attacker's client checks nothing.
    client = H2Connection(H2Configuration(validate_outbound_headers=False))
    client.initiate_connection()
    told = {
        ":method": method,
        ":scheme": "http",
        ":authority": address.netloc,
        "authorization": SIGNED,
        **(headers or {}),
    }
    streams: dict[int | None, tuple[int, bytes]] = {}
    for path in paths:
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, sorted({**told, ":path": path}.items()), end_stream=not body)
        for place in range(0, len(body), 16_384):
            client.send_data(stream, body[place : place + 16_384], end_stream=place + 16_384 >= len(body))
        streams[stream] = (0, b"")
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=120) as connection:
        open_streams = len(streams)
        while open_streams:
            connection.sendall(client.data_to_send())
            received = connection.recv(65536)
            if not received:
                raise Dropped
            for event in client.receive_data(received):
                if isinstance(event, ResponseReceived):
                    streams[event.stream_id] = (int(dict(event.headers)[b":status"]), b"")
                elif isinstance(event, DataReceived):
                    status, content = streams[event.stream_id]
                    streams[event.stream_id] = (status, content + event.data)
                    client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    open_streams -= 1
                elif isinstance(event, ConnectionTerminated):
                    raise Dropped
    return list(streams.values())


def test_many_requests_over_one_connection(local: LocalBedrock) -> None:
    """Requests are answered at once, each in its stream, with a delay for all of them together."""
    local.faults.delay("Converse", 0.5)
    before = len(local.calls)
    answers = ask(local, "POST", *[CONVERSE] * 20, body=MESSAGES)
    local.faults.clear()
    assert {status for status, _ in answers} == {200}
    assert all(json.loads(content)["output"]["message"]["role"] == "assistant" for _, content in answers)
    assert len(local.calls) == before + 20


def test_large_bodies_both_ways(local: LocalBedrock) -> None:
    """What is larger than a frame arrives whole."""
    content = b"text" * 15_000
    path = f"/{local.bucket}/over-http2"
    s3 = {"authorization": SIGNED.replace("bedrock", "s3")}
    assert ask(local, "PUT", path, body=content, headers=s3)[0][0] == 200
    assert ask(local, "GET", path, headers=s3) == [(200, content)]
    assert ask(local, "DELETE", path, headers=s3)[0][0] == 204


def test_a_page_gets_nothing_over_http2_either(local: LocalBedrock) -> None:
    """The host is the authority here; a page is recognized in the same way."""
    assert ask(local, "GET", "/foundation-models")[0][0] == 200
    for headers in ({":authority": "attacker.example"}, {"origin": "https://attacker.example"}):
        assert ask(local, "GET", "/foundation-models", headers=headers)[0][0] == 403


def test_dropped(local: LocalBedrock) -> None:
    """A fault that drops the connection drops it here too, and the next one is served."""
    local.faults.drop("ListFoundationModels")
    with pytest.raises(ConnectionError):
        ask(local, "GET", "/foundation-models")
    assert ask(local, "GET", "/foundation-models")[0][0] == 200


def test_clients_that_leave_are_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """Connections that were dropped, or left in the middle of a request, keep nothing from ending."""
    with LocalBedrock() as local:
        address = urlsplit(local.endpoint_url)
        local.faults.drop("ListFoundationModels", times=2)
        for path in ("/foundation-models", "/foundation-models"):
            with pytest.raises(ConnectionError):
                ask(local, "GET", path)
        for begun in (
            b"",
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\n",
        ):
            with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
                connection.sendall(begun)
        client = local.client("bedrock")
        assert client.list_foundation_models()["modelSummaries"]
    assert "did not end" not in caplog.text


def test_old_clients_get_a_100_with_its_reason(local: LocalBedrock) -> None:
    """By a status with its reason: botocore before 1.40.19 does not know the 100 without, and sends no body."""
    address = urlsplit(local.endpoint_url)
    with closing(local.client("s3")) as s3:
        url = urlsplit(s3.generate_presigned_url("put_object", Params={"Bucket": local.bucket, "Key": "k"}))
    head = (
        f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 1\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=120) as connection:
        connection.sendall(head.encode())
        with connection.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"
            while answer.readline() != b"\r\n":
                pass
            connection.sendall(b"x")
            assert answer.readline().startswith(b"HTTP/1.1 200")
