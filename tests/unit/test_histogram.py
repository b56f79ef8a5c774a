"""Fixed-bucket histograms: bounds, hostile values, buffers, and what readings say. The counts are the
model's matter."""

from __future__ import annotations

import array
import math
import sys
import threading
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from vaultscope import Histogram, Registry
from vaultscope.core.metrics import DEFAULT_BUCKETS_MS


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def histogram(registry: Registry) -> Histogram:
    return registry.histogram("a", buckets=(1, 2, 5))


class Raises:
    def __float__(self) -> float:
        raise OSError("no")


def test_default_bounds(registry: Registry) -> None:
    """The memo's bounds, in milliseconds, are the default."""
    histogram = registry.histogram("b")
    assert (
        histogram.bounds == DEFAULT_BUCKETS_MS == (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
    )
    assert histogram.unit == "ms"
    assert histogram.counts == (0,) * 13


def test_bounds_as_given(registry: Registry) -> None:
    """Bounds come from any sequence of numbers; an infinite last one is there anyhow."""
    for name, buckets in [
        ("b", [1, 2.5]),
        ("c", np.array([1, 2.5])),
        ("d", (Decimal(1), Decimal("2.5"))),
        ("e", (1, 2.5, math.inf)),
    ]:
        histogram = registry.histogram(name, buckets=buckets)
        assert histogram.bounds == (1.0, 2.5)
        assert len(histogram.counts) == 3


def test_bounds_below_zero(registry: Registry) -> None:
    """Bounds may be negative; each value finds its place among them."""
    histogram = registry.histogram("b", buckets=(-2, -1, 0, 1))
    histogram.observe_many([-3, -2, -1.5, -1, -0.0, 0.5, 2])
    assert histogram.counts == (2, 2, 1, 1, 1)
    assert histogram.sum == -5.0


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 34, 64, 100, 512])
def test_any_number_of_bounds(registry: Registry, count: int) -> None:
    """At, just below and just above every bound, whichever way the bucket is searched for."""
    bounds = [float(i) for i in range(count)]
    histogram = registry.histogram("b", buckets=bounds)
    for bound in bounds:
        histogram.observe(bound)
        histogram.observe(math.nextafter(bound, -math.inf))
        histogram.observe(math.nextafter(bound, math.inf))
    assert histogram.counts == (2, *[3] * (count - 1), 1)


@pytest.mark.parametrize(
    ("value", "bucket"),
    [
        (1, 0),
        (1.0, 0),
        (1.0000001, 1),
        (True, 0),
        (Decimal("1.5"), 1),
        (np.float32(5), 2),
        (np.int64(6), 3),
        (2**62, 3),
        (-(10**30), 0),
        (10**300, 3),
        (np.array(2), 1),
    ],
    ids=repr,
)
def test_values(histogram: Histogram, value: Any, bucket: int) -> None:
    """Whatever is a number is recorded, in the first bucket whose bound is not below it."""
    histogram.observe(value)
    assert histogram.counts == tuple(int(i == bucket) for i in range(4))
    assert histogram.sum == float(value)
    assert histogram.losses["invalid"] == 0


NO_VALUES: list[Any] = [
    math.nan, math.inf, -math.inf, 10**400, -(10**400), np.float64("nan"), Decimal("inf"), None, "1", b"1",
    memoryview(b"1"), array.array("b", b"1"), 1j, [], (1,), object(), Raises(), np.array([1, 2]),
]  # fmt: skip


@pytest.mark.parametrize("value", NO_VALUES, ids=ascii)
def test_what_is_no_value(registry: Registry, histogram: Histogram, value: Any) -> None:
    """What is not a finite number is counted as invalid, once, and leaves counts and sum alone."""
    histogram.observe(2)
    assert histogram.observe(value) is None
    assert (histogram.counts, histogram.sum) == ((0, 1, 0, 0), 2.0)
    assert registry.snapshot()["a"].losses["invalid"] == 1


@pytest.mark.parametrize("value", NO_VALUES, ids=ascii)
def test_pedantic(value: Any) -> None:
    """In a pedantic registry it raises, and is counted once as well."""
    histogram = Registry(pedantic=True).histogram("a.b")
    with pytest.raises((ValueError, TypeError), match=r"a\.b: not a"):
        histogram.observe(value)
    assert (histogram.count, histogram.losses["invalid"]) == (0, 1)


