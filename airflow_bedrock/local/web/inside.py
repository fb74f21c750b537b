"""Local Bedrock's calls to itself: boto3's calls, answered by the application in the same thread, without HTTP."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from urllib3 import HTTPResponse
from werkzeug.test import run_wsgi_app

from airflow_bedrock.local.moto import environ_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

INSIDE = "airflow_bedrock.inside"
"""The key that marks such a call in the WSGI environment. No header maps to it, so no other call has it."""

ENDPOINT = "http://127.0.0.1"
"""The endpoint of such a client; nothing is ever sent there."""


def answer_by(client: Any, application: WSGIApplication) -> None:
    """Let an application answer the calls of a boto3 client.

    https://boto3.amazonaws.com/v1/documentation/api/latest/guide/events.html
    """
    client.meta.events.register("before-send", lambda request, **_: _answer(application, request))


def _answer(application: WSGIApplication, request: AWSPreparedRequest) -> AWSResponse:
    chunks, status, given = run_wsgi_app(application, _environ(request), buffered=True)
    content = b"".join(chunks)
    headers: Any = HeadersDict({"Content-Length": str(len(content)), **dict(given.to_wsgi_list())})
    raw = HTTPResponse(io.BytesIO(content), status=int(status[:3]), preload_content=False)
    return AWSResponse(request.url, int(status[:3]), headers, raw)


def _environ(request: AWSPreparedRequest) -> dict[str, Any]:
    parts = urlsplit(request.url)
    given: dict[str, Any] = {"Host": parts.netloc, **dict(request.headers.items())}
    headers = [
        (name, value.decode("latin-1") if isinstance(value, bytes) else str(value)) for name, value in given.items()
    ]
    return {**environ_of(request.method, parts.path, parts.query, headers, _body(request)), INSIDE: True}


def _body(request: AWSPreparedRequest) -> bytes:
    body: Any = request.body
    if hasattr(body, "read"):
        body = body.read()
    return body.encode() if isinstance(body, str) else bytes(body or b"")
