"""What two threads get out of one metric: their throughput together, as a multiple of one thread's.

    python benchmarks/free_threaded.py

2 is perfect; 1 is what a GIL allows. Threads that share a line of memory fall below that: without a GIL,
CPython 3.13 counts references to another thread's object in the object. Handles of the default registry are
immortal there, so that nothing is counted; one of an isolated registry shows the difference.

A round is kept only if both threads ran all the time (turns show no contention), and if two threads that
share nothing were not in each other's way just before. Wants two processors of its own.
"""

from __future__ import annotations

import itertools
import math
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable

from vaultscope import Registry, default_registry

TURNS = 100_000
ROUNDS = 15
TRIES = 2000
VALUE = 3.0  # of this module, for it is shared too: compile() would make a float that is counted
FREE = 1.85  # throughput of two threads that share nothing
BUSY = 1.15  # wall time a thread may take, as a multiple of its processor time

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()  # then threads take turns, whatever the machine does

SOURCE = """
def loop():
    for _ in repeat(None, TURNS):
        {statement}
"""


def compiled(statement: str, target: object) -> Callable[[], None]:
    """A loop over the statement, where `target` is a global, as a module's metric is."""
    names: dict[str, object] = {"target": target, "repeat": itertools.repeat, "TURNS": TURNS, "VALUE": VALUE}
    exec(compile(SOURCE.format(statement=statement), f"<{statement}>", "exec"), names)
    loop = names["loop"]
    assert callable(loop)
    return loop


def lap(loop: Callable[[], None], count: int) -> float | None:
    """Nanoseconds of wall time a turn, with `count` threads at it; None if one of them had to wait."""
    start = threading.Barrier(count)
    begun, ended, worked = [], [], []

    def work() -> None:
        start.wait()
        wall, processor = time.perf_counter_ns(), time.thread_time_ns()
        loop()
        worked.append(time.thread_time_ns() - processor)
        begun.append(wall)
        ended.append(time.perf_counter_ns())

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = max(ended) - min(begun)
    return wall / TURNS if GIL or wall <= BUSY * min(worked) else None


def measure(loop: Callable[[], None], no_op: Callable[[], None]) -> tuple[float, float, list[float]]:
    """Nanoseconds a turn with one thread and with two, and the ratios of throughput, round by round."""
    rounds = []
    for _ in range(TRIES):
        laps = [lap(no_op, 1), lap(no_op, 2), lap(loop, 1), lap(loop, 2)]
        one, two, alone, both = [math.nan if wall is None else wall for wall in laps]
        if (GIL or 2 * one / two >= FREE) and alone + both > 0:
            rounds.append((alone, both))
        if len(rounds) == ROUNDS:
            break
    if len(rounds) < 3:
        sys.exit("no two processors to be had: others are busy")
    alone, both = [statistics.median(column) for column in zip(*rounds, strict=True)]
    return alone, both, [2 * one / two for one, two in rounds]


def main() -> None:
    kept, isolated = default_registry(), Registry()
    entrants = {
        "nothing: a constant's `conjugate()`": ("target.conjugate()", 7),
        "counter, default registry": ("target.inc()", kept.counter("shared.counter")),
        "counter, child": ("target.inc()", kept.counter("shared.children", labels=("x",)).labels("1")),
        'family.labels("1").inc()': ('target.labels("1").inc()', kept.get("shared.children")),
        "gauge, set": ("target.set(VALUE)", kept.gauge("shared.gauge")),
        "histogram": ("target.observe(VALUE)", kept.histogram("shared.histogram")),
        "HDR histogram": ("target.record(3)", kept.hdr_histogram("shared.hdr")),
        "counter, isolated registry": ("target.inc()", isolated.counter("isolated.counter")),
    }
    print(f"CPython {platform.python_version()}, GIL {'on' if GIL else 'off'}\n")
    print("| shared by two threads | 1 thread | 2 threads | throughput |")
    print("|---|---:|---:|---:|")
    no_op = compiled("target.conjugate()", 7)
    for name, (statement, target) in entrants.items():
        one, two, ratios = measure(compiled(statement, target), no_op)
        low, median, high = statistics.quantiles(ratios, n=4)
        print(f"| {name} | {one:.1f} ns | {two:.1f} ns | {median:.2f}× ({low:.2f}–{high:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
