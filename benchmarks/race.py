"""How the benchmarks time a call: ours, a call that does nothing, and the peers' take turns, round by round.

A call of 7 ns cannot be timed from outside: calling a function to call it costs seven times as much. So,
as `timeit` does, each entrant is compiled into a loop of its own, with all that it names in local
variables, and a lap is as many turns as take long enough to be timed. What the empty loop costs in the
same round is taken off. Entrants take turns within a round, so that a change of the machine's speed meets
all of them, and a round that was disturbed is one outlier in a median. What is timed is the thread's
processor time: the same as wall time on an idle machine, and on a busy one without what other processes
took. On a processor that runs the empty loop partly in the shadow of the call, every figure, the no-op's
too, is too small by the same few nanoseconds: that makes our ratios look worse.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

LAP_NS = 2_000_000
ROUNDS = 101


@dataclass(frozen=True)
class Sample:
    """What was measured in the rounds of one run, in one unit: the median and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Sample:
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


class Call:
    """One statement to be timed, and the names that it uses."""

    def __init__(self, statement: str, **names: object) -> None:
        namespace: dict[str, Any] = {**names, "repeat": repeat}
        bound = "".join(f", {name}={name}" for name in names)
        source = f"def loop(count{bound}):\n    for _ in repeat(None, count):\n        {statement}\n"
        exec(compile(source, f"<{statement}>", "exec"), namespace)
        self.loop: Callable[[int], None] = namespace["loop"]
        self.count = 1

    def lap(self) -> float:
        """Nanoseconds of this thread's processor time that a call took, over one lap, the loop included."""
        start = time.thread_time_ns()
        self.loop(self.count)
        return (time.thread_time_ns() - start) / self.count

    def warm_up(self, lap_ns: int) -> None:
        """Finds how many calls make a lap of `lap_ns`; meanwhile CPython specialises and caches fill."""
        self.count = 1
        while (per_call := self.lap()) * self.count < lap_ns and self.count < 1 << 24:
            self.count *= 2
        self.count = max(1, round(lap_ns / per_call))


@dataclass
class Times:
    """Nanoseconds a call, the empty loop taken off."""

    ours: Sample
    no_op: Sample
    rivals: dict[str, Sample] = field(default_factory=dict)


class Race:
    """Runs entrants against each other: pytest-benchmark runs our laps, and as its `setup` the others'."""

    def __init__(self, benchmark: BenchmarkFixture, short: bool) -> None:
        self._benchmark: Any = benchmark
        self._short = short

    def __call__(self, ours: Call, *, rounds: int = ROUNDS, lap_ns: int = LAP_NS, **rivals: Call) -> Times:
        """Times `ours` against the no-op C method and `rivals`; the result names them as the arguments do."""
        empty = Call("pass")
        no_op = Call("number.conjugate()", number=1.5)
        entrants = {"empty": empty, "no_op": no_op, **rivals, "ours": ours}
        for call in entrants.values():
            call.warm_up(LAP_NS // 100 if self._short else lap_ns)
        laps: dict[str, list[float]] = {name: [] for name in entrants}

        def others() -> None:
            for name, call in entrants.items():
                if call is not ours:
                    laps[name].append(call.lap())

        collecting = gc.isenabled()
        gc.disable()
        try:
            self._benchmark.pedantic(
                lambda: laps["ours"].append(ours.lap()), setup=others, rounds=3 if self._short else rounds
            )
        finally:
            if collecting:
                gc.enable()
        net = {
            name: Sample.of([lap - loop for lap, loop in zip(laps[name], laps["empty"], strict=True)])
            for name in entrants
        }
        self._benchmark.extra_info.update({name: sample.median for name, sample in net.items()})
        return Times(net["ours"], net["no_op"], {name: net[name] for name in rivals})
