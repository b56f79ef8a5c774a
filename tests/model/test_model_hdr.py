"""HDR histograms, live and as values, against a model that keeps every value, and against the peer."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hdr_model import HdrModel
from hdrh.histogram import HdrHistogram as PeerHistogram  # type: ignore[import-untyped]
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vaultscope import HdrCounts, HdrHistogram, Registry

HOUR_NS = 3_600_000_000_000
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0)


@st.composite
def ranges(draw: st.DrawFn, digits_max: int = 4) -> tuple[int, int, int]:
    """(lowest, highest, digits) of every size that a counts array of a test may have."""
    lowest = draw(st.one_of(st.just(1), st.integers(1, 5000)))
    highest = draw(st.integers(2 * lowest, max(2 * lowest, HOUR_NS)))
    return lowest, highest, draw(st.integers(1, digits_max))


def values_in(highest: int) -> st.SearchStrategy[int]:
    """Values of the range, of every magnitude alike, and its ends."""
    magnitudes = st.integers(0, highest.bit_length()).flatmap(lambda bits: st.integers(0, 1 << bits))
    return st.one_of(st.just(0), st.just(highest), magnitudes.map(lambda value: min(value, highest)))


@st.composite
def recordings(draw: st.DrawFn, digits_max: int = 4) -> tuple[tuple[int, int, int], list[int]]:
    """A range and values in it."""
    configuration = draw(ranges(digits_max))
    return configuration, draw(st.lists(values_in(configuration[1]), max_size=60))


def live(configuration: tuple[int, int, int]) -> tuple[Registry, HdrHistogram]:
    lowest, highest, digits = configuration
    registry = Registry()
    return registry, registry.hdr_histogram("cas.get.duration", lowest=lowest, highest=highest, digits=digits)


def peer_counts(peer: Any) -> list[int]:
    return [peer.get_count_at_index(index) for index in range(peer.counts_len)]


def agree(ours: HdrHistogram | HdrCounts, model: HdrModel) -> None:
    """Every statistic is the model's."""
    assert ours.count == model.count
    assert ours.min == model.min
    assert ours.max == model.max
    assert ours.mean == pytest.approx(model.mean, rel=1e-12)
    # Half a unit of the mean is lost when every value has the same deviation, nearly 0.
    assert ours.stddev == pytest.approx(model.stddev, rel=1e-9, abs=1e-9 * max(model.mean, 1))
    assert list(ours.quantiles(QUANTILES)) == [model.quantile(quantile) for quantile in QUANTILES]
    for quantile in QUANTILES:
        assert ours.quantile(quantile) == model.quantile(quantile)


@given(recordings())
def test_statistics(recording: tuple[tuple[int, int, int], list[int]]) -> None:
    """A live histogram, its snapshot and an independent value agree with the model in every statistic."""
    configuration, values = recording
    _, hdr = live(configuration)
    counts = HdrCounts(*configuration)
    model = HdrModel(*configuration)
    for value in values:
        hdr.record(value)
        counts.record(value)
        model.record(value)
    for ours in (hdr, hdr.snapshot(), counts):
        agree(ours, model)
    assert hdr.sum == model.sum
    assert hdr.snapshot() == counts


@given(ranges(), st.data())
def test_quantisation(configuration: tuple[int, int, int], data: st.DataObject) -> None:
    """One value is counted once, and told back to the digits that were asked for."""
    lowest, highest, digits = configuration
    value = data.draw(values_in(highest))
    model = HdrModel(*configuration)
    counts = HdrCounts(*configuration)
    counts.record(value)
    assert counts.counts.sum() == 1
    assert counts.min == model.lowest_equivalent(value)
    assert counts.max == model.highest_equivalent(value)
    assert counts.min <= value <= counts.max
    if value >= lowest:
        assert counts.max - counts.min <= max(value / 10**digits, lowest)


@given(recordings(), st.data())
def test_count_between(recording: tuple[tuple[int, int, int], list[int]], data: st.DataObject) -> None:
    """Values between two others are counted with all that is equivalent to the ends."""
    configuration, values = recording
    low, high = sorted(data.draw(st.tuples(values_in(configuration[1]), values_in(configuration[1]))))
    model = HdrModel(*configuration)
    _, hdr = live(configuration)
    for value in values:
        hdr.record(value)
        model.record(value)
    assert hdr.count_between(low, high) == model.count_between(low, high)


@given(ranges(), st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers()), max_size=40))
def test_clamped(configuration: tuple[int, int, int], values: list[int]) -> None:
    """A value outside the range is recorded at the end that it passed, and counted as clamped there."""
    registry, hdr = live(configuration)
    model = HdrModel(*configuration)
    for value in values:
        hdr.record(value)
        model.record(value)
    agree(hdr, model)
    assert hdr.sum == model.sum
    losses = registry.snapshot()["cas.get.duration"].losses
    assert (losses["clamped_low"], losses["clamped_high"]) == (model.clamped_low, model.clamped_high)


@given(st.lists(st.one_of(st.floats(), st.floats(-10, 2000)), max_size=40))
def test_floats(values: list[float]) -> None:
    """A float is rounded to the nearest integer; what is not finite is counted as invalid."""
    registry, hdr = live((1, 1000, 3))
    model = HdrModel(1, 1000, 3)
    finite = [value for value in values if math.isfinite(value)]
    for value in values:
        hdr.record(value)
    for value in finite:
        model.record(round(value))
    agree(hdr, model)
    losses = registry.snapshot()["cas.get.duration"].losses
    assert losses["invalid"] == len(values) - len(finite)
    assert (losses["clamped_low"], losses["clamped_high"]) == (model.clamped_low, model.clamped_high)


