"""Two vaults in two processes (examples/tracing): one trace over both, and one decision about it."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

DEADLINE = 60.0  # seconds, for anything that is waited for
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
DATA = b"an object"
DIGEST = hashlib.sha256(DATA).hexdigest()


class Vault:
    """The example, running as a process."""

    def __init__(self, project: Path, folder: Path, name: str, *options: str) -> None:
        self.name = name
        self.folder = folder
        self.process = subprocess.Popen(
            [
                sys.executable, project / "examples" / "tracing" / "vault.py",
                "--name", name, "--folder", folder, *options,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().partition(": ")[2].strip()
        assert self.address, f"vault {name} has not begun"

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = HTTPConnection(self.address.removeprefix("http://"), timeout=DEADLINE)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def get(self, digest: str = DIGEST, **headers: str) -> tuple[int, bytes]:
        return self.ask("GET", f"/objects/{digest}", headers=headers)

    def end(self) -> None:
        """Ends it as an operator would; then all is written."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE) == 0

    def lines(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / f"{self.name}.{kind}").read_text().splitlines()]

    @property
    def spans(self) -> list[dict[str, Any]]:
        return self.lines("spans")

    def named(self, name: str) -> dict[str, Any]:
        """The one span of that name."""
        (span,) = (span for span in self.spans if span["name"] == name)
        return span


Start = Callable[..., Vault]


@pytest.fixture
def start(project: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts vaults, which are gone after the test."""
    vaults: list[Vault] = []

    def begin(name: str, *options: str) -> Vault:
        vaults.append(Vault(project, tmp_path, name, *options))
        return vaults[-1]

    yield begin
    for vault in vaults:
        vault.process.kill()
        vault.process.wait(DEADLINE)
        assert vault.process.stdout is not None
        vault.process.stdout.close()


def a_and_b(start: Start, *options: str) -> tuple[Vault, Vault]:
    """A has nothing, and asks B, which has an object."""
    b = start("B", *options)
    a = start("A", "--next", b.address, *options)
    assert b.ask("PUT", "/objects", DATA) == (201, DIGEST.encode())
    return a, b


def test_one_trace(start: Start) -> None:
    """The caller's trace goes on in A and from there in B, each span below the one that called it."""
    a, b = a_and_b(start)
    status, body = a.get(traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="rojo=1,congo=2")
    assert (status, body) == (200, DATA)
    a.end()
    b.end()

    server, got, fetch = (a.named(name) for name in ("http.get", "cas.get", "vault.fetch"))
    assert server["parent_span_id"] == SPAN
    assert got["parent_span_id"] == fetch["parent_span_id"] == server["span_id"]
    below = b.named("http.get")
    assert below["parent_span_id"] == fetch["span_id"]
    assert b.named("cas.get")["parent_span_id"] == below["span_id"]

    spans = [server, got, fetch, below, b.named("cas.get")]
    assert {span["trace_id"] for span in spans} == {TRACE}
    assert len({span["span_id"] for span in spans}) == 5
    assert [span["kind"] for span in spans] == ["server", "internal", "client", "server", "internal"]
    assert {span["status"] for span in spans} == {"ok"}
    assert below["tracestate"] == server["tracestate"] == "rojo=1,congo=2"
    assert b.named("http.put")["trace_id"] != TRACE


def test_logs_have_the_ids(start: Start) -> None:
    """A log line has the ids of the span that it was written in, and the vault's name."""
    a, b = a_and_b(start)
    a.get(traceparent=f"00-{TRACE}-{SPAN}-01")
    a.end()
    b.end()
    lines = [line for vault in (a, b) for line in vault.lines("log") if line.get("trace_id") == TRACE]
    assert [(line["vault"], line["message"], line["span_id"]) for line in lines] == [
        ("A", "Asking the next vault", a.named("vault.fetch")["span_id"]),
        ("A", "Object asked for", a.named("http.get")["span_id"]),
        ("B", "Object asked for", b.named("http.get")["span_id"]),
    ]


@pytest.mark.parametrize("formats", ["w3c,memo", "w3c", "memo", "b3", "b3multi"])
def test_one_decision(start: Start, formats: str) -> None:
    """Both keep the same traces, about as many as the rate says: whether A tells B what it has decided, or,
    by the memo's headers, only which trace it is."""
    a, b = a_and_b(start, "--rate", "0.5", "--formats", formats)
    asked = 300
    for _ in range(asked):
        assert a.get()[0] == 200
    a.end()
    b.end()
    kept = [{span["trace_id"] for span in vault.spans if span["name"] == "http.get"} for vault in (a, b)]
    assert kept[0] == kept[1]
    assert asked * 0.5 - 5 * 75**0.5 < len(kept[0]) < asked * 0.5 + 5 * 75**0.5  # five standard deviations
    client = {span["span_id"]: span["trace_id"] for span in a.spans if span["name"] == "vault.fetch"}
    for span in b.spans:
        if span["name"] == "http.get":
            assert client[span["parent_span_id"]] == span["trace_id"]


def test_the_callers_decision(start: Start) -> None:
    """What the caller has decided, both follow, whatever their rate."""
    a, b = a_and_b(start, "--rate", "0.5")
    for number in range(1, 41):
        a.get(traceparent=f"00-{number:032x}-{SPAN}-0{number % 2}")
    a.end()
    b.end()
    for vault in (a, b):
        kept = {
            int(span["trace_id"], 16) for span in vault.spans if span["parent_span_id"] == SPAN or vault is b
        }
        assert {number for number in kept if number <= 40} == set(range(1, 41, 2))


def test_an_error_is_kept(start: Start) -> None:
    """A trace that failed is kept where it did, though the rate is 0 and the caller keeps none; and what was
    well is not."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        a = start("A", "--next", f"http://127.0.0.1:{taken.getsockname()[1]}", "--rate", "0")
        assert a.get(traceparent=f"00-{TRACE}-{SPAN}-00")[0] == 502
    assert a.ask("PUT", "/objects", DATA)[0] == 201
    assert a.get() == (200, DATA)
    a.end()
    assert {span["trace_id"] for span in a.spans} == {TRACE}
    root = a.named("http.get")
    assert (root["status"], root["reason"], root["parent_span_id"]) == ("error", "error", SPAN)
    assert a.named("vault.fetch")["status"] == "error"
    assert a.named("cas.get")["status"] == "ok"


def test_headers_of_others(start: Start) -> None:
    """Malformed headers begin a trace, and those of other formats go on."""
    a, _ = a_and_b(start)
    a.get(traceparent="00-junk", b3=f"{TRACE}-{SPAN}-1")
    a.get(traceparent="00-junk")
    a.end()
    first, second = (span for span in a.spans if span["name"] == "http.get")
    assert (first["trace_id"], first["parent_span_id"]) == (TRACE, SPAN)
    assert second["parent_span_id"] == ""
    assert second["trace_id"] != TRACE


def test_not_found_is_no_error(start: Start) -> None:
    """An object that nobody has is 404 from both, and no failure of the trace."""
    a, b = a_and_b(start)
    assert a.get("0" * 64) == (404, b"")
    a.end()
    b.end()
    assert {span["status"] for span in (*a.spans, *b.spans)} == {"ok"}
