"""History with a soup in a file: its size, what is read, processes that are killed, and side by side."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from historybook import HOUR, MINUTE, NOON, Clock
from sinks import until

from vaultscope import HdrCounts, Registry
from vaultscope.core.catalogue import Catalogue
from vaultscope.core.collectors import install_default_collectors
from vaultscope.core.history_codec import decode, encode
from vaultscope.history import MetricRecorder, history
from vaultscope.soup import NewObject, SqliteSoup

MONTH = 30 * 24 * 60  # minutes
ROOM = 64 << 20


@pytest.fixture
def soup(tmp_path: Path) -> Iterator[SqliteSoup]:
    opened = SqliteSoup(tmp_path / "a.soup", default_retention=math.inf)
    yield opened
    opened.close()


class Busy:
    """A vault with the memo's catalogue, and Python's own metrics, in which much is done each minute."""

    def __init__(self, soup: SqliteSoup, per_minute: int, **options: object) -> None:
        self.clock = Clock()
        self.random = random.Random(per_minute)
        self.registry = Registry()
        install_default_collectors(self.registry)
        self.vault = Catalogue(self.registry, clock_ns=lambda: self.clock.monotonic)
        self.per_minute = per_minute
        self.puts = HdrCounts()
        self.recorder = MetricRecorder(
            self.registry, soup, clock_ns=lambda: self.clock.wall,
            monotonic_ns=lambda: self.clock.monotonic, **options,
        )  # type: ignore[arg-type]  # fmt: skip
        self.recorder.record()

    def minute(self) -> None:
        vault, rng = self.vault, self.random
        n = round(rng.gauss(self.per_minute, math.sqrt(self.per_minute)))
        durations = (vault.cas_put_duration, 900e3), (vault.cas_get_duration, 60e3), (
            vault.soup_queries_duration, 300e3,
        )  # fmt: skip
        for duration, median in durations:
            for _ in range(n):
                value = int(rng.lognormvariate(math.log(median), 0.5))
                duration.record(value)
                if duration is vault.cas_put_duration:
                    self.puts.record(value)
        for counter in (
            vault.cas_put_count, vault.cas_get_count, vault.soup_queries_count, vault.cas_put_bytes,
            vault.cas_get_bytes, vault.network_bytes_sent, vault.network_bytes_received,
        ):  # fmt: skip
            counter.inc(n * rng.randint(1, 10_000))
        for gauge, most in (
            (vault.storage_used_bytes, 1e12), (vault.storage_available_bytes, 1e12),
            (vault.storage_objects_count, 1e7), (vault.soup_index_size_bytes, 1e8),
            (vault.network_connections_active, 100), (vault.network_peers_connected, 20),
            (vault.replication_objects_pending, 1000),
        ):  # fmt: skip
            gauge.set(rng.randrange(int(most)))
        vault.replication_lag_seconds.set(rng.random() * 3)
        for kind in ("io", "timeout", "corrupt", "not_found"):
            vault.errors_total.labels(kind).inc(rng.randrange(3))
        self.clock.pass_(MINUTE + rng.randrange(5_000_000))
        self.recorder.record()


@pytest.mark.parametrize("per_minute", [0, 600, 3000, 10_000])
def test_a_month_fits(soup: SqliteSoup, per_minute: int) -> None:
    """The memo's catalogue, idle or busy, at an interval a minute takes no more than 64 MiB of soup a month:
    pages of the database, with its rows and indexes, and all."""
    busy = Busy(soup, per_minute)
    minutes = 8 if per_minute > 3000 else 40
    for _ in range(minutes):
        busy.minute()
    intervals = [decode(soup.get(found.address)) for found in soup.query(type="metrics")]
    assert len(intervals) == minutes
    # The same minutes again at other times, so that what an empty file takes counts little.
    for hour in range(1, 1440 // minutes):
        later = (
            replace(each, begin_ns=each.begin_ns + hour * HOUR, end_ns=each.end_ns + hour * HOUR)
            for each in intervals
        )
        soup.put_many(NewObject(encode(each), "metrics", {}, each.end_ns) for each in later)
    stats = soup.stats()
    assert stats.objects >= 1400
    assert stats.bytes / stats.objects * MONTH <= ROOM


def test_p99_of_a_day(soup: SqliteSoup) -> None:
    """The p99 of a day is that of all values of the day, and not a mean of p99s; read from the file."""
    busy = Busy(soup, 50, hdr_bytes_max=None)
    for minute in range(24 * 60 // 10):
        busy.per_minute = 50 if minute % 12 else 500
        busy.minute()
        busy.clock.pass_(9 * MINUTE)
        busy.recorder.record()  # in which nothing was done
    options = {"since": NOON, "until": NOON + 24 * HOUR + MINUTE}
    for quantile in (0.5, 0.99, 0.999):
        found = history(soup, "cas.put.duration", quantile=quantile, step=None, **options)
        assert found.values.tolist() == [busy.puts.quantile(quantile)] and found.error == 0
    hours = history(soup, "cas.put.duration", quantile=0.99, step="1h", **options)
    assert not np.isclose(np.nanmean(hours.values), busy.puts.quantile(0.99), rtol=1e-3)


def test_reading_is_by_type_and_time(soup: SqliteSoup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a soup with days of intervals and other objects, those of the range are read, and no other."""
    busy = Busy(soup, 0)
    for minute in range(600):
        busy.minute()
        soup.put({"minute": minute}, type="log-entry", created_ns=busy.clock.wall)
    reads: list[str] = []
    get = soup.get
    monkeypatch.setattr(soup, "get", lambda address: reads.append(address) or get(address))
    found = history(soup, "cas.put.count", since=NOON + 8 * HOUR, until=NOON + 9 * HOUR, step="1h")
    assert found.values.tolist() == [0.0]
    assert 60 <= len(reads) <= 121


