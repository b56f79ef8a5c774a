"""The registry: what may be declared, found again and taken out; callbacks, collectors and the default
registry."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable

import pytest

from vaultscope import (
    Counter,
    DeclarationConflictError,
    DeclarationError,
    Gauge,
    HdrHistogram,
    Histogram,
    NotFoundError,
    Registry,
)

ERRORS = "vaultscope.collector.errors"
KINDS = ["counter", "gauge", "histogram", "hdr_histogram"]


@pytest.fixture
def registry() -> Registry:
    return Registry()


def run_python(script: str) -> str:
    """What a script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- names ----


@pytest.mark.parametrize("name", ["a", "_", "cas.put.count", "A9._x", "cas.99", "a.b.c.d.e.f", "x" * 255])
def test_legal_names(registry: Registry, name: str) -> None:
    """Dotted words of letters, digits and underscores, up to 255 bytes, are names."""
    assert registry.counter(name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "1a",
        "a-b",
        "a b",
        "a\n",
        "é",
        "a.é",
        "a\0",
        "a:b",
        'a"',
        "\ud800",
        "x" * 256,
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_illegal_names(registry: Registry, kind: str, name: str) -> None:
    """Anything else is refused, by every kind, and leaves nothing behind."""
    with pytest.raises(DeclarationError):
        getattr(registry, kind)(name)
    assert name not in registry
    assert len(registry.snapshot()) == 0


@pytest.mark.parametrize("name", [None, 5, b"a", ("a",), ["a"]])
def test_names_are_strings(registry: Registry, name: object) -> None:
    """What is no string is no name."""
    with pytest.raises(DeclarationError):
        registry.counter(name)  # type: ignore[arg-type]


def test_reserved_names(registry: Registry) -> None:
    """Names exported among the library's own are refused; one that merely begins with the word is free."""
    for name in ("vaultscope.mine", "vaultscope_invalid_observations"):
        with pytest.raises(DeclarationError, match="the library's own"):
            registry.gauge(name)
    assert registry.gauge("vaultscopes.mine").name == "vaultscopes.mine"


@pytest.mark.parametrize("field", ["help", "unit"])
@pytest.mark.parametrize("value", [None, 5, b"x"])
def test_help_and_unit_are_strings(registry: Registry, field: str, value: object) -> None:
    """None is not written out as the word None: help and unit are strings or the declaration is refused."""
    with pytest.raises(DeclarationError, match="help and unit"):
        registry.counter("a", **{field: value})  # type: ignore[arg-type]


def test_help_has_a_limit(registry: Registry) -> None:
    """Help has up to 4,095 bytes; a longer one is refused, not cut."""
    assert len(registry.counter("a", "h" * 4095).help) == 4095
    with pytest.raises(DeclarationError):
        registry.counter("b", "h" * 4096)


@pytest.mark.parametrize("limit", [-1, 2**63, 2**64, 1.5, "5", math.nan])
def test_limits_are_integers(registry: Registry, limit: object) -> None:
    """A series limit is an integer that is not negative, for a registry as for a metric."""
    with pytest.raises(DeclarationError, match="max_series"):
        registry.counter("a", labels=("x",), max_series=limit)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="max_series"):
        Registry(max_series=limit)  # type: ignore[arg-type]


# ---- declaring again ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [(), ("op", "peer")])
def test_the_same_shape_is_the_same_object(registry: Registry, kind: str, labels: tuple[str, ...]) -> None:
    """A second declaration with the same shape returns the very object; help and limit are no part of the
    shape."""
    first = getattr(registry, kind)("a.b", "one", labels=labels)
    assert getattr(registry, kind)("a.b", "two", labels=list(labels), max_series=3) is first
    assert registry.get("a.b") is first
    assert first.help == "one"


