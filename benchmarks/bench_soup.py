"""The soup in a file: puts, gets, queries and gc, beside plain `sqlite3` with the same bytes and indexes.

What is timed is the caller's processor time, which is the part that vaultscope can waste; the disk's is the
same for both. What waits for a gc is timed by the clock.
"""

from __future__ import annotations

import gc
import hashlib
import os
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from race import Sample
from table import Bar, Row, Table, duration

from vaultscope import Registry
from vaultscope.core.json_codec import canonical
from vaultscope.soup import NewObject, SqliteSoup

ROUNDS, BATCH = 15, 1000
START_NS, STEP_NS = 1_769_860_800_000_000_000, 1_000_000
LEVELS = ("debug", "info", "info", "info", "warn", "error")


def record(number: int) -> NewObject:
    """A log record of some 250 bytes."""
    level = LEVELS[number % len(LEVELS)]
    content = canonical(
        {
            "time": START_NS + number * STEP_NS,
            "level": level,
            "logger": "cas",
            "message": "Object stored",
            "hash": hashlib.sha256(b"%d" % number).hexdigest(),
            "size": number % 65536,
            "trace_id": f"{number // 8:032x}",
        }
    )
    attributes = {"level": level, "logger": "cas", "trace_id": f"{number // 8:032x}"}
    return NewObject(content, "log-entry", attributes, START_NS + number * STEP_NS)


@contextmanager
def soup_in(path: Path) -> Iterator[SqliteSoup]:
    with closing(SqliteSoup(path, max_bytes=8 << 30, registry=Registry())) as soup:
        yield soup


PlainRow = tuple[bytes, str, "int | None", "int | None", bytes]


@contextmanager
def plain_in(path: Path) -> Iterator[sqlite3.Connection]:
    """The floor: one table with the same four indexes, and the same journal; no attributes, no budget, no
    compression, and addresses that somebody else has computed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.executescript(
            "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "CREATE TABLE objects (id INTEGER PRIMARY KEY, address BLOB NOT NULL UNIQUE, type TEXT NOT NULL,"
            " created_ns INTEGER NOT NULL, expires_ns INTEGER, content BLOB NOT NULL);"
            "CREATE INDEX by_type ON objects (type, created_ns);"
            "CREATE INDEX by_created ON objects (created_ns);"
            "CREATE INDEX by_expiry ON objects (expires_ns) WHERE expires_ns IS NOT NULL;"
        )
        yield plain


def insert(plain: sqlite3.Connection, rows: list[PlainRow]) -> None:
    plain.execute("BEGIN IMMEDIATE")
    plain.executemany(
        "INSERT INTO objects (address, type, created_ns, expires_ns, content) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (address) DO NOTHING",
        rows,
    )
    plain.execute("COMMIT")


def plain_rows(objects: list[NewObject]) -> list[PlainRow]:
    return [
        (
            hashlib.sha256(each.content).digest(),
            each.type,
            each.created_ns,
            (each.created_ns or 0) + 30 * 86_400_000_000_000,
            each.content,
        )
        for each in objects
    ]


def timed(function: Callable[[], object], calls: int) -> float:
    """Nanoseconds of this thread's processor time, a call."""
    start = time.thread_time_ns()
    function()
    return (time.thread_time_ns() - start) / calls


def row_of(what: str, times: dict[str, list[float]], limit: float | None, **beside: str) -> Row:
    """Ours beside plain sqlite3, in turns; their ratio is that of the rounds' median."""
    ours, plain = times["ours"], times["plain"]
    ratio = statistics.median(mine / floor for mine, floor in zip(ours, plain, strict=True))
    samples = {name: Sample.of(values) for name, values in times.items()}
    return Row(
        what,
        duration(samples["ours"]),
        {"plain sqlite3": duration(samples["plain"]), **beside},
        () if limit is None else (Bar("× plain sqlite3", ratio, limit),),
        {name: asdict(sample) for name, sample in samples.items()},
    )


def a_second(times: list[float]) -> str:
    return f"{1e9 / statistics.median(times):,.0f} a second"


@pytest.mark.parametrize("batch", [BATCH, 1], ids=["batches", "single"])
def bench_put(batch: int, table: Table, short: bool, tmp_path: Path) -> None:
    """Log records with three attributes, put in batches of 1,000, and one by one."""
    rounds, calls = (2, 50) if short else (ROUNDS, BATCH)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    with soup_in(tmp_path / "ours") as soup, plain_in(tmp_path / "plain") as plain:
        for number in range(rounds + 1):
            objects = [record(number * calls + each) for each in range(calls)]
            parts = [objects[start : start + batch] for start in range(0, calls, batch)]
            floor = [plain_rows(part) for part in parts]
            gc.collect()
            ours = timed(lambda parts=parts: [soup.put_many(part) for part in parts], calls)
            least = timed(lambda floor=floor: [insert(plain, rows) for rows in floor], calls)
            if number:  # the first one is to warm up
                times["ours"].append(ours)
                times["plain"].append(least)
        assert soup.count() == plain.execute("SELECT count(*) FROM objects").fetchone()[0]
    what = f"a put of a log record, {'1,000 in a batch' if batch > 1 else 'one by one'}"
    table.add(row_of(what, times, 2, **{"which is": a_second(times["ours"])}))


