"""Snapshots: values of one moment that nothing changes any more, by name and as columns."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vaultscope import MetricSnapshot, NotFoundError, Registry, SeriesSnapshot, Snapshot
from vaultscope._native._core import NativeSnapshot


@pytest.fixture
def registry() -> Registry:
    """One metric of each kind, the counter with two series; each written to."""
    registry = Registry(clock_ns=lambda: 1_700_000_000_000_000_123)
    family = registry.counter("c", "Count", labels=("op", "peer"), unit="bytes")
    family.labels("put", "b1").inc(5)
    family.labels("get", "b2").inc(2.5)
    registry.gauge("g").set(-1.5)
    histogram = registry.histogram("h", unit="s", buckets=(1, 2, 4))
    histogram.observe_many([1, 2, 2, 9])
    registry.hdr_histogram("r", digits=2, highest=10_000, quantiles=(0.5,), buckets=(10, 100)).record_times(
        50, 3
    )
    return registry


def everything(snapshot: Snapshot) -> list[Any]:
    """All that a snapshot says."""
    return [
        (
            metric.name, metric.kind, metric.help, metric.unit, metric.label_names, metric.bounds,
            metric.quantiles, metric.losses, len(metric),
            [
                (
                    series.labels,
                    series.value if metric.kind in ("counter", "gauge") else (series.count, series.sum),
                    series.counts if metric.kind == "histogram" else None,
                    series.hdr.encode() if metric.kind == "hdr" else None,
                )
                for series in metric
            ],
        )
        for metric in snapshot
    ]  # fmt: skip


def test_what_it_says(registry: Registry) -> None:
    """Declarations and values, metric by metric in order of declaration, series by series in order of
    binding."""
    none = {"invalid": 0, "clamped_low": 0, "clamped_high": 0, "overflowed": 0, "truncated": 0}
    c, g, h, r = everything(registry.snapshot())
    assert c[:-1] == ("c", "counter", "Count", "bytes", ("op", "peer"), (), (), none, 2)
    assert c[-1] == [
        ({"op": "put", "peer": "b1"}, 5, None, None),
        ({"op": "get", "peer": "b2"}, 2.5, None, None),
    ]
    assert g == ("g", "gauge", "", "", (), (), (), none, 1, [({}, -1.5, None, None)])
    assert h == (
        "h",
        "histogram",
        "",
        "s",
        (),
        (1.0, 2.0, 4.0),
        (),
        none,
        1,
        [({}, (4, 14.0), (1, 2, 0, 1), None)],
    )
    assert r[:-1] == ("r", "hdr", "", "ns", (), (10.0, 100.0), (0.5,), none, 1)
    assert r[-1][0][1] == (3, 150.0)


def test_lookups(registry: Registry) -> None:
    """By name, by labels, with `in`, len and iteration; each gives the same."""
    snapshot = registry.snapshot()
    assert len(snapshot) == 4
    assert [name in snapshot for name in ("c", "r", "x", "")] == [True, True, False, False]
    assert snapshot["c"].series(peer="b2", op="get").value == 2.5
    assert snapshot.value("c", op="put", peer="b1") == 5
    assert snapshot.value("g") == snapshot["g"].series().value == -1.5
    assert [type(item) for item in (snapshot, snapshot["c"], next(iter(snapshot["c"])))] == [
        Snapshot, MetricSnapshot, SeriesSnapshot,
    ]  # fmt: skip


def test_its_time(registry: Registry) -> None:
    """time_ns is the registry's clock, read once, to the nanosecond."""
    assert registry.snapshot().time_ns == 1_700_000_000_000_000_123
    times = iter([5, 7])
    registry = Registry(clock_ns=lambda: next(times))
    assert [registry.snapshot().time_ns for _ in range(2)] == [5, 7]