@pytest.mark.parametrize(
    "other",
    [
        {"unit": "ms"},
        {"labels": ("op",)},
        {"lowest": 2},
        {"highest": 1000},
        {"digits": 2},
        {"quantiles": (0.9,)},
        {"buckets": (1, 2)},
    ],
    ids=str,
)
def test_another_shape_conflicts(registry: Registry, other: dict[str, object]) -> None:
    """Every part of an HDR histogram's shape counts, and the metric stays as it was."""
    first = registry.hdr_histogram("a")
    with pytest.raises(DeclarationConflictError, match="another shape"):
        registry.hdr_histogram("a", **other)  # type: ignore[arg-type]
    assert registry.get("a") is first


def test_label_order_is_shape(registry: Registry) -> None:
    """The same labels in another order are another shape: values go by position."""
    registry.counter("a", labels=("x", "y"))
    with pytest.raises(DeclarationConflictError):
        registry.counter("a", labels=("y", "x"))


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_conflicts(registry: Registry, kind: str) -> None:
    """A name is of one kind."""
    getattr(registry, kind)("a", unit="s")
    for other in set(KINDS) - {kind}:
        with pytest.raises(DeclarationConflictError):
            getattr(registry, other)("a", unit="s")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("counter", "a.b", ""), ("counter", "a_b", "")),
        (("counter", "a.b", ""), ("counter", "a.b.total", "")),
        (("counter", "a.b", ""), ("gauge", "a.b_total", "")),
        (("gauge", "a.b", ""), ("counter", "a_b", "")),
        (("gauge", "d", "ms"), ("gauge", "d_seconds", "")),
        (("gauge", "d.ms", "ms"), ("gauge", "d", "s")),
        (("histogram", "h", "ms"), ("gauge", "h_seconds_count", "")),
        (("histogram", "h", "ms"), ("counter", "h.seconds.sum", "")),
        (("histogram", "h", "ms"), ("gauge", "h_seconds_bucket", "")),
        (("hdr_histogram", "h", "ns"), ("histogram", "h.seconds", "s")),
    ],
)
def test_exported_names_clash(
    registry: Registry, first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    """Two names that would be one in a scrape are refused, whichever comes first."""
    for one, other in [(first, second), (second, first)]:
        fresh = Registry()
        getattr(fresh, one[0])(one[1], unit=one[2])
        with pytest.raises(DeclarationConflictError, match="clash"):
            getattr(fresh, other[0])(other[1], unit=other[2])
        assert len(fresh.snapshot()) == 1


def test_neighbours_do_not_clash(registry: Registry) -> None:
    """Names that only look alike live side by side."""
    for name in ["a.b", "a.bc", "a", "ab", "a.b.c", "A.b"]:
        registry.gauge(name)
    assert [metric.name for metric in registry.snapshot()] == ["a.b", "a.bc", "a", "ab", "a.b.c", "A.b"]


def test_registries_are_isolated() -> None:
    """The same name in two registries is two metrics."""
    one, other = Registry(), Registry()
    one.counter("a").inc()
    other.gauge("a").set(5)
    assert (one.snapshot().value("a"), other.snapshot().value("a")) == (1, 5.0)


# ---- constructors ----


@pytest.mark.parametrize("cls", [Counter, Gauge, Histogram, HdrHistogram])
def test_a_constructor_declares(registry: Registry, cls: type[Counter]) -> None:
    """A constructor declares in the registry that it is given; the new handle is another one to the same
    metric."""
    handle = cls("a", "help", labels=("x",), unit="s", registry=registry)
    declared = registry.get("a")
    assert type(declared) is cls
    assert (handle.name, handle.help, handle.unit, handle.label_names) == ("a", "help", "s", ("x",))
    assert handle.labels("1") is declared.labels("1")


def test_a_handle_is_declared_once(registry: Registry) -> None:
    """A handle that is initialised a second time stays what it was."""
    counter = Counter("a", registry=registry)
    with pytest.raises(DeclarationError, match="declared already"):
        counter.__init__("b", registry=registry)  # type: ignore[misc]
    counter.inc()
    assert registry.snapshot().value("a") == 1


@pytest.mark.parametrize("found", [None, 5, Registry().gauge("g")], ids=repr)
def test_a_false_registry(found: object) -> None:
    """A registry that returns no counter for a counter is refused, not trusted."""

    class False_:  # noqa: N801
        def counter(self, *args: object, **kwargs: object) -> object:
            return found

    with pytest.raises(TypeError, match="registry returned"):
        Counter("a", registry=False_())  # type: ignore[arg-type]


# ---- taking out ----


@pytest.mark.parametrize("kind", KINDS)
def test_unregister_frees_the_name(registry: Registry, kind: str) -> None:
    """An unregistered name may be declared again in any shape, and starts from nothing."""
    old = registry.counter("a", labels=("x",))
    old.labels("1").inc(7)
    registry.unregister("a")
    assert registry.get("a") is None and "a" not in registry
    new = getattr(registry, kind)("a", unit="s")
    assert registry.get("a") is new
    assert len(registry.snapshot()["a"]) == 1


def test_unregister_frees_the_exported_name(registry: Registry) -> None:
    """The names that it would have clashed with are free as well."""
    registry.counter("a.b")
    registry.unregister("a.b")
    assert registry.gauge("a_b_total").name == "a_b_total"


@pytest.mark.parametrize("name", ["nobody", "", "a.b"])
def test_unregister_what_is_not_there(registry: Registry, name: str) -> None:
    """What is not there cannot be taken out; the error is a KeyError, too, and names it."""
    with pytest.raises(NotFoundError, match=f"no metric '{name}'"):
        registry.unregister(name)
    with pytest.raises(KeyError):
        registry.unregister(name)


def test_stale_handles_are_harmless(registry: Registry) -> None:
    """Handles to metrics that were taken out go on counting, unseen, and never reach their successors."""
    counter, gauge = registry.counter("c"), registry.gauge("g")
    histogram, hdr = registry.histogram("h"), registry.hdr_histogram("r")
    family = registry.counter("f", labels=("x",))
    child = family.labels("1")
    for name in "cghrf":
        registry.unregister(name)
    again = [registry.counter("c"), registry.gauge("g"), registry.histogram("h"), registry.hdr_histogram("r")]
    registry.counter("f", labels=("x",)).labels("1")
    for _ in range(1000):
        counter.inc()
        gauge.inc()
        histogram.observe(1)
        hdr.record(1)
        child.inc()
        family.labels("2").inc()
    assert (counter.value, gauge.value, histogram.count, hdr.count, child.value) == (
        1000,
        1000,
        1000,
        1000,
        1000,
    )
    assert (again[0].value, again[1].value, again[2].count, again[3].count) == (0, 0, 0, 0)
    snapshot = registry.snapshot()
    assert snapshot.value("f", x="1") == 0
    assert len(snapshot["f"]) == 1


# ---- callbacks ----


def test_callback(registry: Registry) -> None:
    """A gauge with a callback has what it returns, asked anew at each snapshot and at no other time."""
    calls = iter([1, 2.5, True, "7"])
    gauge = registry.gauge("a", callback=lambda: next(calls))  # type: ignore[arg-type]
    assert gauge.value == 0
    assert [registry.snapshot().value("a") for _ in range(4)] == [1.0, 2.5, 1.0, 7.0]
    assert gauge.value == 7.0


@pytest.mark.parametrize("answer", [None, "x", object(), 10**400, 1j])
def test_a_callback_that_returns_no_number(registry: Registry, answer: object) -> None:
    """What is no number is NaN, and counted under the gauge's name."""
    registry.gauge("a.b", callback=lambda: answer)  # type: ignore[arg-type, return-value]
    assert math.isnan(registry.snapshot().value("a.b"))
    registry.snapshot()
    assert registry.get(ERRORS).labels("a.b").value == 2  # type: ignore[union-attr]


def test_a_callback_that_raises(registry: Registry) -> None:
    """One that raises spoils its own value only, and the failure is seen in the same snapshot."""
    registry.gauge("bad", callback=lambda: 1 / 0)
    registry.gauge("good", callback=lambda: 5.0)
    snapshot = registry.snapshot()
    assert math.isnan(snapshot.value("bad"))
    assert snapshot.value("good") == 5.0
    assert snapshot.value(ERRORS, collector="bad") == 1


def test_a_new_callback_replaces(registry: Registry) -> None:
    """Declared again with another callback, the gauge asks that one; declared without, it keeps the one it
    has."""
    registry.gauge("a", callback=lambda: 1.0)
    registry.gauge("a", callback=lambda: 2.0)
    registry.gauge("a")
    assert registry.snapshot().value("a") == 2.0


def test_a_callback_goes_with_its_gauge(registry: Registry) -> None:
    """After unregister nobody calls it, and a successor of the name is an ordinary gauge."""
    calls: list[int] = []
    registry.gauge("a", callback=lambda: calls.append(1) or 1.0)  # type: ignore[func-returns-value]
    registry.unregister("a")
    registry.gauge("a").set(3)
    assert registry.snapshot().value("a") == 3.0
    assert calls == []


def test_a_callback_wants_no_labels(registry: Registry) -> None:
    """There is no saying which child a callback would be of."""
    with pytest.raises(DeclarationError, match="callback"):
        registry.gauge("a", labels=("x",), callback=lambda: 1.0)
    assert "a" not in registry


def test_a_refused_gauge_has_no_callback(registry: Registry) -> None:
    """A declaration that conflicts does not leave its callback behind."""
    registry.gauge("a", unit="s")
    with pytest.raises(DeclarationConflictError):
        registry.gauge("a", unit="bytes", callback=lambda: 1.0)
    assert registry.snapshot().value("a") == 0.0


# ---- collectors ----


def test_collectors_run_in_order(registry: Registry) -> None:
    """Collectors run in the order they were added, then callbacks, at each snapshot once."""
    calls: list[str] = []
    registry.gauge("a", callback=lambda: calls.append("callback") or 0.0)  # type: ignore[func-returns-value]
    for name in "xyz":
        registry.add_collector(lambda name=name: calls.append(name))  # type: ignore[misc]
    registry.snapshot()
    registry.snapshot()
    assert calls == ["x", "y", "z", "callback"] * 2


def test_a_collector_is_added_once(registry: Registry) -> None:
    """A collector that is there already, be it a method bound anew, is not added again."""
    calls: list[int] = []

    class Disk:
        def collect(self) -> None:
            calls.append(1)

    disk = Disk()
    registry.add_collector(disk.collect)
    registry.add_collector(disk.collect)
    registry.snapshot()
    assert calls == [1]
    registry.remove_collector(disk.collect)
    registry.snapshot()
    assert calls == [1]
    with pytest.raises(NotFoundError):
        registry.remove_collector(disk.collect)


def test_a_collector_that_raises(registry: Registry) -> None:
    """It is counted by name, what it had set stays, and those after it run."""
    gauge, after = registry.gauge("a"), registry.gauge("b")

    def disk() -> None:
        gauge.set(1)
        raise OSError("gone")

    registry.add_collector(disk)
    registry.add_collector(lambda: after.set(2))
    snapshot = registry.snapshot()
    assert (snapshot.value("a"), snapshot.value("b")) == (1.0, 2.0)
    (series,) = snapshot[ERRORS]
    assert "disk" in series.labels["collector"]
    assert series.value == 1


def test_a_collector_object_is_named_by_its_class(registry: Registry) -> None:
    """One without a name of its own is counted under its class's."""

    class Disk:
        def __call__(self) -> None:
            raise OSError

    registry.add_collector(Disk())
    (series,) = registry.snapshot()[ERRORS]
    assert series.labels["collector"].endswith("Disk")


def test_an_interrupt_is_no_failed_collector(registry: Registry) -> None:
    """KeyboardInterrupt in a collector ends the snapshot, is not counted, and the next snapshot works."""
    calls: list[int] = []

    def collector() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt

    registry.add_collector(collector)
    with pytest.raises(KeyboardInterrupt):
        registry.snapshot()
    assert ERRORS not in registry.snapshot()
    assert len(calls) == 2


def test_a_collector_may_declare(registry: Registry) -> None:
    """What a collector declares and unregisters is in, or out of, the snapshot that it ran for."""
    registry.counter("old")

    def collector() -> None:
        registry.gauge("new", callback=lambda: 9.0)
        registry.gauge("set").set(3)
        if "old" in registry:
            registry.unregister("old")

    registry.add_collector(collector)
    snapshot = registry.snapshot()
    assert "old" not in snapshot
    assert snapshot.value("set") == 3.0
    assert registry.snapshot().value("new") == 9.0


def test_a_collector_may_change_the_collectors(registry: Registry) -> None:
    """One that adds and removes collectors changes the next round, not the one under way."""
    calls: list[str] = []

    def late() -> None:
        calls.append("late")

    def once() -> None:
        calls.append("once")
        registry.remove_collector(once)
        registry.add_collector(late)

    registry.add_collector(once)
    registry.snapshot()
    registry.snapshot()
    assert calls == ["once", "late"]


def test_a_collector_may_take_a_snapshot(registry: Registry) -> None:
    """Two collectors that each take a snapshot run once a round: theirs starts no round of its own."""
    calls: list[int] = []
    counter = registry.counter("a")

    def collector() -> None:
        counter.inc()
        calls.append(int(registry.snapshot().value("a")))

    registry.add_collector(collector)
    registry.add_collector(lambda: collector())
    registry.gauge("b", callback=lambda: len(registry.snapshot()))
    assert registry.snapshot().value("b") == 2.0
    assert calls == [1, 2]


def test_rounds_do_not_overlap(registry: Registry) -> None:
    """Collectors run one at a time however many threads take snapshots, and mirrored totals never go back."""
    counter = registry.counter("a")
    inside: list[int] = []
    overlaps: list[int] = []
    total = iter(range(1, 10**9))

    def collector() -> None:
        inside.append(1)
        value = next(total)
        if len(inside) != 1:
            overlaps.append(len(inside))
        counter.mirror(value)
        inside.pop()

    registry.add_collector(collector)
    series: list[list[float]] = [[] for _ in range(6)]

    def take(seen: list[float]) -> None:
        seen.extend(registry.snapshot().value("a") for _ in range(200))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=take, args=(seen,)) for seen in series]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert overlaps == []
    assert all(seen == sorted(set(seen)) for seen in series)
    assert sorted(value for seen in series for value in seen) == list(range(1, 1201))


