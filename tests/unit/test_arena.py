"""Metrics in the file of an arena: what one process declares, counts and takes out, all see."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from peer import Peer, PeerError

from vaultscope import (
    DeclarationConflictError,
    DeclarationError,
    NotFoundError,
    Registry,
)
from vaultscope.core.catalogue import Catalogue
from vaultscope.edge.prometheus import render

# A process has room for 31 arenas in all its life: these tests share one, and each has names of its own.
_numbers = itertools.count()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("arena") / "shared.arena")


@pytest.fixture
def registry(path: str) -> Registry:
    return Registry(arena=path)


@pytest.fixture
def name() -> str:
    return f"test{next(_numbers)}"


@pytest.fixture
def peer(path: str) -> Iterator[Peer]:
    with Peer(f"r = Registry(arena={path!r})") as peer:
        yield peer


# ---- one file, many registries ----


def test_two_registries_of_one_process(path: str, registry: Registry, name: str) -> None:
    """Two Registry objects over one file have the same series."""
    other = Registry(arena=path)
    registry.counter(name).inc(2)
    other.counter(name).inc(3)
    assert registry.counter(name).value == other.counter(name).value == 5
    assert registry.snapshot().value(name) == other.snapshot().value(name) == 5


def test_two_processes(registry: Registry, peer: Peer, name: str) -> None:
    """Two processes have the same series, whoever declared it."""
    peer(f"c = r.counter({name!r}, 'Help.'); c.inc(2)")
    assert registry.snapshot().value(name) == 2  # not declared here
    mine = registry.counter(name, "Help.")
    mine.inc(3)
    assert mine.value == peer("c.value") == peer(f"r.snapshot().value({name!r})") == 5


def test_integers_and_floats(registry: Registry, peer: Peer, name: str) -> None:
    """The exact part stays exact beyond 2**53, and floats are kept beside it."""
    counter = registry.counter(name)
    counter.inc(2**53)
    peer(f"c = r.counter({name!r}); c.inc(1)")
    assert counter.value == 2**53 + 1
    mixed = registry.counter(f"{name}.mixed")
    mixed.inc(3)
    peer(f"r.counter('{name}.mixed').inc(0.5)")
    assert mixed.value == 3.5


def test_histograms_are_of_the_union(registry: Registry, peer: Peer, name: str) -> None:
    """Counts, sums and quantiles of both kinds of histogram are those of all values that any process
    recorded."""
    fixed, hdr = registry.histogram(f"{name}.h", buckets=(10, 100, 1000)), registry.hdr_histogram(f"{name}.d")
    alone = Registry().hdr_histogram("alone")
    peer(f"h = r.histogram('{name}.h', buckets=(10, 100, 1000)); d = r.hdr_histogram('{name}.d')")
    for value in range(1, 1001):
        alone.record(value)
        if value % 2:
            fixed.observe(value)
            hdr.record(value)
    peer("for value in range(2, 1001, 2): h.observe(value); d.record(value)")
    series = registry.snapshot()[f"{name}.h"].series()
    assert (series.count, series.sum, series.counts) == (1000, 500_500.0, (10, 90, 900, 0))
    assert registry.snapshot()[f"{name}.d"].series().hdr == alone.snapshot()
    assert peer("d.snapshot().quantile(0.5)") == hdr.snapshot().quantile(0.5) == 500
    assert peer("h.sum") == 500_500.0


def test_timers(registry: Registry, peer: Peer, name: str) -> None:
    """A timer of another process counts too."""
    peer(f"h = r.histogram({name!r}, unit='ms')\nwith h.time(): pass")
    with registry.histogram(name, unit="ms").time():
        pass
    assert peer("h.count") == registry.histogram(name, unit="ms").count == 2


def test_families(registry: Registry, peer: Peer, name: str) -> None:
    """Children are found by their label values, awkward ones too."""
    family = registry.counter(name, labels=("a", "b"))
    values = [("x", "y"), ("", '"'), ("\n\\", "🗄️"), ("a" * 200, "b")]
    peer(f"f = r.counter({name!r}, labels=('a', 'b'))")
    for i, pair in enumerate(values, 1):
        peer(f"f.labels{pair!r}.inc({i})")
        family.labels(*pair).inc(10)
    found = {tuple(series.labels.values()): series.value for series in registry.snapshot()[name]}
    assert found == {pair: 10 + i for i, pair in enumerate(values, 1)}


def test_conflicts(registry: Registry, peer: Peer, name: str) -> None:
    """A name that another process declared with another shape is refused, as is one that would clash when
    exported."""
    peer(f"r.counter('{name}.count', labels=('a',)); r.histogram('{name}.lag')")
    for declare in (
        lambda: registry.gauge(f"{name}.count"),
        lambda: registry.counter(f"{name}.count", labels=("b",)),
        lambda: registry.histogram(f"{name}.lag", buckets=(1, 2)),
        lambda: registry.gauge(f"{name}.lag.seconds.count"),
    ):
        with pytest.raises(DeclarationConflictError, match=name):
            declare()


def test_losses(registry: Registry, peer: Peer, name: str) -> None:
    """What any process could not take is counted for all."""
    peer(f"c = r.counter({name!r}); c.inc(-1); c.inc('three')")
    counter = registry.counter(name)
    counter.inc(math.nan)
    assert counter.losses["invalid"] == peer("c.losses['invalid']") == 3
    assert registry.snapshot()[name].losses["invalid"] == 3


def test_series_limit(registry: Registry, peer: Peer, name: str) -> None:
    """The limit of a metric is one for all processes together, and so is its overflow series."""
    family = registry.counter(name, labels=("x",), max_series=3)
    peer(f"f = r.counter({name!r}, labels=('x',), max_series=3)")
    family.labels("a").inc()
    peer("f.labels('b').inc(), f.labels('c').inc(), f.labels('d').inc()")
    family.labels("e").inc()
    family.labels("b").inc()
    values = {series.labels["x"]: series.value for series in registry.snapshot()[name]}
    assert values == {"a": 1, "b": 2, "c": 1, "_overflow": 2}
    assert family.losses["overflowed"] == peer("f.losses['overflowed']") == 2


# ---- taking out ----


def test_remove(registry: Registry, peer: Peer, name: str) -> None:
    """A series that one process removes is gone for all. A handle from before stays valid and unseen;
    labels() makes a new child after the next snapshot."""
    family = registry.counter(name, labels=("x",))
    old = family.labels("a")
    old.inc(5)
    peer(f"f = r.counter({name!r}, labels=('x',)); f.labels('a').inc(5); f.remove('a')")
    assert len(registry.snapshot()[name]) == 0
    old.inc()
    new = family.labels("a")
    new.inc(1)
    assert [series.value for series in registry.snapshot()[name]] == [1]
    peer("f.labels('a').inc()")
    assert (new.value, old.value) == (2, 11)
    with pytest.raises(PeerError, match="NotFoundError"):
        peer("f.remove('b')")


def test_clear(registry: Registry, peer: Peer, name: str) -> None:
    """clear() takes out what other processes bound, and makes room under the limit."""
    family = registry.counter(name, labels=("x",), max_series=2)
    for value in "ab":
        family.labels(value).inc()
    peer(f"f = r.counter({name!r}, labels=('x',), max_series=2); f.clear()")
    assert len(registry.snapshot()[name]) == 0
    for value in "cd":
        family.labels(value).inc()
    assert {series.labels["x"] for series in registry.snapshot()[name]} == {"c", "d"}


def test_unregister(registry: Registry, peer: Peer, name: str) -> None:
    """A metric that one process takes out is scraped no more, and may be declared anew, in another shape."""
    counter = registry.counter(name)
    counter.inc(5)
    peer(f"r.counter({name!r}); r.unregister({name!r})")
    assert name not in registry.snapshot()
    counter.inc()  # unseen
    again = registry.counter(name)
    again.inc()
    assert registry.snapshot().value(name) == 1
    peer(f"r.counter({name!r}); r.unregister({name!r})")
    registry.gauge(name, labels=("x",)).labels("y").set(3)
    assert registry.snapshot().value(name, x="y") == 3


def test_unregister_what_is_gone(registry: Registry, peer: Peer, name: str) -> None:
    """The second process that takes a metric out is told, and is rid of it."""
    registry.counter(name)
    peer(f"r.counter({name!r}); r.unregister({name!r})")
    for _ in range(2):
        with pytest.raises(NotFoundError, match=name):
            registry.unregister(name)
        assert name not in registry


def test_declared_again_is_the_same_handle(registry: Registry, name: str) -> None:
    """As long as nobody took the metric out, declaring it again gives the handle of the first time."""
    assert registry.counter(name) is registry.counter(name)
    assert registry.counter(f"{name}.f", labels=("x",)) is registry.counter(f"{name}.f", labels=("x",))


# ---- mirrored counters ----


def test_mirror_never_goes_down(registry: Registry, peer: Peer, name: str) -> None:
    """Of what several processes mirror, the greatest total stands."""
    counter = registry.counter(name)
    counter.mirror(10)
    peer(f"c = r.counter({name!r}); c.mirror(7)")
    assert counter.value == 10
    peer("c.mirror(12)")
    assert counter.value == 12


def test_mirror_of_integers_and_floats(registry: Registry, peer: Peer, name: str) -> None:
    """A total that turns from an integer into a float, and back, is not counted twice."""
    counter = registry.counter(name)
    peer(f"c = r.counter({name!r})")
    totals = []
    for i, total in enumerate((5, 5.5, 6, 6.25, 4, 4.5, 9)):
        if i % 2:
            counter.mirror(total)
        else:
            peer(f"c.mirror({total})")
        totals.append(counter.value)
    assert totals == [5, 5.5, 6, 6.25, 6.25, 6.25, 9]


# ---- gauges ----


@pytest.mark.parametrize(
    ("mode", "three", "two", "none"),
    [("last", 3.0, 3.0, 3.0), ("sum", 12.0, 9.0, 0.0), ("min", 2.0, 2.0, 0.0), ("max", 7.0, 7.0, 0.0)],
)
def test_gauge_modes(path: str, name: str, mode: str, three: float, two: float, none: float) -> None:
    """A gauge is combined over the processes that live and have written; a dead one's value is gone with the
    next snapshot, except where it was the last."""
    setup = f"r = Registry(arena={path!r}); g = r.gauge({name!r}, mode={mode!r})"
    with Peer(setup) as a, Peer(setup) as b, Peer(setup) as c, Peer(setup) as silent:
        a("g.set(2)"), b("g.set(7)"), c("g.set(3)")
        assert silent(f"r.snapshot().value({name!r})") == three
        c.kill()
        assert silent(f"r.snapshot().value({name!r})") == two
        a.kill(), b.kill()
        assert silent(f"r.snapshot().value({name!r})") == none


def test_a_gauge_of_all(path: str, registry: Registry, name: str) -> None:
    """Mode "all" has a series for each process that lives and has written, told apart by the label pid; a
    child of the same process that it had stays out."""
    setup = f"r = Registry(arena={path!r}); g = r.gauge({name!r}, labels=('x',), mode='all')"
    registry.gauge(name, labels=("x",), mode="all")
    with Peer(setup) as a, Peer(setup) as b:
        a("g.labels('1').set(2)"), b("g.labels('1').set(7), g.labels('2').set(1)")
        assert registry.snapshot()[name].label_names == ("x", "pid")
        found = {tuple(series.labels.values()): series.value for series in registry.snapshot()[name]}
        assert found == {("1", str(a.pid)): 2, ("1", str(b.pid)): 7, ("2", str(b.pid)): 1}
        text = render(registry.snapshot())[0].decode()
        assert f'{name}{{x="1",pid="{a.pid}"}} 2\n' in text
        b.kill()
        assert [tuple(series.labels.values()) for series in registry.snapshot()[name]] == [("1", str(a.pid))]


def test_a_gauge_without_labels_of_all(path: str, name: str) -> None:
    """Mode "all" of a gauge without labels has the label pid alone."""
    with Peer(f"r = Registry(arena={path!r}); r.gauge({name!r}, mode='all').set(5)") as peer:
        assert peer(f"r.snapshot().value({name!r}, pid='{peer.pid}')") == 5


def test_gauges_count_up_and_down(registry: Registry, peer: Peer, name: str) -> None:
    """inc() and dec() are of the process's own value, where it has one; `value` is that."""
    gauge = registry.gauge(name, mode="sum")
    gauge.inc(5)
    peer(f"g = r.gauge({name!r}, mode='sum'); g.inc(2); g.dec(4)")
    assert (gauge.value, peer("g.value")) == (5, -2)
    assert registry.snapshot().value(name) == 3


