"""Totals are exact and readings whole, however many threads write."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from itertools import repeat

import numpy as np
import pytest

from vaultscope import Registry

THREADS = 8
TURNS = 1_000_000
READINGS = 300  # that differ from the one before


@pytest.fixture(autouse=True)
def busy_switching() -> Iterator[None]:
    """Threads change places far more often than the interpreter's five milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run_all(*works: Callable[[], None]) -> None:
    """Runs each in a thread of its own, all at once; an error in one fails the test."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(works))

    def guarded(work: Callable[[], None]) -> None:
        start.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_increments() -> None:
    """Eight threads by a million increments are eight million."""
    counter = Registry().counter("cas.put.count")

    def work() -> None:
        for _ in repeat(None, TURNS):
            counter.inc()

    run_all(*[work] * THREADS)
    assert counter.value == THREADS * TURNS


def test_observations() -> None:
    """So are a million observations each: every count, and a sum of whole numbers."""
    histogram = Registry().histogram("cas.put.duration", buckets=(1, 2, 3))

    def work() -> None:
        for _ in repeat(None, TURNS // 4):
            histogram.observe(1.0)
            histogram.observe(2)
            histogram.observe(3.0)
            histogram.observe(4)

    run_all(*[work] * THREADS)
    assert histogram.counts == (THREADS * TURNS // 4,) * 4
    assert histogram.sum == THREADS * TURNS // 4 * (1 + 2 + 3 + 4)


def test_records() -> None:
    """And a million HDR records each."""
    hdr = Registry().hdr_histogram("cas.get.duration", highest=1000, digits=2)

    def work() -> None:
        for _ in repeat(None, TURNS // 2):
            hdr.record(7)
            hdr.record(100)

    run_all(*[work] * THREADS)
    assert hdr.count == THREADS * TURNS
    assert hdr.sum == THREADS * TURNS // 2 * 107
    assert hdr.count_between(7, 7) == hdr.count_between(100, 100) == THREADS * TURNS // 2


def test_gauge_steps() -> None:
    """A gauge that all threads step up and down ends where it began, plus what was left up."""
    gauge = Registry().gauge("network.connections.active")

    def work() -> None:
        for _ in repeat(None, TURNS // 10):
            gauge.inc(3)
            gauge.dec(2)

    run_all(*[work] * THREADS)
    assert gauge.value == THREADS * TURNS // 10


def test_buffers() -> None:
    """Buffers that are recorded at once, without the GIL, lose nothing."""
    registry = Registry()
    histogram = registry.histogram("cas.put.duration", buckets=(0.5, 1.5))
    hdr = registry.hdr_histogram("cas.get.duration", highest=1000, digits=2)
    ones, integers = np.ones(TURNS), np.ones(TURNS, dtype=np.int64)

    def work() -> None:
        histogram.observe_many(ones)
        hdr.observe_many(integers)

    run_all(*[work] * THREADS)
    assert histogram.counts == (0, THREADS * TURNS, 0)
    assert histogram.sum == hdr.sum == hdr.count == THREADS * TURNS


def test_series_at_first_use() -> None:
    """Threads that bind the same label values for the first time share one series."""
    registry = Registry()
    family = registry.counter("errors.total", labels=("type",))

    def work() -> None:
        for number in range(2000):
            family.labels(f"type-{number}").inc()

    run_all(*[work] * THREADS)
    metric = registry.snapshot()["errors.total"]
    assert len(metric) == 2000
    assert {series.value for series in metric} == {THREADS}


def test_threads_that_come_and_go() -> None:
    """What a thread counted stays when it has ended."""
    counter = Registry().counter("cas.put.count")
    for _ in range(50):
        run_all(*[lambda: counter.inc(10)] * THREADS)
    assert counter.value == 50 * THREADS * 10


@pytest.mark.parametrize("bulk", [False, True], ids=["one by one", "by buffers"])
def test_readings_are_whole(bulk: bool) -> None:
    """While threads observe 1 all the time, a reading's buckets, count and sum agree, and none goes back."""
    registry = Registry()
    histogram = registry.histogram("cas.put.duration", buckets=(0.5, 1.0, 2.0))
    hdr = registry.hdr_histogram("cas.get.duration", highest=1000, digits=2)
    enough = threading.Event()
    ones, integers = np.ones(1000), np.ones(1000, dtype=np.int64)

    def write() -> None:
        while not enough.is_set():
            if bulk:
                histogram.observe_many(ones)
                hdr.observe_many(integers)
            else:
                for _ in repeat(None, 100):
                    histogram.observe(1.0)
                    hdr.record(1)

    def read() -> None:
        last = (0, 0)
        news = 0
        try:
            while news < READINGS:
                snapshot = registry.snapshot()
                fixed = snapshot["cas.put.duration"].series()
                dynamic = snapshot["cas.get.duration"].series()
                assert fixed.counts == (0, fixed.count, 0, 0)
                assert fixed.sum == fixed.count
                assert dynamic.sum == dynamic.count == dynamic.hdr.count
                assert fixed.count >= last[0]
                assert dynamic.count >= last[1]
                news += last != (fixed.count, dynamic.count)
                last = fixed.count, dynamic.count
        finally:
            enough.set()

    run_all(write, write, write, read)
