"""A month of the memo's catalogue in a soup: what it takes, what recording it costs, how long reading takes.

    python benchmarks/history_size.py [minutes]

The catalogue and Python's own metrics, with 600, 3,000 and 10,000 puts, gets and queries a minute whose
latencies are lognormal (sigma 0.5). Times are of the processor; they are medians for snapshots.
"""

from __future__ import annotations

import json
import lzma
import math
import random
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vaultscope import Registry
from vaultscope.core.catalogue import Catalogue
from vaultscope.core.collectors import install_default_collectors
from vaultscope.core.history_codec import decode, encode, numbers, read
from vaultscope.core.history_interval import Interval
from vaultscope.history import MetricRecorder, history
from vaultscope.soup import NewObject, SqliteSoup

MINUTE = 60_000_000_000
MONTH = 30 * 24 * 60
SAMPLES = 16  # minutes that are recorded; the month is made of them


class Minutes:
    """Intervals of a busy vault, and what a recorder spent on each, in seconds."""

    def __init__(self, per_minute: int) -> None:
        self.contents: list[bytes] = []
        self.exact: list[bytes] = []
        self.spent: list[float] = []
        self._random = random.Random(per_minute)
        registry = Registry()
        install_default_collectors(registry)
        self._ns = time.time_ns()
        self._vault = Catalogue(registry, clock_ns=self._clock)
        recorders = [
            MetricRecorder(registry, self, clock_ns=self._clock, monotonic_ns=self._clock, **options)
            for options in ({}, {"hdr_bytes_max": None})
        ]
        for _ in range(SAMPLES + 1):
            for recorder, contents in zip(recorders, (self.contents, self.exact), strict=True):
                self._into = contents
                begin = time.process_time()
                recorder.record()
                if contents is self.contents:
                    self.spent.append(time.process_time() - begin)
            self._work(per_minute)
            self._ns += MINUTE
        del self.spent[0]  # its first snapshot

    def _clock(self) -> int:
        return self._ns

    def put_many(self, objects: Iterator[NewObject]) -> list[str]:
        self._into.extend(each.content for each in objects)
        return []

    def _work(self, per_minute: int) -> None:
        vault, rng = self._vault, self._random
        n = round(rng.gauss(per_minute, math.sqrt(per_minute)))
        for duration, median in (
            (vault.cas_put_duration, 900e3), (vault.cas_get_duration, 60e3),
            (vault.soup_queries_duration, 300e3),
        ):  # fmt: skip
            for _ in range(n):
                duration.record(int(rng.lognormvariate(math.log(median), 0.5)))
        for counter in (
            vault.cas_put_count, vault.cas_get_count, vault.soup_queries_count, vault.cas_put_bytes,
            vault.cas_get_bytes, vault.network_bytes_sent, vault.network_bytes_received,
        ):  # fmt: skip
            counter.inc(n * rng.randint(1, 10_000))
        for gauge in (
            vault.storage_used_bytes, vault.storage_available_bytes, vault.storage_objects_count,
            vault.soup_index_size_bytes, vault.network_connections_active, vault.network_peers_connected,
            vault.replication_objects_pending, vault.replication_lag_seconds,
        ):  # fmt: skip
            gauge.set(rng.randrange(10**9))
        for kind in ("io", "timeout", "corrupt", "not_found"):
            vault.errors_total.labels(kind).inc(rng.randrange(3))


def lists(content: bytes) -> bytes:
    """The same interval as JSON with lists of numbers."""
    document: dict[str, Any] = read(content)
    for metric in document["metrics"]:
        for row in metric[5]:
            row[:] = [numbers(each) if metric[0] == "hdr" and at > 3 else each for at, each in enumerate(row)]
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def packed(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def month(path: Path, intervals: list[Interval], minutes: int) -> SqliteSoup:
    soup = SqliteSoup(path, default_retention=math.inf)
    last = time.time_ns() // MINUTE
    for first in range(0, minutes, 256):
        batch = []
        for minute in range(first, min(first + 256, minutes)):
            end = (last - (minutes - 1 - minute)) * MINUTE + minute * 7919 % 5_000_000
            interval = replace(intervals[minute % SAMPLES], begin_ns=end - MINUTE, end_ns=end)
            batch.append(NewObject(encode(interval), "metrics", {}, end))
        soup.put_many(batch)
    return soup


def main() -> None:
    minutes = int(sys.argv[1]) if len(sys.argv) > 1 else MONTH
    for per_minute in (600, 3000, 10_000):
        made = Minutes(per_minute)
        sizes = {
            "this": made.contents,
            "without a bound": made.exact,
            "lists, deflate 1": [zlib.compress(lists(each), 1) for each in made.contents],
            "lists, LZMA": [packed(lists(each)) for each in made.contents],
        }
        means = ", ".join(f"{name} {statistics.mean(map(len, each)):,.0f}" for name, each in sizes.items())
        print(f"{per_minute:,} a minute: bytes an interval: {means}")
        print(f"  snapshot, encoding: {statistics.median(made.spent) * 1e3:.1f} ms of the processor")
        with tempfile.TemporaryDirectory() as folder:
            soup = month(Path(folder) / "a.soup", [decode(each) for each in made.contents], minutes)
            stats = soup.stats()
            whole = stats.bytes / stats.objects * MONTH / 2**20
            print(f"  {stats.objects:,} in a soup: {stats.bytes / 2**20:.1f} MiB; a month: {whole:.1f} MiB")
            for quantile, last, step in ((0.99, "30d", "6h"), ("rate", "30d", "6h"), (0.99, "24h", "5m")):
                begin = time.process_time()
                history(soup, "cas.put.duration", quantile=quantile, last=last, step=step)
                print(f"  {quantile}, {last} in steps of {step}: {time.process_time() - begin:.2f} s")
            soup.close()


if __name__ == "__main__":
    main()