@pytest.mark.parametrize(("value", "shown"), [(0.0, 0.0), (-0.0, 0.0), (math.inf, math.inf)])
def test_a_gauge_that_was_set_to(registry: Registry, name: str, value: float, shown: float) -> None:
    """Zero is a value like any other: a process that wrote it has written."""
    registry.gauge(name, mode="all").set(value)
    assert registry.snapshot().value(name, pid=str(os.getpid())) == shown


def test_a_gauge_that_is_not_a_number(registry: Registry, peer: Peer, name: str) -> None:
    """NaN of one process is NaN for the sum, the least and the greatest."""
    for mode in ("sum", "min", "max"):
        peer(f"r.gauge('{name}.{mode}', mode={mode!r}).set(float('nan'))")
        registry.gauge(f"{name}.{mode}", mode=mode).set(1)
        assert math.isnan(registry.snapshot().value(f"{name}.{mode}"))


def test_a_callback_with_a_mode(registry: Registry, peer: Peer, name: str) -> None:
    """A callback runs in the process that takes the snapshot; the others' values are those of their last."""
    registry.gauge(name, mode="sum", callback=lambda: 5)
    peer(f"n = 1; r.gauge({name!r}, mode='sum', callback=lambda: n)")
    assert registry.snapshot().value(name) == 5
    assert peer(f"r.snapshot().value({name!r})") == 6
    peer("n = 10")
    assert registry.snapshot().value(name) == 6


