"""Snapshots: the values of a registry at one moment, immutable. All that exporters, alerts and health ever
read.

The values stay in the columns of the native snapshot; the objects here are views, made when they are asked
for.
"""

from __future__ import annotations

import math

from vaultscope._native._core import HdrCounts, NativeSnapshot
from vaultscope.errors import NotFoundError

TYPE_CHECKING = False  # not from typing: see registry.py
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Exemplar", "MetricSnapshot", "SeriesSnapshot", "Snapshot", "interpolate"]


class Snapshot:
    """The metrics of a registry, in order of declaration. `time_ns`: when it was taken, in ns since 1970,
    UTC."""

    __slots__ = ("_rows", "native", "time_ns")

    def __init__(self, native: NativeSnapshot, time_ns: int) -> None:
        self.native = native
        self.time_ns = time_ns
        self._rows: dict[str, int] | None = None

    def __len__(self) -> int:
        return self.native.metric_count

    def __iter__(self) -> Iterator[MetricSnapshot]:
        return (MetricSnapshot(self.native, i) for i in range(len(self)))

    def _index(self) -> dict[str, int]:
        if self._rows is None:
            self._rows = {self.native.metric(i)[0]: i for i in range(len(self))}
        return self._rows

    def __contains__(self, name: object) -> bool:
        return name in self._index()

    def __getitem__(self, name: str) -> MetricSnapshot:
        try:
            return MetricSnapshot(self.native, self._index()[name])
        except KeyError:
            raise NotFoundError(f"no metric {name!r} in this snapshot") from None

    def value(self, name: str, /, **labels: str) -> int | float:
        """The value of a counter or gauge. Raises NotFoundError (a KeyError) if there is no such metric or
        series."""
        return self[name].series(**labels).value

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self)} metrics, {self.native.series_count} series>"


class MetricSnapshot:
    """One metric and its series. `kind` is "counter", "gauge", "histogram" or "hdr"; bounds are in its
    unit."""

    __slots__ = (
        "_first", "_native", "_size", "bounds", "hdr_range", "help", "kind", "label_names", "losses", "name",
        "quantiles", "unit",
    )  # fmt: skip

    def __init__(self, native: NativeSnapshot, index: int) -> None:
        self._native = native
        (
            self.name, self.kind, self.help, self.unit, self.label_names,
            self.bounds, self.quantiles, self.hdr_range, self._first, self._size, self.losses,
        ) = native.metric(index)  # fmt: skip

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[SeriesSnapshot]:
        return (SeriesSnapshot(self._native, self, self._first + i) for i in range(self._size))

    def series(self, /, **labels: str) -> SeriesSnapshot:
        """The series with exactly these labels. Raises NotFoundError."""
        if labels.keys() == set(self.label_names):
            wanted = tuple(labels[name] for name in self.label_names)
            for row in range(self._first, self._first + self._size):
                if self._native.label_values(row) == wanted:
                    return SeriesSnapshot(self._native, self, row)
        raise NotFoundError(f"no series {labels} of {self.name} with labels {self.label_names}")

    def __repr__(self) -> str:
        return f"<MetricSnapshot {self.kind} {self.name}, {self._size} series>"


