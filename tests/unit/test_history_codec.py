"""Intervals as bytes, and what grew between two snapshots."""

from __future__ import annotations

import math
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultscope import DecodeError, HdrCounts, Registry
from vaultscope.core import history_codec
from vaultscope.core.history_codec import decode, encode, numbers, read, run
from vaultscope.core.history_interval import (
    HALF_MIN,
    HdrCells,
    Interval,
    MetricGrowth,
    SeriesGrowth,
    Shape,
    cell_of,
    growth,
    half_of,
    lowest_of,
    refined,
)

WRITTEN = (
    "767368314394ba40c7e42416800a2e2ba4e40514cd431101aa432e9d892ed10c8da021457641650eae92"
    "4c754c8c81b59311d0872e19c906da6e205fe53b39837c13ab03093073e400438457a2522d00ae283cf2"
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
LABELS = st.lists(TEXT, max_size=3).map(tuple)
NUMBERS = st.one_of(st.integers(0, 2**64), st.floats(allow_nan=False))
COUNTS = st.integers(1, 2**63)


@st.composite
def hdr_cells(draw: st.DrawFn) -> HdrCells:
    """Cells of three digits, and their counts."""
    counts = draw(st.dictionaries(st.integers(0, 33_000), COUNTS, min_size=1, max_size=40))
    return HdrCells(1024, tuple(sorted(counts)), tuple(counts[cell] for cell in sorted(counts)))


@st.composite
def metrics(draw: st.DrawFn) -> MetricGrowth:
    """A metric of any kind."""
    kind = draw(st.sampled_from(["counter", "gauge", "histogram", "hdr"]))
    names, more = draw(LABELS), {}
    bounds: tuple[float, ...] = ()
    if kind == "histogram":
        bounds = tuple(sorted(draw(st.sets(st.floats(-1e9, 1e9), min_size=1, max_size=5))))
        more = {"counts": st.tuples(*[st.integers(0, 2**63)] * (len(bounds) + 1))}
    elif kind == "hdr":
        more = {"hdr": hdr_cells()}
    series = st.builds(SeriesGrowth, labels=st.tuples(*[TEXT] * len(names)), value=NUMBERS, **more)
    shape = Shape(draw(TEXT), kind, draw(TEXT), names, bounds, (1, 10**12, 3) if kind == "hdr" else None)
    return MetricGrowth(shape, tuple(draw(st.lists(series, max_size=4))))


TIMES = st.integers(-(2**63), 2**63 - 1)
INTERVALS = st.builds(
    Interval, TIMES, TIMES, st.integers(0, 2**63), st.integers(1, 2**22), TIMES, TEXT,
    st.lists(metrics(), max_size=4).map(tuple),
)  # fmt: skip
SMALL = Interval(
    1, 60_000_000_001, 60_000_000_000, 7, 1, "a",
    (
        MetricGrowth(Shape("cas.put.count", "counter", "", (), (), None), (SeriesGrowth((), 120),)),
        MetricGrowth(
            Shape("cas.put.duration", "hdr", "ns", (), (), (1, 3_600_000_000_000, 3)),
            (SeriesGrowth((), 70_000.5, hdr=HdrCells(1024, (3, 900, 7000), (1, 40, 2))),),
        ),
    ),
)  # fmt: skip


@given(INTERVALS)
def test_there_and_back(interval: Interval) -> None:
    """What was encoded decodes to the same, whatever the names, labels and numbers are."""
    assert decode(encode(interval, hdr_bytes_max=None)) == interval


@given(INTERVALS)
def test_canonical(interval: Interval) -> None:
    """Decoded and encoded again, an interval gives the same bytes."""
    content = encode(interval, hdr_bytes_max=None)
    assert encode(decode(content), hdr_bytes_max=None) == content


@given(st.lists(st.integers(0, 2**64), max_size=50))
def test_runs(values: list[int]) -> None:
    """A run of numbers is read back as it was written."""
    assert numbers(run(values)) == values


@pytest.mark.parametrize("text", ["g", "AAk", "A A", "ä", '"'])
def test_runs_that_are_none(text: str) -> None:
    """A run that ends within a number, or has a foreign sign, is refused."""
    with pytest.raises(DecodeError):
        numbers(text)


@given(st.binary(max_size=200))
def test_foreign_bytes(content: bytes) -> None:
    """Bytes from anywhere are refused with a DecodeError."""
    with pytest.raises(DecodeError):
        decode(content)
    with pytest.raises(DecodeError):
        decode(b"vsh1" + content)


def test_damage() -> None:
    """An interval of which a bit is turned, or that is cut, is refused."""
    content = encode(SMALL)
    for cut in range(len(content)):
        with pytest.raises(DecodeError):
            decode(content[:cut])
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError):
            decode(bytes(damaged))


