"""Intervals: by how much each series of a registry grew between two snapshots.

Totals are compared, never reset, so that any number of readers of one registry do not disturb each other. A
total that reads less than before was restarted from 0 in between, by the rule of rates.increase; what a
series of a histogram shows then is what it has taken since.

A series that was not there before has grown from 0, for it was made in between. A metric that was taken out
and declared anew with another shape is another metric: nothing is subtracted across the two.

HDR counts are sparse: cells in use and their counts. A cell's number is its index in HdrHistogram's layout;
`half` is how many cells an octave has, 1,024 at three digits. Cells are coarsened by halving `half`, which
keeps the layout: values below 2 * half keep cells of their own, all others fall together in pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vaultscope.core.metrics import HdrCounts
from vaultscope.core.rates import increase
from vaultscope.core.snapshot import MetricSnapshot, SeriesSnapshot, Snapshot

__all__ = ["HdrCells", "Interval", "MetricGrowth", "SeriesGrowth", "Shape", "growth", "half_of"]

HALF_MIN = 32  # cells an octave: values to one part in 32


@dataclass(frozen=True, slots=True)
class Shape:
    """What a metric was declared as. Metrics of one name and different shapes are different metrics."""

    name: str
    kind: str
    """"counter", "gauge", "histogram" or "hdr"."""
    unit: str
    label_names: tuple[str, ...]
    bounds: tuple[float, ...]
    """Of a "histogram"; empty for others."""
    hdr_range: tuple[int, int, int] | None
    """Lowest, highest, digits of an "hdr"."""


@dataclass(frozen=True, slots=True)
class HdrCells:
    """What an HDR series took: for each cell in use, in ascending order, its number and its count."""

    half: int
    """Cells an octave: half_of(digits), or that halved some times."""
    cells: tuple[int, ...]
    counts: tuple[int, ...]

    def coarser(self) -> HdrCells:
        """With half as many cells an octave: a value is then known to one part in `half` of the result."""
        merged: dict[int, int] = {}
        half = self.half
        for cell, count in zip(self.cells, self.counts, strict=True):
            coarse = cell if cell < half else (cell + half) >> 1
            merged[coarse] = merged.get(coarse, 0) + count
        return HdrCells(half // 2, tuple(merged), tuple(merged.values()))


@dataclass(frozen=True, slots=True)
class SeriesGrowth:
    """One series in an interval."""

    labels: tuple[str, ...]
    value: int | float
    """A counter: its increase. A gauge: its value at the end. A histogram: the increase of its sum."""
    counts: tuple[int, ...] = ()
    """A "histogram": the increase of each bucket, not cumulated, the last above all bounds."""
    hdr: HdrCells | None = None
    """An "hdr": the increase of its cells."""


@dataclass(frozen=True, slots=True)
class MetricGrowth:
    """One metric in an interval: the series that grew; of a gauge those that have a value."""

    shape: Shape
    series: tuple[SeriesGrowth, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """What a process recorded from `begin_ns` to `end_ns` (ns since 1970, by the clock of the wall, which may
    have been set in between), `elapsed_ns` of monotonic time.

    `pid` and `started_ns` say which process, `vault` of what; all metrics that are declared are in it."""

    begin_ns: int
    end_ns: int
    elapsed_ns: int
    pid: int
    started_ns: int
    vault: str
    metrics: tuple[MetricGrowth, ...]


def growth(before: Snapshot, after: Snapshot) -> tuple[MetricGrowth, ...]:
    """What grew between two snapshots of one registry."""
    old = {metric.name: metric for metric in before}
    return tuple(_metric(old.get(metric.name), metric) for metric in after)


def shape_of(metric: MetricSnapshot) -> Shape:
    """What the metric was declared as."""
    bounds = metric.bounds if metric.kind == "histogram" else ()  # an HDR's are for exporters
    return Shape(metric.name, metric.kind, metric.unit, tuple(metric.label_names), bounds, metric.hdr_range)


def half_of(digits: int) -> int:
    """Cells an octave of an HDR histogram that keeps so many significant digits."""
    return 1 << math.ceil(math.log2(10**digits))


def cell_of(value: int, half: int) -> int:
    """The cell of a value, which counts in units of an HDR histogram's smallest step."""
    octave = max(0, value.bit_length() - half.bit_length())
    return half * octave + (value >> octave)


def lowest_of(cell: int, half: int) -> int:
    """The lowest value of a cell."""
    octave = max(0, cell // half - 1)
    return (cell - half * octave) << octave


def refined(cell: int, coarse: int, half: int) -> int:
    """The cell, with `half` an octave, of the highest value of a cell with `coarse` an octave."""
    return cell_of(lowest_of(cell + 1, coarse) - 1, half)


def _metric(old: MetricSnapshot | None, new: MetricSnapshot) -> MetricGrowth:
    shape = shape_of(new)
    before: dict[tuple[str, ...], SeriesSnapshot] = {}
    if old is not None and new.kind != "gauge" and shape_of(old) == shape:
        before = {tuple(series.labels.values()): series for series in old}
    grown = (_series(new.kind, before.get(tuple(series.labels.values())), series) for series in new)
    return MetricGrowth(shape, tuple(filter(None, grown)))


def _series(kind: str, old: SeriesSnapshot | None, new: SeriesSnapshot) -> SeriesGrowth | None:
    labels = tuple(new.labels.values())
    if kind == "gauge":
        return None if math.isnan(new.value) else SeriesGrowth(labels, new.value)
    if kind == "counter":
        grown = increase(0 if old is None else old.value, new.value)
        return SeriesGrowth(labels, grown) if grown else None
    if new.count == (0 if old is None else old.count) and (old is None or new.sum == old.sum):
        return None
    return _buckets(labels, old, new) if kind == "histogram" else _cells(labels, old, new)


def _buckets(labels: tuple[str, ...], old: SeriesSnapshot | None, new: SeriesSnapshot) -> SeriesGrowth | None:
    counts = new.counts
    if old is None or any(map(int.__lt__, counts, old.counts)):
        return SeriesGrowth(labels, new.sum, counts) if any(counts) else None
    return SeriesGrowth(labels, new.sum - old.sum, tuple(map(int.__sub__, counts, old.counts)))


def _cells(labels: tuple[str, ...], old: SeriesSnapshot | None, new: SeriesSnapshot) -> SeriesGrowth | None:
    counts, total = new.hdr, new.sum
    if old is not None:
        before = old.hdr
        delta = counts.minus(before)
        if delta.count == counts.count - before.count:  # else a cell has fewer than before: restarted
            counts, total = delta, new.sum - old.sum
    found = _in_use(counts)
    return SeriesGrowth(labels, total, hdr=found) if found.cells else None


def _in_use(counts: HdrCounts) -> HdrCells:
    column = memoryview(counts)
    raw = column.tobytes()
    first = (len(raw) - len(raw.lstrip(b"\0"))) // column.itemsize
    end = -(-len(raw.rstrip(b"\0")) // column.itemsize)
    pairs = [(cell, count) for cell, count in enumerate(column[first:end], first) if count]
    return HdrCells(
        half_of(counts.digits), tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    )