def test_later_writes_do_not_reach_it(registry: Registry) -> None:
    """Whatever happens to the registry afterwards, down to its end, a snapshot says what it said."""
    snapshot = registry.snapshot()
    before = everything(snapshot)
    registry.get("c").labels("put", "b1").inc(100)  # type: ignore[union-attr]
    registry.get("c").labels("new", "b3").inc()  # type: ignore[union-attr]
    registry.get("g").set(math.nan)  # type: ignore[union-attr]
    registry.get("g").set("x")  # type: ignore[union-attr]
    registry.get("h").observe(1)  # type: ignore[union-attr]
    registry.get("r").record(9999)  # type: ignore[union-attr]
    assert everything(snapshot) == before
    registry.get("c").remove("put", "b1")  # type: ignore[union-attr]
    registry.get("c").clear()  # type: ignore[union-attr]
    for name in "cghr":
        registry.unregister(name)
    registry.gauge("c").set(1)
    assert everything(snapshot) == before
    del registry
    gc.collect()
    fill = Registry()  # takes the cells that are free now
    for i in range(100):
        fill.counter(f"x{i}").inc(77)
    assert everything(snapshot) == before


def test_parts_outlive_the_whole(registry: Registry) -> None:
    """A series that is kept keeps what it needs."""
    series = registry.snapshot()["h"].series()
    hdr = registry.snapshot()["r"].series().hdr
    metrics = iter(registry.snapshot())
    del registry
    gc.collect()
    assert (series.count, series.counts, series.metric.name) == (4, (1, 2, 0, 1), "h")
    assert (hdr.count, hdr.sum) == (3, 150.0)
    assert [metric.name for metric in metrics] == ["c", "g", "h", "r"]


def test_hdr_counts_are_values(registry: Registry) -> None:
    """What series.hdr gives may be written to: the snapshot gives a fresh one each time."""
    series = registry.snapshot()["r"].series()
    series.hdr.record(5, 100)
    assert series.hdr.count == 3
    assert (series.hdr.lowest, series.hdr.highest, series.hdr.digits) == (1, 10_000, 2)


def test_losses_are_the_snapshots_own(registry: Registry) -> None:
    """Changing the dict of losses changes nothing else."""
    snapshot = registry.snapshot()
    snapshot["c"].losses["invalid"] = 99
    assert snapshot["c"].losses["invalid"] == 0


def test_a_kind_has_its_own_figures(registry: Registry) -> None:
    """Asking a series for what its kind has not is a TypeError that names both."""
    snapshot = registry.snapshot()
    wrong = {
        "g": ["count", "sum", "counts", "hdr"],
        "h": ["value", "hdr"],
        "r": ["value", "counts"],
    }
    for name, figures in wrong.items():
        for figure in figures:
            with pytest.raises(TypeError, match=f"{name} is a"):
                getattr(snapshot[name].series(), figure)
    with pytest.raises(TypeError, match="g is a gauge"):
        snapshot["g"].series().quantile(0.5)
    with pytest.raises(TypeError, match="h is a histogram"):
        snapshot.value("h")


@pytest.mark.parametrize(
    ("quantile", "value"),
    [(0.0, 0.0), (0.125, 0.5), (0.25, 1.0), (0.5, 1.5), (0.75, 2.0), (0.76, 4.0), (1.0, 4.0)],
)
def test_quantiles(registry: Registry, quantile: float, value: float) -> None:
    """Of fixed buckets: interpolated within the bucket, and the highest bound for what lies above all."""
    assert registry.snapshot()["h"].series().quantile(quantile) == pytest.approx(value)


@pytest.mark.parametrize("quantile", [-0.1, 1.1, 50, math.nan, math.inf])
def test_no_quantiles(registry: Registry, quantile: float) -> None:
    """A quantile lies in 0..1, of either kind; percent is a mistake that is told."""
    for name in "hr":
        with pytest.raises(ValueError, match=r"0\.\.1"):
            registry.snapshot()[name].series().quantile(quantile)


def test_quantiles_of_nothing() -> None:
    """An empty series has none: NaN."""
    registry = Registry()
    registry.histogram("h")
    registry.hdr_histogram("r")
    snapshot = registry.snapshot()
    assert all(math.isnan(snapshot[name].series().quantile(0.5)) for name in "hr")


def test_nothing_is_found_by_halves(registry: Registry) -> None:
    """Fewer labels than declared, or none, do not find the first series that fits."""
    metric = registry.snapshot()["c"]
    for labels in ({}, {"op": "put"}, {"op": "put", "peer": "b2"}, {"op": "put", "peer": "b1", "x": "1"}):
        with pytest.raises(NotFoundError):
            metric.series(**labels)