def test_errors_may_be_unregistered(registry: Registry) -> None:
    """The count of errors is a metric like others: taken out, it is there again at the next error."""
    registry.gauge("a", callback=lambda: 1 / 0)
    registry.snapshot()
    registry.unregister(ERRORS)
    assert registry.snapshot().value(ERRORS, collector="a") == 1


# ---- life and death ----


def arena_used() -> int:
    used: int = Registry().snapshot().native.arena()["used_bytes"]
    return used


def fill(registry: Registry) -> None:
    family = registry.counter("c", labels=("x",))
    for i in range(5):
        family.labels(str(i)).inc()
    registry.hdr_histogram("h").record(3)
    registry.histogram("g", labels=("x",)).labels("1").observe(1)
    registry.gauge("z", callback=lambda: float("c" in registry))  # a cycle
    registry.snapshot()


def test_a_registry_is_collected() -> None:
    """A registry with families, children and a callback that refers to it goes when nobody holds it."""
    registry = Registry()
    fill(registry)
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None


def test_nothing_leaks() -> None:
    """After a thousand registries the arena is as full as before."""
    gc.collect()
    before = arena_used()
    kept = Registry()
    fill(kept)
    assert arena_used() > before
    del kept
    for _ in range(1000):
        fill(Registry())
    gc.collect()
    assert arena_used() == before


