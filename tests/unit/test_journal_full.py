"""A ring that is full: what each policy does, what is kept for errors, and what is told of what was lost."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from logbook import Logbook, parse
from sinks import DEADLINE, Kept, until, value

from vaultscope import BusyError, LimitError, Registry
from vaultscope.edge.prometheus import render
from vaultscope.logging import LEVELS, Journal

SMALL = 1 << 16  # bytes of the smallest ring
THREADS, RECORDS = 16, 10_000


@pytest.fixture
def hanging() -> Iterator[Kept]:
    """A sink that takes nothing until its gate is opened."""
    sink = Kept("hanging")
    sink.gate.clear()
    yield sink
    sink.gate.set()


def flooded(sink: Kept, **options: Any) -> Journal:
    """A journal whose sink hangs with a first record."""
    journal = Journal(Registry(), ring_bytes=SMALL, **options)
    journal.add_sink(sink)
    journal.get_logger().info("first")
    assert sink.waits.wait(DEADLINE)
    return journal


def test_drop(hanging: Kept) -> None:
    """By default a full ring refuses what is new; what it has stays, in order, and all is accounted for."""
    journal = flooded(hanging)
    log = journal.get_logger()
    for i in range(5000):
        log.info("m", turn=i)
    dropped = value(journal.registry, "dropped", level="info")
    assert 3000 < dropped < 5000
    hanging.gate.set()
    assert journal.flush(DEADLINE)
    turns = [record["turn"] for record in hanging.records if "turn" in record]
    assert turns == list(range(5000 - int(dropped)))
    assert value(journal.registry, "records", level="info") == 5001 - dropped


def test_overwrite(hanging: Kept) -> None:
    """Under that policy it forgets what is oldest: the last records are there, the others counted, once."""
    journal = flooded(hanging, policy="overwrite")
    log = journal.get_logger()
    for i in range(5000):
        log.info("m", turn=i)
    overwritten = value(journal.registry, "overwritten", level="info")
    assert value(journal.registry, "dropped", level="info") == 0
    hanging.gate.set()
    assert journal.flush(DEADLINE)
    turns = [record["turn"] for record in hanging.records if "turn" in record]
    assert turns == list(range(int(overwritten), 5000))
    assert 3000 < overwritten < 5000
    assert value(journal.registry, "missed", sink="hanging", level="info") == overwritten


def test_block_waits(hanging: Kept) -> None:
    """Under that policy the caller waits, without the GIL, until there is room."""
    journal = flooded(hanging, policy="block", block_ms=1e6)
    log = journal.get_logger()
    logged = []

    def fill() -> None:
        for i in range(5000):
            log.info("m", turn=i)
            logged.append(i)

    thread = threading.Thread(target=fill)
    thread.start()
    until(lambda: len(logged) > 300)
    hanging.gate.set()
    thread.join(DEADLINE)
    assert journal.flush(DEADLINE)
    assert [record["turn"] for record in hanging.records if "turn" in record] == list(range(5000))
    assert value(journal.registry, "dropped", level="info") == 0


def test_block_waits_for_a_while(hanging: Kept) -> None:
    """It waits no longer than block_ms; then the record is dropped, and counted."""
    journal = flooded(hanging, policy="block", block_ms=1)
    log = journal.get_logger()
    while value(journal.registry, "dropped", level="info") == 0:
        log.info("m")
    began = time.monotonic()
    for _ in range(10):
        log.info("m")
    assert 0.01 <= time.monotonic() - began < 5
    assert value(journal.registry, "dropped", level="info") == 11


def test_without_a_sink_nothing_is_dropped() -> None:
    """Where nobody reads, every policy forgets what is oldest: a first sink finds the last records."""
    for policy in ("drop", "overwrite", "block"):
        journal = Journal(Registry(), policy=policy, ring_bytes=SMALL)
        log = journal.get_logger()
        for i in range(5000):
            log.info("m", turn=i)
        sink = Kept()
        journal.add_sink(sink)
        assert journal.flush(DEADLINE)
        overwritten = value(journal.registry, "overwritten", level="info")
        assert [record["turn"] for record in sink.records if "turn" in record] == list(
            range(int(overwritten), 5000)
        )
        assert value(journal.registry, "dropped", level="info") == 0
        assert journal.close()


def test_room_is_kept_for_errors(hanging: Kept) -> None:
    """However much of lower levels is dropped, there is an eighth of the ring left for errors."""
    journal = flooded(hanging)
    log = journal.get_logger()
    for _ in range(3000):
        log.warn("flood")
    for i in range(40):
        log.log("error" if i % 2 else "fatal", "wanted", turn=i)
    hanging.gate.set()
    assert journal.flush(DEADLINE)
    assert [record["turn"] for record in hanging.records if "turn" in record] == list(range(40))
    assert value(journal.registry, "dropped", level="error") == 0
    assert value(journal.registry, "dropped", level="warn") > 1000


def test_a_flood_is_told_of_once(hanging: Kept) -> None:
    """When it is over, one record says how many were dropped, by level; a second flood has its own."""
    journal = flooded(hanging)
    log = journal.get_logger()
    for turn in range(1, 3):
        for _ in range(3000):
            log.info("flood")
            log.warn("flood")
        dropped = {level: value(journal.registry, "dropped", level=level) for level in ("info", "warn")}
        assert all(dropped.values())
        hanging.gate.set()
        until(lambda turn=turn: len(hanging.own) == turn)
        hanging.gate.clear()
        hanging.waits.clear()
        log.info("next")
        assert hanging.waits.wait(DEADLINE)
    first, second = hanging.own
    assert {record["message"] for record in hanging.own} == {"Log records dropped"}
    assert (first["level"], first["total"]) == ("warn", sum(first["dropped"].values()))
    for level in ("info", "warn"):
        assert first["dropped"][level] + second["dropped"][level] == dropped[level]


def test_dropped_errors_are_told_as_an_error(hanging: Kept) -> None:
    """Where an error was dropped, the record about it is an error."""
    journal = flooded(hanging)
    for _ in range(3000):
        journal.get_logger().error("flood")
    hanging.gate.set()
    until(lambda: hanging.own)
    (told,) = hanging.own
    assert told["level"] == "error"
    assert told["dropped"] == {"error": value(journal.registry, "dropped", level="error")}


def test_drops_are_told_at_a_close(hanging: Kept) -> None:
    """What was dropped before the journal was closed is told before it ends."""
    journal = flooded(hanging)
    for _ in range(3000):
        journal.get_logger().info("flood")
    threading.Timer(0.05, hanging.gate.set).start()
    assert journal.close(DEADLINE)
    (told,) = hanging.own
    assert told["total"] == value(journal.registry, "dropped", level="info")
    assert told["total"] + len(hanging.messages) == 3001


def test_who_lags_misses(hanging: Kept) -> None:
    """A sink that hangs is not waited for once half of the ring is its own: the other gets every record, and
    what this one missed is counted."""
    journal = Journal(Registry(), policy="block", ring_bytes=SMALL, block_ms=1e6)
    kept = Kept()
    journal.add_sink(hanging)
    journal.add_sink(kept)
    log = journal.get_logger()
    for i in range(5000):
        log.info("m", turn=i)
    assert not journal.flush(0)
    until(lambda: len(kept.records) >= 5000)
    assert [record["turn"] for record in kept.records if "turn" in record] == list(range(5000))
    hanging.gate.set()
    assert journal.flush(DEADLINE)
    got = [record["turn"] for record in hanging.records if "turn" in record]
    assert got == sorted(set(got)) and got[-1] == 4999
    missed = 5000 - len(got)
    assert missed > 1000
    until(lambda: value(journal.registry, "missed", sink="hanging", level="info") == missed)
    assert value(journal.registry, "missed", sink="kept", level="info") == 0
    until(lambda: kept.own)
    assert journal.close()
    (told,) = kept.own
    assert (told["message"], told["sink"], told["missed"]) == (
        "Log records missed",
        "hanging",
        {"info": missed},
    )


@pytest.mark.parametrize("policy", ["drop", "overwrite", "block"])
def test_what_is_told_is_not_told_of(policy: str, hanging: Kept) -> None:
    """A record about what was lost makes no further record, though it pushes another one out of a full ring,
    again and again while one sink hangs; and who drains does not wait for himself."""
    journal = Journal(Registry(), policy=policy, ring_bytes=SMALL, block_ms=1e6)
    kept = Kept()
    journal.add_sink(kept)
    journal.add_sink(hanging)
    log = journal.get_logger()
    for _ in range(20):
        for _ in range(200):
            log.info("m")
        until(lambda: kept.records and journal.native.look(journal.native.end())[0] == "end")
    tries = len(kept.tries)
    log.info("last")
    until(lambda: kept.messages[-1] == "last")
    assert len(kept.tries) - tries < 50
    assert len(kept.own) < 50  # some, of real losses; thousands if each made another
    hanging.gate.set()
    assert journal.close()
    assert sum(record["total"] for record in hanging.own if record["message"] == "Log records missed") > 0


def test_a_sink_that_logs_does_not_wait_for_itself() -> None:
    """Where callers wait for room, a sink's own thread does not: it is the one that makes room."""
    journal = Journal(Registry(), policy="block", ring_bytes=SMALL, block_ms=1e6)
    log = journal.get_logger()

    class Chatty(Kept):
        def write(self, lines: bytes, records: Mapping[str, int]) -> None:
            if len(self.batches) < 3:
                for _ in range(3000):
                    log.info("chatter")
            super().write(lines, records)

    sink = Chatty()
    journal.add_sink(sink)
    log.info("m")
    until(lambda: len(sink.batches) >= 3)
    assert journal.close(DEADLINE)
    assert value(journal.registry, "dropped", level="info") > 1000


