"""observe_many over every layout of buffer, against observing the items one by one."""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vaultscope import HdrHistogram, Histogram, Registry

BOUNDS = (-100.0, -1.0, 0.0, 1.0, 10.0, 100.0, 1e6)
FORMATS = ["f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
SWAPPED = ">" if sys.byteorder == "little" else "<"

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda data: data,
    "every other": lambda data: data[::2],
    "reversed": lambda data: data[::-1],
    "reversed, every third": lambda data: data[::-3],
    "two dimensions": lambda data: data[: data.size // 2 * 2].reshape(2, -1),
    "by columns": lambda data: np.asfortranarray(data[: data.size // 2 * 2].reshape(2, -1)),
    "one column of two": lambda data: data[: data.size // 2 * 2].reshape(-1, 2)[:, 1],
    "repeated by a stride of 0": lambda data: np.broadcast_to(data[:1], 5) if data.size else data,
    "read-only": lambda data: read_only(data),
    "unaligned": lambda data: unaligned(data),
    "memoryview": lambda data: memoryview(data),
}


def read_only(data: np.ndarray) -> np.ndarray:
    data = data.copy()
    data.setflags(write=False)
    return data


def unaligned(data: np.ndarray) -> np.ndarray:
    """The same items one byte off their alignment: a field of packed records."""
    records = np.zeros(data.size, dtype=np.dtype([("pad", "u1"), ("item", data.dtype)]))
    records["item"] = data
    return records["item"]


def histogram() -> tuple[Registry, Histogram]:
    registry = Registry()
    return registry, registry.histogram("cas.put.duration", buckets=BOUNDS)


def hdr() -> tuple[Registry, HdrHistogram]:
    registry = Registry()
    return registry, registry.hdr_histogram("cas.put.duration", highest=1_000_000, digits=2)


def losses(registry: Registry) -> dict[str, int]:
    return dict(registry.snapshot()["cas.put.duration"].losses)


arrays = st.sampled_from(FORMATS).flatmap(lambda form: hnp.arrays(form, st.integers(0, 600)))


@given(arrays, st.sampled_from(sorted(LAYOUTS)))
def test_histogram(data: np.ndarray, layout: str) -> None:
    """A buffer is recorded as its items are: the same counts, the same invalid ones, as many as it tells."""
    data = LAYOUTS[layout](data)
    whole_registry, whole = histogram()
    single_registry, single = histogram()
    recorded = whole.observe_many(data)
    for item in np.asarray(data).ravel():
        single.observe(item)
    assert whole.counts == single.counts
    assert recorded == whole.count
    assert losses(whole_registry) == losses(single_registry)


@given(arrays, st.sampled_from(sorted(LAYOUTS)))
def test_hdr(data: np.ndarray, layout: str) -> None:
    """The same for an HDR histogram, its sum and what it clamped included."""
    data = LAYOUTS[layout](data)
    whole_registry, whole = hdr()
    single_registry, single = hdr()
    whole.observe_many(data)
    for item in np.asarray(data).ravel():
        single.record(item)
    assert whole.snapshot() == single.snapshot()
    assert whole.sum == single.sum
    assert losses(whole_registry) == losses(single_registry)


def recorded_by_both(data: Any) -> tuple[int, int]:
    fixed, dynamic = histogram()[1], hdr()[1]
    fixed.observe_many(data)
    dynamic.observe_many(data)
    return fixed.count, dynamic.count


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"\x00\x07\xff", 3),
        (bytearray(5), 5),
        (array.array("d", [1.0, 2.0]), 2),
        (array.array("f", [1.0, 2.0]), 2),
        (array.array("l", [-1, 2, 3]), 3),
        (array.array("Q", [2**64 - 1]), 1),
        (np.array(7.0), 1),
        (np.empty(0), 0),
        (np.empty((0, 3)), 0),
        (b"", 0),
        (memoryview(b"abcdef")[::2], 3),
    ],
)
def test_buffers_of_the_standard_library(data: Any, count: int) -> None:
    """bytes, bytearray, array and memoryview are buffers too, of any size and dimension down to none."""
    assert recorded_by_both(data) == (count, count)


@pytest.mark.parametrize("values", [[], [1, 2.5, 3], (4,), range(10)])
def test_iterables(values: Any) -> None:
    """What is no buffer is recorded item by item."""
    assert recorded_by_both(values) == (len(values), len(values))


@pytest.mark.parametrize(
    "data",
    [
        np.array([1.0], dtype=f"{SWAPPED}f8"),
        np.array([1], dtype=f"{SWAPPED}i4"),
        np.array([1j]),
        np.array(["1"]),
        np.array([(1, 2.0)], dtype="i4,f8"),
        np.array([1], dtype=np.longdouble),
    ],
    ids=lambda data: str(data.dtype),
)
@pytest.mark.parametrize("declare", [histogram, hdr])
def test_refused(declare: Any, data: np.ndarray) -> None:
    """Another byte order and items that are no numbers are refused before anything is recorded."""
    _, metric = declare()
    with pytest.raises(TypeError, match="format"):
        metric.observe_many(data)
    assert metric.count == 0


@pytest.mark.parametrize("declare", [histogram, hdr])
def test_scattered(declare: Any) -> None:
    """A view of several dimensions that is not one run of items is refused."""
    _, metric = declare()
    with pytest.raises(ValueError, match="contiguous"):
        metric.observe_many(np.zeros((4, 4))[::2, ::2])
    assert metric.count == 0


@pytest.mark.parametrize("declare", [histogram, hdr])
def test_buffer_is_let_go(declare: Any) -> None:
    """After the call nothing holds the buffer: it can be resized."""
    _, metric = declare()
    data = bytearray(10)
    metric.observe_many(data)
    data.append(1)
    assert metric.count == 10
