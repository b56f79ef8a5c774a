"""The metrics page over real sockets on loopback: what it answers, what it refuses, and whom it cuts."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse

import pytest

from vaultscope import Registry
from vaultscope.edge import http
from vaultscope.edge.http import MetricsServer

TIMEOUT = 30.0  # seconds after which a test gives up; no test waits that long


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.counter("cas.put.count", "Puts.").inc(3)
    return registry


@pytest.fixture
def server(registry: Registry) -> Iterator[MetricsServer]:
    with MetricsServer(registry) as server:
        yield server


class Clock:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def ask(
    server: MetricsServer,
    path: str = "/metrics",
    method: str = "GET",
    body: bytes | None = None,
    **headers: str,
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(server.host, server.port, timeout=TIMEOUT)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=named)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def connect(server: MetricsServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=TIMEOUT)


def everything(client: socket.socket) -> bytes:
    """What comes until the other side closes or resets."""
    pieces = []
    try:
        while piece := client.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def test_metrics(server: MetricsServer) -> None:
    """GET /metrics gives the text, its type and its length."""
    response, body = ask(server)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["Content-Length"] == str(len(body))
    assert response.headers["Content-Encoding"] is None
    assert b"\ncas_put_count_total 3\n" in body


def test_query_is_passed_over(server: MetricsServer) -> None:
    """A scrape job's params do not hide the page."""
    assert ask(server, "/metrics?job=vault")[0].status == 200


def test_each_scrape_takes_its_own_snapshot(server: MetricsServer, registry: Registry) -> None:
    """A later scrape shows a later value."""
    ask(server)
    registry.counter("cas.put.count", "Puts.").inc()
    assert b"\ncas_put_count_total 4\n" in ask(server)[1]


def test_head(server: MetricsServer) -> None:
    """HEAD gives what GET would, without the body."""
    get, text = ask(server)
    with connect(server) as client:
        client.sendall(b"HEAD /metrics HTTP/1.1\r\nHost: vault\r\n\r\n")
        answer = everything(client)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")
    head, _ = ask(server, method="HEAD")
    assert head.status == get.status
    assert {**head.headers, "Date": ""} == {**get.headers, "Date": ""}
    assert head.headers["Content-Length"] == str(len(text))


def test_accept(server: MetricsServer) -> None:
    """The Accept header chooses the format."""
    response, body = ask(server, Accept="application/openmetrics-text;version=1.0.0,*/*;q=0.1")
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0;")
    assert body.endswith(b"# EOF\n")


def test_accept_on_several_lines(server: MetricsServer) -> None:
    """Several Accept lines are one list (RFC 9110, 5.3)."""
    with connect(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nAccept: text/plain;q=0.1\r\n")
        client.sendall(b"Accept: application/openmetrics-text\r\n\r\n")
        assert everything(client).endswith(b"# EOF\n")


def test_vary(server: MetricsServer) -> None:
    """Caches are told which headers the answer depends on."""
    assert ask(server)[0].headers["Vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("GZIP;q=0.1, identity;q=0.1", True),
        ("*", True),
        ("*;q=0.5, gzip;q=0", False),
        ("gzip;q=0", False),
        ("identity, gzip;q=0.5", False),
        ("br", False),
        ("", False),
        ("gzip;q=much", False),
    ],
)
def test_gzip(server: MetricsServer, accept_encoding: str, expected: bool) -> None:
    """The text is compressed for a client that takes gzip, and for no other."""
    plain, text = ask(server)
    response, body = ask(server, Accept_Encoding=accept_encoding)
    assert response.headers["Content-Encoding"] == ("gzip" if expected else None)
    assert response.headers["Content-Length"] == str(len(body))
    assert response.headers["Content-Type"] == plain.headers["Content-Type"]
    assert b"\ncas_put_count_total 3\n" in (gzip.decompress(body) if expected else body)
    assert (len(body) < len(text)) is expected


def test_index(server: MetricsServer) -> None:
    """The root is a page that leads to the metrics."""
    response, body = ask(server, "/")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'href="/metrics"' in body


