"""An HTTP server with scripted responses: for what the service does seldom, and Local Bedrock never."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

Answer = tuple[int, dict[str, Any]]  # HTTP status and body; status 0 hangs up
Script = Callable[[dict[str, Any]], Answer]  # from the request's body


class Service:
    """What the server does, and what was asked of it."""

    def __init__(self) -> None:
        self.script: Script = lambda _: (500, {})
        self.route: Callable[[str], Answer] | None = None
        """From the request's path and query; instead of the script."""
        self.requests: list[dict[str, Any]] = []
        self.endpoint_url = ""

    def answers(self, *answers: Answer) -> None:
        """Give these answers, one after the other, and the last one for ever."""
        left = list(answers)
        self.script = lambda _: left.pop(0) if len(left) > 1 else left[0]


def error(status: int, code: str, message: str = "no") -> Answer:
    return status, {"__type": code, "message": message}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    service = Service()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = json.loads(body or b"{}")
            if self.path.startswith("/model/"):
                request["modelId"] = unquote(self.path.split("/")[2])  # which the runtime's requests have in their path
            with lock:
                service.requests.append(request)
            status, answer = service.route(self.path) if service.route else service.script(request)
            if not status:
                self.close_connection = True
                return
            content = json.dumps(answer).encode()
            self.send_response(status)
            if "__type" in answer:
                self.send_header("x-amzn-ErrorType", answer["__type"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the standard library's
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        service.endpoint_url = f"http://127.0.0.1:{server.server_port}"
        extra = {"endpoint_url": service.endpoint_url, "region_name": "us-east-1"}
        connection = {"conn_type": "aws", "login": "id", "password": "a-key", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        yield service
        server.shutdown()
        thread.join()


@pytest.fixture
def refused() -> Callable[..., Answer]:
    """Make an AWS error: HTTP status, code, message."""
    return error