@pytest.mark.parametrize("document", [b"[]", b"{}", b"3", b'{"begin":1}', b"no JSON"])
def test_json_that_is_no_interval(document: bytes) -> None:
    """Whole and deflated as it should be, but nothing that an encoder writes: refused."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, 0, history_codec._DICTIONARY)
    packed = deflater.compress(document) + deflater.flush()
    content = b"vsh1" + packed + zlib.crc32(packed).to_bytes(4, "big")
    with pytest.raises(DecodeError):
        read(content)


def test_what_was_written_stays_readable() -> None:
    """Bytes of the first version decode: the dictionary may never change under the same magic."""
    assert zlib.crc32(history_codec._DICTIONARY) == 0x2FD815D6
    assert decode(bytes.fromhex(WRITTEN)) == SMALL


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e300, 0.1, 2**70, -3])
def test_gauges_of_any_value(value: float) -> None:
    """A gauge may have a value that JSON has no number for."""
    shape = Shape("a", "gauge", "", (), (), None)
    interval = Interval(0, 1, 1, 1, 0, "", (MetricGrowth(shape, (SeriesGrowth((), value),)),))
    assert decode(encode(interval)).metrics[0].series[0].value == value


@given(st.integers(0, 10**12), st.sampled_from([1, 2, 3, 4]))
def test_cells_are_those_of_hdr(value: int, digits: int) -> None:
    """The cell of a value, and a cell's lowest value, are HdrCounts'."""
    counts = HdrCounts(1, 3_600_000_000_000, digits)
    cell = cell_of(value, half_of(digits))
    lowest, highest = counts.bucket(cell)
    assert lowest <= value <= highest
    assert lowest_of(cell, half_of(digits)) == lowest


@given(st.lists(st.integers(0, 3_600_000_000_000), min_size=1, max_size=50))
def test_coarser_is_as_if_recorded_so(values: list[int]) -> None:
    """Cells of three digits, coarsened to an eighth, are those of two digits of the same values."""
    fine, coarse = ({cell_of(value, half_of(digits)) for value in values} for digits in (3, 2))
    cells = HdrCells(1024, tuple(sorted(fine)), (1,) * len(fine)).coarser().coarser().coarser()
    assert (cells.half, cells.cells) == (128, tuple(sorted(coarse)))
    assert sum(cells.counts) == len(fine)


@given(st.integers(0, 3_600_000_000_000), st.sampled_from([32, 64, 128, 256, 512]))
def test_refined_is_the_highest_value(value: int, half: int) -> None:
    """A coarse cell's highest value is no lower than any value in it, nor too high by more than one part in
    `half`."""
    highest = lowest_of(refined(cell_of(value, half), half, 1024) + 1, 1024) - 1
    assert value <= highest <= value * (1 + 1 / half) + 1


@given(st.integers(1, 4000), st.integers(100, 2000))
def test_a_series_of_bounded_size(cells: int, bytes_max: int) -> None:
    """Many cells in use are made coarser until they fit, but no coarser than one part in 32; counts and sum
    stay."""
    taken = HdrCells(
        1024, tuple(range(5000, 5000 + 7 * cells, 7)), tuple(1 + i * i % 97 for i in range(cells))
    )
    shape = Shape("a", "hdr", "ns", (), (), (1, 3_600_000_000_000, 3))
    interval = Interval(0, 1, 1, 1, 0, "", (MetricGrowth(shape, (SeriesGrowth((), 5, hdr=taken),)),))
    content = encode(interval, hdr_bytes_max=bytes_max)
    kept = decode(content).metrics[0].series[0]
    assert kept.hdr is not None and sum(kept.hdr.counts) == sum(taken.counts) and kept.value == 5
    assert len(content) <= bytes_max + 100 or kept.hdr.half == HALF_MIN


# ---- what grew ----


def cells_of(values: list[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for value in values:
        found[cell_of(value, 1024)] = found.get(cell_of(value, 1024), 0) + 1
    return found


@given(st.lists(st.integers(0, 10**9), max_size=30), st.lists(st.integers(0, 10**9), max_size=30))
def test_growth_is_what_came_since(before: list[int], since: list[int]) -> None:
    """What grew between two snapshots is what was recorded between them, of every kind."""
    registry = Registry()
    counter, hdr = registry.counter("a"), registry.hdr_histogram("b")
    fixed = registry.histogram("c", buckets=[10.0, 1e6], unit="ns")
    first = registry.snapshot()
    for values in (before, since):
        first = registry.snapshot()
        for value in values:
            counter.inc(value)
            hdr.record(value)
            fixed.observe(value)
    grown = {metric.shape.name: metric.series for metric in growth(first, registry.snapshot())}
    if not since:
        assert grown == {"a": (), "b": (), "c": ()}
        return
    assert [series.value for series in grown["a"]] == ([sum(since)] if sum(since) else [])
    assert grown["b"][0].hdr is not None and grown["b"][0].value == sum(since)
    assert dict(zip(grown["b"][0].hdr.cells, grown["b"][0].hdr.counts, strict=True)) == cells_of(since)
    assert sum(grown["c"][0].counts) == len(since) and grown["c"][0].counts[0] == sum(v <= 10 for v in since)


def restarted(declare: str, **options: object) -> tuple[MetricGrowth, ...]:
    """What grew where a metric stood at 5 values, was taken out, declared anew, and took 2."""
    registry = Registry()
    metric = getattr(registry, declare)("a", **options)
    take = getattr(metric, {"counter": "inc", "histogram": "observe", "hdr_histogram": "record"}[declare])
    for _ in range(5):
        take(3)
    first = registry.snapshot()
    registry.unregister("a")
    metric = getattr(registry, declare)("a", **options)
    take = getattr(metric, {"counter": "inc", "histogram": "observe", "hdr_histogram": "record"}[declare])
    for _ in range(2):
        take(3)
    return growth(first, registry.snapshot())


def test_a_counter_that_restarted() -> None:
    """A counter that reads less than before has grown from 0."""
    assert restarted("counter")[0].series[0].value == 6


def test_histograms_that_restarted() -> None:
    """So have both kinds of histogram."""
    fixed = restarted("histogram", buckets=[1.0, 5.0])[0].series[0]
    assert (fixed.value, fixed.counts) == (6.0, (0, 2, 0))
    hdr = restarted("hdr_histogram")[0].series[0]
    assert (hdr.value, hdr.hdr) == (6.0, HdrCells(1024, (3,), (2,)))


def test_another_shape_is_another_metric() -> None:
    """Nothing is subtracted from a metric that was declared anew with other buckets, or of another kind."""
    registry = Registry()
    registry.histogram("a", buckets=[1.0, 5.0]).observe(0.5)
    registry.counter("b").inc(5)
    first = registry.snapshot()
    registry.unregister("a")
    registry.unregister("b")
    registry.histogram("a", buckets=[1.0, 7.0]).observe(0.5)
    registry.gauge("b").set(7)
    by_name = {metric.shape.name: metric for metric in growth(first, registry.snapshot())}
    assert by_name["a"].series[0].counts == (1, 0, 0)
    assert by_name["b"].shape.kind == "gauge" and by_name["b"].series[0].value == 7


def test_only_what_grew() -> None:
    """Series that stood still are left out, as are gauges that are not known; their metric is there."""
    registry = Registry()
    family = registry.counter("a", labels=("op",))
    family.labels("get").inc()
    registry.gauge("b").set(math.nan)
    first = registry.snapshot()
    family.labels("put").inc(2)
    grown = growth(first, registry.snapshot())
    assert [metric.shape.name for metric in grown] == ["a", "b"]
    assert grown[0].series == (SeriesGrowth(("put",), 2),)
    assert grown[1].series == ()


def test_a_series_that_vanished() -> None:
    """A series that was taken out grows no more."""
    registry = Registry()
    family = registry.counter("a", labels=("op",))
    family.labels("get").inc(5)
    first = registry.snapshot()
    family.remove("get")
    assert growth(first, registry.snapshot())[0].series == ()