@pytest.mark.parametrize("path", ["/metrics/", "/metric", "/../metrics", "*", "/%6detrics/x"])
def test_anything_else_is_not_found(server: MetricsServer, path: str) -> None:
    """There are two pages; what else is asked for is not repeated in the answer."""
    response, body = ask(server, path)
    assert response.status == 404
    assert body == b"404 Not Found\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/metrics", "/", "/elsewhere"])
def test_other_methods(server: MetricsServer, method: str, path: str) -> None:
    """Nothing can be changed here."""
    response, body = ask(server, path, method, body=b"anything")
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert body == b"405 Method Not Allowed\n"


def test_unwanted_body_is_taken(server: MetricsServer) -> None:
    """A client that goes on sending after its refusal is not reset, which could cost it the answer."""
    size, piece = 32, b"x" * 2**20  # more than the socket buffers of both sides
    with connect(server) as client:
        client.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (size * len(piece)))
        for _ in range(size):
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        assert everything(client).startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"<script>alert(1)</script> / / /\r\n\r\n", b"400 "),
        (b"GET /metrics HTTP/9.9.9\r\n\r\n", b"400 "),
        (b"GET /metrics HTTP/2.0\r\n\r\n", b"505 "),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414 "),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", b"431 "),
        (b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 200 + b"\r\n", b"431 "),
    ],
)
def test_malformed_request(server: MetricsServer, request_bytes: bytes, status: bytes) -> None:
    """What is not HTTP, or is too much of it, gets a plain refusal that repeats nothing of it."""
    with connect(server) as client:
        client.sendall(request_bytes)
        client.shutdown(socket.SHUT_WR)
        answer = everything(client)
    body = answer.split(b"\r\n\r\n")[-1]
    assert body.startswith(status)
    assert len(body) < 50
    assert b"script" not in answer


def test_nothing_about_ourselves(server: MetricsServer) -> None:
    """No answer names a version, ours or Python's."""
    for path in ("/metrics", "/", "/elsewhere"):
        assert ask(server, path)[0].headers["Server"] == "vaultscope"