def test_sixteen_threads_lose_nothing() -> None:
    """Sixteen threads with ten thousand records each, who wait for room: each record is there once."""
    journal = Journal(Registry(), policy="block", ring_bytes=1 << 20, block_ms=1e6)
    sink = Kept()
    journal.add_sink(sink)
    log = journal.get_logger()

    def work(who: int) -> None:
        for i in range(RECORDS):
            log.info("m", who=who, turn=i)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.close(DEADLINE)
    turns: list[list[int]] = [[] for _ in range(THREADS)]
    for record in sink.records:
        turns[record["who"]].append(record["turn"])
    assert turns == [list(range(RECORDS))] * THREADS
    counts = [value(journal.registry, name, level="info") for name in ("records", "dropped", "overwritten")]
    assert counts == [THREADS * RECORDS, 0, 0]
    assert value(journal.registry, "written", sink="kept", level="info") == THREADS * RECORDS


# ---- metrics ----


def test_metrics() -> None:
    """What became of records is in the registry's snapshot, by level, and for each sink; and in what
    Prometheus reads."""
    registry = Registry()
    journal, sink = Journal(registry), Kept("a sink")
    journal.add_sink(sink)
    log = journal.get_logger()
    for level in LEVELS[2:]:
        log.log(level, "m")
    limited = log.limited(1, 1e9)
    for _ in range(3):
        limited.warn("limited")
    assert journal.close()
    metrics = {metric.name for metric in registry.snapshot() if metric.name.startswith("vaultscope.log")}
    names = ["records", "dropped", "overwritten", "killed", "suppressed", "written", "missed", "sink.errors"]
    assert metrics == {f"vaultscope.log.{name}" for name in names}
    assert [value(registry, "records", level=level) for level in LEVELS] == [0, 0, 1, 2, 1, 1]
    assert [value(registry, "written", sink="a sink", level=level) for level in LEVELS] == [0, 0, 1, 2, 1, 1]
    assert value(registry, "suppressed", level="warn") == 2
    text = render(registry.snapshot())[0].decode()
    assert 'vaultscope_log_records_total{level="warn"} 2' in text
    assert 'vaultscope_log_written_total{sink="a sink",level="warn"} 2' in text
    assert 'vaultscope_log_sink_errors_total{sink="a sink"} 0' in text


