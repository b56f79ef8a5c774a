"""time(): how long a block took, in the metric's unit, however the block ends."""

from __future__ import annotations

import pickle
import time
from typing import Any

import pytest

from vaultscope import DeclarationError, HdrHistogram, Histogram, Registry
from vaultscope._native._core import Timer, monotonic_ns, record_elapsed_ns

# Nanoseconds in each unit of time. No unit at all means seconds.
UNITS = {
    "ns": 1, "nanoseconds": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "milliseconds": 1e6, "s": 1e9,
    "seconds": 1e9, "": 1e9, "min": 6e10, "h": 3.6e12, "d": 8.64e13,
}  # fmt: skip


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def histogram(registry: Registry) -> Histogram:
    return registry.histogram("a", unit="ns")


@pytest.mark.parametrize("unit", UNITS)
def test_elapsed_in_the_unit(registry: Registry, unit: str) -> None:
    """What is recorded lies between a clock read inside the block and one around it, in the declared unit."""
    histogram = registry.histogram("a", unit=unit)
    before = time.monotonic_ns()
    with histogram.time():
        inside = time.monotonic_ns()
        while time.monotonic_ns() - inside < 1000:
            pass
        least = time.monotonic_ns() - inside
    most = time.monotonic_ns() - before
    assert histogram.count == 1
    assert least <= histogram.sum * UNITS[unit] * (1 + 1e-12)
    assert histogram.sum * UNITS[unit] <= most * (1 + 1e-12)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("elapsed_ns", [0, 1, 1_000_000, 1_499_999_999, 86_400_000_000_000])
def test_conversion(registry: Registry, unit: str, elapsed_ns: int) -> None:
    """Nanoseconds become the unit: exactly in fixed buckets, to the nearest integer in HDR."""
    histogram, hdr = (
        registry.histogram("a", unit=unit),
        registry.hdr_histogram("b", unit=unit, highest=10**18),
    )
    record_elapsed_ns(histogram, elapsed_ns)
    record_elapsed_ns(hdr, elapsed_ns)
    assert histogram.sum == pytest.approx(elapsed_ns / UNITS[unit], rel=1e-12)
    assert hdr.sum == round(elapsed_ns / UNITS[unit])


@pytest.mark.parametrize("unit", ["bytes", "B", "percent", "ratio", "operations", "sec", "MS"])
@pytest.mark.parametrize("kind", ["histogram", "hdr_histogram"])
def test_units_that_are_not_of_time(registry: Registry, kind: str, unit: str) -> None:
    """A histogram of bytes has no time(): it is refused before the block runs."""
    histogram = getattr(registry, kind)("a", unit=unit)
    with pytest.raises(DeclarationError, match=f"time.*{unit}"):
        histogram.time()
    with pytest.raises(DeclarationError):
        histogram.timed(len)
    assert histogram.count == 0


def test_only_histograms_have_durations(registry: Registry) -> None:
    """A counter of seconds is no place for a duration."""
    for metric in (registry.counter("a", unit="s"), registry.gauge("b", unit="s")):
        with pytest.raises(DeclarationError):
            record_elapsed_ns(metric, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_block_that_raises(histogram: Histogram, error: type[BaseException]) -> None:
    """Its time is recorded, and the error goes on."""
    with pytest.raises(error), histogram.time():
        raise error
    assert histogram.count == 1


@pytest.mark.parametrize("leave", ["return", "break", "continue"])
def test_a_block_that_is_left(histogram: Histogram, leave: str) -> None:
    """However control leaves the block, its time is recorded."""

    def run() -> None:
        for _ in range(1):
            with histogram.time():
                if leave == "return":
                    return
                if leave == "break":
                    break
                continue

    run()
    assert histogram.count == 1


def test_nested(registry: Registry) -> None:
    """Blocks within blocks, also of the same histogram: each has its own time, the outer the longest."""
    outer, inner = registry.histogram("a", unit="ns"), registry.histogram("b", unit="ns")
    with outer.time():
        with inner.time():
            pass
        with inner.time(), inner.time():
            pass
    assert (outer.count, inner.count) == (1, 3)
    assert outer.sum >= inner.sum / 2


def test_a_timer_again(histogram: Histogram) -> None:
    """A timer may be used again: it starts anew each time."""
    timer = histogram.time()
    before = monotonic_ns()
    for _ in range(10):
        with timer:
            pass
    assert histogram.count == 10
    assert histogram.sum <= monotonic_ns() - before


def test_elapsed_so_far(histogram: Histogram) -> None:
    """elapsed_ns grows within the block and never exceeds what is recorded in the end."""
    with histogram.time() as timer:
        first = timer.elapsed_ns
        second = timer.elapsed_ns
    assert 0 <= first <= second <= histogram.sum


def test_the_clock() -> None:
    """The clock is Python's own monotonic one."""
    before = time.monotonic_ns()
    now = monotonic_ns()
    assert before <= now <= time.monotonic_ns()


def test_a_timer_keeps_its_metric(registry: Registry) -> None:
    """A timer whose metric was removed and forgotten meanwhile records all the same, unseen."""
    family = registry.histogram("f", labels=("x",), unit="ns")
    timer = family.labels("1").time()
    with timer:
        family.remove("1")
        registry.unregister("f")
        del family
    assert "f" not in registry.snapshot()


@pytest.mark.parametrize("make", [Timer, lambda: Timer.__new__(Timer)], ids=["init", "new"])
def test_a_timer_of_nothing(make: Any) -> None:
    """A timer that no histogram made has nowhere to record, and says so."""
    with pytest.raises(DeclarationError), make():
        pass


def test_a_timer_does_not_travel(histogram: Histogram) -> None:
    """A timer is of this process, as its histogram is."""
    with pytest.raises(TypeError, match="handle into this process"):
        pickle.dumps(histogram.time())


@pytest.mark.parametrize("kind", [Histogram, HdrHistogram])
def test_children_have_timers(registry: Registry, kind: type[Histogram]) -> None:
    """A child's timer records in the child alone."""
    family = kind("a", labels=("x",), unit="us", registry=registry)
    with family.labels("1").time():
        pass
    assert (family.labels("1").count, family.labels("2").count) == (1, 0)
