"""The recorder: when it looks, what it puts, and what becomes of it when the soup fails."""

from __future__ import annotations

import os
import threading

import pytest
from historybook import HOUR, MINUTE, NOON, SECOND, Clock, MemorySoup, recorder
from sinks import until

from vaultscope import ArenaReader, DeclarationError, Registry
from vaultscope.core.history_interval import Interval
from vaultscope.edge import history_recorder
from vaultscope.errors import StorageError
from vaultscope.history import MetricRecorder


def value(interval: Interval, name: str) -> float | None:
    """What the only series of a metric grew by; None: it did not."""
    series = next(metric.series for metric in interval.metrics if metric.shape.name == name)
    return series[0].value if series else None


def test_an_interval() -> None:
    """An interval says when it was, how long, of which process and vault, and what grew in it, only."""
    registry, soup, clock = Registry(), MemorySoup(), Clock()
    counter = registry.counter("a")
    counter.inc(100)
    made = recorder(registry, soup, clock, vault="north")
    counter.inc(7)
    clock.pass_()
    assert made.record()
    (interval,) = soup.intervals
    assert (interval.begin_ns, interval.end_ns, interval.elapsed_ns) == (NOON, NOON + MINUTE, MINUTE)
    assert (interval.pid, interval.started_ns, interval.vault) == (os.getpid(), NOON, "north")
    assert value(interval, "a") == 7
    (found,) = (each for each, _ in soup.objects.values())
    assert (found.type, found.created_ns, dict(found.attributes)) == (
        "metrics", NOON + MINUTE, {"vault": "north"},
    )  # fmt: skip


def test_intervals_follow_each_other() -> None:
    """The next interval begins where the last one ended."""
    registry, soup, clock = Registry(), MemorySoup(), Clock()
    made = recorder(registry, soup, clock)
    for _ in range(3):
        clock.pass_(MINUTE + 3)
        made.record()
    ends = [NOON, *(each.end_ns for each in soup.intervals)]
    assert [each.begin_ns for each in soup.intervals] == ends[:-1]


@pytest.mark.parametrize(
    "now, wanted",
    [
        (NOON, 60.0),
        (NOON + SECOND, 59.0),
        (NOON + 30 * SECOND, 30.0),
        (NOON - SECOND, 61.0),  # woken early: the interval of noon is done
        (NOON - 5 * SECOND, 5.0),
    ],
)
def test_aligned_to_the_clock(now: int, wanted: float) -> None:
    """It looks at full minutes, and not twice at the same one."""
    clock = Clock(now)
    made = recorder(Registry(), MemorySoup(), clock)
    assert made._seconds_left() == wanted


def test_a_soup_that_fails() -> None:
    """What could not be put is counted, and comes with the next, interval by interval; nothing is lost."""
    registry, soup, clock = Registry(), MemorySoup(), Clock()
    counter = registry.counter("a")
    made = recorder(registry, soup, clock)
    soup.error = StorageError("the disk is full")
    for n in (1, 2):
        counter.inc(n)
        clock.pass_()
        assert not made.record()
    soup.error = None
    counter.inc(3)
    clock.pass_()
    assert made.record()
    assert [value(each, "a") for each in soup.intervals] == [1, 2, 3]
    assert (made.recorded, made.failed, made.lost) == (3, 2, 0)
    snapshot = registry.snapshot()
    assert snapshot.value("vaultscope.history.errors") == 2
    assert snapshot.value("vaultscope.history.intervals") == 3


def test_a_soup_that_had_it_and_failed_to_say_so() -> None:
    """What is put again is the same bytes: nothing is counted twice."""
    registry, soup, clock = Registry(), MemorySoup(), Clock()
    counter = registry.counter("a")
    made = recorder(registry, soup, clock)
    soup.error, soup.after = StorageError("the connection was lost"), True
    counter.inc(5)
    clock.pass_()
    assert not made.record()
    soup.error = None
    clock.pass_()
    assert made.record()
    assert [value(each, "a") for each in soup.intervals] == [5, None]


def test_a_soup_that_fails_for_long() -> None:
    """Beyond its bound the oldest pending intervals are given up, and counted."""
    registry, soup, clock = Registry(), MemorySoup(), Clock()
    counter = registry.counter("a")
    made = recorder(registry, soup, clock, pending_bytes_max=1000)
    soup.error = StorageError("the disk is full")
    for _ in range(100):
        counter.inc()
        clock.pass_()
        made.record()
    assert 0 < made.lost < 100
    assert registry.snapshot().value("vaultscope.history.dropped") == made.lost
    soup.error = None
    made.record()
    kept = sum(value(each, "a") or 0 for each in soup.intervals)
    assert kept == 100 - made.lost
    assert soup.intervals[-2].end_ns == clock.wall  # the newest are kept
    assert sum(len(content) for _, content in soup.objects.values()) < 1300


def test_many_that_are_pending() -> None:
    """However many are pending, all come, and none twice."""
    registry, soup, clock = Registry(), MemorySoup(), Clock()
    counter = registry.counter("a")
    made = recorder(registry, soup, clock)
    soup.error = StorageError("the disk is full")
    for n in range(200):
        counter.inc(n)
        clock.pass_()
        made.record()
    soup.error = None
    assert made.record()
    assert [value(each, "a") or 0 for each in soup.intervals] == [*range(200), 0]
    assert made.recorded == 201


