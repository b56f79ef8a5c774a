"""`vaultscope serve`: a process of its own shows an arena, whatever becomes of those that count in it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from peer import Peer

from vaultscope import ArenaReader
from vaultscope.edge.prometheus import render

TIMEOUT = 60.0
PROGRAM = [sys.executable, "-c", "from vaultscope.edge.cli import main; main()", "serve"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "VAULTSCOPE_ARENA"},
    "PYTHONUNBUFFERED": "1",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.arena"


@pytest.fixture
def vault(path: Path) -> Iterator[Peer]:
    """A process that counts, with some of each kind and a loss."""
    with Peer(f"r = Registry(arena={str(path)!r})") as peer:
        peer("puts = r.counter('cas.put.count', 'Puts.', labels=('result',)); puts.labels('stored').inc(3)")
        peer("r.gauge('cas.workers', 'Workers.', mode='sum').set(2)")
        peer("r.histogram('cas.put.latency', 'Latency.').observe(5)")
        peer("r.hdr_histogram('cas.get.latency', 'Latency.').record(12345)")
        peer("puts.labels('stored').inc(-1)")
        yield peer


class Serving:
    """A `vaultscope serve` that is up."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.line = process.stdout.readline()
        address = re.search(r"http://\S+/metrics", self.line)
        assert address, self.line
        self.url = address[0]

    def scrape(self) -> str:
        with urlopen(self.url, timeout=TIMEOUT) as answer:
            return str(answer.read().decode())


@contextmanager
def serving(*arguments: object, **environment: str) -> Iterator[Serving]:
    process = subprocess.Popen(
        [*PROGRAM, "--port", "0", *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, env={**ENVIRONMENT, **environment},
    )  # fmt: skip
    guard = threading.Timer(TIMEOUT, process.kill)
    guard.start()
    try:
        yield Serving(process)
    finally:
        guard.cancel()
        process.kill()
        process.communicate()


def fails(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=TIMEOUT, env=ENVIRONMENT,
    )  # fmt: skip


def test_what_is_scraped(path: Path, vault: Peer) -> None:
    """It says what it serves and where; a scrape is the text of an ArenaReader's snapshot, and follows the
    vault."""
    with serving("--arena", path) as server:
        assert server.line.startswith(f"{path} served at http://127.0.0.1:")
        for total in (3, 10):
            text = server.scrape()
            assert text == render(ArenaReader(path).snapshot())[0].decode()
            assert f'\ncas_put_count_total{{result="stored"}} {total}\n' in text
            vault("puts.labels('stored').inc(7)")


def test_it_has_no_part_in_the_arena(path: Path, vault: Peer) -> None:
    """The server is none of the processes that share the arena, and holds no stripe."""
    before = vault("r.snapshot().native.arena()['stripes_held']")
    with serving("--arena", path) as server:
        assert "\nvaultscope_processes 1\n" in server.scrape()
        assert vault("[process.pid for process in r.processes()]") == [vault.pid]
        assert vault("r.snapshot().native.arena()['stripes_held']") == before


def test_promtool_has_no_complaint(path: Path, vault: Peer) -> None:
    """Prometheus's own lint likes the text."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here: apt-get install prometheus")
    with serving("--arena", path) as server:
        text = server.scrape()
    lint = subprocess.run(
        [promtool, "check", "metrics"],
        input=text, capture_output=True, text=True, check=False, timeout=TIMEOUT,
    )  # fmt: skip
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")


def test_the_vault_is_killed(path: Path, vault: Peer) -> None:
    """kill -9 of the vault takes nothing that was counted, only the gauge of its own; the next vault counts
    on."""
    with serving("--arena", path) as server:
        assert "\ncas_workers 2\n" in server.scrape()
        vault.kill()
        text = server.scrape()
        assert '\ncas_put_count_total{result="stored"} 3\n' in text
        assert "\ncas_workers 0\n" in text
        assert "\nvaultscope_processes 0\n" in text
        with Peer(f"r = Registry(arena={str(path)!r})") as again:
            again("r.counter('cas.put.count', 'Puts.', labels=('result',)).labels('stored').inc()")
            assert '\ncas_put_count_total{result="stored"} 4\n' in server.scrape()


def test_the_file_is_replaced(path: Path, vault: Peer) -> None:
    """It goes on with the arena that comes in the file's place; garbage is answered with 500 until then."""
    with serving("--arena", path) as server:
        path.unlink()
        assert "\ncas_workers 2\n" in server.scrape()
        path.write_bytes(b"?" * 5000)
        with pytest.raises(HTTPError, match="500"):
            server.scrape()
        path.unlink()
        with Peer(f"r = Registry(arena={str(path)!r}); r.counter('new').inc(7)"):
            text = server.scrape()
        assert "\nnew_total 7\n" in text
        assert "cas_workers" not in text
        assert server.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped(path: Path, vault: Peer, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C are how it ends: exit status 0, and not a word."""
    with serving("--arena", path) as server:
        server.process.send_signal(number)
        rest, _ = server.process.communicate(timeout=TIMEOUT)
        assert (server.process.returncode, rest) == (0, "")


def test_the_environment_names_the_arena(path: Path, vault: Peer) -> None:
    """Without --arena it is what VAULTSCOPE_ARENA says; even so the server takes no part in it."""
    with serving(VAULTSCOPE_ARENA=str(path)) as server:
        assert server.line.startswith(f"{path} served at ")
        assert "\nvaultscope_processes 1\n" in server.scrape()


def test_another_address(path: Path, vault: Peer) -> None:
    """--host chooses the address."""
    with serving("--arena", path, "--host", "127.0.0.2") as server:
        assert server.url.startswith("http://127.0.0.2:")
        assert "cas_workers" in server.scrape()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_any_name(tmp_path: Path, encoding: str) -> None:
    """A name that is no text, or that the terminal cannot show, is no reason to fail."""
    path = os.path.join(os.fsencode(tmp_path), b"\xff w\xc3\xb6rter")
    arena = os.fsdecode(path)
    with (
        Peer(f"r = Registry(arena={path!r}); r.counter('c').inc()"),
        serving("--arena", arena, PYTHONIOENCODING=encoding) as server,
    ):
        assert "\nc_total 1\n" in server.scrape()
    done = fails("--arena", f"{arena} missing")
    assert done.returncode == 4
    assert "rter missing: cannot be opened" in done.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("--arena", "/dev"), ("--arena", "a", "--port", "65536"), ("--arena", "a", "b")]
)
def test_usage(arguments: tuple[str, ...]) -> None:
    """What is not understood ends with status 2."""
    done = fails(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: ")


def test_a_taken_port(path: Path, vault: Peer) -> None:
    """It names the port and the option that chooses another; exit status 3."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = fails("--arena", path, "--port", port)
    assert done.returncode == 3
    assert f"port {port}" in done.stderr and "--port" in done.stderr


@pytest.mark.parametrize("content", [None, b"", b"?" * 5000])
def test_no_arena(path: Path, content: bytes | None) -> None:
    """No file, an empty one or garbage: one message that names it, and exit status 4. No file is made."""
    if content is not None:
        path.write_bytes(content)
    done = fails("--arena", path, "--port", "0")
    assert (done.returncode, done.stdout) == (4, "")
    assert str(path) in done.stderr and "Traceback" not in done.stderr
    assert (path.read_bytes() if path.exists() else None) == content


def test_help_tells_exit_statuses() -> None:
    """serve --help documents every exit status that the command has."""
    text = fails("--help").stdout
    assert [status for status in "0234" if f"\n    {status}  " in text] == list("0234")
