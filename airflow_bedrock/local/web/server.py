"""The HTTP server: hypercorn serves HTTP/1.1 and HTTP/2 without TLS on one port, and calls the WSGI application.

AWS's JavaScript SDK speaks HTTP/2 with Bedrock's runtime, from the first byte (prior knowledge); all other clients use
HTTP/1.1. This adds to hypercorn: a request's target as sent, connections that a fault drops, and a loop in a separate
thread that leaves nothing open at its end.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from werkzeug.test import run_wsgi_app

from airflow_bedrock.local.moto import environ_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

log = logging.getLogger(__name__)

_THREADS = 512
"""Maximum number of requests in progress, including those that a fault delays."""

_GRACE_SECONDS = 10.0
"""Seconds for which :meth:`Server.stop` waits for clients that have sent half a request."""

_AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)

_OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding"}
"""Headers that only the server may set."""


class Dropped(Exception):  # not an error: a fault requested it
    """The connection is to be closed without a response."""


class Server:
    """Serves a WSGI application from a separate thread.

    :param host: the address to listen on.
    :param port: the port, 0 for any free one.
    :raises OSError: the port is taken.
    """

    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self._application = application
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="local-bedrock-request")
        self._connections: dict[asyncio.Task[None], WorkerContext] = {}
        self._thread = threading.Thread(target=self._run, name="local-bedrock-server")

    def start(self) -> None:
        """Begin to serve, including the connections that were made since the server was created."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, let the requests in progress end, and close every connection."""
        if self._thread.ident is None:  # it was never started
            self._socket.close()
            self._loop.close()
            return
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())
        self._threads.shutdown()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._serve_connection, sock=self._socket, backlog=512)
        await self._ending.wait()
        server.close()
        for context in [*self._connections.values()]:
            await context.terminated.set()  # idle connections end, the others after their response
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=_GRACE_SECONDS)
            for one in late:
                log.warning("Local Bedrock: a connection did not end, and is closed.")
                one.cancel()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        context = self._connections[task] = WorkerContext(None)
        if self._ending.is_set():
            await context.terminated.set()
        # Head and content of a response are two packets; asyncio sets this only if the socket names its protocol.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        application: Any = ASGIWrapper(partial(self._answer, writer.transport))
        ending: Any = _Reader(reader, context)
        telling: Any = _Writer(writer)
        try:
            await TCPServer(application, self._loop, _config(), context, {}, ending, telling)
        except* Exception:
            log.debug("Local Bedrock: a connection ended because of the client's data", exc_info=True)
        finally:
            del self._connections[task]
            writer.transport.abort()

    async def _answer(
        self,
        transport: asyncio.WriteTransport,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        if scope["type"] != "http":
            transport.abort()
            return
        body, more = bytearray(), True
        while more:
            message: Any = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        gone = asyncio.ensure_future(receive())  # after the body, only the end of the connection can come
        try:
            status, headers, content = await self._loop.run_in_executor(
                self._threads, _call, self._application, _environ(scope, bytes(body))
            )
        except Dropped:
            transport.abort()
            await gone  # hypercorn would answer 500 otherwise
            return
        if gone.done():
            return
        gone.cancel()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})


class _Writer:
    """Adds the reason to status 100, which hypercorn leaves out: botocore 1.39 does not recognise the status without
    it.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def write(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 100 \r\n"):
            data = data.replace(b"100 ", b"100 Continue", 1)
        self._writer.write(data)


class _Reader:
    """Reads what a client sends. The connection ends when the client closes it, not when it has been idle too long."""

    def __init__(self, reader: asyncio.StreamReader, context: WorkerContext) -> None:
        self._reader = reader
        self._context = context
        self._ended = False

    def at_eof(self) -> bool:
        return self._ended

    async def read(self, most: int) -> bytes:
        data = b""
        try:
            data = await self._reader.read(most)
        finally:
            if not data:
                self._ended = True
                await self._context.terminated.set()
        return data


def _config() -> Config:
    config = Config()
    config.errorlog = log
    config.include_server_header = False
    config.h11_max_incomplete_size = 2**16
    config.h11_pass_raw_headers = True
    # Clients keep connections for later, and treat the end of one as an error.
    config.keep_alive_timeout = 3600
    config.keep_alive_max_requests = sys.maxsize
    return config


def _call(application: WSGIApplication, environ: WSGIEnvironment) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return the status, the headers and the content of an application's response."""
    chunks, status, given = run_wsgi_app(application, environ, buffered=True)
    content = b"".join(chunks)
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1", errors="replace"))
        for name, value in given
        if name.lower() not in _OF_THE_CONNECTION
    ]
    bodiless = environ["REQUEST_METHOD"] == "HEAD" or status[:3] in ("204", "304")
    if not (bodiless or any(name == b"content-length" for name, _ in headers)):
        headers.append((b"content-length", str(len(content)).encode()))
    return int(status[:3]), headers, content


def _environ(scope: Any, body: bytes) -> WSGIEnvironment:
    """Return the WSGI environment of a request.

    A target with a host (as sent to a proxy) takes precedence over the header:
    https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
    """
    target: str = scope["raw_path"].decode("latin-1")
    query: str = scope["query_string"].decode("latin-1")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    if matched := _AUTHORITY.match(target):
        target = target[matched.end() :] or "/"
        headers = [("Host", matched[1]), *(one for one in headers if one[0].lower() != "host")]
    return environ_of(scope["method"], target, query, headers, body)
