"""A log call: below its level, into the ring while a file sink drains it, and while the disk stalls.

What is timed is the caller: its thread's processor time, or, where calls are timed one by one, what the clock
says. The sink's thread runs on another processor meanwhile; bench_log_native.py says what it costs.
"""

from __future__ import annotations

import io
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from race import Call, Race, Sample, Times
from table import Bar, Row, Table, against_no_op, against_peer, duration

from vaultscope import HdrCounts, HdrHistogram, Registry
from vaultscope.logging import FileSink, Journal, Logger

try:
    import picologging
except ImportError:  # it has no wheel for every Python
    picologging = None

FIELDS = {
    "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "size": 4096,
    "took": 0.25,
}
THREE = "hash=hash, size=size, duration_ms=took"
LAP_NS = 500_000
STALLS, STALL_S, BURST, PAUSE_S = 7, 1.0, 50, 0.0005


# ---- ours, and the peers ----


@contextmanager
def elsewhere() -> Iterator[None]:
    """Threads that are started within run on another processor than this one, if there is another."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    mine = os.sched_getaffinity(0)
    with suppress(OSError):
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - mine)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


@contextmanager
def journal_to(path: str | Path, policy: str = "drop") -> Iterator[Journal]:
    """A journal in memory that is drained to a file."""
    journal = Journal(Registry(), policy=policy)
    with elsewhere():
        journal.add_sink(FileSink(path))
    try:
        yield journal
    finally:
        assert journal.close(60.0), "the sink hangs"


def count(journal: Journal, name: str) -> int:
    """A counter of the journal, all levels together."""
    return int(sum(series.value for series in journal.registry.snapshot()[f"vaultscope.log.{name}"]))


def structlog_to(file: io.BufferedWriter) -> Any:
    """As its documentation has it for speed: a filter, orjson, bytes."""
    return structlog.wrap_logger(
        structlog.BytesLogger(file),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    ).bind()


def picologging_to(handler: Any) -> Any:
    """With a formatter that says what ours says, but not in JSON, which it does not know."""
    logger = picologging.Logger("cas", picologging.INFO)
    handler.setFormatter(picologging.Formatter("%(asctime)s %(levelname)s %(name)s %(thread)d %(message)s"))
    logger.addHandler(handler)
    return logger


@contextmanager
def peers(folder: Path, method: str, *, fields: bool) -> Iterator[dict[str, Call]]:
    """The peers' calls, each to a file of its own."""
    keywords, values, names = (f", {THREE}", ", hash, size, took", FIELDS) if fields else ("", "", {})
    with ExitStack() as stack:
        log = structlog_to(stack.enter_context((folder / "structlog").open("wb")))
        calls = {"structlog": Call(f'log.{method}("Object stored"{keywords})', log=log, **names)}
        if picologging is not None:
            handler = picologging.FileHandler(str(folder / "picologging"))
            stack.callback(handler.close)
            text = "Object stored hash=%s size=%d duration_ms=%f" if fields else "Object stored"
            calls["picologging"] = Call(
                f'log.{method}("{text}"{values})', log=picologging_to(handler), **names
            )
        yield calls


# ---- the call ----


def against_picologging(times: Times, limit: float) -> tuple[Bar, ...]:
    return (against_peer(times, "picologging", limit),) if "picologging" in times.rivals else ()


@pytest.mark.parametrize(("fields", "limit"), [(False, 5), (True, 12)], ids=["no fields", "3 fields"])
def bench_below_level(fields: bool, limit: float, race: Race, table: Table, tmp_path: Path) -> None:
    """A call that logs nothing."""
    keywords, names = (f", {THREE}", FIELDS) if fields else ("", {})
    log = Journal(Registry()).get_logger("cas")
    with peers(tmp_path, "debug", fields=fields) as rivals:
        times = race(Call(f'log.debug("Object stored"{keywords})', log=log, **names), **rivals)
    what = f"`log.debug(...)` below the level, {'3 fields' if fields else 'no fields'}"
    table.add(Row.of_times(what, times, against_no_op(times, limit), *against_picologging(times, 1)))


def bench_info(race: Race, table: Table, tmp_path: Path) -> None:
    """Three fields, each entrant to a file of its own; ours is drained meanwhile, and nothing is dropped."""
    with journal_to(tmp_path / "ours") as journal, peers(tmp_path, "info", fields=True) as rivals:
        call = Call(f'log.info("Object stored", {THREE})', log=journal.get_logger("cas"), **FIELDS)
        # The ring is empty before each lap of ours, which is less than it holds: on a busy machine, too, no
        # call finds it full.
        empty_ring = Call("journal.flush(60.0)", journal=journal)
        times = race(call, lap_ns=LAP_NS, **rivals, empty_ring=empty_ring)
        assert journal.flush(60.0)
        assert count(journal, "dropped") == 0
        records = count(journal, "records")
    assert lines_of(tmp_path / "ours") == records
    del times.rivals["empty_ring"]
    bars = (
        against_no_op(times, 75),
        against_peer(times, "structlog", 20),
        *against_picologging(times, 12),
    )
    table.add(
        Row.of_times("`log.info(...)` with 3 fields, drained to a file by another thread", times, *bars)
    )


