"""What threads share in Python's half of the library, attacked by many at once.

The facts hold on any interpreter; they can fail where there is no GIL to make several steps one.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import sysconfig
import threading
from contextlib import suppress
from functools import partial
from itertools import repeat

import pytest
from threads import ROUNDS, THREADS, busy_switching, in_rounds, together  # noqa: F401  (a fixture)

import vaultscope
from vaultscope import Counter, Gauge, HdrCounts, Registry, Snapshot
from vaultscope.edge.prometheus import render


def test_the_gil_stays_off() -> None:
    """Importing all of vaultscope does not switch the GIL on where it is off, nor warns that it had to."""
    script = """
import sys
enabled = getattr(sys, "_is_gil_enabled", lambda: True)
before = enabled()
import vaultscope, vaultscope.edge.prometheus, vaultscope.logging
vaultscope.default_registry().snapshot()
vaultscope.logging.get_logger("cas").info("m")
print(before, enabled())
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    command = [sys.executable, "-W", "error", "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    gil = str(not sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert (result.stdout.split(), result.stderr) == ([gil, gil], "")


def test_reference_counts_that_threads_would_share() -> None:
    """Only without a GIL, and before 3.14, are handles of the default registry immortal; those of other
    registries, and of families from which a series was removed, are freed as ever."""
    script = """
import sys
from vaultscope import Counter, Registry, default_registry
puts, family = Counter("puts"), Counter("errors", labels=("type",))
kept = [puts, default_registry().get("puts"), family, family.labels("corrupt")]
family.remove("corrupt")
own = Registry().counter("errors", labels=("type",))
freed = [family.labels("corrupt"), own, own.labels("corrupt"), Counter("puts", registry=Registry())]
print(*[sum(sys.getrefcount(handle) > 1000 for handle in handles) for handles in (kept, freed)])
puts.inc()
print(default_registry().snapshot().value("puts"))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    immortal = sysconfig.get_config_var("Py_GIL_DISABLED") and sys.version_info < (3, 14)
    assert (result.stdout.split(), result.stderr) == (["4" if immortal else "0", "0", "1"], "")


# ---- children ----


@pytest.mark.parametrize("labels", [("type",), ("type", "peer")], ids=["one label", "two labels"])
def test_the_first_use_of_a_label_value(labels: tuple[str, ...]) -> None:
    """Threads that ask for a new child at the same moment get the same one."""
    family = Registry(max_series=0).counter("errors.total", labels=labels)
    children: list[Counter] = []
    turn = 0

    def first() -> None:
        child = family.labels(*[f"{name}-{turn}" for name in labels])
        child.inc()
        children.append(child)

    def check() -> None:
        nonlocal turn
        assert {id(child) for child in children} == {
            id(family.labels(*[f"{name}-{turn}" for name in labels]))
        }
        assert children[0].value == THREADS
        children.clear()
        turn += 1

    in_rounds(check, *[first] * THREADS)


@pytest.mark.parametrize("by_name", [False, True], ids=["by position", "by name"])
def test_children_that_are_removed_meanwhile(by_name: bool) -> None:
    """While threads look a child up, another removes it: nobody is given one that was freed, and once the
    removal has returned, labels() gives only a child that is scraped."""
    registry = Registry()
    family = registry.counter("errors.total", labels=("type",))

    def look() -> None:
        for _ in repeat(None, 60):
            child = family.labels(type="corrupt") if by_name else family.labels("corrupt")
            assert child.label_values == ("corrupt",)

    def forget() -> None:
        for _ in repeat(None, 20):
            family.clear()

    def check() -> None:
        before = registry.snapshot()["errors.total"]
        family.labels("corrupt").inc(1000)
        after = registry.snapshot()["errors.total"].series(type="corrupt").value
        assert after == 1000 + sum(series.value for series in before)

    in_rounds(check, look, look, forget)


def test_more_children_than_are_kept() -> None:
    """Past the children that a family keeps, threads still count into the same series."""
    registry = Registry(max_series=0)
    family = registry.counter("errors.total", labels=("type",))
    values = [f"type-{i}" for i in range(10_000)]

    def work() -> None:
        for value in values:
            family.labels(value).inc()

    together(*[work] * 4)
    assert [series.value for series in registry.snapshot()["errors.total"]] == [4] * len(values)


def test_a_value_that_is_cut_elsewhere() -> None:
    """A new child is kept though other threads bind values that are cut, and counted, at the same moment."""
    registry = Registry(max_series=0)
    family = registry.counter("errors.total", labels=("type",))
    enough = threading.Event()

    def cut() -> int:
        binds = 0
        while not enough.is_set():
            binds += 1
            family.labels("x" * 2000)
        return binds

    def bind() -> None:
        try:
            for i in range(ROUNDS):
                assert family.labels(f"type-{i}") is family.labels(f"type-{i}")
        finally:
            enough.set()

    binds, _ = together(cut, bind)
    assert family.losses["truncated"] == binds


# ---- registries and snapshots ----


def test_the_same_declaration() -> None:
    """Threads that declare the same metric at the same moment get the same handle, while others take the
    names out again, list them and take snapshots."""
    registry = Registry()

    def declare() -> None:
        for i in range(50):
            registry.counter(f"c{i}").inc()
            registry.histogram("h", buckets=(1, 2)).observe(1)

    def look() -> None:
        for i in range(50):
            found = registry.get(f"c{i}")
            assert found is None or found.name == f"c{i}"
            names = [metric.name for metric in registry.snapshot()]
            assert len(names) == len(set(names))

    def forget() -> None:
        for i in range(50):
            with suppress(vaultscope.NotFoundError):
                registry.unregister(f"c{i}")

    for _ in range(10):
        together(declare, declare, look, forget)
    assert {id(found) for found in together(*[lambda: registry.counter("same")] * THREADS)} == {
        id(registry.get("same"))
    }
    assert registry.snapshot()["h"].series().count == 10 * 2 * 50


def test_a_snapshot_that_all_read() -> None:
    """One snapshot answers all threads alike, from its first look-up on, and stays as it was taken."""
    registry = Registry()
    family, hdr = registry.counter("c", labels=("i",)), registry.hdr_histogram("r", highest=1000, digits=2)
    for i in range(50):
        family.labels(str(i)).inc(i)
        hdr.record(i)

    def read(snapshot: Snapshot) -> list[object]:
        family.labels("7").inc()
        series = snapshot["r"].series()
        text, _ = render(snapshot)
        return [
            text,
            [snapshot.value("c", i=str(i)) for i in range(50)],
            series.hdr.quantiles((0.1, 0.5, 1.0)),
            bytes(snapshot.native.integers()),
            series.sum,
        ]

    for _ in range(20):
        snapshot = registry.snapshot()
        first, *others = together(*[partial(read, snapshot)] * THREADS)
        assert all(other == first for other in others)


def test_collectors_that_come_and_go() -> None:
    """Collectors run one at a time, and each snapshot has what they set, while others come and go."""
    registry = Registry()
    counter, gauge = registry.counter("c"), registry.gauge("g", callback=lambda: total)
    total = running = 0

    def collect() -> None:
        nonlocal total, running
        running += 1
        assert running == 1
        total += 1
        counter.mirror(total)
        running -= 1

    def scrape() -> None:
        last = 0
        for _ in repeat(None, 100):
            snapshot = registry.snapshot()
            assert snapshot.value("c") == snapshot.value("g") > last
            last = int(snapshot.value("c"))

    def nothing() -> None: ...

    def come_and_go() -> None:
        for _ in repeat(None, 100):
            registry.add_collector(nothing)
            registry.remove_collector(nothing)

    registry.add_collector(collect)
    together(scrape, scrape, scrape, come_and_go)
    assert counter.value == total == 300
    assert gauge.value == 300
    assert registry.get("vaultscope.collector.errors") is None


def test_the_default_registry_at_first_use() -> None:
    """Sixteen threads that want the default registry at once get one, whole, with one set of collectors."""
    script = """
import threading, vaultscope
start = threading.Barrier(16)
found = []
def work():
    start.wait()
    vaultscope.Counter("puts").inc()
    found.append(vaultscope.default_registry())
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
snapshot = found[0].snapshot()
print(len(set(map(id, found))), snapshot.value("puts"), snapshot["process.cpu.seconds"].kind)
"""
    for _ in range(5):
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert (result.stdout, result.stderr) == ("1 16 counter\n", "")


# ---- values and timers ----


def test_counts_that_all_read() -> None:
    """HdrCounts that nobody writes answer all threads alike, though all export and encode them at once."""
    counts = HdrCounts(1, 100_000, 3)
    for value in range(1, 1000):
        counts.record(value)

    def read() -> list[object]:
        return [
            [counts.count, counts.sum, counts.max, counts.quantile(0.5), bytes(memoryview(counts))],
            [counts.encode(), counts.copy() == counts, counts.minus(counts).count],
        ]

    for _ in range(20):
        first, *others = together(*[read] * THREADS)
        assert all(other == first for other in others)


def test_counts_that_all_initialise() -> None:
    """Of several threads that initialise one value, one succeeds, and the value is whole."""
    for _ in range(50):
        value = HdrCounts.__new__(HdrCounts)

        def initialise(highest: int, value: HdrCounts = value) -> bool:
            try:
                value.__init__(1, highest, 2)
            except vaultscope.DeclarationError:
                return False
            return True

        works = [partial(initialise, 10 ** (2 + i)) for i in range(THREADS)]
        assert together(*works).count(True) == 1
        value.record(value.highest)
        assert (value.count, len(value)) == (1, len(memoryview(value)))


def test_timers_of_one_histogram() -> None:
    """Every block is recorded once, whether threads share one timer or take their own."""
    histogram = Registry().histogram("soup.queries.duration")
    shared = histogram.time()

    @histogram.timed
    def call() -> None: ...

    def work() -> None:
        for _ in repeat(None, ROUNDS):
            with shared, histogram.time():
                call()

    together(*[work] * THREADS)
    assert histogram.count == 3 * ROUNDS * THREADS


def test_handles_that_end_in_other_threads() -> None:
    """A handle may be freed by another thread than made it, while its series is scraped; totals stay."""
    registry = Registry()
    handles: list[Gauge | Counter] = []

    def make() -> None:
        for i in range(ROUNDS):
            counter = Counter("c", registry=registry)
            counter.inc()
            handles.append(counter)
            handles.append(gauges.labels(f"{i % 7}"))

    def drop() -> None:
        for _ in repeat(None, ROUNDS):
            if handles:
                handles.pop()
            gauges.clear()
            assert len(registry.snapshot()["g"]) <= 7

    gauges = registry.gauge("g", labels=("i",))
    together(make, make, drop)
    handles.clear()
    gc.collect()
    assert registry.snapshot().value("c") == 2 * ROUNDS