def test_empty() -> None:
    """A registry with nothing in it has a snapshot all the same, columns and all."""
    snapshot = Registry().snapshot()
    assert (len(snapshot), list(snapshot)) == (0, [])
    for column in (snapshot.native.integers(), snapshot.native.numbers()):
        assert len(column) == 0
        assert np.asarray(column).shape == (0,)


def test_reading_one_metric(registry: Registry) -> None:
    """read() gives one metric as it stands, and runs no collector."""
    registry.add_collector(lambda: pytest.fail("collected"))
    metric = registry.read("c")
    assert metric.series(op="put", peer="b1").value == 5
    assert metric.name == "c"


def test_repr(registry: Registry) -> None:
    """What is printed tells the size and the names."""
    snapshot = registry.snapshot()
    assert repr(snapshot) == "<Snapshot of 4 metrics, 5 series>"
    assert repr(snapshot["c"]) == "<MetricSnapshot counter c, 2 series>"


# ---- columns ----


def test_columns(registry: Registry) -> None:
    """A column of a snapshot is one array over all series, in their order."""
    native = registry.snapshot().native
    integers, numbers = np.asarray(native.integers()), np.asarray(native.numbers())
    assert (integers.dtype, numbers.dtype) == (np.uint64, np.float64)
    assert integers.tolist() == [5, 0, 0, 4, 3]
    assert numbers.tolist() == [0.0, 2.5, -1.5, 14.0, 150.0]


def test_columns_are_not_copied(registry: Registry) -> None:
    """Two arrays of one column share their memory."""
    native = registry.snapshot().native
    assert np.shares_memory(np.asarray(native.numbers()), np.asarray(native.numbers()))
    assert not np.shares_memory(
        np.asarray(native.numbers()), np.asarray(registry.snapshot().native.numbers())
    )


def test_columns_are_read_only(registry: Registry) -> None:
    """Nobody writes to a snapshot through a column, nor makes it writeable."""
    column = registry.snapshot().native.numbers()
    numbers = np.asarray(column)
    with pytest.raises(ValueError, match="read-only"):
        numbers[0] = 1.0
    with pytest.raises(ValueError, match=r"WRITEABLE|writeable"):
        numbers.flags.writeable = True
    with pytest.raises(TypeError):
        memoryview(column)[0] = 1.0  # type: ignore[index]
    with pytest.raises((BufferError, ValueError, TypeError)):
        np.frombuffer(column)[0] = 1.0


def test_columns_outlive_the_snapshot(registry: Registry) -> None:
    """An array keeps the memory that it shows, when the snapshot, the column and the registry are gone."""
    numbers = np.asarray(registry.snapshot().native.numbers())
    view = memoryview(registry.snapshot().native.integers())[1:]
    del registry
    gc.collect()
    for _ in range(50):
        Registry().counter("x").inc(99)
        Registry().snapshot()
    assert numbers.tolist() == [0.0, 2.5, -1.5, 14.0, 150.0]
    assert view.tolist() == [0, 0, 4, 3]


def test_rows_that_are_not_there(registry: Registry) -> None:
    """An index beyond the columns is an IndexError, never somebody else's memory."""
    native = registry.snapshot().native
    for read in (native.label_values, native.integer, native.number, native.counts):
        assert read(4) is not None
        for row in (5, 2**40):
            with pytest.raises(IndexError):
                read(row)
        with pytest.raises((IndexError, OverflowError)):
            read(-1)
    with pytest.raises(IndexError):
        native.metric(4)
    with pytest.raises(IndexError):
        native.hdr(5, (1, 1000, 2))
    with pytest.raises(ValueError, match="range"):
        native.hdr(4, (1, 2, 1))  # far fewer counts than the series has


@pytest.mark.parametrize("make", [NativeSnapshot, lambda: NativeSnapshot.__new__(NativeSnapshot)])
def test_a_native_snapshot_made_by_hand(make: Callable[[], NativeSnapshot]) -> None:
    """Nobody has taken it, so there is nothing in it."""
    native = make()
    assert (native.metric_count, native.series_count, len(Snapshot(native, 0))) == (0, 0, 0)
    assert native.nbytes >= 0
    assert native.arena()["used_bytes"] == 0
    assert np.asarray(native.integers()).size == 0
    with pytest.raises(IndexError):
        native.metric(0)
    with pytest.raises(IndexError):
        native.counts(0)
