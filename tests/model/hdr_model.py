"""A high dynamic range histogram as slow and obvious as can be: it keeps every value and sorts when asked.

The quantisation is Tene's: a power of two of values, at least 2 x 10^digits, is told apart in units of
`lowest` rounded down to a power of two; from there on each doubling of the value doubles the unit.
"""

from __future__ import annotations

import math


class HdrModel:
    """What `HdrHistogram` and `HdrCounts` promise, value by value."""

    def __init__(self, lowest: int, highest: int, digits: int) -> None:
        self.lowest = lowest
        self.highest = highest
        self.unit = 1 << (lowest.bit_length() - 1)
        self.told_apart = 1 << (2 * 10**digits - 1).bit_length()
        self.values: list[int] = []
        self.clamped_low = 0
        self.clamped_high = 0

    def record(self, value: int, times: int = 1) -> None:
        if value < 0:
            self.clamped_low += times
        if value > self.highest:
            self.clamped_high += times
        self.values.extend([min(max(value, 0), self.highest)] * times)

    def record_corrected(self, value: int, interval: int) -> None:
        """As if what a late answer held back had been measured too: value, value - interval and so on."""
        self.record(value)
        missing = value - interval
        while interval > 0 and missing >= interval:
            self.record(missing)
            missing -= interval

    def width(self, value: int) -> int:
        """How many values are not told apart from this one, itself included."""
        width = self.unit
        while value >= width * self.told_apart:
            width *= 2
        return width

    def lowest_equivalent(self, value: int) -> int:
        return value // self.width(value) * self.width(value)

    def highest_equivalent(self, value: int) -> int:
        return self.lowest_equivalent(value) + self.width(value) - 1

    def middle(self, value: int) -> int:
        return self.lowest_equivalent(value) + self.width(value) // 2

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def sum(self) -> int:
        return sum(self.values)

    @property
    def min(self) -> int:
        return self.lowest_equivalent(min(self.values)) if self.values else 0

    @property
    def max(self) -> int:
        return self.highest_equivalent(max(self.values)) if self.values else 0

    @property
    def mean(self) -> float:
        return sum(map(self.middle, self.values)) / self.count if self.values else 0.0

    @property
    def stddev(self) -> float:
        if not self.values:
            return 0.0
        mean = self.mean
        return math.sqrt(math.fsum((self.middle(value) - mean) ** 2 for value in self.values) / self.count)

    def quantile(self, quantile: float) -> int:
        if not self.values:
            return 0
        # The nearest rank, by way of a percentile as HdrHistogram reckons it: the same roundings.
        rank = max(1, math.floor(quantile * 100.0 * self.count / 100.0 + 0.5))
        value = sorted(self.values)[rank - 1]
        return self.highest_equivalent(value) if quantile > 0 else self.lowest_equivalent(value)

    def count_between(self, low: int, high: int) -> int:
        lower, upper = self.lowest_equivalent(low), self.highest_equivalent(high)
        return sum(lower <= value <= upper for value in self.values)