class SeriesSnapshot:
    """One series: `value` of a counter or gauge; `count`, `sum`, `quantile` of both kinds of histogram;
    `counts` per bucket (not cumulated, the last above all bounds) of fixed buckets; `hdr` of an HDR
    histogram."""

    __slots__ = ("_native", "_row", "metric")

    def __init__(self, native: NativeSnapshot, metric: MetricSnapshot, row: int) -> None:
        self._native = native
        self._row = row
        self.metric = metric

    @property
    def labels(self) -> dict[str, str]:
        """The labels, by name, in declared order."""
        return dict(zip(self.metric.label_names, self._native.label_values(self._row), strict=True))

    def _want(self, *kinds: str) -> None:
        if self.metric.kind not in kinds:
            raise TypeError(f"{self.metric.name} is a {self.metric.kind}, not a {' or '.join(kinds)}")

    @property
    def value(self) -> int | float:
        """Raises TypeError for a histogram."""
        self._want("counter", "gauge")
        number = self._native.number(self._row)
        if self.metric.kind == "gauge":
            return number
        integer = self._native.integer(self._row)
        return integer if number == 0.0 else integer + number

    @property
    def count(self) -> int:
        """How many values were recorded. Raises TypeError for a counter or gauge."""
        self._want("histogram", "hdr")
        return self._native.integer(self._row)

    @property
    def sum(self) -> float:
        """The sum of the recorded values, in the declared unit. Raises TypeError for a counter or gauge."""
        self._want("histogram", "hdr")
        return self._native.number(self._row)

    @property
    def counts(self) -> tuple[int, ...]:
        """Values in each bucket, not cumulated; the last is above all bounds. TypeError for another kind."""
        self._want("histogram")
        return self._native.counts(self._row)

    @property
    def exemplars(self) -> tuple[Exemplar, ...]:
        """Of each bucket that has one, from the lowest up, the exemplar; those of this process alone, also
        where several share an arena. Raises TypeError for a counter or gauge."""
        self._want("histogram", "hdr")
        bounds = (*self.metric.bounds, math.inf)
        found = self._native.exemplars(self._row)
        return tuple(Exemplar(bounds[each[0]], *each[1:]) for each in found)

    @property
    def hdr(self) -> HdrCounts:
        """The counts of an HDR series, as a value of their own. Raises TypeError for any other kind."""
        self._want("hdr")
        return self._native.hdr(self._row, self.metric.hdr_range)

    def quantile(self, quantile: float) -> float:
        """The value at a quantile in 0..1, in the declared unit; NaN for an empty series.

        HDR: exact to its digits. Fixed buckets: interpolated within the bucket as Prometheus's
        histogram_quantile does; a quantile in the last, unbounded bucket is the highest bound. Raises
        ValueError outside of 0..1."""
        self._want("histogram", "hdr")
        if not 0.0 <= quantile <= 1.0:
            raise ValueError(f"a quantile lies in 0..1, not {quantile}")
        if self.count == 0:
            return math.nan
        if self.metric.kind == "hdr":
            return self.hdr.quantile(quantile)
        return interpolate(self.metric.bounds, self.counts, quantile)


class Exemplar:
    """A value that a bucket took while a span was current whose trace is sampled: what leads from a slow
    bucket to a trace. Of those, the bucket's newest, give or take 10 ms.

    `upper_bound`: of the bucket, in the metric's unit, as `value` is; `trace_id` and `span_id`: hexadecimal
    digits; `time_ns`: when it was observed, in ns since 1970, UTC."""

    __slots__ = ("span_id", "time_ns", "trace_id", "upper_bound", "value")

    def __init__(self, upper_bound: float, value: float, trace_id: str, span_id: str, time_ns: int) -> None:
        self.upper_bound = upper_bound
        self.value = value
        self.trace_id = trace_id
        self.span_id = span_id
        self.time_ns = time_ns

    def __repr__(self) -> str:
        return f"<Exemplar {self.value} of trace {self.trace_id}, span {self.span_id}>"


def interpolate(bounds: tuple[float, ...], counts: tuple[int, ...], quantile: float) -> float:
    """The value at a quantile of fixed buckets, as SeriesSnapshot.quantile has it. `counts`: of each bucket,
    not cumulated, the last above all bounds; not all 0."""
    rank = quantile * sum(counts)
    below = 0
    for i, bound in enumerate(bounds):
        if counts[i] and below + counts[i] >= rank:
            if i == 0 and bound <= 0:
                return bound
            low = bounds[i - 1] if i else 0.0
            return low + (bound - low) * (rank - below) / counts[i]
        below += counts[i]
    return bounds[-1]
