"""The HTTP server: threads, keep-alive connections, and an end that leaves nothing open."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import ThreadedWSGIServer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None


class Dropped(Exception):  # not an error: a fault asked for it
    """The connection is to be closed without an answer."""


class Server:
    """Serves a WSGI application from a thread of its own.

    :param host: the address to listen on.
    :param port: the port, 0 for any free one.
    :raises OSError: the port is taken.
    """

    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        # Werkzeug would end the process when the port is taken, so it is given a socket that listens already.
        with socket.create_server((host, port), backlog=512) as listening:
            self._server = _ThreadedServer(host, port, application, _Handler, fd=listening.fileno())
        self.port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="local-bedrock-server")

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, let the requests that are being answered end, and close every connection."""
        self._server.shutdown()
        self._thread.join()


class _ThreadedServer(ThreadedWSGIServer):
    daemon_threads = False  # so that closing the server waits for its threads

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args, **kwargs)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close everything, after the answers that are under way."""
        for connection in list(self._open):
            # Threads that wait for another request see its end; the other direction stays open for answers.
            _shut_reading(connection)
        super().server_close()


def _shut_reading(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RD)
    except OSError:
        return  # the client was faster


class _Handler(MotoRequestHandler):
    """Answers requests over connections that stay open; werkzeug's own closes each after one request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def version_string(self) -> str:
        return "LocalBedrock"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: the journal has it."""

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        body = self._read_body(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: ExcInfo = None
        ) -> Any:  # the old `write` callable, which nothing here uses
            begun.append((status, headers))

        try:
            content = _content(self.server.app(environ, start_response))
        except Dropped:
            self.close_connection = True
            return
        self._send(*begun[-1], content)

    def _read_body(self, environ: dict[str, Any]) -> bytes:
        stream: Any = environ["wsgi.input"]
        if environ.get("wsgi.input_terminated"):
            return io.BufferedReader(stream).read()
        body: bytes = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
        return body

    def _send(self, status: str, headers: Iterable[tuple[str, str]], content: bytes) -> None:
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        names = set()
        for name, value in headers:
            names.add(name.lower())
            self.send_header(name, value)
        bodiless = self.command == "HEAD" or code in ("204", "304")
        if "content-length" not in names and not bodiless:
            self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        # Headers and content go out together: one packet for most answers.
        self._headers_buffer.append(b"\r\n")
        head = b"".join(self._headers_buffer)
        self._headers_buffer.clear()
        self.wfile.write(head if bodiless else head + content)


def _content(answer: Iterable[bytes]) -> bytes:
    try:
        return b"".join(answer)
    finally:
        if (close := getattr(answer, "close", None)) is not None:
            close()
