"""Rates over a sliding window: right whenever somebody looks, whatever clock and counter do meanwhile."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultscope.core.metrics import HdrCounts
from vaultscope.core.rates import Growth, History, SlidingCounts, SlidingWindow, increase

S = 1_000_000_000
HOUR = 3600 * S


def window(*readings: tuple[int, float], length: int = 60 * S, resolution: int = S) -> SlidingWindow:
    """A window that has taken these (time, total)."""
    result = SlidingWindow(length, resolution)
    for time_ns, total in readings:
        result.add(time_ns, total)
    return result


# --- few readings


def test_no_reading_no_rate() -> None:
    """Without a reading, rate and growth are not known."""
    assert math.isnan(window().rate())
    assert math.isnan(window().delta())


def test_one_reading_no_rate() -> None:
    """One reading says nothing about speed: NaN, not 0."""
    assert math.isnan(window((5 * S, 100)).rate())


def test_two_readings_of_one_moment_no_rate() -> None:
    """Two readings at the same time give NaN, not a division by zero."""
    assert math.isnan(window((5 * S, 100), (5 * S, 200)).rate())


def test_a_moment_read_twice_counts_in_what_follows() -> None:
    """What grew between two readings of the same moment is part of the next difference."""
    assert window((0, 100), (0, 200), (10 * S, 300)).delta() == 200


def test_rate_before_the_window_is_full() -> None:
    """A young window divides by the time that it has seen, not by its length."""
    assert window((0, 0), (10 * S, 50)).rate() == 5.0


def test_a_still_counter_has_rate_zero() -> None:
    """Two equal readings are a known rate of 0."""
    assert window((0, 7), (10 * S, 7)).rate() == 0.0


# --- the older end


def test_window_exactly_full() -> None:
    """A reading exactly one window old is the older end."""
    assert window((0, 0), (30 * S, 100), (60 * S, 160)).delta() == 160


def test_a_nanosecond_short_of_the_window() -> None:
    """While the second reading is younger than the window, the first one stays: the window is covered."""
    assert window((0, 0), (30 * S, 100), (90 * S - 1, 160)).delta() == 160


def test_older_end_moves_on() -> None:
    """As soon as the second reading is one window old, the first one goes."""
    assert window((0, 0), (30 * S, 100), (90 * S, 160)).delta() == 60


def test_readings_rarer_than_the_window() -> None:
    """With readings every five minutes the difference is that to the reading before."""
    assert window((0, 0), (300 * S, 3000), (600 * S, 9000)).rate() == 20.0


def test_a_burst_leaves_the_window() -> None:
    """A burst is no longer in the rate once the window has passed over it."""
    assert window((0, 0), (S, 1_000_000), (61 * S, 1_000_000), (62 * S, 1_000_000)).rate() == 0.0


@given(
    steps=st.lists(st.integers(1, 200), min_size=1, max_size=300),
    length=st.integers(1, 1000),
    resolution=st.integers(1, 1000),
)
def test_older_end_of_irregular_readings(steps: list[int], length: int, resolution: int) -> None:
    """Whatever the steps: the window is covered, and exceeded by at most one step and one resolution."""
    resolution = min(resolution, length)
    history: History[int] = History(length, resolution)
    now = 0
    history.add(now, now)
    for step in steps:
        now += step
        history.add(now, now)
        ends = history.ends()
        assert ends is not None
        first, last, span = ends
        assert (last, span) == (now, now - first)
        assert span >= min(length, now)
        assert span < length + resolution + max(steps)


# --- bounds


@given(
    steps=st.lists(st.integers(0, 50), max_size=400),
    length=st.integers(1, 1000),
    resolution=st.integers(1, 1000),
)
def test_readings_kept_are_bounded(steps: list[int], length: int, resolution: int) -> None:
    """However often it is read, a history keeps at most ceil(window / resolution) + 2 readings."""
    resolution = min(resolution, length)
    history: History[int] = History(length, resolution)
    now = 0
    for step in steps:
        now += step
        history.add(now, now)
        assert len(history) <= -(-length // resolution) + 2


def test_the_bound_of_kept_readings_is_reached() -> None:
    """A window of 60 s at 1 s, read every second, keeps both ends and what lies between."""
    assert len(window(*((i * S, i) for i in range(1000)))) == 61


def test_the_newest_reading_counts_even_if_not_kept_apart() -> None:
    """Readings closer together than the resolution replace each other; the rate is up to the latest."""
    assert window((0, 0), (S, 10), (S + 1, 11), (S + 2, 12)).delta() == 12


def test_readings_close_together_do_not_pile_up() -> None:
    """Two readings at each second's turn leave one of them behind, not both."""
    times = [second * S + extra for second in range(100) for extra in (0, 1)]
    assert len(window(*((time_ns, 0) for time_ns in times))) <= 62


@pytest.mark.parametrize(("length", "resolution"), [(0, 1), (-1, 1), (60, 0), (60, -1), (60, 61), (0, None)])
def test_a_window_that_is_none(length: int, resolution: int | None) -> None:
    """A window needs a length, and a resolution that fits into it."""
    with pytest.raises(ValueError):
        SlidingWindow(length, resolution)


def test_default_resolution_of_a_tiny_window() -> None:
    """A window of a nanosecond has a resolution of a nanosecond, not of none."""
    assert History[int](1).resolution_ns == 1


