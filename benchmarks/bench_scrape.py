"""A scrape of an arena whose processes are mostly dead, and what a file costs those who write to it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import prometheus_client
import pytest
from prometheus_client import multiprocess
from race import Call, Race, Sample
from table import Bar, Row, Table, duration
from workers import WRITES, Sizes

from vaultscope import ArenaReader, Registry, Snapshot
from vaultscope.edge import prometheus

LIVE, DEAD = 2, 200
# How many of the dead lived at once: recycled workers, and more than there are stripes, so that some shared.
AT_ONCE = (2, 100)


class Workers:
    """Processes that share series, as workers.py tells."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def order(self, what: str, count: int) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{what} {count}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer == f"{what} {count}\n", "the workers failed; what they said is above"

    def live_and_die(self, dead: int, at_once: int) -> None:
        """Two that stay, beside whom others come, write and are killed."""
        self.order("live", LIVE)
        while dead > 0:
            self.order("dead", min(at_once, dead))
            dead -= at_once


@contextmanager
def workers(library: str, place: Path, sizes: Sizes) -> Iterator[Workers]:
    """A process that forks workers; those that live end with it."""
    script = Path(__file__).with_name("workers.py")
    command = [sys.executable, script, library, place, *map(str, sizes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Workers(process)


def check(snapshot: Snapshot, processes: int, sizes: Sizes) -> None:
    """What all processes wrote is there, that of the dead too."""
    each = processes * WRITES
    assert [series.value for series in snapshot["objects.read"]] == [each] * sizes.counters
    assert [series.count for series in snapshot["objects.duration"]] == [each] * sizes.histograms
    assert [series.hdr.count for series in snapshot["queries.duration"]] == [each] * sizes.hdrs


def timed(reader: ArenaReader) -> tuple[Snapshot, Sample]:
    """One scrape, and how long it took."""
    start = time.thread_time_ns()
    snapshot = reader.snapshot()
    prometheus.render(snapshot)
    took = float(time.thread_time_ns() - start)
    return snapshot, Sample(took, took, took)


def peers(place: Path, sizes: Sizes, dead: int, at_once: int) -> Call:
    """A scrape of prometheus_client's multiprocess mode, from the files that as many processes left."""
    place.mkdir()
    with workers("prometheus_client", place, sizes) as theirs:
        theirs.live_and_die(dead, at_once)
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(place))
    return Call("render(registry)", render=prometheus_client.generate_latest, registry=registry)


def ours(reader: ArenaReader) -> Call:
    return Call("render(reader.snapshot())", render=prometheus.render, reader=reader)


@pytest.mark.parametrize("at_once", AT_ONCE)
def bench_dead(at_once: int, race: Race, table: Table, short: bool, tmp_path: Path) -> None:
    """200 processes are dead and two live, against two that ever were."""
    sizes = Sizes(20, 3, 2) if short else Sizes(1_000, 50, 10)
    dead = 70 if short and at_once > 2 else 6 if short else DEAD
    rivals = {}
    if at_once == 2:  # to them it is the same how many lived at once
        rivals["prometheus_client"] = peers(tmp_path / "multiprocess", sizes, dead, at_once)
    with (
        workers("vaultscope", tmp_path / "many.arena", sizes) as many,
        workers("vaultscope", tmp_path / "two.arena", sizes) as two,
    ):
        two.order("live", LIVE)
        many.live_and_die(dead, at_once)
        reader, reader_of_two = ArenaReader(tmp_path / "many.arena"), ArenaReader(tmp_path / "two.arena")
        snapshot, first = timed(reader)
        check(snapshot, dead + LIVE, sizes)
        check(reader_of_two.snapshot(), LIVE, sizes)
        assert len(reader.processes()) == LIVE
        # The peer leaves nothing in the caches: a turn that is not looked at comes after it, and then each of
        # the two that are compared finds what the other left.
        times = race(ours(reader), rounds=15, **rivals, unseen=ours(reader), two=ours(reader_of_two))
    beside = {f"{LIVE} processes ever": times.rivals["two"], "the first scrape after the deaths": first}
    if rivals:
        beside["prometheus_client multiprocess"] = times.rivals["prometheus_client"]
    lived = "two at a time" if at_once == 2 else f"{at_once} at a time"
    table.add(
        Row(
            f"scrape of {sum(sizes):,} series with {dead} dead processes ({lived}) and {LIVE} live",
            duration(times.ours),
            {name: duration(sample) for name, sample in beside.items()},
            (Bar(f"× {LIVE} processes ever", times.ours.median / times.rivals["two"].median, 1.2),),
            {**asdict(times), "first": asdict(first)},
        )
    )


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Registry]:
    """One whose arena is a file, and one in memory."""
    arena = tmp_path_factory.mktemp("scrape") / "hot.arena"
    return {"file": Registry(arena=arena), "memory": Registry()}


HOT = {
    "counter": "counter.inc()",
    "histogram": "histogram.observe(3.2)",
    "hdr_histogram": "hdr_histogram.record(184_000)",
    "gauge": "gauge.set(3.2)",
}


@pytest.mark.parametrize("kind", HOT)
def bench_file(kind: str, race: Race, table: Table, registries: dict[str, Registry]) -> None:
    """The same call on a metric in a file and on one in memory: the file costs nothing."""
    metrics = {place: getattr(registry, kind)(f"hot.{kind}") for place, registry in registries.items()}
    calls = {place: Call(HOT[kind], **{kind: metric}) for place, metric in metrics.items()}
    rivals = {"memory": calls["memory"]}
    if kind == "gauge":  # the other three have rows of their own, with their peers
        peer = prometheus_client.Gauge("hot", "Hot", registry=prometheus_client.CollectorRegistry())
        rivals["prometheus_client"] = Call(HOT[kind], gauge=peer)
    for call in calls.values():
        call.loop(
            1_000
        )  # a thread's first write takes a stripe, and a page's first one disk space: not what is asked
    times = race(calls["file"], rounds=301, **rivals)
    slower = times.ours.median / times.rivals["memory"].median
    table.add(Row.of_times(f"`{HOT[kind]}` in a file arena", times, Bar("× memory: no slower", slower, 1.1)))
