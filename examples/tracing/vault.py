"""Two vaults and one trace: what the first does not have, it asks the second for.

    python examples/tracing/vault.py --name B
    python examples/tracing/vault.py --name A --next http://127.0.0.1:<port that B printed>

    curl -X PUT --data "hello" http://127.0.0.1:<B>/objects      prints the hash
    curl http://127.0.0.1:<A>/objects/<hash>                     A asks B

Each writes its log to <name>.log and the traces that it keeps to <name>.spans. The lines of one request have
the same trace_id in all four files:

    vaultscope trace --last A.spans B.spans                      shows the last request
    vaultscope logs --field trace_id=<trace_id> A.log B.log      what was logged in it
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import threading
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from vaultscope.logging import FileSink, configure, flush, get_logger
from vaultscope.tracing import JsonLinesSpanSink, Tracer, extract, inject

TIMEOUT = 10.0  # seconds, for the next vault to answer
OBJECT_BYTES_MAX = 1 << 20

log = get_logger("vault")
open_url = build_opener(ProxyHandler({})).open  # vaults are reached directly


class Vault:
    """Objects by their hashes, in memory, and the vault that may have the others."""

    def __init__(self, tracer: Tracer, next_vault: str, formats: tuple[str, ...]) -> None:
        self.tracer = tracer
        self.next_vault = next_vault
        self.formats = formats
        self.objects: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        """Stores an object; returns its hash."""
        digest = hashlib.sha256(data).hexdigest()
        with self.tracer.span("cas.put", hash=digest, size=len(data)):
            self.objects[digest] = data
            log.info("Object stored", hash=digest, size=len(data))
        return digest

    def get(self, digest: str) -> bytes | None:
        """An object of this vault, or of the next one. Raises OSError or HTTPException if that fails."""
        with self.tracer.span("cas.get", hash=digest) as span:
            data = self.objects.get(digest)
            span.set(found=data is not None)
        if data is None and self.next_vault:
            return self.fetch(digest)
        return data

    def fetch(self, digest: str) -> bytes | None:
        """Asks the next vault, which is told of the trace."""
        with self.tracer.span("vault.fetch", kind="client", peer=self.next_vault):
            request = Request(f"{self.next_vault}/objects/{digest}")
            inject(request, formats=self.formats, setter=Request.add_header)
            log.info("Asking the next vault", hash=digest)
            try:
                with open_url(request, timeout=TIMEOUT) as response:
                    return response.read()
            except HTTPError as error:
                error.close()
                if error.code != HTTPStatus.NOT_FOUND:
                    raise
                return None  # it has not failed: there is no such object


class Handler(BaseHTTPRequestHandler):
    """GET /objects/<hash> and PUT /objects."""

    server: Server
    timeout = TIMEOUT

    def do_GET(self) -> None:
        """Answers with an object."""
        vault = self.server.vault
        digest = self.path.rpartition("/")[2]
        # Below the caller's span, if there is one: here a trace goes on.
        with vault.tracer.span(
            "http.get", kind="server", parent=extract(self.headers), path=self.path
        ) as span:
            try:
                data = vault.get(digest)
            except (OSError, HTTPException) as error:
                span.error(error)
                log.error("The next vault does not answer", hash=digest, error=error)
                self.answer(HTTPStatus.BAD_GATEWAY)
            else:
                log.info("Object asked for", hash=digest, found=data is not None)
                self.answer(HTTPStatus.NOT_FOUND if data is None else HTTPStatus.OK, data or b"")

    def do_PUT(self) -> None:
        """Stores an object, and answers with its hash."""
        vault = self.server.vault
        with vault.tracer.span("http.put", kind="server", parent=extract(self.headers), path=self.path):
            size = self.headers.get("Content-Length", "")
            if not size.isdecimal() or int(size) > OBJECT_BYTES_MAX:
                self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            else:
                self.answer(HTTPStatus.CREATED, vault.put(self.rfile.read(int(size))).encode())

    def answer(self, status: HTTPStatus, body: bytes = b"") -> None:
        """Sends a response."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the vault has a log of its own."""


class Server(ThreadingHTTPServer):
    """Serves a vault, each request in a thread."""

    daemon_threads = False  # what has begun is answered, and its trace written

    def __init__(self, port: int, vault: Vault) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.vault = vault


def main() -> None:
    """Runs a vault until it is told to end by a signal."""
    parser = argparse.ArgumentParser(description="A vault that traces.")
    parser.add_argument("--name", default="vault")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument(
        "--next", default="", metavar="URL", help="the vault that may have what this one has not"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="the share of traces that is kept")
    parser.add_argument("--formats", default="w3c,memo", help="in which the next vault is told of a trace")
    parser.add_argument("--folder", type=Path, default=Path(), help="for the log and the traces")
    options = parser.parse_args()

    configure(FileSink(options.folder / f"{options.name}.log"), level="info", vault=options.name)
    tracer = Tracer(rate=options.rate)
    tracer.add_sink(JsonLinesSpanSink(options.folder / f"{options.name}.spans", vault=options.name))
    server = Server(options.port, Vault(tracer, options.next.rstrip("/"), tuple(options.formats.split(","))))
    for number in (signal.SIGINT, signal.SIGTERM):
        # From another thread: shutdown() waits for the loop that this signal has interrupted.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{options.name}: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.05)
    server.server_close()  # waits for requests that have begun
    tracer.close()
    flush()


if __name__ == "__main__":
    main()