def test_modes_that_are_refused(registry: Registry, name: str) -> None:
    """An unknown mode, a label that mode "all" adds by itself, and another mode for the same name."""
    with pytest.raises(DeclarationError, match="mode is one of last, sum, min, max, all, not 'mean'"):
        registry.gauge(name, mode="mean")
    with pytest.raises(DeclarationError, match="adds the label 'pid' itself"):
        registry.gauge(name, labels=("pid",), mode="all")
    registry.gauge(name, labels=("pid",), mode="sum")
    with pytest.raises(DeclarationConflictError):
        registry.gauge(name, labels=("pid",), mode="max")


def test_modes_in_memory() -> None:
    """An arena in memory has one process: every mode shows its value, and "all" its pid."""
    registry = Registry()
    for mode in ("last", "sum", "min", "max"):
        registry.gauge(mode, mode=mode).set(-3)
        assert registry.snapshot().value(mode) == -3
    registry.gauge("all", mode="all").set(-3)
    assert registry.snapshot().value("all", pid=str(os.getpid())) == -3


# ---- who shares ----


def test_processes(registry: Registry, peer: Peer) -> None:
    """processes() lists who shares the arena, their stripes, and which is oneself; the dead are not in it."""
    registry.counter("who").inc()
    listed = {process.pid: process for process in registry.processes()}
    assert listed.keys() == {os.getpid(), peer.pid}
    assert [pid for pid, process in listed.items() if process.is_self] == [os.getpid()]
    assert (listed[os.getpid()].stripes, listed[peer.pid].stripes) == (1, 0)
    peer("r.counter('who').inc()")
    assert {process.pid: process.stripes for process in registry.processes()}[peer.pid] == 1
    peer.kill()
    assert [process.pid for process in registry.processes()] == [os.getpid()]