PROGRAM = """
import sys, time
from vaultscope import Registry
from vaultscope.history import MetricRecorder
from vaultscope.soup import SqliteSoup
registry = Registry()
counter = registry.counter("work")
recorder = MetricRecorder(registry, SqliteSoup(sys.argv[1]), every=float(sys.argv[2]), vault=sys.argv[3])
recorder.start()
print("ready", flush=True)
for line in sys.stdin:
    counter.inc(int(line))
    seen = recorder.recorded
    while recorder.recorded < seen + 2 and sys.argv[4:] == ["wait"]:
        time.sleep(0.001)
    print("counted", flush=True)
recorder.close()
"""


def worker(soup: SqliteSoup, every: float, *options: str) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, soup.path, str(every), *(options or ("",))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stdout is not None and started.stdout.readline() == "ready\n"
    return started


def count(process: subprocess.Popen[str], n: int) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{n}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "counted\n"


def total(soup: SqliteSoup, **options: object) -> float:
    found = history(soup, "work", last="1h", step=None, quantile="sum", **options)  # type: ignore[arg-type]
    return float(found.values[0])


def test_a_process_that_is_killed(soup: SqliteSoup) -> None:
    """What was recorded before kill -9 is there, and the next process adds to it; nothing comes twice."""
    for each in (1, 2, 3):
        process = worker(soup, 0.02, "", "wait")
        count(process, 7)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert total(soup) == 7 * each


def test_a_process_that_ends(soup: SqliteSoup) -> None:
    """A process that ends without closing its recorder has recorded all."""
    program = PROGRAM.replace("recorder.close()\n", "")
    assert program != PROGRAM
    subprocess.run([sys.executable, "-c", program, soup.path, "3600", ""], input="7\n", text=True, check=True)
    assert total(soup) == 7


def test_processes_side_by_side(soup: SqliteSoup) -> None:
    """Two processes record into one file at once: their counts are added up, or told apart by vault."""
    one, two = worker(soup, 0.01, "north"), worker(soup, 0.013, "south")
    for _ in range(20):
        count(one, 1)
        count(two, 2)
    for process in (one, two):
        process.communicate()
        assert process.returncode == 0
    assert total(soup) == 60
    assert (total(soup, vault="north"), total(soup, vault="south")) == (20, 40)


def test_a_recorder_in_earnest(soup: SqliteSoup) -> None:
    """A live recorder's history adds up to what was counted, by the real clocks."""
    registry = Registry()
    work = registry.counter("work")
    with MetricRecorder(registry, soup, every=0.05) as recorder:
        for _ in range(5):
            work.inc(10)
            seen = recorder.recorded
            until(lambda seen=seen: recorder.recorded > seen)
    assert total(soup) == 50
    found = history(soup, "work", last="1h", step=None)
    assert found.values[0] * found.covered_seconds[0] == pytest.approx(50)
    assert 0 < found.covered_seconds[0] < 60


def test_a_recorder_costs_little(soup: SqliteSoup) -> None:
    """A snapshot of the busy catalogue, its encoding and its put take far less than a hundredth of a minute
    of a processor."""
    busy = Busy(soup, 3000)
    busy.minute()
    spent = []
    for _ in range(5):
        for _ in range(3000):
            busy.vault.cas_put_duration.record(int(busy.random.lognormvariate(13, 0.5)))
        busy.clock.pass_()
        begin = time.process_time()
        busy.recorder.record()
        spent.append(time.process_time() - begin)
    assert sorted(spent)[2] < 0.6


def test_a_child_of_a_fork(soup: SqliteSoup) -> None:
    """The child of a process that records does not, and its parent's increases are in the soup once."""
    registry = Registry()
    work = registry.counter("work")
    recorder = MetricRecorder(registry, soup, every=3600)
    recorder.start()
    work.inc(5)
    assert recorder.close()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if recorder.close() and recorder.recorded == 1 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert total(soup) == 5
