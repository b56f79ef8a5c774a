"""A fixed-bucket histogram as slow and obvious as can be: it keeps every value, sorted."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Sequence


class FixedModel:
    """What `Histogram` promises: a value belongs to the first bucket whose bound is not below it; what is not
    finite is not recorded but counted."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = [float(bound) for bound in bounds]
        self.values: list[float] = []
        self.invalid = 0

    def observe(self, value: float) -> None:
        if math.isfinite(value):
            insort(self.values, float(value))
        else:
            self.invalid += 1

    @property
    def counts(self) -> tuple[int, ...]:
        """Values in each bucket, not cumulative; the last is of those above every bound."""
        up_to = [bisect_right(self.values, bound) for bound in self.bounds] + [len(self.values)]
        return tuple(upper - lower for lower, upper in zip([0, *up_to], up_to, strict=False))

    @property
    def sum(self) -> float:
        """The sum, rounded once."""
        return math.fsum(self.values)

    @property
    def sum_error(self) -> float:
        """How far a sum that was rounded at every addition, in any order, may be from ours."""
        return math.ulp(1.0) * len(self.values) * math.fsum(map(abs, self.values))

    def bucket_of_quantile(self, quantile: float) -> tuple[float, float]:
        """The bounds around the value of that rank; below the first and above the last, infinite."""
        rank = max(1, math.ceil(quantile * len(self.values)))
        index = bisect_right([*self.bounds], self.values[rank - 1])
        if index and self.bounds[index - 1] == self.values[rank - 1]:
            index -= 1
        edges = [-math.inf, *self.bounds, math.inf]
        return edges[index], edges[index + 1]