def test_processes_are_exported(registry: Registry, peer: Peer) -> None:
    """A scrape tells how many processes share the arena, and how many got no place in it."""
    assert peer("len(r.processes())") == 2
    text = render(registry.snapshot())[0].decode()
    assert "\nvaultscope_processes 2\n" in text
    assert "\nvaultscope_processes_refused_total 0\n" in text
    assert "vaultscope_processes" not in render(Registry().snapshot())[0].decode()


def test_in_memory() -> None:
    """An arena in memory has no path, and its process alone."""
    registry = Registry()
    assert registry.arena is None
    ((pid, _, is_self),) = registry.processes()
    assert (pid, is_self) == (os.getpid(), True)


def test_threads_of_two_processes(registry: Registry, peer: Peer, name: str) -> None:
    """Threads of two processes that count at once lose nothing."""
    peer(
        f"c = r.counter({name!r}); h = r.histogram('{name}.h')\n"
        "def work():\n    for _ in range(20_000): c.inc(); h.observe(1.0)\n"
        "threads = [threading.Thread(target=work) for _ in range(3)]\n"
        "for thread in threads: thread.start()"
    )
    counter, histogram = registry.counter(name), registry.histogram(f"{name}.h")
    for _ in range(20_000):
        counter.inc()
        histogram.observe(1.0)
        assert histogram.count >= 1
    peer("for thread in threads: thread.join()")
    series = registry.snapshot()[f"{name}.h"].series()
    assert (counter.value, series.count, series.sum) == (80_000, 80_000, 80_000.0)


def test_a_catalogue(tmp_path: Path) -> None:
    """The memo's catalogue works in a file: plain metrics add up, and a total that is mirrored stays right
    whoever scrapes."""
    path = str(tmp_path / "a")
    setup = f"from vaultscope.core.catalogue import Catalogue\nv = Catalogue(Registry(arena={path!r}))"
    with Peer(setup) as a, Peer(setup) as b:
        a("v.cas_put_count.inc(3)"), b("v.cas_put_count.inc(4), v.cas_get_count.inc(10)")
        b("v.cas_put_duration.record(1000)")
        for peer in (a, b, a):
            assert peer("v.registry.snapshot().value('cas.operations.total')") == 17
        assert a("v.cas_put_duration.count") == 1
        b.kill()
        assert a("v.registry.snapshot().value('cas.operations.total')") == 17


def test_the_catalogue_in_this_process(registry: Registry) -> None:
    """All of the catalogue's metrics find a place beside others."""
    vault = Catalogue(registry)
    vault.cas_put_count.inc()
    assert registry.snapshot().value("cas.put.count") == 1