def lines_of(path: Path) -> int:
    """How many there are in a file. The last one must be whole."""
    lines, end = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            lines, end = lines + block.count(b"\n"), block[-1:]
    assert end == b"\n"
    return lines


# ---- a disk that stalls ----


@contextmanager
def slow_disk() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A file that is written to as long as a process reads: once that is stopped, and a pipe full, write(2)
    waits."""
    reader, writer = os.pipe()
    try:
        with elsewhere():
            process = subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.DEVNULL)
        os.close(reader)
        yield f"/proc/self/fd/{writer}", process
    finally:
        os.close(writer)
        assert process.wait(60) == 0


def call_for(seconds: float, log: Logger, took: HdrHistogram) -> None:
    """Bursts of calls, some 60,000 a second, each timed by itself."""
    clock, info, record = time.perf_counter_ns, log.info, took.record
    fields = FIELDS
    end = clock() + int(seconds * 1e9)
    while clock() < end:
        for _ in repeat(None, BURST):
            start = clock()
            info("Object stored", hash=fields["hash"], size=fields["size"], duration_ms=fields["took"])
            record(clock() - start)
        time.sleep(PAUSE_S)


def bench_stall(table: Table, short: bool) -> None:
    """Calls while nothing can be written for a second, against calls while all is well, by turns."""
    registry = Registry()
    slices: dict[str, list[HdrCounts]] = {"free": [], "stalled": []}
    losses = dict.fromkeys(slices, 0)
    rounds, seconds = (1, 0.1) if short else (STALLS, STALL_S)
    with slow_disk() as (path, disk), journal_to(path) as journal:
        log = journal.get_logger("cas")
        call_for(seconds / 2, log, registry.hdr_histogram("warm", unit="ns"))
        for number in range(rounds):
            for name, readings in slices.items():
                assert journal.flush(60.0)
                took = registry.hdr_histogram(f"{name}.{number}", unit="ns")
                if name == "stalled":
                    disk.send_signal(signal.SIGSTOP)
                call_for(seconds, log, took)
                if name == "stalled":
                    disk.send_signal(signal.SIGCONT)
                losses[name] += count(journal, "dropped") - sum(losses.values())
                readings.append(took.snapshot())
    assert short or losses["stalled"] > 0, "the ring was never full: that was no stall"
    tails = {name: [float(one.quantile(0.999)) for one in readings] for name, readings in slices.items()}
    ratio = statistics.median(
        stalled / free for stalled, free in zip(tails["stalled"], tails["free"], strict=True)
    )
    samples = {name: Sample.of(values) for name, values in tails.items()}
    table.add(
        Row(
            f"p99.9 of a call while the disk stalls for {seconds:g} s",
            duration(samples["stalled"]),
            {
                "without a stall": duration(samples["free"]),
                "medians": f"{middle(slices['stalled'])} and {middle(slices['free'])}",
                "longest": f"{longest(slices['stalled'])} and {longest(slices['free'])}",
                "dropped and counted": " and ".join(
                    f"{losses[name]:,} of {count_of(slices[name]):,}" for name in ("stalled", "free")
                ),
            },
            (Bar("× p99.9 without a stall", ratio, 2),),
            {name: asdict(sample) for name, sample in samples.items()} | {"dropped": losses},
        )
    )


def middle(readings: list[HdrCounts]) -> str:
    return f"{statistics.median(one.quantile(0.5) for one in readings):,.0f} ns"


def longest(readings: list[HdrCounts]) -> str:
    return f"{max(one.max for one in readings) / 1e3:,.0f} µs"


def count_of(readings: list[HdrCounts]) -> int:
    return sum(one.count for one in readings)


# ---- as fast as it goes ----


def bench_sustained(table: Table, short: bool, tmp_path: Path) -> None:
    """One thread logs as fast as the sink drains. Each record is in the file or counted as dropped."""
    seconds = 0.05 if short else 2.0
    with journal_to(tmp_path / "ours", policy="block") as journal:
        call = Call(f'log.info("Object stored", {THREE})', log=journal.get_logger("cas"), **FIELDS)
        start, calls = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            call.loop(10_000)
            calls += 10_000
        rate = calls / (time.perf_counter() - start)
    records, dropped = count(journal, "records"), count(journal, "dropped")
    own = records + dropped - calls  # the journal's word on what was dropped
    assert 0 <= own <= 1 + dropped
    table.add(
        Row(
            "Python: as fast as one thread logs 3 fields (policy block)",
            f"{rate:,.0f} records a second",
            {"dropped and counted": f"{dropped:,} of {calls:,}"},
            (Bar("unaccounted", records - lines_of(tmp_path / "ours"), 0),),
            {"calls": calls, "dropped": dropped, "records_a_second": rate},
        )
    )