@pytest.mark.parametrize("args", [(), (1, 2)])
def test_wrong_calls(histogram: Histogram, args: tuple[int, ...]) -> None:
    """observe() takes one value."""
    with pytest.raises(TypeError):
        histogram.observe(*args)
    assert histogram.count == 0


def test_a_value_that_writes(histogram: Histogram) -> None:
    """A value that observes in the same histogram while it is asked: both are recorded."""

    class Writes:
        def __float__(self) -> float:
            histogram.observe(1)
            histogram.observe_many([1, 1])
            assert histogram.count == 3
            return 5.0

    histogram.observe(Writes())  # type: ignore[arg-type]
    assert (histogram.counts, histogram.sum) == ((3, 0, 1, 0), 8.0)


def test_readings_are_apart(histogram: Histogram) -> None:
    """What was read stays as it was read."""
    histogram.observe(1)
    counts = histogram.counts
    histogram.observe(1)
    assert counts == (1, 0, 0, 0)
    assert isinstance(histogram.count, int) and isinstance(histogram.sum, float)


# ---- observe_many, beyond its buffers ----


def test_many_of_a_mixed_iterable(histogram: Histogram) -> None:
    """Item by item: numbers are recorded and told, the rest is counted as invalid."""
    assert histogram.observe_many([1, "x", 2.5, None, math.nan, Decimal(5), Raises(), True]) == 4
    assert (histogram.counts, histogram.losses["invalid"]) == ((2, 0, 2, 0), 4)


def test_many_pedantic() -> None:
    """In a pedantic registry the first item that is no number raises; those before it are recorded."""
    histogram = Registry(pedantic=True).histogram("a")
    with pytest.raises(TypeError):
        histogram.observe_many([1, 2, "x", 3])
    assert histogram.count == 2


def test_many_of_an_iterable_that_fails(histogram: Histogram) -> None:
    """An error of the iterable's own is the caller's; what came before it is recorded."""

    def items() -> Any:
        yield 1
        yield 2
        raise OSError("torn")

    with pytest.raises(OSError, match="torn"):
        histogram.observe_many(items())
    assert histogram.count == 2


@pytest.mark.parametrize("values", [5, 1.5, None, object()], ids=repr)
def test_many_of_what_is_no_iterable(histogram: Histogram, values: Any) -> None:
    """What cannot be walked is a TypeError: a whole batch is not an invalid value."""
    with pytest.raises(TypeError):
        histogram.observe_many(values)
    assert histogram.losses["invalid"] == 0


def test_many_with_what_is_not_finite(histogram: Histogram) -> None:
    """A buffer's NaN and infinities are counted as invalid, wherever they stand."""
    values = np.ones(1000)
    values[[0, 255, 256, 257, 999]] = [np.nan, np.inf, -np.inf, np.nan, np.inf]
    assert histogram.observe_many(values) == 995
    assert histogram.observe_many(values.astype(np.float32)) == 995
    assert (histogram.count, histogram.sum, histogram.losses["invalid"]) == (1990, 1990.0, 10)


def test_many_releases_the_gil(histogram: Histogram) -> None:
    """While one thread records a long buffer, another has its turn, though the first is never asked for
    it."""
    values = np.ones(1_000_000)
    go = threading.Event()
    turns: list[int] = []
    thread = threading.Thread(target=lambda: (go.wait(), turns.append(1)))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e6)  # from here on a thread gives way only where it releases the GIL itself
    try:
        thread.start()
        go.set()
        batches = 0
        while not turns and batches < 1000:
            histogram.observe_many(values)
            batches += 1
        assert turns == [1]
    finally:
        sys.setswitchinterval(before)
        thread.join()


def test_many_of_its_own_snapshot(registry: Registry, histogram: Histogram) -> None:
    """A column of a snapshot is a buffer like others."""
    histogram.observe(2)
    assert histogram.observe_many(registry.snapshot().native.numbers()) == 1
    assert histogram.sum == 4.0