def test_declared_a_thousand_times() -> None:
    """Declaring and unregistering the same name again and again takes no more room each time."""
    registry = Registry()
    registry.counter("a", labels=("x",)).labels("1").inc()
    before = arena_used()
    for _ in range(1000):
        registry.unregister("a")
        registry.counter("a", labels=("x",)).labels("1").inc()
    gc.collect()  # a family and its children know each other
    assert arena_used() == before


def test_a_handle_outlives_its_registry() -> None:
    """The registry is gone, a handle still counts."""
    counter = Registry().counter("a")
    gc.collect()
    counter.inc(5)
    assert counter.value == 5


# ---- the default registry ----


def test_a_metric_without_registry() -> None:
    """A metric that names no registry lands in the default one, beside the process's and Python's own
    figures."""
    out = run_python(
        "import vaultscope as v\n"
        "c = v.Counter('x'); v.Gauge('y'); v.Histogram('z'); v.HdrHistogram('w'); c.inc(3)\n"
        "r = v.default_registry(); s = r.snapshot()\n"
        "print(r is v.default_registry(), s.value('x'), [n in s for n in 'yzw'])\n"
        "print('process.cpu.seconds' in s, any(m.name.startswith('python') for m in s))\n"
    )
    assert out.splitlines() == ["True 3 [True, True, True]", "True True"]


