"""HDR histograms and HdrCounts: calls, hostile values, what a value of its own is. Statistics are the
model's matter."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from vaultscope import DeclarationError, HdrCounts, HdrHistogram, Registry

HIGHEST = 3_600_000_000_000


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def hdr(registry: Registry) -> HdrHistogram:
    return registry.hdr_histogram("a")


class Raises:
    def __index__(self) -> int:
        raise OSError("no")


def test_defaults(hdr: HdrHistogram) -> None:
    """Nanoseconds, one to an hour, three digits, a summary."""
    assert (hdr.unit, hdr.lowest, hdr.highest, hdr.digits, hdr.bounds) == ("ns", 1, HIGHEST, 3, ())


@pytest.mark.parametrize(
    ("value", "recorded"),
    [(0, 0), (1, 1), (True, 1), (1.4, 1), (1.6, 2), (0.5, 0), (1.5, 2), (-0.4, 0), (2000.0, 2000),
     (Decimal("3.2"), 3), (np.float32(7), 7), (np.uint64(9), 9), (np.int8(3), 3), (np.array(4), 4)],
    ids=repr,
)  # fmt: skip
def test_values(hdr: HdrHistogram, value: Any, recorded: int) -> None:
    """A number is recorded as the nearest integer, halves to the even one."""
    hdr.record(value)
    assert (hdr.count, hdr.min, hdr.sum) == (1, recorded, recorded)
    assert sum(hdr.losses.values()) == 0


@pytest.mark.parametrize(
    ("value", "side", "recorded"),
    [
        (-1, "low", 0),
        (-(2**70), "low", 0),
        (-1e300, "low", 0),
        (HIGHEST + 1, "high", HIGHEST),
        (2**63 - 1, "high", HIGHEST),
        (2**63, "high", HIGHEST),
        (10**400, "high", HIGHEST),
        (1.7976931348623157e308, "high", HIGHEST),
        (np.uint64(2**64 - 1), "high", HIGHEST),
    ],
    ids=repr,
)
def test_clamped(hdr: HdrHistogram, value: Any, side: str, recorded: int) -> None:
    """A value beyond the range, however far, is recorded once at the end that it passed, and counted there
    once."""
    hdr.record(value)
    assert hdr.count == 1
    assert hdr.snapshot().count_between(recorded, recorded) == 1
    assert hdr.losses == {
        "invalid": 0, "clamped_low": int(side == "low"), "clamped_high": int(side == "high"), "overflowed": 0,
        "truncated": 0,
    }  # fmt: skip


NO_VALUES: list[Any] = [
    math.nan, math.inf, -math.inf, np.float32("nan"), Decimal("NaN"), Decimal("Infinity"), None, "1", b"1",
    memoryview(b"1"), 1j, [], object(), Raises(), np.array([1, 2]),
]  # fmt: skip


@pytest.mark.parametrize("value", NO_VALUES, ids=ascii)
@pytest.mark.parametrize(
    "record",
    [
        lambda hdr, value: hdr.record(value),
        lambda hdr, value: hdr.record_times(value, 2),
        lambda hdr, value: hdr.record_times(1, value),
        lambda hdr, value: hdr.record_corrected(value, 1),
        lambda hdr, value: hdr.record_corrected(1, value),
        lambda hdr, value: hdr.record_many([value]),
        lambda hdr, value: hdr.observe_many((value,)),
    ],
    ids=["record", "times", "n", "corrected", "interval", "record_many", "observe_many"],
)
def test_what_is_no_value(
    registry: Registry, hdr: HdrHistogram, record: Callable[..., object], value: Any
) -> None:
    """What is not a finite number, in any place, is counted as invalid once; nothing is recorded."""
    assert not record(hdr, value)
    assert hdr.count == 0
    assert hdr.losses["invalid"] == 1
    pedantic = Registry(pedantic=True).hdr_histogram("a.b")
    with pytest.raises((ValueError, TypeError), match=r"a\.b: not a"):
        record(pedantic, value)


@pytest.mark.parametrize("value", [-1, HIGHEST + 1, 2**70, 1e300])
def test_pedantic_range(value: float) -> None:
    """In a pedantic registry a value out of range raises, and is clamped and counted as well."""
    hdr = Registry(pedantic=True).hdr_histogram("a.b")
    with pytest.raises(ValueError, match=r"a\.b: .* is not in 0\.\.3600000000000"):
        hdr.record(value)
    assert hdr.count == 1


def test_times(hdr: HdrHistogram) -> None:
    """No times at all is nothing; less than none, a part of one and more than 64 bits hold are invalid."""
    hdr.record_times(5, 0)
    hdr.record_times(5, 3)
    for times in (-1, 1.5, 2**70):
        hdr.record_times(5, times)  # type: ignore[arg-type]
    assert (hdr.count, hdr.sum, hdr.losses["invalid"]) == (3, 15.0, 3)


@pytest.mark.parametrize("interval", [0, -1, 101, 10**30])
def test_no_interval_no_correction(hdr: HdrHistogram, interval: int) -> None:
    """An interval that is none, or longer than the value, leaves one recording."""
    hdr.record_corrected(100, interval)
    assert (hdr.count, hdr.sum) == (1, 100.0)


def test_a_correction_of_billions(hdr: HdrHistogram) -> None:
    """A stall of an hour against an interval of a nanosecond ends, with 3.6e12 recordings."""
    hdr.record_corrected(HIGHEST, 1)
    assert hdr.count == HIGHEST
    assert hdr.mean == pytest.approx(HIGHEST / 2, rel=1e-3)


def test_a_correction_beyond_the_range(hdr: HdrHistogram) -> None:
    """A value beyond all ranges is corrected in a moment as well."""
    hdr.record_corrected(1e300, 1e9)
    assert hdr.count > 9e9
    assert hdr.losses["clamped_high"] >= 1


def test_many_is_one_method(hdr: HdrHistogram) -> None:
    """record_many and observe_many are the same."""
    assert hdr.record_many(np.arange(10)) == 10
    assert hdr.observe_many(range(10)) == 10
    assert (hdr.count, hdr.sum) == (20, 90.0)


def test_many_tells_what_was_in_range(hdr: HdrHistogram) -> None:
    """Clamped items are recorded and not told; invalid ones neither."""
    items = [1, -1, 2**62, math.nan, 3.0]
    assert hdr.observe_many(items) == 2
    assert hdr.observe_many(np.array(items)) == 2
    assert hdr.count == 8
    assert (hdr.losses["clamped_low"], hdr.losses["clamped_high"], hdr.losses["invalid"]) == (2, 2, 2)


def test_a_value_that_writes(hdr: HdrHistogram) -> None:
    """A value that records in the same histogram while it is asked: both are there."""

    class Writes:
        def __index__(self) -> int:
            hdr.record(1)
            hdr.record_corrected(20, 10)
            return 100

    hdr.record(Writes())  # type: ignore[arg-type]
    assert (hdr.count, hdr.sum) == (4, 131.0)


@pytest.mark.parametrize("other", [None, 5, "x", [1], b"", object()], ids=repr)
def test_merging_what_is_no_histogram(registry: Registry, hdr: HdrHistogram, other: Any) -> None:
    """Only histograms and counts merge: a fixed-bucket one does not, nor anything else."""
    for what in (other, registry.histogram("b")):
        with pytest.raises(TypeError, match="HdrHistogram or HdrCounts"):
            hdr.merge(what)
        with pytest.raises(TypeError):
            HdrCounts().merge(what)
    assert hdr.count == 0


def test_merging_with_itself(hdr: HdrHistogram) -> None:
    """A histogram merged with itself has everything twice."""
    hdr.observe_many([1, 5, 5, 1000])
    assert hdr.merge(hdr) == 0
    assert (hdr.count, hdr.sum) == (8, 2022.0)
    counts = hdr.snapshot()
    counts.merge(counts)
    assert counts.count == 16


def test_a_reading_is_apart(hdr: HdrHistogram) -> None:
    """What was read does not change when the histogram or the reading is written to."""
    hdr.record(5)
    reading = hdr.snapshot()
    hdr.record(5)
    assert (reading.count, reading.sum) == (1, 5.0)
    reading.record(7, 10)
    assert (reading.count, hdr.count) == (11, 2)


# ---- HdrCounts ----


@pytest.mark.parametrize(
    "arguments", [(0, 10, 3), (1, 1, 3), (-1, 10, 3), (1, 2**63, 3), (1, 100, 0), (1, 100, 6)]
)
def test_impossible_ranges(arguments: tuple[int, int, int]) -> None:
    """A range that cannot be is refused."""
    with pytest.raises(DeclarationError, match="HDR range"):
        HdrCounts(*arguments)


def test_counts_are_an_array_without_copy() -> None:
    """counts is the memory itself as uint64: it shows later recordings, cannot be written, and outlives
    the object."""
    value = HdrCounts(1, 1000, 2)
    counts = value.counts
    assert counts.dtype == np.uint64
    assert len(counts) == len(value)
    value.record(5, 3)
    assert counts.sum() == 3
    assert counts.base is not None
    with pytest.raises(ValueError, match="read-only"):
        counts[0] = 1
    with pytest.raises(ValueError, match=r"read-only|WRITEABLE|writeable"):
        counts.flags.writeable = True
    with pytest.raises(TypeError):
        memoryview(value)[0] = 1  # type: ignore[index]
    del value
    assert counts.sum() == 3


def test_buckets_tell_their_values() -> None:
    """bucket(i) is the first and last value of the i-th count: without gaps, and each value lies in its
    own."""
    value = HdrCounts(1, 100_000, 2)
    edges = [value.bucket(i) for i in range(len(value))]
    assert all(high + 1 == low for (_, high), (low, _) in pairwise(edges))
    for number in (0, 1, 255, 256, 99_999):
        fresh = HdrCounts(1, 100_000, 2)
        fresh.record(number)
        low, high = edges[int(fresh.counts.argmax())]
        assert low <= number <= high
    for index in (-1, len(value)):
        with pytest.raises(IndexError):
            value.bucket(index)


@pytest.mark.parametrize(
    "make", [lambda v: pickle.loads(pickle.dumps(v)), copy.copy, copy.deepcopy, HdrCounts.copy]
)
def test_counts_travel(make: Callable[[HdrCounts], HdrCounts]) -> None:
    """HdrCounts are values: they pickle and copy, equal to and apart from what they came from."""
    value = HdrCounts(1, 1_000_000, 4)
    for number in (1, 7, 7, 999_999):
        value.record(number)
    again = make(value)
    assert again == value
    assert (again.lowest, again.highest, again.digits) == (1, 1_000_000, 4)
    again.record(3)
    assert again != value
    assert value.count == 4


def test_equality() -> None:
    """Equal counts of the same range and digits are equal; other ranges are not, and nothing else is."""
    assert HdrCounts() == HdrCounts()
    assert HdrCounts(1, 1000, 3) != HdrCounts(1, 1001, 3)
    assert HdrCounts(1, 1000, 3) != HdrCounts(1, 1000, 2)
    assert (HdrCounts() == 5) is False
    with pytest.raises(TypeError):
        hash(HdrCounts())


def test_recording_into_a_value() -> None:
    """record() tells whether the value was in range, takes several at once, and refuses what is none."""
    value = HdrCounts(1, 1000, 3)
    assert value.record(5) is True
    assert value.record(5000) is False
    assert value.record(-5) is False
    assert value.record(7, times=0) is True
    assert (value.count, value.max) == (3, 1000)
    for args in [(math.nan,), (math.inf,), ("x",), (None,), (1, -1), (1, 2**70)]:
        with pytest.raises((ValueError, TypeError, OverflowError)):
            value.record(*args)  # type: ignore[arg-type]
    assert value.count == 3


def test_minus() -> None:
    """The difference of two readings is what came in between, and never below none."""
    live = Registry().hdr_histogram("a")
    live.observe_many([1, 2, 2])
    before = live.snapshot()
    live.observe_many([2, 9])
    between = live.snapshot().minus(before)
    assert (between.count, between.min, between.max, between.sum) == (2, 2, 9, 11.0)
    assert before.minus(live.snapshot()).count == 0
    with pytest.raises(ValueError, match="same range"):
        before.minus(HdrCounts(1, 1000, 3))


def test_repr() -> None:
    """A repr tells how much is in it; what __new__ alone made has one, too, and says what it lacks."""
    value = HdrCounts(1, 1000, 2)
    value.record(5)
    assert repr(value) == "<HdrCounts 1 values in 0..1000, 2 digits>"
    bare = HdrCounts.__new__(HdrCounts)
    assert repr(bare) == "<HdrCounts uninitialised>"
    assert len(bare) == 0
    assert bare != value
    for use in (
        lambda: bare.count,
        lambda: bare.record(1),
        lambda: value.merge(bare),
        bare.encode,
        bare.copy,
    ):
        with pytest.raises(DeclarationError):
            use()


def test_initialised_twice() -> None:
    """A second __init__ is refused: what looks at the counts, looks at them still."""
    value = HdrCounts(1, 1000, 2)
    value.record(5)
    counts = memoryview(value)
    with pytest.raises(DeclarationError, match="already"):
        value.__init__(1, 10_000, 3)  # type: ignore[misc]
    assert (value.count, value.highest) == (1, 1000)
    assert counts[5] == 1
