"""Gauges: one double, set and stepped; NaN and the infinities are values."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from vaultscope import Gauge, Registry


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def gauge(registry: Registry) -> Gauge:
    return registry.gauge("a")


class Raises:
    def __float__(self) -> float:
        raise OSError("no")


def test_a_new_gauge_is_zero(registry: Registry, gauge: Gauge) -> None:
    """A gauge that nobody set is 0.0, a float."""
    assert (gauge.value, type(gauge.value)) == (0.0, float)
    assert type(registry.snapshot().value("a")) is float


@pytest.mark.parametrize(
    "value", [0.0, 1, -1, 2.5, 5e-324, -1.7976931348623157e308, 2**53 + 1, 2**63, -(2**64), True]
)
def test_set(registry: Registry, gauge: Gauge, value: float) -> None:
    """set() keeps the nearest double of any number, of either sign."""
    gauge.set(value)
    assert gauge.value == float(value)
    assert registry.snapshot().value("a") == float(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -0.0])
def test_special_values(registry: Registry, gauge: Gauge, value: float) -> None:
    """NaN, the infinities and the sign of zero are kept, and are no losses."""
    gauge.set(value)
    for read in (gauge.value, registry.snapshot().value("a")):
        assert math.copysign(1, read) == math.copysign(1, value)
        assert read == value or (math.isnan(read) and math.isnan(value))
    assert gauge.losses["invalid"] == 0


def test_an_integer_beyond_all_doubles(gauge: Gauge) -> None:
    """An integer that no double can hold is infinite, as Python's own arithmetic would round it."""
    gauge.set(10**400)
    assert gauge.value == math.inf
    gauge.set(-(10**400))
    assert gauge.value == -math.inf


def test_steps(gauge: Gauge) -> None:
    """inc and dec step by one or by an amount, of any sign, by position or name."""
    gauge.inc()
    gauge.inc(2.5)
    gauge.inc(amount=4)
    gauge.dec()
    gauge.dec(0.5)
    gauge.dec(amount=-10)
    gauge.inc(-3)
    assert gauge.value == 13.0


def test_steps_from_what_is_not_finite(gauge: Gauge) -> None:
    """Steps follow IEEE 754: infinity stays, infinity less infinity is NaN, and NaN stays until it is set
    anew."""
    gauge.set(math.inf)
    gauge.dec(1e308)
    assert gauge.value == math.inf
    gauge.dec(math.inf)
    assert math.isnan(gauge.value)
    gauge.inc()
    assert math.isnan(gauge.value)
    gauge.set(1)
    assert gauge.value == 1.0


def test_overflow_is_infinite(gauge: Gauge) -> None:
    """A step beyond the largest double ends at infinity."""
    gauge.set(1.7976931348623157e308)
    gauge.inc(1.7976931348623157e308)
    assert gauge.value == math.inf


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (Decimal("0.1"), 0.1),
        (np.float32(0.5), 0.5),
        (np.uint64(2**64 - 1), 2.0**64),
        (np.int64(-5), -5.0),
        (np.bool_(True), 1.0),
    ],
    ids=repr,
)
def test_other_numbers(gauge: Gauge, number: Any, value: float) -> None:
    """Whatever is a number is its nearest double."""
    gauge.set(number)
    assert gauge.value == value


@pytest.mark.parametrize("method", ["set", "inc", "dec"])
@pytest.mark.parametrize(
    "value", [None, "1", b"1", memoryview(b"1"), 1j, [], object(), Raises(), np.array([1, 2])], ids=ascii
)
def test_what_is_no_number(gauge: Gauge, method: str, value: Any) -> None:
    """What is no number is counted as invalid, and the value stays."""
    gauge.set(7)
    assert getattr(gauge, method)(value) is None
    assert gauge.value == 7.0
    assert gauge.losses["invalid"] == 1


@pytest.mark.parametrize("method", ["set", "inc", "dec"])
def test_pedantic(method: str) -> None:
    """In a pedantic registry it raises; NaN is a value there, too."""
    gauge = Registry(pedantic=True).gauge("a.b")
    with pytest.raises(TypeError, match=r"a\.b: not a number"):
        getattr(gauge, method)("1")
    getattr(gauge, method)(math.nan)
    assert math.isnan(gauge.value)


@pytest.mark.parametrize("method", ["inc", "dec"])
@pytest.mark.parametrize(
    ("args", "kwargs"), [((1, 2), {}), ((1,), {"amount": 2}), ((), {"value": 1})], ids=str
)
def test_wrong_calls(gauge: Gauge, method: str, args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    """Arguments that there are not raise, and change nothing."""
    with pytest.raises(TypeError, match=method):
        getattr(gauge, method)(*args, **kwargs)
    assert gauge.value == 0.0


def test_set_takes_one_value(gauge: Gauge) -> None:
    """set() without a value is no reset."""
    gauge.set(3)
    for args in [(), (1, 2)]:
        with pytest.raises(TypeError):
            gauge.set(*args)
    assert gauge.value == 3.0


def test_a_value_that_writes(gauge: Gauge) -> None:
    """A value that sets and steps the same gauge while it is asked: set() comes last, a step is on top."""

    class Writes:
        def __float__(self) -> float:
            gauge.set(100)
            gauge.inc()
            return 7.0

    gauge.inc(Writes())  # type: ignore[arg-type]
    assert gauge.value == 108.0
    gauge.set(Writes())  # type: ignore[arg-type]
    assert gauge.value == 7.0


def test_children_are_apart(registry: Registry) -> None:
    """Each child has a value of its own."""
    family = registry.gauge("f", labels=("x",))
    family.labels("1").set(math.nan)
    family.labels("2").inc(5)
    assert math.isnan(registry.snapshot().value("f", x="1"))
    assert registry.snapshot().value("f", x="2") == 5.0