def test_metrics_of_two_journals() -> None:
    """Journals of one registry count into the same metrics."""
    registry = Registry()
    for _ in range(2):
        Journal(registry).get_logger().info("m")
    assert value(registry, "records", level="info") == 2


def test_the_size_of_the_ring() -> None:
    """VAULTSCOPE_LOG_BYTES says how large a ring is, where the program does not; nonsense is refused."""
    program = """
from vaultscope import DeclarationError, Registry
from vaultscope.logging import Journal
try:
    journal = Journal(Registry())
except DeclarationError as error:
    print("refused", "VAULTSCOPE_LOG_BYTES" in str(error))
else:
    log = journal.get_logger()
    for i in range(200_000):
        log.info("m")
    print(200_000 - journal.registry.snapshot().value("vaultscope.log.overwritten", level="info"))
"""
    said = {}
    for size in ("65536", "100000", "131072", "", "many", "1", "99999999999"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"VAULTSCOPE_LOG_BYTES": size},
            capture_output=True,
            text=True,
            check=True,
        )
        said[size] = done.stdout.strip()
    assert float(said["131072"]) == float(said["100000"]) > 1.9 * float(said["65536"]) > 500
    assert float(said[""]) > 40_000
    assert [said[size] for size in ("many", "1", "99999999999")] == ["refused True"] * 3


# ---- cursors, and the flight recorder ----


