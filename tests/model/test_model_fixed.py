"""A fixed-bucket histogram against a model that keeps every value."""

from __future__ import annotations

import math
import sys

import pytest
from fixed_model import FixedModel
from hypothesis import example, given
from hypothesis import strategies as st

from vaultscope import Histogram, Registry
from vaultscope.core.metrics import DEFAULT_BUCKETS_MS

TINY = 5e-324  # the smallest subnormal
HUGE = sys.float_info.max

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
# Adding 0 makes -0.0 the other zero: as bounds they are one.
bounds_lists = st.lists(finite.map(lambda x: x + 0.0), min_size=1, max_size=50, unique=True).map(sorted)
# Small enough that no sum of them is infinite.
summable = st.floats(min_value=-1e300, max_value=1e300)


def declared(bounds: list[float]) -> tuple[Registry, Histogram]:
    registry = Registry()
    return registry, registry.histogram("cas.put.duration", buckets=bounds)


def invalid(registry: Registry) -> int:
    return registry.snapshot()["cas.put.duration"].losses["invalid"]


@given(bounds_lists, st.data())
def test_buckets(bounds: list[float], data: st.DataObject) -> None:
    """Any value falls in the bucket that the model says: at a bound, beside one, or anywhere."""
    at = st.sampled_from(bounds)
    beside = st.tuples(at, st.sampled_from([-math.inf, math.inf])).map(lambda pair: math.nextafter(*pair))
    values = data.draw(st.lists(st.one_of(finite, at, beside.filter(math.isfinite)), max_size=50))
    _, histogram = declared(bounds)
    model = FixedModel(bounds)
    for value in values:
        histogram.observe(value)
        model.observe(value)
    assert histogram.bounds == tuple(bounds)
    assert histogram.counts == model.counts
    assert histogram.count == len(values)


@given(st.lists(summable, max_size=200))
def test_sum(values: list[float]) -> None:
    """The sum is that of the values, to the rounding of its additions."""
    _, histogram = declared([1.0])
    model = FixedModel([1.0])
    for value in values:
        histogram.observe(value)
        model.observe(value)
    assert histogram.sum == pytest.approx(model.sum, rel=0, abs=model.sum_error)


@given(st.lists(st.integers(-(2**40), 2**40), max_size=100))
def test_sum_of_integers_is_exact(values: list[int]) -> None:
    """While every partial sum fits in 53 bits nothing is rounded."""
    _, histogram = declared(list(DEFAULT_BUCKETS_MS))
    for value in values:
        histogram.observe(value)
    assert histogram.sum == sum(values)


@given(st.lists(st.floats(), max_size=50))
@example([math.nan, math.inf, -math.inf, 1.0])
def test_what_is_not_finite(values: list[float]) -> None:
    """NaN and the infinities are counted as invalid and leave counts and sum alone."""
    registry, histogram = declared([0.0])
    model = FixedModel([0.0])
    for value in values:
        histogram.observe(value)
        model.observe(value)
    assert invalid(registry) == model.invalid
    assert histogram.counts == model.counts
    if sum(map(abs, model.values)) < math.inf:
        assert histogram.sum == pytest.approx(model.sum, rel=0, abs=model.sum_error)


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(-HUGE, 0), (-TINY, 0), (-0.0, 1), (0.0, 1), (TINY, 2), (2 * TINY, 3), (1.0, 3), (HUGE, 4)],
)
def test_edges(value: float, bucket: int) -> None:
    """Both zeros are one value, and subnormal values and bounds are told apart."""
    _, histogram = declared([-TINY, 0.0, TINY, 1.0])
    histogram.observe(value)
    assert histogram.counts == tuple(int(index == bucket) for index in range(5))


@pytest.mark.parametrize(
    ("value", "counts"),
    [(2**63, (0, 1, 0)), (-(2**70), (1, 0, 0)), (10**300, (0, 0, 1)), (10**400, (0, 0, 0))],
)
def test_integers_of_any_size(value: int, counts: tuple[int, ...]) -> None:
    """An integer beyond 64 bits is taken as the nearest double; one that has none is invalid."""
    registry, histogram = declared([0.0, 1e20])
    histogram.observe(value)
    assert histogram.counts == counts
    assert invalid(registry) == 1 - sum(counts)


@given(bounds_lists, st.lists(summable, max_size=50), st.lists(summable, max_size=50))
def test_series_are_apart(bounds: list[float], ours: list[float], theirs: list[float]) -> None:
    """Each series of a family holds its own values and none of its sibling's."""
    family = Registry().histogram("cas.put.duration", labels=("peer",), buckets=bounds)
    models = {"a": FixedModel(bounds), "b": FixedModel(bounds)}
    for peer, values in (("a", ours), ("b", theirs)):
        for value in values:
            family.labels(peer).observe(value)
            models[peer].observe(value)
    for peer, model in models.items():
        assert family.labels(peer).counts == model.counts


@given(st.lists(st.floats(0, 20_000), min_size=1, max_size=100), st.floats(0, 1))
def test_quantile_lies_in_its_bucket(values: list[float], quantile: float) -> None:
    """An interpolated quantile lies in the bucket of the value of that rank, never beyond the last bound."""
    registry, histogram = declared(list(DEFAULT_BUCKETS_MS))
    model = FixedModel(DEFAULT_BUCKETS_MS)
    for value in values:
        histogram.observe(value)
        model.observe(value)
    estimate = registry.snapshot()["cas.put.duration"].series().quantile(quantile)
    low, high = model.bucket_of_quantile(quantile)
    assert min(low, DEFAULT_BUCKETS_MS[-1]) <= estimate <= min(high, DEFAULT_BUCKETS_MS[-1])


def test_quantile_of_nothing() -> None:
    """An empty histogram has no quantiles."""
    registry, _ = declared([1.0])
    assert math.isnan(registry.snapshot()["cas.put.duration"].series().quantile(0.5))