@given(recordings(), st.lists(st.integers(1, 20), min_size=60, max_size=60))
def test_times(recording: tuple[tuple[int, int, int], list[int]], times: list[int]) -> None:
    """Recording a value n times at once is recording it n times."""
    configuration, values = recording
    _, hdr = live(configuration)
    counts = HdrCounts(*configuration)
    for value, n in zip(values, times, strict=False):
        hdr.record_times(value, n)
        for _ in range(n):
            counts.record(value)
    assert hdr.snapshot() == counts
    assert hdr.sum == sum(value * n for value, n in zip(values, times, strict=False))


@given(recordings(), st.data())
def test_merge_is_recording_all(
    recording: tuple[tuple[int, int, int], list[int]], data: st.DataObject
) -> None:
    """A merge of two histograms of one layout is the histogram of all their values, and loses none."""
    configuration, values = recording
    others = data.draw(st.lists(values_in(configuration[1]), max_size=40))
    whole, one, two = (HdrCounts(*configuration) for _ in range(3))
    for value in values:
        one.record(value)
        whole.record(value)
    for value in others:
        two.record(value)
        whole.record(value)
    _, hdr = live(configuration)
    assert hdr.merge(one) == 0
    assert hdr.merge(two) == 0
    assert one.merge(two) == 0
    assert one == whole
    assert hdr.snapshot() == whole


@given(recordings(), ranges())
def test_merge_of_another_layout(
    recording: tuple[tuple[int, int, int], list[int]], configuration: tuple[int, int, int]
) -> None:
    """Between layouts each count moves as its lowest equivalent value; what passes the range is clamped."""
    source = HdrCounts(*recording[0])
    target = HdrCounts(*configuration)
    quantised = HdrModel(*recording[0])
    model = HdrModel(*configuration)
    assume((quantised.unit, len(source)) != (model.unit, len(target)))
    for value in recording[1]:
        source.record(value)
    for value in recording[1]:
        model.record(quantised.lowest_equivalent(value))
    assert target.merge(source) == model.clamped_high
    agree(target, model)


@given(st.integers(0, 100_000), st.integers(-10, 5000))
def test_corrected(value: int, interval: int) -> None:
    """A corrected recording adds the values that a stalled measurement held back (Tene)."""
    configuration = (1, 1_000_000, 3)
    _, hdr = live(configuration)
    model = HdrModel(*configuration)
    hdr.record_corrected(value, interval)
    model.record_corrected(value, interval)
    agree(hdr, model)


@given(st.integers(1, 300), st.integers(1, 3000))
def test_corrected_as_peer(intervals: int, interval: int) -> None:
    """For whole intervals the peer's correction is ours. For others it adds the remainder below one interval
    as well, which Tene's does not."""
    configuration = (1, 1_000_000, 3)
    _, hdr = live(configuration)
    peer = PeerHistogram(*configuration)
    hdr.record_corrected(intervals * interval, interval)
    assert peer.record_corrected_value(intervals * interval, interval)
    assert hdr.snapshot().counts.tolist() == peer_counts(peer)


@given(recordings(digits_max=2))  # the peer walks through every count for each figure
@settings(max_examples=50)
def test_as_peer(recording: tuple[tuple[int, int, int], list[int]]) -> None:
    """The peer, given the same values, has the same counts and the same statistics."""
    configuration, values = recording
    ours = HdrCounts(*configuration)
    peer: Any = PeerHistogram(*configuration)
    for value in values:
        ours.record(value)
        assert peer.record_value(value)
    assert ours.counts.tolist() == peer_counts(peer)
    assert ours.count == peer.get_total_count()
    assert ours.min == peer.get_min_value()
    if any(values):  # the peer says 0, not the highest equivalent of 0
        assert ours.max == peer.get_max_value()
    assert ours.mean == pytest.approx(peer.get_mean_value(), rel=1e-12)
    assert ours.stddev == pytest.approx(peer.get_stddev(), rel=1e-9, abs=1e-9 * max(peer.get_mean_value(), 1))
    for quantile in QUANTILES:
        assert ours.quantile(quantile) == peer.get_value_at_percentile(100 * quantile)


@pytest.mark.parametrize("digits", range(1, 6))
def test_whole_range(digits: int) -> None:
    """Every digit's layout covers the largest range: 0, 1, and all powers of two to 2^62 and beyond."""
    highest = 2**63 - 1
    counts = HdrCounts(1, highest, digits)
    model = HdrModel(1, highest, digits)
    for value in [0, 1, *(1 << shift for shift in range(63)), highest]:
        counts.record(value)
        model.record(value)
    assert counts.count == 66
    assert counts.min == 0
    assert counts.quantile(0.5) == model.quantile(0.5)
    assert counts.max == model.highest_equivalent(highest)


def test_empty() -> None:
    """Every statistic of an empty histogram is 0."""
    agree(HdrCounts(1, 1000, 3), HdrModel(1, 1000, 3))
    assert HdrCounts(1, 1000, 3).count_between(0, 1000) == 0


@pytest.mark.parametrize("quantile", [-0.001, 1.001, 50, math.nan, math.inf])
def test_no_quantile(quantile: float) -> None:
    """A quantile lies in 0 to 1: a percentile, or no number, is an error."""
    counts = HdrCounts(1, 1000, 3)
    counts.record(10)
    with pytest.raises(ValueError, match="quantile"):
        counts.quantile(quantile)