def test_a_cursor() -> None:
    """What was taken is given again until it is done; what is dropped is counted; what is closed is over."""
    journal = Journal(Registry())
    log, cursor = journal.get_logger(), journal.native.cursor("c")
    assert cursor.take() is None and not cursor.wait(0)
    log.info("a")
    log.warn("b")
    assert cursor.wait(0)
    first, again = cursor.take(), cursor.take()
    assert first is not None and again is not None
    assert first.lines == again.lines and first.records == {"info": 1, "warn": 1}
    end = journal.native.end()
    assert not cursor.reached(end) and not journal.native.reached(end)
    cursor.done()
    assert cursor.reached(end) and journal.native.reached(end)
    log.error("c")
    assert cursor.take() is not None
    cursor.drop()
    cursor.drop()
    assert cursor.counts() == ({"info": 1, "warn": 1}, {"error": 1})
    with pytest.raises(BusyError):
        journal.native.cursor("c")
    cursor.stop()
    assert cursor.stopped and not cursor.wait(1e9)
    cursor.close()
    cursor.close()
    for method in (cursor.take, cursor.done, cursor.drop, cursor.counts):
        with pytest.raises(ValueError, match="closed"):
            method()
    with pytest.raises(ValueError):
        cursor.wait(0)


def test_a_cursor_takes_in_parts() -> None:
    """A small size is a few records at a time, never less than one."""
    journal = Journal(Registry())
    cursor = journal.native.cursor("c")
    for i in range(100):
        journal.get_logger().info("m", turn=i)
    turns = []
    while (batch := cursor.take(1)) is not None:
        turns.append(parse(batch.lines)["turn"])
        cursor.done()
    assert turns == list(range(100))


def test_eight_cursors() -> None:
    """There is room for eight, and again once one is closed."""
    journal = Journal(Registry())
    cursors = [journal.native.cursor(str(i)) for i in range(8)]
    with pytest.raises(LimitError):
        journal.native.cursor("ninth")
    cursors.pop().close()
    cursors.append(journal.native.cursor("ninth"))
    del cursors[0]
    cursors.append(journal.native.cursor("tenth"))


def test_a_cursor_waits_without_the_gil() -> None:
    """A thread that waits is woken by a record, or by stop(), and holds nobody up meanwhile."""
    journal = Journal(Registry())
    cursor = journal.native.cursor("c")
    found: list[bool] = []
    for wake in (lambda: journal.get_logger().info("m"), cursor.stop):
        thread = threading.Thread(target=lambda: found.append(cursor.wait(1e9)))
        thread.start()
        wake()
        thread.join(DEADLINE)
        cursor.take()
        cursor.done()
    assert found == [True, False]


def look(journal: Journal) -> list[tuple[str, str]]:
    """What the flight recorder has, from the oldest on."""
    seen, position = [], None
    while True:
        state, following, line = journal.native.look(position)
        if state == "end":
            return seen
        seen.append((state, parse(line)["message"] if line else ""))
        position = following


def test_the_flight_recorder() -> None:
    """What was logged can be looked at, drained or not, as long as the ring has it."""
    journal = Journal(Registry(), ring_bytes=SMALL)
    log = journal.get_logger()
    assert look(journal) == []
    log.info("a")
    log.info("b")
    cursor = journal.native.cursor("c")
    cursor.take()
    cursor.done()
    assert look(journal) == [("record", "a"), ("record", "b")]
    assert journal.native.look(journal.native.end()) == ("end", journal.native.end(), b"")
    _, position, _ = journal.native.look()
    for i in range(3000):
        log.info(f"m{i}")
        cursor.take()
        cursor.done()
    state, oldest, line = journal.native.look(position)
    assert (state, line) == ("lost", b"") and oldest > position
    seen = [message for state, message in look(journal) if state == "record"]
    assert seen == [f"m{i}" for i in range(3000 - len(seen), 3000)]
    assert len(seen) > 300


def test_who_looks_at_a_ring_in_motion() -> None:
    """What is read while others write is whole, or lost: a position from far away is no record."""
    book = Logbook(ring_bytes=SMALL)
    log = book.logger()
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            log.info("m" * (turn % 500), turn=turn, size=turn % 500)
            turn += 1

    thread = threading.Thread(target=write)
    thread.start()
    native = book.journal.native
    try:
        for _ in range(3000):
            state, _, line = native.look()
            assert state in ("record", "lost", "void", "writing", "end")
            if state == "record":
                record = parse(line)
                assert len(record["message"]) == record["size"] == record["turn"] % 500
    finally:
        stop.set()
        thread.join()
    for position in (0, 1, 2**63, 2**64 - 1):
        assert native.look(position)[0] in ("lost", "end")


def test_take_drops() -> None:
    """What was lost is told once."""
    book = Logbook(ring_bytes=SMALL)
    for _ in range(3000):
        book.logger().info("m")
    dropped = book.count("dropped")
    assert book.journal.native.take_drops() == {"info": dropped}
    assert book.journal.native.take_drops() == {}
