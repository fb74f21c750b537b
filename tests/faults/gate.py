"""A proxy between a worker and Local Bedrock that loses, delays or replaces what passes it."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CREATE = ("POST", "/model-customization-jobs")
GET = ("GET", "/model-customization-jobs/")
Answer = tuple[int, dict[str, str], bytes]
Rule = Callable[["Exchange"], Answer | None]
"""What happens to a call: an answer to give, or None to lose the connection."""


class Exchange:
    """One call on its way.

    :param forward: sends it to the service and returns its answer.
    """

    def __init__(self, forward: Callable[[], Answer]) -> None:
        self.forward = forward


class Gate:
    """The proxy; a rule applies to the calls of one operation until it is taken away."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._rules: dict[tuple[str, str], Rule] = {}
        self.reached = threading.Event()
        """Set when a call that is held has come as far as it may."""
        self._released = threading.Event()
        self._polls: Counter[str] = Counter()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = gate._decide(self.command, self.path, dict(self.headers), body)
                if answer is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                with contextlib.suppress(ConnectionError):  # the worker may have been killed meanwhile
                    self._send(answer)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _pass

            def _send(self, answer: Answer) -> None:
                status, headers, content = answer
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = headers.get("Content-Length", str(len(content))) if self.command == "HEAD" else len(content)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                """Say nothing; what is lost is lost on purpose."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Say nothing, as above."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Gate:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def rule(self, operation: tuple[str, str], rule: Rule) -> Iterator[None]:
        """Apply a rule to an operation until the block ends."""
        self.reached.clear()
        self._released.clear()
        self._rules[operation] = rule
        try:
            yield
        finally:
            self.open()

    @property
    def polls(self) -> int:
        """How often the same poll of jobs has passed: a task that waits polls again and again."""
        return max(self._polls.values(), default=0)

    def forget_polls(self) -> None:
        """Restart the count of polls."""
        self._polls = Counter()

    def open(self) -> None:
        """Take every rule away, and let go what is held."""
        self._rules.clear()
        self._released.set()

    def hold_before(self, exchange: Exchange) -> Answer | None:
        """Let the call come no further, and lose it."""
        self.reached.set()
        self._released.wait()
        return None

    def hold_after(self, exchange: Exchange) -> Answer | None:
        """Let the service act on the call, and lose its answer."""
        exchange.forward()
        return self.hold_before(exchange)

    def _decide(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        exchange = Exchange(lambda: self._forward(method, path, headers, body))
        for (of_method, prefix), rule in list(self._rules.items()):
            if method == of_method and (path.startswith(prefix) if prefix.endswith("/") else path == prefix):
                return rule(exchange)
        answer = exchange.forward()
        if method == "GET" and path.startswith(CREATE[1]) and answer[0] == http.client.OK:
            self._polls[path] += 1
        return answer

    def _forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=30)
        try:
            connection.request(method, path, body, {name: v for name, v in headers.items() if name != "Connection"})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()


def error(status: int, code: str) -> Answer:
    """Return an answer in the form of the service's errors."""
    return status, {"Content-Type": "application/json", "x-amzn-ErrorType": code}, b'{"message": "Injected."}'


def lost(exchange: Exchange) -> None:
    """Let the service act on the call, and lose its answer at once."""
    exchange.forward()


def failed_after_accept(exchange: Exchange) -> Answer:
    """Let the service act on the call, and answer that it had a fault."""
    exchange.forward()
    return error(500, "InternalServerException")


def once(answer: Answer) -> Rule:
    """Give the answer to the first call, and let the others pass."""
    left = [answer]
    return lambda exchange: left.pop() if left else exchange.forward()


def throttled(exchange: Exchange) -> Answer:
    """Refuse the call for now."""
    return error(429, "ThrottlingException")
