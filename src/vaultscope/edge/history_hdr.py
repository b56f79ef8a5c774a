"""HDR counts of many intervals, added up: an interval has some hundred cells, a month 43,200 of them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vaultscope.core.history_codec import ALPHABET
from vaultscope.core.history_interval import half_of, refined
from vaultscope.core.metrics import HdrCounts
from vaultscope.errors import DecodeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["HdrSum"]


class HdrSum:
    """Adds up HDR series as intervals have them, [labels, sum, count, cells an octave, gaps, counts], and
    takes quantiles of the whole.

    What was recorded coarsely counts at the highest value that it may have been: as HDR's quantiles do.

    hdr_range: lowest, highest and digits of the metric.
    """

    error: float
    """How much too high the coarsest cells so far may have made a quantile, as a share of it."""

    def __init__(self, hdr_range: tuple[int, int, int]) -> None:
        self._layout = HdrCounts(*hdr_range)
        self._half = half_of(hdr_range[2])
        self.error = 0.0

    def quantile(self, rows: Iterable[Sequence[Any]], quantile: float) -> float:
        """The quantile of all that the rows have, as HdrCounts.quantile of their sum; NaN if that is nothing.
        Raises DecodeError."""
        import numpy as np

        columns: dict[int, tuple[list[str], list[str]]] = {}
        for row in rows:
            gaps, counts = columns.setdefault(row[3], ([], []))
            gaps.append(row[4])
            counts.append(row[5])
        total = np.zeros(len(self._layout), np.int64)
        for half, (gaps, counts) in columns.items():
            self._add(total, half, gaps, counts)
        below = np.cumsum(total)
        count = int(below[-1])
        if count == 0:
            return float("nan")
        rank = min(max(int(quantile * 100.0 * count / 100.0 + 0.5), 1), count)
        lowest, highest = self._layout.bucket(int(np.searchsorted(below, rank)))
        return float(highest if quantile > 0.0 else lowest)

    def _add(self, total: NDArray[np.int64], half: int, gaps: list[str], counts: list[str]) -> None:
        import numpy as np

        steps, sizes = _numbers(gaps)
        in_cells, same = _numbers(counts)
        if half > self._half or half < 1 or not np.array_equal(sizes, same):
            raise DecodeError("HDR cells that no histogram of this range has")
        cells = np.cumsum(steps)
        ends = np.cumsum(sizes)
        before = np.where(ends > sizes, cells[ends - sizes - 1], 0)
        cells -= np.repeat(before, sizes)
        if half < self._half:
            self.error = max(self.error, 1.0 / half)
            finer = _refined(half, self._half, len(total))
            cells = finer[np.minimum(cells, len(finer) - 1)]
        if cells.size and not 0 <= np.min(cells) <= np.max(cells) < len(total):
            raise DecodeError("HDR cells that no histogram of this range has")
        np.add.at(total, cells, in_cells)


def _numbers(texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of many runs, one after the other, and how many each run has."""
    import numpy as np

    digits = _digits()[np.frombuffer("".join(texts).encode("ascii", "replace"), np.uint8)]
    if digits.size and np.min(digits) < 0:
        raise DecodeError("a sign that is no digit of a run of numbers")
    is_last = digits < 32
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    done = np.concatenate(([0], np.cumsum(is_last)))
    at = np.cumsum(lengths)
    sizes = done[at] - done[at - lengths]
    if not lengths.all() or not is_last[at - 1].all():
        raise DecodeError("a run of numbers that is cut, or empty")
    first = np.concatenate(([0], np.flatnonzero(is_last)[:-1] + 1))
    shifts = 5 * (np.arange(digits.size) - np.repeat(first, np.diff(np.append(first, digits.size))))
    return np.add.reduceat((digits & 31) << shifts, first), sizes


@functools.cache
def _digits() -> NDArray[np.int64]:
    import numpy as np

    table = np.full(256, -1, np.int64)
    table[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(64)
    return table


@functools.lru_cache(32)
def _refined(coarse: int, half: int, length: int) -> NDArray[np.int64]:
    """Of each coarse cell, the finest one of its highest value, within the histogram's."""
    import numpy as np

    table: list[int] = []
    while not table or table[-1] < length - 1:
        table.append(min(refined(len(table), coarse, half), length - 1))
    return np.array(table, np.int64)
