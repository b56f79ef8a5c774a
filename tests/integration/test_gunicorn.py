"""A real gunicorn whose workers share a file arena: killed, recycled, reloaded, the totals do not show it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from vaultscope import ArenaReader

DEADLINE = 60.0  # seconds, for anything that is waited for
WORKERS = 4

APPLICATION = """
import os, time
from vaultscope import Registry
from vaultscope.edge.prometheus import render

registry = Registry(arena=os.environ["APP_ARENA"])
requests = registry.counter("app.requests", labels=("path",))
latency = registry.histogram("app.latency", unit="ms")
meeting = registry.gauge("app.meeting", mode="all")
workers = registry.gauge("app.workers", mode="sum")
mine = registry.gauge("app.mine", mode="all")

def meet(number, count):
    # Returns once as many processes are at this meeting: each serves one request at a time.
    meeting.set(number)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if sum(series.value == number for series in registry.snapshot()["app.meeting"]) == count:
            return
        time.sleep(0.005)

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/metrics":
        body, kind = render(registry.snapshot())
    else:
        workers.set(1)
        mine.set(os.getpid())
        if path.startswith("/meet/"):
            meet(*map(int, path.split("/")[2:]))
        requests.labels(path[:5]).inc()
        latency.observe(5.0)
        body, kind = str(os.getpid()).encode(), "text/plain"
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
"""


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


class Gunicorn:
    """A gunicorn that listens: a request that comes before a worker does waits in the socket's queue."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.arena = str(directory / "app.arena")
        (directory / "application.py").write_text(APPLICATION)
        # Found in the working directory. Older ones have no such socket and pass over the line.
        (directory / "gunicorn.conf.py").write_text("control_socket_disable = True\n")
        self.log = directory / "gunicorn.log"
        self.meetings = 0
        with socket.socket() as listener, self.log.open("wb") as log:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            self.port = listener.getsockname()[1]
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}",
                    "--workers", str(WORKERS), "--log-level", "warning", *options, "application:app",
                ],
                cwd=directory, env={**os.environ, "APP_ARENA": self.arena}, pass_fds=[listener.fileno()],
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def get(self, path: str) -> str:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, self.log.read_text()
            return text
        finally:
            connection.close()

    def meet(self) -> set[int]:
        """The pids of all workers: each answers one of as many requests at once."""
        self.meetings += 1
        with ThreadPoolExecutor(WORKERS) as pool:
            return set(map(int, pool.map(self.get, [f"/meet/{self.meetings}/{WORKERS}"] * WORKERS)))

    def stop(self) -> None:
        guard = threading.Timer(DEADLINE, self.process.kill)
        guard.start()
        self.process.terminate()
        self.process.wait()
        guard.cancel()


@contextmanager
def gunicorn(directory: Path, *options: str) -> Iterator[Gunicorn]:
    server = Gunicorn(directory, *options)
    try:
        yield server
    finally:
        server.stop()


def value(text: str, sample: str) -> float:
    """The value of a sample in Prometheus text."""
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    assert found, f"no {sample} in:\n{text}"
    return float(found[1])


def pids(text: str) -> set[int]:
    """Those whose gauge of their own is shown, each as it was written."""
    found = {
        int(pid): float(shown) for pid, shown in re.findall(r'^app_mine{pid="(\d+)"} (\S+)$', text, re.M)
    }
    assert all(pid == shown for pid, shown in found.items())
    return set(found)


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["each loads", "preload"])
def test_workers(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Whichever worker answers a scrape tells the total of all; a worker that is killed takes its gauges with
    it and nothing else; a reload loses nothing; and when all is over, the file still has the totals."""
    with gunicorn(tmp_path, *options) as server:
        master = {server.process.pid} if options else set()  # it has loaded the application, too
        first = server.meet()
        assert len(first) == WORKERS
        answered = Counter(int(server.get("/")) for _ in range(30))
        assert set(answered) <= first
        reader = ArenaReader(server.arena)

        def agree(requests: int, workers: set[int]) -> None:
            """All scrapes, and who shares the arena, are as they should be."""
            for text in [server.get("/metrics") for _ in range(8)]:
                assert value(text, 'app_requests_total{path="/"}') == requests
                assert value(text, "app_latency_seconds_count") == requests + server.meetings * WORKERS
                assert value(text, "app_workers") == WORKERS
                assert value(text, 'vaultscope_stripes{state="held"}') <= WORKERS + 1
                assert pids(text) == workers
            assert {process.pid for process in reader.processes()} == workers | master

        agree(30, first)

        victim = first.pop()
        os.kill(victim, signal.SIGKILL)
        wait_for("a new worker", lambda: len(processes(reader) - first - master - {victim}) == 1)
        second = server.meet()
        assert second > first
        agree(30, second)

        server.process.send_signal(signal.SIGHUP)
        wait_for("the old workers' end", lambda: not processes(reader) & second)
        wait_for("the new workers", lambda: len(processes(reader) - master) == WORKERS)
        third = server.meet()
        for _ in range(10):
            server.get("/")
        agree(40, third)

    assert reader.processes() == ()
    snapshot = reader.snapshot()
    assert snapshot.value("app.requests", path="/") == 40
    assert snapshot["app.latency"].series().sum == 5.0 * (40 + 3 * WORKERS)
    assert (len(snapshot["app.mine"]), snapshot.value("app.workers")) == (0, 0.0)


def processes(reader: ArenaReader) -> set[int]:
    return {process.pid for process in reader.processes()}


@pytest.mark.parametrize(
    ("options", "requests"),
    [(("--max-requests", "2"), 30), (("--max-requests", "1", "--preload"), 80)],
    ids=["each loads", "preload"],
)
def test_recycled_workers(tmp_path: Path, options: tuple[str, ...], requests: int) -> None:
    """Workers that are replaced all the time, and hardly a scrape: totals are exact, and only the living are
    shown."""
    with gunicorn(tmp_path, *options) as server:
        with ThreadPoolExecutor(WORKERS) as pool:
            answered = Counter(pool.map(server.get, ["/"] * requests))
        assert len(answered) >= requests / int(options[1])
        text = server.get("/metrics")
        reader = ArenaReader(server.arena)
        assert value(text, 'app_requests_total{path="/"}') == requests
        assert value(text, "app_latency_seconds_sum") == pytest.approx(requests * 0.005)
        assert value(text, "vaultscope_processes_refused_total") == 0
        assert value(text, 'vaultscope_stripes{state="held"}') <= 2 * WORKERS
        assert len(reader.processes()) <= 2 * WORKERS
        assert len(pids(text)) <= 2 * WORKERS
    assert reader.processes() == ()
    arena = reader.snapshot().native.arena()
    assert (arena["stripes_held"], arena["unsettled"]) == (0, 0)
    assert reader.snapshot().value("app.requests", path="/") == requests
    assert ArenaReader(server.arena).snapshot()["app.latency"].series().count == requests
