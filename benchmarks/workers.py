"""Processes that share series, for the benchmark of a scrape.

    workers.py LIBRARY PLACE COUNTERS HISTOGRAMS HDRS

LIBRARY is vaultscope, and PLACE the arena's file; or it is prometheus_client, and PLACE the directory of its
multiprocess mode, which is chosen at import by the environment. Commands come by standard input, a line each,
and are answered by the same line:

    live N   N workers are forked; each writes to all series, and stays
    dead N   N workers are forked; when all of them have written to all series, they are killed with SIGKILL

A worker is a fork of this process, made before there is any metric, like a server's that declares its own.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple

WRITES = 20  # of each worker to each series
TYPICAL_MS, TYPICAL_NS = 20.0, 200_000.0


class Sizes(NamedTuple):
    """How many series of each kind."""

    counters: int
    histograms: int
    hdrs: int


def durations(typical: float) -> list[float]:
    """As many as a series gets: log-normal, as durations are. They are the same of each worker, so
    that arenas of few and of many differ in nothing but how many there were."""
    draw = random.Random(7).lognormvariate
    return [typical * draw(0.0, 1.0) for _ in range(WRITES)]


def write_vaultscope(place: str, sizes: Sizes) -> object:
    """Declares and writes; returns what must be kept."""
    from vaultscope import Registry

    registry = Registry(arena=place)
    reads = registry.counter("objects.read", "Reads of an object", labels=("object",))
    shards = registry.histogram("objects.duration", "Time of a read", labels=("shard",))
    queries = registry.hdr_histogram("queries.duration", "Time of a query", labels=("table",))
    for number in range(sizes.counters):
        reads.labels(f"object-{number:08d}").inc(WRITES)
    for number in range(sizes.histograms):
        shards.labels(f"shard-{number}").observe_many(durations(TYPICAL_MS))
    for number in range(sizes.hdrs):
        queries.labels(f"table-{number}").record_many([int(value) for value in durations(TYPICAL_NS)])
    return registry


def write_prometheus_client(place: str, sizes: Sizes) -> object:
    """The same; for an HDR histogram its nearest kin, a summary, which keeps a count and a sum."""
    import prometheus_client

    bounds = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
    registry = prometheus_client.CollectorRegistry()
    reads = prometheus_client.Counter("objects_read", "Reads of an object", ["object"], registry=registry)
    shards = prometheus_client.Histogram(
        "objects_duration", "Time of a read", ["shard"], registry=registry, buckets=bounds
    )
    queries = prometheus_client.Summary("queries_duration", "Time of a query", ["table"], registry=registry)
    for number in range(sizes.counters):
        reads.labels(f"object-{number:08d}").inc(WRITES)
    for number in range(sizes.histograms):
        for value in durations(TYPICAL_MS):
            shards.labels(f"shard-{number}").observe(value)
    for number in range(sizes.hdrs):
        for value in durations(TYPICAL_NS):
            queries.labels(f"table-{number}").observe(value)
    return registry


Write = Callable[[str, Sizes], object]


def fork_workers(count: int, write: Write, place: str, sizes: Sizes) -> list[int]:
    """Forks so many at once; returns their pids when all have written."""
    written, written_end = os.pipe()
    life, life_end = os.pipe()  # its writing end closes with this process: then the workers end, too
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(life_end)
            kept = write(place, sizes)
            os.write(written_end, b".")
            os.read(life, 1)
            os._exit(0 if kept else 1)
        pids.append(pid)
    os.close(written_end)
    os.close(life)
    for _ in pids:
        if os.read(written, 1) != b".":
            raise RuntimeError("a worker ended before it had written")
    os.close(written)
    return pids


def main(library: str, place: str, sizes: Sizes) -> None:
    if library == "prometheus_client":
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = place
        write = write_prometheus_client
    else:
        write = write_vaultscope
    __import__(library)  # once, and not in each worker
    for line in sys.stdin:
        order, count = line.split()
        pids = fork_workers(int(count), write, place, sizes)
        for pid in pids if order == "dead" else ():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        print(order, count, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Sizes(*map(int, sys.argv[3:])))
