"""The capsule of a metric: its native handle for C and Cython. (test_embedding.py builds with it.)"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vaultscope import DeclarationError, Registry
from vaultscope._native._core import Counter, Metric

PointerGetter = Callable[[object, bytes], int]


class NativeCounter(ctypes.Structure):
    """vs_counter, as counter.h has it."""

    _fields_ = [("offset", ctypes.c_uint64), ("arena", ctypes.c_uint32)]


@pytest.fixture
def pointer() -> PointerGetter:
    """PyCapsule_GetPointer."""
    function = ctypes.pythonapi.PyCapsule_GetPointer
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.py_object, ctypes.c_char_p)
    return function


@pytest.fixture
def library(installed: Path) -> ctypes.CDLL:
    """The library that the extension is linked to: loaded once, whoever asks."""
    return ctypes.CDLL(str(installed / "libvaultscope.so"))


def metrics(registry: Registry) -> list[tuple[str, Metric]]:
    """The C type and a metric of each kind."""
    return [
        ("vs_counter", registry.counter("a.count")),
        ("vs_gauge", registry.gauge("b")),
        ("vs_histogram", registry.histogram("c")),
        ("vs_hdr", registry.hdr_histogram("d")),
    ]


def test_the_name_is_the_type(pointer: PointerGetter) -> None:
    """A capsule opens by the name of its own C type, and by no other."""
    kinds = metrics(Registry())
    for kind, metric in kinds:
        for name, _ in kinds:
            if name == kind:
                assert pointer(metric.capsule(), name.encode())
            else:
                with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
                    pointer(metric.capsule(), name.encode())


def test_it_points_to_the_live_cell(pointer: PointerGetter, library: ctypes.CDLL) -> None:
    """What C adds through the pointer, Python reads, and the other way round."""
    counter = Registry().counter("cas.put.count")
    handle = NativeCounter.from_address(pointer(counter.capsule(), b"vs_counter"))
    library.vs_counter_add_slow.argtypes = (NativeCounter, ctypes.c_uint64)
    counter.inc(3)
    library.vs_counter_add_slow(handle, 4)
    assert counter.value == 7
    integer, real = ctypes.c_uint64(), ctypes.c_double()
    library.vs_counter_read(handle, ctypes.byref(integer), ctypes.byref(real))
    assert (integer.value, real.value) == (7, 0.0)


def test_an_hdr_histogram_too(pointer: PointerGetter, library: ctypes.CDLL) -> None:
    """C records through the pointer to a struct that is passed by address."""
    hdr = Registry().hdr_histogram("cas.get.duration")
    library.vs_hdr_record_times.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64)
    assert library.vs_hdr_record_times(pointer(hdr.capsule(), b"vs_hdr"), 1000, 5)
    assert (hdr.count, hdr.sum) == (5, 5000)


def test_a_child_has_its_own(pointer: PointerGetter) -> None:
    """Two children of a family lead to two cells; two capsules of one child to the same."""
    family = Registry().counter("cas.put.count", labels=("result",))

    def cell(value: str) -> int:
        capsule = family.labels(value).capsule()
        offset: int = NativeCounter.from_address(pointer(capsule, b"vs_counter")).offset
        return offset

    assert cell("stored") != cell("duplicate")
    assert cell("stored") == cell("stored")


def test_a_family_has_none() -> None:
    """A metric with labels has no cell of its own: its children do. Nor has one that was never declared."""
    with pytest.raises(DeclarationError, match="labels"):
        Registry().counter("cas.put.count", labels=("result",)).capsule()
    with pytest.raises(DeclarationError):
        Counter.__new__(Counter).capsule()


def test_it_keeps_the_cells(pointer: PointerGetter, library: ctypes.CDLL) -> None:
    """With the series removed and no Python name left, the capsule keeps its cell from another series."""
    family = Registry().counter("cas.put.count", labels=("result",))
    capsule = family.labels("stored").capsule()
    family.clear()
    gc.collect()
    handle = NativeCounter.from_address(pointer(capsule, b"vs_counter"))
    others = [family.labels(f"other {i}") for i in range(100)]
    library.vs_counter_add_slow.argtypes = (NativeCounter, ctypes.c_uint64)
    library.vs_counter_add_slow(handle, 1)
    assert [other.value for other in others] == [0] * 100


def test_it_lets_go() -> None:
    """A capsule holds its metric once, and no longer than it lives."""
    counter = Registry().counter("cas.put.count")
    before = sys.getrefcount(counter)
    capsules = [counter.capsule() for _ in range(3)]
    assert sys.getrefcount(counter) == before + 3
    del capsules
    assert sys.getrefcount(counter) == before
