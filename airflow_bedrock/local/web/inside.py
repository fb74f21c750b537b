"""Calls that Local Bedrock makes to itself: boto3's, answered by the application in the same thread, without HTTP."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from urllib3 import HTTPResponse

from airflow_bedrock.local.moto import environ_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

INSIDE = "airflow_bedrock.inside"
"""The member of the WSGI environment that such a call has. No header becomes it, so nobody else's call does."""

ENDPOINT = "http://127.0.0.1"
"""What such a client is given as its endpoint; nothing is ever sent there."""


def answer_by(client: Any, application: WSGIApplication) -> None:
    """Make an application answer the calls of a boto3 client.

    https://boto3.amazonaws.com/v1/documentation/api/latest/guide/events.html
    """
    client.meta.events.register("before-send", lambda request, **_: _answer(application, request))


def _answer(application: WSGIApplication, request: AWSPreparedRequest) -> AWSResponse:
    begun: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        begun.append((status, headers))

    content = b"".join(application(_environ(request), start_response))
    status, headers = begun[-1]
    told: Any = HeadersDict(headers)
    if "Content-Length" not in told:
        told["Content-Length"] = str(len(content))
    raw = HTTPResponse(io.BytesIO(content), status=int(status[:3]), preload_content=False)
    return AWSResponse(request.url, int(status[:3]), told, raw)


def _environ(request: AWSPreparedRequest) -> dict[str, Any]:
    parts = urlsplit(request.url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    body = _body(request)
    given: dict[str, Any] = dict(request.headers.items())
    headers = {
        name: value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in given.items()
        if name.lower() not in ("transfer-encoding", "content-length")
    }
    return {
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(parts.path, "latin-1"),
        "QUERY_STRING": parts.query,
        "RAW_URI": target,
        "REQUEST_URI": target,
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": parts.netloc,
        **environ_of(headers.items()),
        "CONTENT_LENGTH": str(len(body)),
        INSIDE: True,
    }


def _body(request: AWSPreparedRequest) -> bytes:
    body: Any = request.body
    if hasattr(body, "read"):
        body = body.read()
    return body.encode() if isinstance(body, str) else bytes(body or b"")
