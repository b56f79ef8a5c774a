"""Counters and gauges, step by step, against the plainest model: Python's own numbers."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vaultscope import Registry

AMOUNT_MAX = 2**63 - 1  # what one call takes
TOTAL_MAX = 2**64 - 1  # what a cell holds; 2^63 is what is promised

NOT_AMOUNTS = [
    -1,
    -1.0,
    -5e-324,
    math.nan,
    math.inf,
    -math.inf,
    2**63,
    -(2**63) - 1,
    10**30,
    "1",
    b"1",
    None,
    [1],
    1j,
    np.int64(-1),
    np.float32("nan"),
    Decimal(-1),
]
NOT_NUMBERS: list[object] = ["1", b"1", None, [1], 1j, {}]


class CounterSteps(RuleBasedStateMachine):
    """Any sequence of amounts, good and bad, on two series of one family."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.family = self.registry.counter("cas.put.bytes", labels=("peer",))
        self.integers = {"a": 0, "b": 0}
        self.reals = {"a": 0.0, "b": 0.0}
        self.invalid = 0
        for peer in self.integers:
            self.family.labels(peer)

    peers = st.sampled_from("ab")

    def room(self, peer: str) -> int:
        return min(AMOUNT_MAX, TOTAL_MAX - self.integers[peer])

    @precondition(lambda self: self.room("a"))
    @rule()
    def inc(self) -> None:
        self.family.labels("a").inc()
        self.integers["a"] += 1

    @rule(peer=peers, amount=st.one_of(st.integers(0, 1000), st.integers(0, AMOUNT_MAX)))
    def inc_by_integer(self, peer: str, amount: int) -> None:
        amount = min(amount, self.room(peer))
        self.family.labels(peer).inc(amount)
        self.integers[peer] += amount

    @rule(peer=peers)
    def inc_by_all_that_fits(self, peer: str) -> None:
        amount = self.room(peer)
        self.family.labels(peer).inc(amount)
        self.integers[peer] += amount

    @rule(peer=peers, amount=st.floats(0, 1e15))
    def inc_by_float(self, peer: str, amount: float) -> None:
        self.family.labels(peer).inc(amount)
        self.reals[peer] += amount

    @rule(peer=peers, kind=st.sampled_from([bool, np.uint8, np.int64, np.float64, Decimal, Fraction]))
    def inc_by_other_numbers(self, peer: str, kind: type) -> None:
        if kind in (bool, np.uint8, np.int64):
            amount = min(1, self.room(peer))
            self.integers[peer] += amount
        else:
            amount = 1
            self.reals[peer] += 1.0
        self.family.labels(peer).inc(kind(amount))

    @rule(peer=peers, amount=st.sampled_from(NOT_AMOUNTS))
    def inc_by_what_is_no_amount(self, peer: str, amount: float) -> None:
        self.family.labels(peer).inc(amount)
        self.invalid += 1

    @rule(peer=peers)
    def bind_anew(self, peer: str) -> None:
        """Another handle goes on with the same total."""
        again = self.registry.counter("cas.put.bytes", labels=("peer",))
        assert again.labels(peer=peer).value == self.total(peer)

    def total(self, peer: str) -> float:
        real = self.reals[peer]
        return self.integers[peer] + real if real else self.integers[peer]

    @invariant()
    def totals(self) -> None:
        """An exact int while only integers came; the sum of both as a float since a float came."""
        for peer in "ab":
            value = self.family.labels(peer).value
            assert value == self.total(peer)
            assert isinstance(value, float if self.reals[peer] else int)

    @invariant()
    def snapshot(self) -> None:
        snapshot = self.registry.snapshot()
        assert {peer: snapshot.value("cas.put.bytes", peer=peer) for peer in "ab"} == {
            peer: self.total(peer) for peer in "ab"
        }
        assert snapshot["cas.put.bytes"].losses["invalid"] == self.invalid


class GaugeSteps(RuleBasedStateMachine):
    """Any sequence of settings and steps on one gauge."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.gauge = self.registry.gauge("network.connections.active")
        self.value = 0.0
        self.invalid = 0

    @rule(value=st.floats())
    def set_float(self, value: float) -> None:
        self.gauge.set(value)
        self.value = value

    @rule(value=st.integers(-(2**200), 2**200))
    def set_integer(self, value: int) -> None:
        self.gauge.set(value)
        self.value = float(value)

    @rule()
    def inc(self) -> None:
        self.gauge.inc()
        self.value += 1

    @rule()
    def dec(self) -> None:
        self.gauge.dec()
        self.value -= 1

    @rule(amount=st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1)))
    def inc_by(self, amount: float) -> None:
        self.gauge.inc(amount)
        self.value += float(amount)

    @rule(amount=st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1)))
    def dec_by(self, amount: float) -> None:
        self.gauge.dec(amount)
        self.value -= float(amount)

    @rule(value=st.sampled_from(NOT_NUMBERS), method=st.sampled_from(["set", "inc", "dec"]))
    def what_is_no_number(self, value: object, method: str) -> None:
        getattr(self.gauge, method)(value)
        self.invalid += 1

    @invariant()
    def agrees(self) -> None:
        """A gauge is one double: NaN and infinity are values, and each step rounds as Python does."""
        value = pytest.approx(self.value, rel=0, abs=0, nan_ok=True)
        snapshot = self.registry.snapshot()
        assert self.gauge.value == value
        assert snapshot.value("network.connections.active") == value
        assert snapshot["network.connections.active"].losses["invalid"] == self.invalid


TestCounterSteps = CounterSteps.TestCase
TestCounterSteps.settings = settings(max_examples=60, stateful_step_count=30)
TestGaugeSteps = GaugeSteps.TestCase
TestGaugeSteps.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize("amount", NOT_AMOUNTS)
def test_pedantic(amount: float) -> None:
    """A pedantic registry raises for what an ordinary one counts, and counts it as well."""
    registry = Registry(pedantic=True)
    counter = registry.counter("cas.put.bytes")
    with pytest.raises((ValueError, TypeError)):
        counter.inc(amount)
    assert counter.value == 0
    assert registry.snapshot()["cas.put.bytes"].losses["invalid"] == 1