def test_an_interval_that_cannot_be_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interval had that could not be made comes with the next."""
    registry, soup, clock = Registry(), MemorySoup(), Clock()
    counter = registry.counter("a")
    made = recorder(registry, soup, clock)
    counter.inc(5)
    clock.pass_()
    with monkeypatch.context() as patch:
        patch.setattr(history_recorder, "encode", lambda *_, **__: 1 / 0)
        made.record()
    assert made.failed == 1 and not soup.objects
    clock.pass_()
    made.record()
    (interval,) = soup.intervals
    assert value(interval, "a") == 5 and interval.begin_ns == NOON


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("x")])
def test_a_snapshot_that_fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A registry that raises is counted, and its increases come with the next interval."""
    registry, soup, clock = Registry(), MemorySoup(), Clock()
    counter = registry.counter("a")
    made = recorder(registry, soup, clock)
    counter.inc(5)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "snapshot", lambda: (_ for _ in ()).throw(error))
        clock.pass_()
        made.record()
    assert made.failed == 1
    clock.pass_()
    made.record()
    (interval,) = soup.intervals
    assert value(interval, "a") == 5 and interval.elapsed_ns == 2 * MINUTE


def test_the_clock_is_set_back() -> None:
    """An interval in which the clock was set back says so: it ends before it begins, and lasted a minute."""
    soup, clock = MemorySoup(), Clock()
    made = recorder(Registry(), soup, clock)
    clock.pass_()
    clock.wall -= HOUR
    made.record()
    (interval,) = soup.intervals
    assert interval.end_ns - interval.begin_ns == MINUTE - HOUR and interval.elapsed_ns == MINUTE


@pytest.mark.parametrize("every", [0, -1, 3601, float("nan")])
def test_an_interval_that_makes_no_sense(every: float) -> None:
    """Seconds between snapshots are positive, and an hour at most."""
    with pytest.raises(DeclarationError):
        MetricRecorder(Registry(), MemorySoup(), every=every)


def test_the_thread() -> None:
    """Started, it records by itself; closed, it records what there was since, and ends."""
    registry, soup = Registry(), MemorySoup()
    counter = registry.counter("a")
    before = threading.active_count()
    made = MetricRecorder(registry, soup, every=0.01)
    with made:
        counter.inc(5)
        until(lambda: len(soup.objects) > 2)
        made.start()  # once is enough
        assert threading.active_count() == before + 1
        counter.inc(6)
    assert threading.active_count() == before
    assert sum(value(each, "a") or 0 for each in soup.intervals) == 11


def test_closed_and_started_again() -> None:
    """What grew between a close and a start is nobody's."""
    registry, soup = Registry(), MemorySoup()
    counter = registry.counter("a")
    made = MetricRecorder(registry, soup, every=3600)
    for _ in range(2):
        counter.inc(100)
        made.start()
        counter.inc()
        assert made.close()
    assert [value(each, "a") for each in soup.intervals] == [1, 1]


def test_a_soup_that_ends_threads() -> None:
    """Not even SystemExit from a soup ends the recording."""
    soup = MemorySoup()
    soup.error = SystemExit()
    with MetricRecorder(Registry(), soup, every=0.005) as made:
        until(lambda: made.failed > 2)
        soup.error = None
        until(lambda: soup.objects)


def test_a_soup_that_hangs() -> None:
    """Closing does not wait longer than it is told for a soup that hangs."""
    gate = threading.Event()

    class Hanging(MemorySoup):
        def put_many(self, objects: object) -> list[str]:
            gate.wait(30)
            return []

    made = MetricRecorder(Registry(), Hanging(), every=3600)
    made.start()
    assert not made.close(timeout=0.01)
    gate.set()
    assert made.close(timeout=30)


def test_a_fork() -> None:
    """The child of a fork records nothing of its parent's; started anew it records what it counts itself."""
    registry, soup, clock = Registry(), MemorySoup(), Clock()
    counter = registry.counter("a")
    made = recorder(registry, soup, clock)
    counter.inc(5)
    soup.error = StorageError("the disk is full")
    clock.pass_()
    made.record()  # pending: the parent's
    soup.error = None
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            clock.pass_()
            made.record()
            counter.inc(2)
            clock.pass_()
            made.record()
            told = [value(each, "a") for each in soup.intervals]
            os.write(writer, repr((told, soup.intervals[0].pid == os.getpid())).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "([2], True)"
    os.wait()
    clock.pass_()
    made.record()
    assert [value(each, "a") for each in soup.intervals] == [5, None]


def test_one_for_all_who_share_an_arena(tmp_path: object) -> None:
    """Of the recorders of one arena one records, and when it ends another takes its place."""
    path = f"{tmp_path}/a.arena"
    registry, soup, clock = Registry(arena=path), MemorySoup(), Clock()
    counter = registry.counter("a")
    one, two = (recorder(each, soup, clock) for each in (registry, ArenaReader(path)))
    told = []
    for ends in (False, False, True):
        counter.inc(3)
        clock.pass_()
        for each in (one, two):
            each.record()
        told.append([value(each, "a") for each in soup.intervals])
        if ends:
            one.close()
    counter.inc(4)
    clock.pass_()
    two.record()
    assert told == [[3], [3, 3], [3, 3, 3]]
    assert [value(each, "a") for each in soup.intervals] == [3, 3, 3, 4]
    two.close()