# --- clocks


def test_step_back_forgets() -> None:
    """After a step back the rate is not known: the old readings are of another time line."""
    assert math.isnan(window((HOUR, 0), (HOUR + 10 * S, 50), (0, 60)).rate())


def test_after_a_step_back_the_rate_is_that_of_the_new_time_line() -> None:
    """The reading after the step back compares with it alone."""
    assert window((HOUR, 0), (HOUR + 10 * S, 50), (0, 60), (10 * S, 80)).rate() == 2.0


def test_step_forward_is_time_passed() -> None:
    """After a step forward by an hour the rate is over that hour ..."""
    assert window((0, 0), (10 * S, 100), (10 * S + HOUR, 3700)).rate() == 1.0


def test_after_a_step_forward_the_window_goes_on() -> None:
    """... and one window later the hour is out of it."""
    assert window((0, 0), (HOUR, 100), (HOUR + 60 * S, 160)).rate() == 1.0


# --- counters


def test_restart_counts_from_zero() -> None:
    """A reading below the one before is a counter that restarted: it grew by what it shows."""
    assert window((0, 1000), (10 * S, 1100), (20 * S, 30)).delta() == 130


def test_restart_between_readings_that_are_not_kept() -> None:
    """A restart is seen even where the readings around it were replaced."""
    assert window((0, 1000), (S, 1100), (S + 1, 5), (S + 2, 6)).delta() == 106


def test_restart_leaves_the_window() -> None:
    """A restart before the older end does not matter any more."""
    assert window((0, 1000), (10 * S, 5), (70 * S, 15)).delta() == 10


def test_rate_is_never_negative() -> None:
    """However often a counter restarts, its rate is not below 0."""
    assert window((0, 9), (S, 8), (2 * S, 0), (3 * S, 0)).rate() >= 0


def test_growth_is_exact_beyond_doubles() -> None:
    """Integers stay integers: one more than 2^62 is seen as one."""
    assert window((0, 2**62), (S, 2**62 + 1)).delta() == 1


def test_increase_of_equal_readings() -> None:
    """A counter that stands still has not restarted."""
    assert increase(5, 5) == 0


# --- many counters


def test_removed_series_is_no_restart() -> None:
    """When a series goes, the total neither falls nor jumps."""
    growth = Growth()
    growth.add({"a": 1000, "b": 10})
    assert growth.add({"b": 11}) - growth.add({"b": 11}) == 0
    assert growth.total == 1011


def test_new_series_grew_from_zero() -> None:
    """The first errors of a new type are growth, not history."""
    growth = Growth()
    before = growth.add({"a": 5})
    assert growth.add({"a": 5, "b": 3}) - before == 3


def test_restarted_series_beside_a_busy_one() -> None:
    """A restart is seen although the plain sum went up."""
    growth = Growth()
    before = growth.add({"a": 100, "b": 0})
    assert growth.add({"a": 7, "b": 200}) - before == 207


def test_series_that_went_and_came_again() -> None:
    """A series that was removed and made anew counts from 0 again."""
    growth = Growth()
    growth.add({"a": 100})
    before = growth.add({})
    assert growth.add({"a": 150}) - before == 150


# --- counts


def counts(*values: int) -> HdrCounts:
    result = HdrCounts(1, HOUR, 3)
    for value in values:
        result.record(value)
    return result


def test_counts_of_one_reading() -> None:
    """With one reading it is not known what the window holds: None, not empty counts."""
    sliding = SlidingCounts(60 * S)
    assert sliding.delta() is None
    sliding.add(0, counts(5))
    assert sliding.delta() is None


def test_counts_of_the_window_only() -> None:
    """Percentiles of the window know nothing of what was recorded before it."""
    sliding = SlidingCounts(60 * S)
    sliding.add(0, counts(*[HOUR] * 100))
    sliding.add(60 * S, counts(*[HOUR] * 100, 7, 7))
    assert sliding.delta() == counts(7, 7)


def test_counts_of_an_idle_window() -> None:
    """Nothing recorded between two readings is an empty difference, not None."""
    sliding = SlidingCounts(60 * S)
    sliding.add(0, counts(5))
    sliding.add(S, counts(5))
    assert sliding.delta() == counts()


def test_counts_keep_the_range() -> None:
    """Both ends of the range come through the kept encoding."""
    sliding = SlidingCounts(60 * S)
    sliding.add(0, counts(0, HOUR))
    sliding.add(S, counts(0, 0, HOUR, HOUR))
    assert sliding.delta() == counts(0, HOUR)


def test_counts_that_fall() -> None:
    """A count that falls is taken as 0, and spoils none of the others."""
    sliding = SlidingCounts(60 * S)
    sliding.add(0, counts(5, 5, 9))
    sliding.add(S, counts(5, 9, 9))
    assert sliding.delta() == counts(9)


def test_counts_of_other_windows_are_independent() -> None:
    """Two readers of one histogram with different windows do not disturb each other."""
    short, long = SlidingCounts(10 * S), SlidingCounts(60 * S)
    for second, values in ((0, ()), (10, (1,)), (20, (1, 2))):
        for sliding in (short, long):
            sliding.add(second * S, counts(*values))
    assert short.delta() == counts(2)
    assert long.delta() == counts(1, 2)
