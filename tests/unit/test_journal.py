"""Journals: what sinks get, how they come and go, and how journals end."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sinks import DEADLINE, Kept, sink_threads, until, value

import vaultscope.logging
from vaultscope import BusyError, DeclarationError, LimitError, Registry
from vaultscope.logging import Journal, MemorySink, Sink, default_journal

# ---- writing ----


def test_flush(journal: Journal, kept: Kept) -> None:
    """After flush() a sink has all that was logged before, in order, as lines with their number by level."""
    log = journal.get_logger("a")
    for i in range(1000):
        log.log("warn" if i % 3 else "info", str(i))
    assert journal.flush()
    assert kept.messages == [str(i) for i in range(1000)]
    totals = [
        sum(records.get(level, 0) for _, records in kept.batches) for level in ("info", "warn", "error")
    ]
    assert totals == [334, 666, 0]
    assert all(sum(records.values()) == lines.count(b"\n") for lines, records in kept.batches)


def test_each_sink_gets_all(journal: Journal) -> None:
    """Several sinks get the same records, each in a thread of its own."""
    sinks = [Kept(f"sink {i}") for i in range(4)]
    for sink in sinks:
        journal.add_sink(sink)
    assert journal.sinks == tuple(sinks)
    log = journal.get_logger()
    for i in range(200):
        log.info(str(i))
    assert journal.flush()
    assert all(sink.messages == [str(i) for i in range(200)] for sink in sinks)
    threads = [thread for sink in sinks for thread in sink.threads]
    assert len(threads) == len(set(threads)) == 4
    assert all(thread.daemon for thread in threads)
    assert sorted(thread.name for thread in threads) == [f"vaultscope-log sink {i}" for i in range(4)]


def test_a_sink_that_comes_late(journal: Journal, kept: Kept) -> None:
    """The first sink gets what was logged before there was one; a later one what is still there."""
    late_journal = Journal(Registry())
    late_journal.get_logger().info("early")
    first = Kept("first")
    late_journal.add_sink(first)
    assert late_journal.flush()
    late_journal.get_logger().info("later")
    assert late_journal.flush()
    assert first.messages == ["early", "later"]
    late_journal.close()


def test_nothing_to_flush() -> None:
    """Without sinks, and without records, flush() and close() are true at once."""
    journal = Journal(Registry())
    assert journal.flush(0) and journal.close(0)
    journal.get_logger().info("m")
    assert journal.flush(0) and journal.close(0)


def test_flush_asks_the_sinks(journal: Journal, kept: Kept) -> None:
    """flush() has sinks flush, all of them, and is false where one fails."""
    flushed = []

    class Failing(Kept):
        def flush(self) -> None:
            flushed.append(self.name)
            if self.name == "b":
                raise OSError("no")

    for name in "abc":
        journal.add_sink(Failing(name))
    assert not journal.flush()
    assert sorted(flushed) == ["a", "b", "c"]
    assert value(journal.registry, "sink.errors", sink="b") == 1
    until(lambda: kept.own)
    assert kept.own[0]["error"] == "OSError: no"


def test_what_is_logged_by_many(journal: Journal, kept: Kept) -> None:
    """Records of many threads are all there, those of each in its order."""
    log = journal.get_logger()

    def work(who: int) -> None:
        for i in range(500):
            log.info("m", who=who, turn=i)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert journal.flush()
    for who in range(8):
        assert [r["turn"] for r in kept.records if r["who"] == who] == list(range(500))


# ---- coming and going ----


def test_close(journal: Journal, kept: Kept) -> None:
    """close() writes what is left, closes the sink, in its thread, and ends that; the journal goes on."""
    log = journal.get_logger()
    log.info("before")
    assert journal.close()
    assert (kept.messages, kept.closed, journal.sinks) == (["before"], [True], ())
    assert not any(thread.is_alive() for thread in kept.threads)
    assert journal.close()
    log.info("between")
    again = Kept("again")
    journal.add_sink(again)
    log.info("after")
    assert journal.flush()
    assert again.messages == ["between", "after"]


def test_remove_sink(journal: Journal, kept: Kept) -> None:
    """A sink that is removed gets what was logged before, and no more; the others go on."""
    other = Kept("other")
    journal.add_sink(other)
    log = journal.get_logger()
    log.info("a")
    assert journal.remove_sink(other)
    assert (other.messages, other.closed, journal.sinks) == (["a"], [True], (kept,))
    log.info("b")
    assert journal.flush()
    assert (kept.messages, other.messages) == (["a", "b"], ["a"])
    journal.add_sink(other)
    log.info("c")
    assert journal.flush()
    assert other.messages[-1] == "c"


def test_remove_what_is_not_there(journal: Journal, kept: Kept) -> None:
    """A sink that is not there cannot be removed, though another has its name."""
    for stranger in (Kept("stranger"), Kept("kept")):
        with pytest.raises(DeclarationError):
            journal.remove_sink(stranger)
    assert journal.sinks == (kept,)
    journal.remove_sink(kept)
    with pytest.raises(DeclarationError):
        journal.remove_sink(kept)


def test_one_sink_of_a_name(journal: Journal, kept: Kept) -> None:
    """A second sink of a name is refused, and so is the same one again."""
    for sink in (kept, Kept("kept")):
        with pytest.raises(DeclarationError, match="kept"):
            journal.add_sink(sink)
    journal.get_logger().info("m")
    assert journal.flush()
    assert kept.messages == ["m"]


def test_eight_sinks(journal: Journal) -> None:
    """A journal has at most eight sinks; once one is gone there is room for another."""
    sinks = [Kept(f"sink {i}") for i in range(8)]
    for sink in sinks:
        journal.add_sink(sink)
    for _ in range(3):
        with pytest.raises(LimitError):
            journal.add_sink(Kept("ninth"))
    assert journal.sinks == tuple(sinks)
    journal.remove_sink(sinks[3])
    ninth = Kept("ninth")
    journal.add_sink(ninth)
    journal.get_logger().info("m")
    assert journal.flush()
    assert ninth.messages == ["m"]


@pytest.mark.parametrize("name", ["", "é", "a b", "\n", "x" * 5000, "\ud800", "\0", '"'])
def test_names_of_sinks(name: str, journal: Journal) -> None:
    """A sink may have any text for a name."""
    sink = Kept(name)
    journal.add_sink(sink)
    journal.get_logger().info("m")
    assert journal.flush()
    assert sink.messages == ["m"]
    assert journal.remove_sink(sink)


def test_sinks_that_are_none(journal: Journal) -> None:
    """What has no name is refused, and leaves nothing behind; a sink without write() fails, and says so."""
    for wrong in (object(), print, None):
        with pytest.raises(AttributeError):
            journal.add_sink(wrong)  # type: ignore[arg-type]
    assert journal.sinks == ()
    sink = Sink()
    sink.name = "empty"
    journal.add_sink(sink)
    kept = Kept()
    journal.add_sink(kept)
    journal.get_logger().info("m")
    until(lambda: kept.own)
    assert kept.own[0]["error"].startswith("NotImplementedError")


def test_sinks_come_and_go_while_threads_log(journal: Journal, kept: Kept) -> None:
    """However often sinks come and go meanwhile, the one that stays gets every record once, and to remove one
    does not wait for the others to be silent."""
    log = journal.get_logger()
    stop = threading.Event()
    turns = [0] * 4

    def work(who: int) -> None:
        while not stop.is_set() and turns[who] < 20_000:
            log.info("m", who=who, turn=turns[who])
            turns[who] += 1
            if turns[who] % 100 == 0:
                assert journal.flush(DEADLINE)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for i in range(30):
        sink = Kept(f"guest {i % 3}")
        journal.add_sink(sink)
        assert journal.remove_sink(sink, DEADLINE)
        assert sink.closed == [True]
    stop.set()
    for thread in threads:
        thread.join()
    assert journal.close()
    for who in range(4):
        assert [r["turn"] for r in kept.records if r.get("who") == who] == list(range(turns[who]))


def test_a_sink_is_removed_from_a_flood(journal: Journal, kept: Kept) -> None:
    """To remove or close a sink takes what was logged before, not what comes all the while."""
    guest = Kept("guest")
    journal.add_sink(guest)
    log = journal.get_logger()
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            log.info("m" * 1000)

    threads = [threading.Thread(target=flood) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: guest.tries)
        began = time.monotonic()
        assert journal.remove_sink(guest, DEADLINE)
        assert journal.close(DEADLINE)
        assert time.monotonic() - began < DEADLINE
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    before = value(journal.registry, "dropped", level="info")
    for _ in range(10_000):
        log.info("m" * 1000)  # nobody reads: what is oldest makes room
    assert value(journal.registry, "dropped", level="info") == before


# ---- life ----


def test_a_journal_with_sinks_lives_until_it_is_closed() -> None:
    """A journal that nobody holds still drains; once it is closed it is freed, and its threads end."""
    before = len(sink_threads())
    journal, sink = Journal(Registry()), Kept()
    journal.add_sink(sink)
    log, gone = journal.get_logger(), weakref.ref(journal)
    del journal
    gc.collect()
    log.info("m")
    until(lambda: sink.messages == ["m"])
    there = gone()
    assert there is not None
    there.close()
    del there
    gc.collect()
    assert gone() is None
    assert len(sink_threads()) == before
    log.info("still")


def test_journals_leave_no_threads() -> None:
    """Fifty journals that were opened and closed leave neither threads nor themselves behind."""
    before = len(sink_threads())
    journals = []
    for _ in range(50):
        journal = Journal(Registry(), ring_bytes=1 << 16)
        journal.add_sink(MemorySink())
        journal.get_logger().info("m")
        assert journal.close()
        journals.append(weakref.ref(journal))
    del journal
    gc.collect()
    assert [journal() for journal in journals] == [None] * 50
    assert len(sink_threads()) == before


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "never"},
        {"policy": ""},
        {"ring_bytes": 1},
        {"ring_bytes": (1 << 16) - 1},
        {"ring_bytes": (1 << 30) + 1},
        {"ring_bytes": -1},
        {"ring_bytes": 1.5},
        {"ring_bytes": "1"},
        {"block_ms": 0},
        {"block_ms": -1},
        {"block_ms": float("nan")},
        {"block_ms": 1e7},
    ],
    ids=str,
)
def test_options_that_are_none(options: dict[str, Any]) -> None:
    """A policy, a size or a wait that is none is refused."""
    with pytest.raises(DeclarationError):
        Journal(Registry(), **options)


# ---- the default journal ----


@pytest.fixture
def default() -> Iterator[Journal]:
    """The default journal, without sinks before and after."""
    journal = default_journal()
    journal.close()
    yield journal
    journal.close()


def test_the_default_journal(default: Journal) -> None:
    """There is one, of the default registry, and the functions of vaultscope.logging are its own."""
    assert default is default_journal()
    sink = Kept("default")
    vaultscope.logging.add_sink(sink)
    vaultscope.logging.get_logger("a").info("m")
    assert vaultscope.logging.flush()
    assert sink.messages[-1] == "m"
    assert vaultscope.logging.get_logger("a") is default.get_logger("a")
    assert vaultscope.logging.remove_sink(sink) is True
    assert default.sinks == ()


def test_configure(default: Journal) -> None:
    """configure() puts its sinks in the place of those there are, keeps those that are named again, and all
    of them where it names none."""
    one, two = Kept("one"), Kept("two")
    vaultscope.logging.configure(one, vault="soup")
    try:
        log = vaultscope.logging.get_logger()
        log.info("a")
        vaultscope.logging.configure(one, two)
        log.info("b")
        vaultscope.logging.configure(two)
        log.info("c")
        vaultscope.logging.configure(level="info")
        assert default.sinks == (two,)
        assert vaultscope.logging.flush()
        assert one.messages[-2:] == ["a", "b"] and one.closed == [True]
        assert two.messages[-2:] == ["b", "c"]
        assert two.records[-1]["vault"] == "soup"
        with pytest.raises(DeclarationError):
            vaultscope.logging.configure(Kept("three"), level="loud")
        assert default.sinks == (two,)
    finally:
        vaultscope.logging.set_vault("")


# ---- an arena in a file ----


def test_two_journals_of_one_file(tmp_path: Any) -> None:
    """Journals over one arena in a file share a ring: a sink of either gets the records of both."""
    registry = Registry(arena=tmp_path / "a.arena")
    one, two = Journal(registry), Journal(registry)
    sink = Kept()
    one.add_sink(sink)
    one.get_logger("one").info("a")
    two.get_logger("two").info("b")
    assert two.flush()
    assert sink.messages == ["a", "b"]
    with pytest.raises(BusyError):
        two.native.cursor("kept")
    other = Kept("other")
    two.add_sink(other)
    one.get_logger("one").info("c")
    assert one.flush()
    assert (sink.messages[-1], other.messages[-1]) == ("c", "c")
    assert one.close() and two.close()


def test_a_place_that_becomes_free(tmp_path: Any) -> None:
    """A sink whose name is in use waits for its place, and goes on where the other one was."""
    registry = Registry(arena=tmp_path / "a.arena")
    one, two = Journal(registry), Journal(registry)
    first, second = Kept("same"), Kept("same")
    one.add_sink(first)
    two.add_sink(second)
    log = one.get_logger()
    log.info("a")
    assert one.flush()
    assert one.close()
    log.info("b")
    until(lambda: second.messages == ["b"])
    assert two.close()
    assert first.messages == ["a"] and second.closed == [True]


def test_a_place_that_does_not_become_free(tmp_path: Any) -> None:
    """A sink that never got its place is closed in time."""
    registry = Registry(arena=tmp_path / "a.arena")
    one, two = Journal(registry), Journal(registry)
    first, second = Kept("same"), Kept("same")
    one.add_sink(first)
    two.add_sink(second)
    two.get_logger().info("m")
    assert two.close()
    assert (second.messages, second.closed) == ([], [True])
    assert one.close()
    assert first.messages == ["m"]


def test_what_is_left_in_a_file(tmp_path: Any) -> None:
    """What a sink could not write stays in the arena's file; the next one of its name gets it, once."""
    registry = Registry(arena=tmp_path / "a.arena")
    journal, failing = Journal(registry), Kept("same")
    failing.error = OSError()
    journal.add_sink(failing)
    for i in range(20):
        journal.get_logger().info(str(i))
    until(lambda: failing.tries)
    assert not journal.close(0.05)
    assert value(registry, "missed", sink="same", level="info") == 0
    working = Kept("same")
    journal.add_sink(working)
    assert journal.flush()
    assert working.messages == [str(i) for i in range(20)]
    assert journal.close()