def bench_get(table: Table, short: bool, tmp_path: Path) -> None:
    """A get, which hashes what it has read, beside a SELECT."""
    rounds, count = (2, 100) if short else (ROUNDS, 5000)
    objects = [record(number) for number in range(count)]
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    with soup_in(tmp_path / "ours") as soup, plain_in(tmp_path / "plain") as plain:
        addresses = soup.put_many(objects)
        raw = [row[0] for row in plain_rows(objects)]
        insert(plain, plain_rows(objects))
        select = "SELECT content FROM objects WHERE address = ?"
        for _ in range(rounds):
            times["ours"].append(timed(lambda: [soup.get(each) for each in addresses], count))
            times["plain"].append(
                timed(lambda: [plain.execute(select, [each]).fetchall() for each in raw], count)
            )
    table.add(row_of("a get, verified", times, None))


def bench_query(table: Table, short: bool, long: bool, tmp_path: Path) -> None:
    """100 objects of a type in a range of time, from the middle of ever larger soups."""
    sizes = [100, 1000] if short else [10_000, 100_000, *([1_000_000] if long else [])]
    samples: dict[int, Sample] = {}
    medians: dict[int, float] = {}
    for size in sizes:
        with soup_in(tmp_path / f"{size}") as soup:
            for start in range(0, size, BATCH):
                soup.put_many(record(number) for number in range(start, min(start + BATCH, size)))
            middle = START_NS + size // 2 * STEP_NS

            def ask(soup: SqliteSoup = soup, middle: int = middle) -> int:
                return sum(1 for _ in soup.query(type="log-entry", since=middle, limit=100))

            assert ask() == min(100, size // 2)
            times = [timed(ask, 1) for _ in range(5 if short else 101)]
            samples[size], medians[size] = Sample.of(times), statistics.median(times)
    table.add(
        Row(
            f"a query of 100 objects by type and time, in a soup of {sizes[-1]:,}",
            duration(samples[sizes[-1]]),
            {f"in one of {size:,}": duration(samples[size]) for size in sizes[:-1]},
            (Bar(f"× in one of {sizes[0]:,}", medians[sizes[-1]] / medians[sizes[0]], 1.5),),
            {str(size): asdict(sample) for size, sample in samples.items()},
        )
    )


def bench_gc(table: Table, short: bool, tmp_path: Path) -> None:
    """A gc of all there is, beside one DELETE, while another thread puts."""
    count = 1000 if short else 50_000
    objects = [record(number) for number in range(count)]
    waits: dict[str, list[float]] = {"before": [], "meanwhile": []}
    with soup_in(tmp_path / "ours") as soup, plain_in(tmp_path / "plain") as plain:
        for start in range(0, count, BATCH):
            soup.put_many(
                NewObject(each.content, each.type, each.attributes, each.created_ns, 0)
                for each in objects[start : start + BATCH]
            )
            insert(plain, plain_rows(objects[start : start + BATCH]))
        with putting(soup, waits["before"]):
            time.sleep(0.05 if short else 2.0)
        start_ns = time.perf_counter_ns()
        with putting(soup, waits["meanwhile"]):
            report = soup.gc()
        took = (time.perf_counter_ns() - start_ns) / 1e9
        floor = timed(lambda: plain.execute("DELETE FROM objects"), 1) / 1e9
    assert report.expired == count and report.complete
    longest = {name: max(times, default=0.0) * 1e3 for name, times in waits.items()}
    table.add(
        Row(
            f"gc of {count:,} expired objects, while another thread puts",
            f"{count / took:,.0f} objects a second",
            {
                "plain sqlite3, one DELETE that all wait for": f"{floor * 1e3:,.0f} ms",
                "median put": " and ".join(
                    f"{statistics.median(times) * 1e3:.2f} ms {name}"
                    for name, times in waits.items()
                    if times
                ),
                "longest put before": f"{longest['before']:.1f} ms of {len(waits['before']):,}",
                "puts meanwhile": f"{len(waits['meanwhile']):,}",
            },
            (Bar("ms: the longest put meanwhile", longest["meanwhile"], 50),),
            {"objects_a_second": count / took, "longest_ms": longest},
        )
    )


@contextmanager
def putting(soup: SqliteSoup, waits: list[float]) -> Iterator[None]:
    """Puts all the time, and says how many seconds each took."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            start = time.perf_counter()
            soup.put(os.urandom(100), type="other")
            waits.append(time.perf_counter() - start)
            stop.wait(0.001)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
