"""Steps of time, what was recorded in each, and the one number that it makes.

A step is known as far as the intervals that lie in it reach. Of several processes that lived at once it is
the union of theirs, but no less than any one of them says it lived in it: where a clock was set back, an hour
comes twice, and what was counted in it was counted in two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultscope.core.history_codec import numbers
from vaultscope.core.history_interval import Shape
from vaultscope.core.snapshot import interpolate
from vaultscope.edge.history_hdr import HdrSum

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Part", "Steps"]

Group = tuple[str, ...]
Row = list[Any]  # a series in an interval's JSON: labels, value; of histograms labels, sum, count, ...


class Part(NamedTuple):
    """An interval, or a part of one that lies in a step: who recorded it, and when."""

    who: tuple[str, int, int]
    begin_ns: int
    end_ns: int

    @classmethod
    def of(cls, document: dict[str, Any]) -> Part:
        """An interval, by its JSON: as long as its process lived, up to when it says that it ended."""
        end_ns = document["end"]
        who = (document["vault"], document["pid"], document["started"])
        return cls(who, end_ns - document["elapsed"], end_ns)

    @property
    def length_ns(self) -> int:
        """How long it is."""
        return self.end_ns - self.begin_ns


class Steps:
    """`count` steps of `step_ns`, from `start_ns` on."""

    def __init__(self, start_ns: int, step_ns: int, count: int) -> None:
        self._start_ns = start_ns
        self._step_ns = step_ns
        self._count = count
        self._parts: dict[int, list[Part]] = {}
        self._rows: dict[tuple[Group, int], list[tuple[Part, float, Row]]] = {}
        self._covered: dict[int, float] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups that rows were added to, in order."""
        return tuple(sorted({group for group, _ in self._rows}))

    def cover(self, interval: Part) -> bool:
        """Takes note that the metric was recorded in the interval. False: it lies in none of the steps."""
        in_steps = self._split(interval)
        for step, part, _ in in_steps:
            self._parts.setdefault(step, []).append(part)
        return bool(in_steps)

    def add(self, interval: Part, group: Group, row: Row) -> None:
        """Takes a series of the metric in the interval."""
        for step, part, share in self._split(interval):
            self._rows.setdefault((group, step), []).append((part, share, row))

    def _split(self, interval: Part) -> list[tuple[int, Part, float]]:
        """The steps that it lies in, what of it lies in each, and which share of it that is."""
        begin = interval.begin_ns - self._start_ns
        end = interval.end_ns - self._start_ns
        half = self._step_ns // 2
        first, stop = -((half - begin) // self._step_ns), -((half - end) // self._step_ns)
        if stop - first <= 1:
            step = first if stop > first else ((begin + end) // 2) // self._step_ns
            return [(step, interval, 1.0)] if 0 <= step < self._count else []
        share = 1.0 / (stop - first)
        parts = []
        for step in range(max(first, 0), min(stop, self._count)):
            begin_ns = self._start_ns + step * self._step_ns
            parts.append((step, Part(interval.who, begin_ns, begin_ns + self._step_ns), share))
        return parts

    def times(self) -> NDArray[np.float64]:
        """When each step begins, in seconds since 1970."""
        import numpy as np

        return (self._start_ns + np.arange(self._count, dtype=np.int64) * self._step_ns) / 1e9

    def covered(self) -> NDArray[np.float64]:
        """How many seconds of each step are known."""
        import numpy as np

        known = np.zeros(self._count)
        for step in self._parts:
            known[step] = self._seconds(step)
        return known

    def values(self, shape: Shape, statistic: str | float) -> tuple[NDArray[np.float64], float]:
        """A row for each group, or one if there is none; and the relative error that coarse cells make."""
        import numpy as np

        groups = self.groups or ((),)
        values = np.full((len(groups), self._count), np.nan)
        cells = None if shape.hdr_range is None or isinstance(statistic, str) else HdrSum(shape.hdr_range)
        for index, group in enumerate(groups):
            for step in self._parts:
                rows = self._rows.get((group, step), [])
                if isinstance(statistic, str):
                    values[index, step] = self._value(shape.kind, statistic, step, rows)
                elif cells is not None:
                    values[index, step] = cells.quantile((row for _, _, row in rows), statistic)
                else:
                    values[index, step] = _quantile(shape.bounds, (row for _, _, row in rows), statistic)
        return values, 0.0 if cells is None else cells.error

    def _value(self, kind: str, statistic: str, step: int, rows: list[tuple[Part, float, Row]]) -> float:
        if kind == "gauge":
            if not rows:
                return math.nan
            return self._last(step, rows) if statistic == "value" else self._mean(step, rows)
        if statistic == "mean":
            count = sum(row[2] for _, _, row in rows)
            return sum(float(row[1]) for _, _, row in rows) / count if count else math.nan
        counts = kind != "counter" and statistic != "sum"
        grown = math.fsum(share * float(row[2 if counts else 1]) for _, share, row in rows)
        if statistic != "rate":
            return grown
        seconds = self._seconds(step)
        return grown / seconds if seconds else math.nan

    def _last(self, step: int, rows: list[tuple[Part, float, Row]]) -> float:
        """The gauges of all processes that lived when the last of them was looked at, added up.

        They are looked at within milliseconds, or some time apart where one was stopped: so it is asked who
        lived half an interval before."""
        newest: dict[tuple[str, int, int], Part] = {}
        for part in self._parts[step]:
            known = newest.get(part.who)
            if known is None or part.end_ns >= known.end_ns:
                newest[part.who] = part
        moment = max(part.end_ns for part in newest.values())
        moment -= min(part.length_ns for part in newest.values()) // 2
        alive = {part for part in newest.values() if part.begin_ns <= moment <= part.end_ns}
        found = [float(row[1]) for part, _, row in rows if part in alive]
        return math.fsum(found) if found else math.nan

    def _mean(self, step: int, rows: list[tuple[Part, float, Row]]) -> float:
        """Over the time that is known."""
        seconds = self._seconds(step)
        area = math.fsum(float(row[1]) * part.length_ns / 1e9 for part, _, row in rows)
        return area / seconds if seconds else math.nan

    def _seconds(self, step: int) -> float:
        if step not in self._covered:
            parts = sorted(self._parts[step], key=lambda part: part.begin_ns)
            lived: dict[tuple[str, int, int], int] = {}
            union = 0
            end_ns = parts[0].begin_ns
            for part in parts:
                union += max(0, part.end_ns - max(end_ns, part.begin_ns))
                end_ns = max(end_ns, part.end_ns)
                lived[part.who] = lived.get(part.who, 0) + part.length_ns
            self._covered[step] = max(union, *lived.values()) / 1e9
        return self._covered[step]


def _quantile(bounds: tuple[float, ...], rows: Iterable[Row], quantile: float) -> float:
    total = [0] * (len(bounds) + 1)
    for row in rows:
        for bucket, count in enumerate(numbers(row[3])):
            total[bucket] += count
    return interpolate(bounds, tuple(total), quantile) if any(total) else math.nan
