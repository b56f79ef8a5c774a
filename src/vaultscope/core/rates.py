"""Rates over a sliding window, from readings of totals that only grow.

Nothing is ever reset to begin a new interval, so any number of readers of one counter cannot disturb each
other. Whoever wants a rate reads the total now and then and keeps a few old readings; the rate is a
difference between two of them.

Readings come when somebody looks (a scrape, a status page), not at even steps. The older end of the
difference is therefore the newest kept reading that is at least one window old: the window is always
covered, and exceeded by no more than one step between readings and one resolution. With a scraper that
comes less often than once a window, the older end is simply the reading before.

Times are nanoseconds of a monotonic clock that the caller reads. If a time is ever before its predecessor,
the kept readings belong to another time line and are forgotten: a rate that is unknown for a moment is
better than a wrong one. A step forward needs no care: as far as the clock knows, all that time has passed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from vaultscope.core.metrics import HdrCounts

Reading = TypeVar("Reading")

WINDOW_NS = 60_000_000_000
STEPS = 60  # readings kept a window, unless a resolution is given


def increase(before: float, after: float) -> float:
    """How much a counter grew between two readings, by the rule of Prometheus's `increase`.

    A counter that reads less than before was restarted from 0 in between: what it shows is what it has
    grown since; what it grew between the first reading and the restart is lost.
    """
    return after - before if after >= before else after


class History(Generic[Reading]):
    """Readings of the last window, and the one that stood when the window began.

    Bounded: at most ceil(window / resolution) + 2 readings however often `add` is called, because all but the
    latest are a resolution apart. Not thread-safe: its owner has the lock.

    Args:
        window_ns: what a difference should span, in nanoseconds; at least 1.
        resolution_ns: of readings closer together than this, not all are kept; 1 to window_ns. Default: a
            60th of the window.

    Raises:
        ValueError: one of them is out of range.
    """

    __slots__ = ("_samples", "resolution_ns", "window_ns")

    def __init__(self, window_ns: int = WINDOW_NS, resolution_ns: int | None = None) -> None:
        if resolution_ns is None:
            resolution_ns = max(1, window_ns // STEPS)
        if not 1 <= resolution_ns <= window_ns:
            raise ValueError(f"a resolution of {resolution_ns} ns does not fit a window of {window_ns} ns")
        self.window_ns = window_ns
        self.resolution_ns = resolution_ns
        self._samples: deque[tuple[int, Reading]] = deque()  # times never descend

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, time_ns: int, reading: Reading) -> None:
        """Takes a reading made at `time_ns`. Amortised constant time."""
        samples = self._samples
        if samples and time_ns < samples[-1][0]:
            samples.clear()
        if len(samples) >= 2 and samples[-1][0] - samples[-2][0] < self.resolution_ns:
            samples.pop()  # it was there for its own moment only: too close to the one before to be kept
        samples.append((time_ns, reading))
        while len(samples) >= 2 and samples[1][0] <= time_ns - self.window_ns:
            samples.popleft()

    def ends(self) -> tuple[Reading, Reading, int] | None:
        """The older and the newer end of the window, and the nanoseconds between them.

        None while there are not two readings of different moments.
        """
        if not self._samples:
            return None
        first_ns, first = self._samples[0]
        last_ns, last = self._samples[-1]
        return (first, last, last_ns - first_ns) if last_ns > first_ns else None


class SlidingWindow:
    """How fast a total grows, over a sliding window. Restarts of the total are recognised (see `increase`).

    Args and raises: as History. Source: the memo's `errors.rate` and `cas.operations.rate`.
    """

    __slots__ = ("_grown", "_history", "_last")

    def __init__(self, window_ns: int = WINDOW_NS, resolution_ns: int | None = None) -> None:
        # What is kept is the growth since the first reading: it never falls, so that a restart is dealt
        # with once, on the way in, even if the readings around it are not kept.
        self._history: History[float] = History(window_ns, resolution_ns)
        self._last: float | None = None
        self._grown: float = 0

    def __len__(self) -> int:
        return len(self._history)

    def add(self, time_ns: int, total: float) -> None:
        """Takes a reading of the total (int or float; finite, not negative) at `time_ns`."""
        if self._last is not None:
            self._grown += increase(self._last, total)
        self._last = total
        self._history.add(time_ns, self._grown)

    def delta(self) -> float:
        """Growth over the window, exact for ints. NaN while there are not two readings to compare."""
        ends = self._history.ends()
        return math.nan if ends is None else ends[1] - ends[0]

    def rate(self) -> float:
        """Growth per second over the window. NaN, not 0, while there are not two readings to compare."""
        ends = self._history.ends()
        return math.nan if ends is None else (ends[1] - ends[0]) * 1e9 / ends[2]


class Growth:
    """One total that never falls, out of counters that come, go and restart: a labelled counter's series.

    The plain sum of the series will not do: remove one that stands at 1,000 from a sum of 1,010, and the
    sum seems to have restarted and to have grown by 10. So growth is taken series by series and then added
    up, as Prometheus does in `sum(increase(...))`.

    A series that was not there at the last reading has grown from 0 (in one process that is known, where a
    scraper must guess); one that is gone adds nothing. Holds no more series than the last reading had.
    """

    __slots__ = ("_last", "total")

    def __init__(self) -> None:
        self._last: Mapping[Hashable, float] = {}
        self.total: float = 0

    def add(self, readings: Mapping[Hashable, float]) -> float:
        """Takes the value of every series now; returns the new total. Keeps `readings`: leave it as it is."""
        for series, value in readings.items():
            self.total += increase(self._last.get(series, 0), value)
        self._last = readings
        return self.total


class SlidingCounts:
    """What an HDR histogram recorded within a sliding window, so that any percentile can be asked of it.

    Percentiles cannot be subtracted, but counts can: the window's are the newest less those at its older
    end. Old ones are kept encoded: some kilobytes each instead of 270 (an array for 1 ns to 1 h at 3
    digits).

    A histogram never restarts within a process, so no restart is looked for; a count that falls all the
    same is taken as 0. Args and raises: as History. Source: the memo's `cas.latency.average` and
    `cas.latency.p99`.
    """

    __slots__ = ("_history", "_newest")

    def __init__(self, window_ns: int = WINDOW_NS, resolution_ns: int | None = None) -> None:
        self._history: History[bytes] = History(window_ns, resolution_ns)
        self._newest: HdrCounts | None = None

    def __len__(self) -> int:
        return len(self._history)

    def add(self, time_ns: int, counts: HdrCounts) -> None:
        """Takes a reading, of the same range and digits every time. Keeps `counts`: leave it as it is."""
        self._newest = counts
        self._history.add(time_ns, counts.encode())

    def delta(self) -> HdrCounts | None:
        """The counts of the window. None while there are not two readings to compare."""
        ends = self._history.ends()
        if ends is None or self._newest is None:
            return None
        return self._newest.minus(HdrCounts.decode(ends[0]))
