"""Forks of a Python process whose threads write: `python_forks.py FORKS SEED [ARENA]`.

Three threads write a counter, a histogram and an HDR histogram while the main thread forks. Each child
writes from two threads and ends by os._exit or by SIGKILL. In a file the totals are those of all processes
together; in memory the parent's own. Prints one line; raises AssertionError if anything is wrong.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from itertools import islice

from vaultscope import Counter, HdrHistogram, Histogram, Registry

WRITERS, CHILD_WRITES, PATIENCE_S = 3, 50, 900
VALUES = (1.0, 5.0, 10.0, 25.0, 50.0, 20_000.0)  # each in a bucket of its own: the counts tell the sum
STEPS = (1, 2, 4, 100, 127)  # exact at two digits

Draw = tuple[int, int]


def draws(seed: int) -> Iterator[Draw]:
    """Places in VALUES and STEPS, the same for the same seed: so the parent knows what a child wrote."""
    pick = random.Random(seed).randrange
    while True:
        yield pick(len(VALUES)), pick(len(STEPS))


class Tally:
    """How often each value was written."""

    def __init__(self) -> None:
        self.values = [0] * len(VALUES)
        self.steps = [0] * len(STEPS)

    def note(self, draw: Draw) -> None:
        self.values[draw[0]] += 1
        self.steps[draw[1]] += 1

    def add(self, other: Tally) -> None:
        self.values = [a + b for a, b in zip(self.values, other.values, strict=True)]
        self.steps = [a + b for a, b in zip(self.steps, other.steps, strict=True)]


class Metrics:
    """The three, in an arena of their own or in the file's."""

    def __init__(self, arena: str | None) -> None:
        self.registry = Registry(arena=arena)
        self.counter: Counter = self.registry.counter("increments")
        self.histogram: Histogram = self.registry.histogram("values", buckets=VALUES[:-1])
        self.hdr: HdrHistogram = self.registry.hdr_histogram("steps", highest=1_000, digits=2)

    def write(self, draw: Draw) -> None:
        self.counter.inc()
        self.histogram.observe(VALUES[draw[0]])
        self.hdr.record(STEPS[draw[1]])

    def write_many(self, seed: int) -> None:
        for draw in islice(draws(seed), CHILD_WRITES):
            self.write(draw)

    def check(self, tally: Tally) -> None:
        """The totals are exactly what was written, and each sum is what its counts say."""
        snapshot = self.registry.snapshot()
        values, steps = snapshot["values"].series(), snapshot["steps"].series()
        assert snapshot.value("increments") == sum(tally.values)
        assert list(values.counts) == tally.values, (values.counts, tally.values)
        assert values.sum == sum(value * n for value, n in zip(VALUES, tally.values, strict=True))
        assert steps.count == sum(tally.steps)
        assert steps.sum == sum(step * n for step, n in zip(STEPS, tally.steps, strict=True))


def write_on(metrics: Metrics, seed: int, stop: threading.Event, tally: Tally) -> None:
    for draw in draws(seed):
        if stop.is_set():
            return
        metrics.write(draw)
        tally.note(draw)


def live(metrics: Metrics, seeds: tuple[int, int], killed: bool) -> None:
    """A child's life, from the fork to its end."""
    try:
        signal.alarm(PATIENCE_S)  # not inherited
        other = threading.Thread(target=metrics.write_many, args=seeds[:1])
        other.start()
        metrics.write_many(seeds[1])
        other.join()
        metrics.registry.snapshot()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


def run(forks: int, seed: int, arena: str | None) -> Tally:
    """Writes and forks; returns what must be in the arena, after a look that it is."""
    metrics, stop, total = Metrics(arena), threading.Event(), Tally()
    tallies = [Tally() for _ in range(WRITERS)]
    threads = [
        threading.Thread(target=write_on, args=(metrics, seed + number, stop, tally))
        for number, tally in enumerate(tallies)
    ]
    for thread in threads:
        thread.start()
    try:
        for number in range(forks):
            seeds, killed = (seed + 1000 + 2 * number, seed + 1001 + 2 * number), number % 3 == 2
            pid = os.fork()
            if pid == 0:
                live(metrics, seeds, killed)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert status == (-signal.SIGKILL if killed else 0), status
            for draw in (draw for each in seeds for draw in islice(draws(each), CHILD_WRITES)):
                if arena is not None:
                    total.note(draw)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for tally in tallies:
        total.add(tally)
    metrics.check(total)
    return total


def main(forks: int, seed: int, arena: str | None = None) -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads: that is the point
    signal.alarm(PATIENCE_S)  # a deadlock ends the process
    total = run(forks, seed, arena)
    print(f"{forks} forks, {WRITERS} Python threads: exact, {sum(total.values):,} writes of each kind")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