def test_failure_to_render(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape that fails is answered with 500, counted, and tells the client nothing of the reason."""

    def fail(snapshot: object, accept: str | None = None) -> tuple[bytes, str]:
        raise MemoryError("secret")

    monkeypatch.setattr(http, "render", fail)
    response, body = ask(server)
    assert response.status == 500
    assert body == b"500 Internal Server Error\n"
    assert server.failures == 1
    monkeypatch.undo()
    assert ask(server)[0].status == 200
    assert server.failures == 1


def test_quiet(
    server: MetricsServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is printed, whatever clients do."""
    ask(server)
    ask(server, "/elsewhere")
    monkeypatch.setattr(http, "render", lambda *arguments: 1 / 0)
    ask(server)
    with connect(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close by reset
        client.sendall(b"GET /met")
    server.stop()
    assert capfd.readouterr() == ("", "")


def test_client_that_never_ends_its_request_is_cut(registry: Registry) -> None:
    """Bytes now and then do not buy time: the deadline is the whole request's."""
    clock = Clock()
    with MetricsServer(registry, timeout=10, clock=clock) as server, connect(server) as client:
        client.sendall(b"GET /metrics HT")
        ask(server)  # the server has met the client by now, since it accepts in order
        clock.now = 9.9
        client.sendall(b"TP/1.1\r\nX-Slow: ")
        ask(server)
        clock.now = 10.0
        assert everything(client) == b""


def test_client_that_does_not_take_its_answer_is_cut(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that nobody reads does not hold its thread beyond the deadline."""
    size = 64 * 1024 * 1024  # more than the socket buffers of both sides

    def render(snapshot: object, accept: str | None = None) -> tuple[bytes, str]:
        return bytes(size), "text/plain"

    clock = Clock()
    with MetricsServer(registry, timeout=10, clock=clock) as server, connect(server) as client:
        monkeypatch.setattr(http, "render", render)
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert client.recv(1)  # it has begun to write
        clock.now = 10.0
        ask(server, "/")
        ask(server, "/")  # accepted after the deadlines were looked at
        assert len(everything(client)) < size


def test_time_for_the_answer_begins_with_the_request(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that took its time leaves the answer as much again."""
    clock = Clock()
    with MetricsServer(registry, timeout=10, clock=clock) as server, connect(server) as client:

        def render(snapshot: object, accept: str | None = None) -> tuple[bytes, str]:
            clock.now = 18.9
            ask(server, "/")
            ask(server, "/")  # accepted after the deadlines were looked at
            return b"late", "text/plain"

        ask(server, "/")
        clock.now = 9.0
        monkeypatch.setattr(http, "render", render)
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert everything(client).endswith(b"\r\n\r\nlate")


def test_connection_bound(registry: Registry) -> None:
    """Beyond the bound a client is told 503; beyond twice the bound it is closed on; both are counted."""
    with MetricsServer(registry, max_connections=1) as server, ExitStack() as clients:
        idle = clients.enter_context(connect(server))
        response, body = ask(server)
        assert response.status == 503
        assert body == b"503 Service Unavailable\n"
        assert server.refused == 1
        idle.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert everything(idle).startswith(b"HTTP/1.1 200 OK\r\n")


def test_connection_bound_twice(registry: Registry) -> None:
    """Clients that only connect cannot have more than twice as many threads as may be served."""
    with MetricsServer(registry, max_connections=2) as server, ExitStack() as clients:
        for _ in range(4):
            clients.enter_context(connect(server))
        assert everything(clients.enter_context(connect(server))) == b""
        assert server.refused == 1
        names = [thread.name for thread in threading.enumerate()]
        assert sum("process_request_thread" in name for name in names) <= 4


def test_place_is_free_again(registry: Registry) -> None:
    """A connection that has ended makes room for the next."""
    with MetricsServer(registry, max_connections=1) as server:

        def served() -> bool:
            try:
                return ask(server)[0].status == 200
            except ConnectionError:
                return False

        for _ in range(50):  # each may need some tries, while the threads of those before are closing
            assert any(served() for _ in range(1000))


def test_ipv6(registry: Registry) -> None:
    """An IPv6 address is listened on, and stands in brackets in the URL. A machine without IPv6 says so."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        with pytest.raises(OSError):
            MetricsServer(registry, host="::1").start()
        return
    with MetricsServer(registry, host="::1") as server:
        assert server.url == f"http://[::1]:{server.port}/metrics"
        assert ask(server)[0].status == 200


def test_host_by_name(registry: Registry) -> None:
    """A host may be given by name."""
    with MetricsServer(registry, host="localhost") as server:
        assert server.url == f"http://localhost:{server.port}/metrics"
        assert ask(server)[0].status == 200


def test_port_taken(registry: Registry) -> None:
    """A port that is in use is an OSError, and no thread has been started."""
    with MetricsServer(registry) as first:
        before = threading.active_count()
        second = MetricsServer(registry, port=first.port)
        with pytest.raises(OSError, match=r"[Aa]ddress.* in use"):
            second.start()
        assert threading.active_count() == before
        second.stop()
        assert ask(first)[0].status == 200


def test_stop(registry: Registry) -> None:
    """After stop nobody listens, idle clients are cut, and no thread is left; a second stop does nothing."""
    before = threading.active_count()
    server = MetricsServer(registry)
    server.start()
    port = server.port
    with connect(server) as idle:
        ask(server)
        server.stop()
        assert everything(idle) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    server.stop()
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(TIMEOUT)  # its last lines, after the connection was closed
    assert threading.active_count() == before


def test_start_again(registry: Registry) -> None:
    """A stopped server can be started again; a running one cannot."""
    server = MetricsServer(registry)
    for _ in range(2):
        with server:
            assert ask(server)[0].status == 200
            with pytest.raises(RuntimeError):
                server.start()
