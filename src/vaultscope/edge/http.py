"""A small HTTP server for one page: the metrics, for Prometheus to scrape.

One request a connection, one thread a connection, and a bound on all that a stranger can ask for:
connections, bytes of header, seconds. A connection has a deadline, which the accepting thread keeps: past it
the socket is shut down, whatever its own thread waits for. (A time limit on each read would not do: a client
that sends a byte now and then could hold its thread for ever.) The server listens on loopback unless told
otherwise, and tells nothing about itself.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import math
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Protocol

from vaultscope.edge.prometheus import render, weighted

if TYPE_CHECKING:
    from vaultscope.core.snapshot import Snapshot

    class Snapshots(Protocol):
        """Where snapshots come from: a Registry, or an ArenaReader."""

        def snapshot(self) -> Snapshot:
            """The values as they stand."""


__all__ = ["MetricsServer"]

log = logging.getLogger("vaultscope.http")
log.addHandler(logging.NullHandler())  # quiet, unless the program sets up logging

_INDEX = b'<!doctype html><title>vaultscope</title><p><a href="/metrics">metrics</a></p>\n'
_GZIP_LEVEL = 1  # metric text repeats itself: the higher levels cost more time than they save bytes


class MetricsServer:
    """Serves a registry's metrics at ``/metrics`` from a background thread; also a context manager.

    Args:
        registry: Whose metrics to serve, a Registry or an ArenaReader; each scrape takes its own snapshot.
        host: The address to listen on, IPv4 or IPv6, or a name.
        port: The port; 0 picks a free one (see `port`).
        max_connections: Connections served at the same time. As many again are told 503; past that they are
            closed unanswered.
        timeout: Seconds for a client to send its request, and once more to take the answer.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        registry: Snapshots,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        max_connections: int = 16,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = registry
        self.host = host
        self.max_connections = max_connections
        self.timeout = timeout
        self.clock = clock
        self.refused = 0
        """Connections told 503 or closed unanswered, since there were too many."""
        self.failures = 0
        """Scrapes answered with 500, since the text could not be made; the reason is in `log`."""
        self._port = port
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port: the real one, once started."""
        return self._port if self._server is None else int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where the metrics are: ``http://127.0.0.1:9464/metrics``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    def start(self) -> None:
        """Listens, and serves until `stop`.

        Raises:
            OSError: The port is taken or the address is not ours; no thread was started.
            RuntimeError: It is running already.
        """
        if self._server is not None:
            raise RuntimeError("the server is running already")
        self._server = _Server(self)
        self._server.thread.start()

    def stop(self) -> None:
        """Stops listening, cuts the open connections, waits for their threads. Does nothing when stopped."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(OSError):  # wakes the accepting thread, else it looks up twice a second
                server.socket.shutdown(socket.SHUT_RDWR)
            server.shutdown()
            server.thread.join()
            server.server_close()

    def __enter__(self) -> MetricsServer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    """Accepts connections, bounds their number and keeps their deadlines."""

    daemon_threads = True  # a client that dawdles does not hold up the interpreter's end
    allow_reuse_port = False  # a port that is taken is an error, not shared

    def __init__(self, owner: MetricsServer) -> None:
        self.owner = owner
        self._changed = threading.Condition()
        # Of every open connection, oldest first; guarded by _changed.
        self._deadlines: dict[socket.socket, float] = {}
        addresses = socket.getaddrinfo(
            owner.host or None, owner.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self.address_family = addresses[0][0]
        super().__init__((owner.host, owner.port), _Handler)
        self.thread = threading.Thread(target=self.serve_forever, name="vaultscope-http", daemon=True)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own would ask the DNS for our name

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a new connection gets a thread, to be served or to be told 503."""
        with self._changed:
            if len(self._deadlines) >= 2 * self.owner.max_connections:
                self.owner.refused += 1
                return False
            self._deadlines[request] = self.owner.clock() + self.owner.timeout
            return True

    def admit(self, request: socket.socket) -> bool:
        """Whether a connection is served, now that its request is here. The time for the answer begins."""
        with self._changed:
            admitted = list(self._deadlines).index(request) < self.owner.max_connections
            self.owner.refused += not admitted
            self._deadlines[request] = self.owner.clock() + self.owner.timeout
            return admitted

    def count_failure(self) -> None:
        with self._changed:
            self.owner.failures += 1

    def service_actions(self) -> None:
        """Cuts the connections that are late; the base class calls it at least twice a second."""
        self._cut(self.owner.clock())

    def _cut(self, now: float) -> None:
        with self._changed:  # so that no descriptor is closed, and given to another connection, meanwhile
            for request in [request for request, deadline in self._deadlines.items() if deadline <= now]:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def close_request(self, request: Any) -> None:
        with self._changed:
            self._deadlines.pop(request, None)
            super().close_request(request)
            self._changed.notify_all()

    def server_close(self) -> None:
        super().server_close()
        self._cut(math.inf)
        with self._changed:
            self._changed.wait_for(lambda: not self._deadlines, self.owner.timeout)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection broke", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self.server.admit(self.connection):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
        elif path == "/metrics":
            self._send_metrics()
        elif path == "/":
            self._send(HTTPStatus.OK, _INDEX, {"Content-Type": "text/html; charset=utf-8"})
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send_metrics(self) -> None:
        try:
            body, content_type = render(self.server.owner.registry.snapshot(), self._header("Accept"))
        except Exception:
            self.server.count_failure()
            log.exception("the metrics could not be rendered")
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if _takes_gzip(self._header("Accept-Encoding")):
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        self._send(HTTPStatus.OK, body, headers)

    def _header(self, name: str) -> str:
        return ", ".join(self.headers.get_all(name, []))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Every refusal, the base class's too: the status in words, and nothing of what the client sent."""
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if code == HTTPStatus.NOT_IMPLEMENTED:  # what the base class says to a method that has no do_ method
            code = HTTPStatus.METHOD_NOT_ALLOWED
            headers["Allow"] = "GET, HEAD"
        status = HTTPStatus(code)
        self._send(status, f"{status.value} {status.phrase}\n".encode(), headers)

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "vaultscope"

    def log_message(self, *line: Any) -> None:
        """A line for every scrape helps nobody."""

    def finish(self) -> None:
        """Reads what the client still sends: closing over unread bytes resets the answer too."""
        super().finish()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(65536):
                pass


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether the client takes gzip, and likes it no less than plain text (RFC 9110, 12.5.3)."""
    try:
        weights = {coding.name: coding.weight for coding in weighted(accept_encoding)}
    except ValueError:
        return False
    taken = weights.get("gzip", weights.get("*", 0.0))
    return taken > 0 and taken >= weights.get("identity", 0.0)