def test_the_default_registry_is_made_once() -> None:
    """Threads that ask for it at once get one registry."""
    out = run_python(
        "import sys, threading, vaultscope as v\n"
        "sys.setswitchinterval(1e-6)\n"
        "found = []; gate = threading.Barrier(8)\n"
        "def ask(): gate.wait(); found.append(v.default_registry())\n"
        "threads = [threading.Thread(target=ask) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(len(found), len(set(map(id, found))))\n"
    )
    assert out == "8 1"


def test_importing_makes_no_registry() -> None:
    """Importing and using a registry of one's own does not make the default one."""
    out = run_python(
        "import vaultscope as v, vaultscope.core.registry as r\n"
        "v.Counter('x', registry=v.Registry()).inc()\n"
        "print(r._default)\n"
    )
    assert out == "None"


@pytest.mark.parametrize(
    "declare",
    [
        lambda r: r.histogram("a", buckets=()),
        lambda r: r.histogram("a", buckets=(math.inf,)),
        lambda r: r.histogram("a", buckets=(2, 1)),
        lambda r: r.histogram("a", buckets=(1, 1)),
        lambda r: r.histogram("a", buckets=(0.0, -0.0)),
        lambda r: r.histogram("a", buckets=(math.nan,)),
        lambda r: r.histogram("a", buckets=(math.inf, 1)),
        lambda r: r.histogram("a", buckets=(-math.inf, 1)),
        lambda r: r.histogram("a", buckets="12"),
        lambda r: r.histogram("a", buckets=5),
        lambda r: r.histogram("a", buckets=[None]),
        lambda r: r.histogram("a", buckets=[10**400]),
        lambda r: r.histogram("a", buckets=range(513)),
        lambda r: r.hdr_histogram("a", quantiles=(0.9, 0.5)),
        lambda r: r.hdr_histogram("a", quantiles=(0.5, 0.5)),
        lambda r: r.hdr_histogram("a", quantiles=(99,)),
        lambda r: r.hdr_histogram("a", quantiles=(math.nan,)),
        lambda r: r.hdr_histogram("a", quantiles=None),
        lambda r: r.hdr_histogram("a", quantiles="5"),
        lambda r: r.hdr_histogram("a", lowest=0),
        lambda r: r.hdr_histogram("a", lowest=600, highest=1000),
        lambda r: r.hdr_histogram("a", highest=2**63),
        lambda r: r.hdr_histogram("a", highest=1e9),
        lambda r: r.hdr_histogram("a", digits=0),
        lambda r: r.hdr_histogram("a", digits=6),
        lambda r: r.hdr_histogram("a", digits=2.5),
        lambda r: r.hdr_histogram("a", digits="3"),
    ],
)
def test_illegal_shapes(registry: Registry, declare: Callable[[Registry], object]) -> None:
    """Buckets and quantiles are numbers that ascend, a range is of integers: all else is refused where it
    is declared."""
    with pytest.raises(DeclarationError):
        declare(registry)
    assert "a" not in registry
    assert len(registry.snapshot()) == 0
