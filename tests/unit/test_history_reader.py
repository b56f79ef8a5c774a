"""Reading what was recorded: steps, gaps, restarts, clocks that were set, and several who record at once."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import numpy as np
import pytest
from historybook import HOUR, MINUTE, NOON, SECOND, Clock, MemorySoup, recorder
from hypothesis import given
from hypothesis import strategies as st

from vaultscope import (
    DeclarationConflictError,
    DeclarationError,
    DecodeError,
    HdrCounts,
    NotFoundError,
    Registry,
)
from vaultscope.core.soup import NewObject
from vaultscope.history import History, history


def test_public_names() -> None:
    """The door has what its docstring shows, and opening it loads no numpy, database or network."""
    program = (
        "import sys, vaultscope.history as door;"
        "print(sorted(door.__all__), {'numpy', 'sqlite3', 'ssl', 'click'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['History', 'MetricRecorder', 'history'] set()\n"


class Vault:
    """A vault of one process after the other, and what is recorded of it."""

    def __init__(
        self, soup: MemorySoup, clock: Clock | None = None, name: str = "", **options: object
    ) -> None:
        self.soup, self.clock, self.name, self.options = soup, clock or Clock(), name, options
        self.restart()

    def restart(self) -> None:
        self.registry = Registry()
        self.count = self.registry.counter("count", unit="bytes")
        self.by_op = self.registry.counter("by.op", labels=("op", "zone"))
        self.gauge = self.registry.gauge("gauge")
        self.hdr = self.registry.hdr_histogram("hdr")
        self.fixed = self.registry.histogram("fixed", buckets=[1.0, 10.0, 100.0])
        self.recorder = recorder(self.registry, self.soup, self.clock, vault=self.name, **self.options)

    def minute(self, n: int = 0, *, ns: int = MINUTE) -> None:
        """A minute passes, in which something grew by n, and is recorded."""
        self.count.inc(n)
        self.clock.pass_(ns)
        self.recorder.record()


def values(soup: MemorySoup, name: str, minutes: int, **options: object) -> list[float]:
    """A metric's values from noon on, a minute each unless `step` says otherwise; None: not known."""
    options = {"step": "1m", **options}
    found = history(soup, name, since=NOON, until=NOON + minutes * MINUTE, **options)  # type: ignore[arg-type]
    return [None if math.isnan(value) else value for value in found.values]


def test_rates() -> None:
    """A counter's rate is what it grew by in a step, by the time recorded in it."""
    vault = Vault(MemorySoup())
    for n in (60, 120, 0):
        vault.minute(n)
    assert values(vault.soup, "count", 3) == [1.0, 2.0, 0.0]
    assert values(vault.soup, "count", 3, quantile="sum") == [60, 120, 0]
    assert values(vault.soup, "count", 3, step="3m") == [1.0]


def test_what_it_says_of_itself() -> None:
    """A history has its steps' times, units, and how much of each step is known."""
    vault = Vault(MemorySoup())
    vault.minute(60)
    found = history(vault.soup, "count", since=NOON, until=NOON + 4 * MINUTE, step="2m")
    assert (found.name, found.kind, found.unit, found.statistic) == ("count", "counter", "bytes/s", "rate")
    assert found.times.tolist() == [NOON / 1e9, NOON / 1e9 + 120] and len(found) == 2
    assert found.datetimes[0] == np.datetime64(NOON, "ns")
    assert found.covered_seconds.tolist() == [60.0, 0.0]
    assert np.isnan(found.values[1]) and found.groups == ({},)
    assert history(vault.soup, "hdr", since=NOON, until=NOON + MINUTE, quantile="rate").unit == "1/s"


def test_jitter() -> None:
    """Snapshots some milliseconds beside the minute belong to their minute."""
    vault = Vault(MemorySoup())
    for n, late in ((60, 4), (120, -6), (180, 2)):
        vault.minute(n, ns=MINUTE + late * 1_000_000)
    assert values(vault.soup, "count", 3, quantile="sum") == [60, 120, 180]


def test_a_restart() -> None:
    """A process that ended and one that began: what each counted is added up, and the rest of the step is not
    known to have been slower."""
    vault = Vault(MemorySoup())
    vault.minute(60)
    vault.minute(60)
    vault.clock.pass_(MINUTE // 2)  # killed, and half a minute not recorded
    vault.restart()
    vault.minute(30, ns=MINUTE // 2)
    vault.minute(60)
    assert values(vault.soup, "count", 4) == [1.0, 1.0, 1.0, 1.0]
    assert values(vault.soup, "count", 4, step="4m") == [pytest.approx(1.0)]
    assert values(vault.soup, "count", 4, quantile="sum") == [60, 60, 30, 60]


def test_a_gap() -> None:
    """Where nothing was recorded nothing is known, and no spike comes after it."""
    vault = Vault(MemorySoup())
    vault.minute(60)
    vault.clock.pass_(3 * MINUTE)
    vault.restart()
    vault.minute(60)
    assert values(vault.soup, "count", 6) == [1.0, None, None, None, 1.0, None]


def test_a_laptop_that_slept() -> None:
    """An interval that lasted a minute but says that it took an hour lies at its end."""
    vault = Vault(MemorySoup())
    vault.minute(60)
    vault.clock.wall += HOUR
    vault.minute(60)
    found = values(vault.soup, "count", 63)
    assert found[0] == 1.0 and found[61] == 1.0
    assert [each for each in found if each is not None] == [1.0, 1.0]


def test_a_clock_that_is_set_back() -> None:
    """The hour that comes twice has the rates that it had both times, not their sum; none is negative."""
    vault = Vault(MemorySoup())
    for _ in range(4):
        vault.minute(60)
    vault.clock.wall -= 2 * MINUTE
    for _ in range(4):
        vault.minute(120)
    assert values(vault.soup, "count", 6) == [1.0, 1.0, 1.5, 1.5, 2.0, 2.0]


def test_a_soup_that_failed() -> None:
    """What was put late is where it was counted."""
    vault = Vault(MemorySoup())
    vault.soup.error = OSError()
    for n in (60, 120):
        vault.minute(n)
    vault.soup.error = None
    vault.minute(180)
    assert values(vault.soup, "count", 3) == [1.0, 2.0, 3.0]


def test_steps_shorter_than_an_interval() -> None:
    """An interval that covers many steps shows in all, with its rate, and its growth in equal parts."""
    vault = Vault(MemorySoup())
    vault.gauge.set(5)
    vault.hdr.record(7)
    vault.minute(60, ns=5 * MINUTE)
    assert values(vault.soup, "count", 6) == [*[pytest.approx(0.2)] * 5, None]
    assert values(vault.soup, "count", 5, quantile="sum") == [12] * 5
    assert values(vault.soup, "gauge", 5) == [5] * 5
    assert values(vault.soup, "hdr", 5, quantile=0.5) == [7] * 5


def test_two_vaults() -> None:
    """Two vaults, or processes, that record into one soup are added up; `vault` picks one."""
    soup = MemorySoup()
    for name, n in (("north", 60), ("south", 120)):
        vault = Vault(soup, name=name)
        for each in (1, 2):
            vault.gauge.set(n)
            vault.hdr.record(n * each)
            vault.fixed.observe(n / 60)
            vault.minute(n)
    assert values(soup, "count", 2) == [3.0, 3.0]
    assert values(soup, "count", 2, vault="south") == [2.0, 2.0]
    assert values(soup, "gauge", 2) == [180, 180]
    assert values(soup, "gauge", 2, quantile="mean", vault="north") == [60, 60]
    assert values(soup, "hdr", 2, quantile=1.0, step="2m") == [240]
    assert values(soup, "fixed", 2, quantile="count") == [2, 2]
    assert values(soup, "count", 2, step="2m") == [3.0]


def test_gauges_that_were_looked_at_beside_each_other() -> None:
    """Two processes that live at once look some milliseconds apart: the gauges of both count."""
    soup = MemorySoup()
    for late in (0, 4_000_000, -3_000_000):
        vault = Vault(soup, name=str(late))
        vault.gauge.set(10)
        vault.minute(ns=MINUTE + late)
        vault.minute()
    assert values(soup, "gauge", 2) == [30, 30]


def test_gauges_of_a_process_that_ended() -> None:
    """The gauge of a process that ended within a step is not added to its successor's; their mean is by
    time."""
    vault = Vault(MemorySoup())
    vault.gauge.set(10)
    vault.minute()
    vault.minute(ns=1_000_000_000)
    vault.restart()
    vault.gauge.set(20)
    vault.minute(ns=59 * SECOND)
    assert values(vault.soup, "gauge", 2, step="2m") == [20]
    assert values(vault.soup, "gauge", 2, step="2m", quantile="mean") == [
        pytest.approx((61 * 10 + 59 * 20) / 120)
    ]


def test_a_gauge_that_is_not_known() -> None:
    """NaN is not recorded, and is no value."""
    vault = Vault(MemorySoup())
    vault.gauge.set(1)
    vault.minute()
    vault.gauge.set(math.nan)
    vault.minute()
    assert values(vault.soup, "gauge", 2) == [1, None]


def test_labels() -> None:
    """Series are added up, or picked by labels, or apart by one."""
    vault = Vault(MemorySoup())
    for op, zone, n in (("get", "a", 60), ("get", "b", 120), ("put", "a", 6)):
        vault.by_op.labels(op, zone).inc(n)
    vault.minute()
    soup = vault.soup
    assert values(soup, "by.op", 1) == [3.1]
    assert values(soup, "by.op", 1, labels={"op": "get"}) == [3.0]
    assert values(soup, "by.op", 1, labels={"op": "get", "zone": "b"}) == [2.0]
    assert values(soup, "by.op", 1, labels={"op": "delete"}) == [0.0]
    found = history(soup, "by.op", since=NOON, until=NOON + MINUTE, step="1m", by="op")
    assert found.groups == ({"op": "get"}, {"op": "put"}) and found.values.tolist() == [[3.0], [0.1]]
    found = history(soup, "by.op", since=NOON, until=NOON + MINUTE, by=("zone", "op"), labels={"zone": "b"})
    assert found.groups == ({"zone": "b", "op": "get"},)


def test_a_series_that_vanished() -> None:
    """A series that was taken out grows no more; what it has grown stays."""
    vault = Vault(MemorySoup())
    vault.by_op.labels("get", "a").inc(60)
    vault.minute()
    vault.by_op.remove("get", "a")
    vault.minute()
    vault.by_op.labels("get", "a").inc(120)
    vault.minute()
    assert values(vault.soup, "by.op", 3, labels={"op": "get"}) == [1.0, 0.0, 2.0]


def test_a_metric_that_came_and_went() -> None:
    """A metric is not known before it was declared, and after it was taken out."""
    vault = Vault(MemorySoup())
    vault.minute()
    vault.registry.counter("new").inc(60)
    vault.minute()
    vault.registry.unregister("new")
    vault.minute()
    assert values(vault.soup, "new", 3) == [None, 1.0, None]


def test_fixed_buckets() -> None:
    """A quantile of fixed buckets is of the merged buckets, interpolated as a snapshot's is."""
    vault = Vault(MemorySoup())
    for each in (0.5, 3, 30, 50, 70):
        vault.fixed.observe(each)
        vault.minute()
    wanted = vault.registry.snapshot()["fixed"].series()
    for quantile in (0.0, 0.3, 0.5, 0.99, 1.0):
        assert values(vault.soup, "fixed", 5, step="5m", quantile=quantile) == [wanted.quantile(quantile)]
    assert values(vault.soup, "fixed", 5, step="5m", quantile="mean") == [pytest.approx(30.7)]
    assert values(vault.soup, "fixed", 5, step="5m", quantile="rate") == [pytest.approx(5 / 300)]
    assert values(vault.soup, "fixed", 6, quantile="mean")[5] is None


@given(
    st.lists(st.lists(st.integers(0, 10**11), max_size=8), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 1.0]),
)
def test_hdr_is_the_quantile_of_all(minutes: list[list[int]], quantile: float) -> None:
    """The quantile of a step is that of one histogram which has taken all values of its intervals."""
    vault = Vault(MemorySoup(), hdr_bytes_max=None)
    wanted = HdrCounts()
    for each in minutes:
        for value in each:
            vault.hdr.record(value)
            wanted.record(value)
        vault.minute()
    found = values(vault.soup, "hdr", len(minutes), step=None, quantile=quantile)
    assert found == ([wanted.quantile(quantile)] if wanted.count else [None])


def test_hdr_of_bounded_size() -> None:
    """Where a series was recorded coarsely, a quantile is that of a histogram as coarse, and no more too high
    than it says."""
    vault = Vault(MemorySoup(), hdr_bytes_max=100)
    wanted, random_ = HdrCounts(), random.Random(1)
    for _ in range(5):
        for _ in range(400):
            value = int(random_.lognormvariate(12, 1))
            vault.hdr.record(value)
            wanted.record(value)
        vault.minute()
    for quantile in (0.01, 0.5, 0.9, 0.99, 1.0):
        found = history(vault.soup, "hdr", since=NOON, until=NOON + 5 * MINUTE, step=None, quantile=quantile)
        exact = wanted.quantile(quantile)
        assert 0 < found.error <= 1 / 32
        assert exact <= found.values[0] <= exact * (1 + found.error)
    assert values(vault.soup, "hdr", 5, step=None, quantile="mean") == [pytest.approx(wanted.sum / 2000)]


def test_declared_anew() -> None:
    """A metric that was of another kind, unit or had other buckets is refused with a word about when; what
    can be added up is."""
    vault = Vault(MemorySoup())
    vault.fixed.observe(5)
    vault.minute(60)
    for name in ("count", "fixed"):
        vault.registry.unregister(name)
    vault.registry.gauge("count").set(1)
    vault.registry.histogram("fixed", buckets=[7.0]).observe(5)
    vault.clock.pass_()
    vault.recorder.record()
    with pytest.raises(DeclarationConflictError, match=r"counter in bytes, .*12:02:00Z as gauge"):
        values(vault.soup, "count", 2)
    with pytest.raises(DeclarationConflictError, match="bounds 1, 10, 100"):
        values(vault.soup, "fixed", 2, quantile=0.5)
    assert values(vault.soup, "fixed", 2, quantile="count") == [1, 1]
    found = history(vault.soup, "count", since=NOON + MINUTE, until=NOON + 2 * MINUTE, step="1m")
    assert (found.kind, found.values.tolist()) == ("gauge", [1.0])


@pytest.mark.parametrize(
    "options",
    [
        {"quantile": 0.5},
        {"quantile": "count"},
        {"quantile": "median"},
        {"labels": {"op": "get"}},
        {"by": "op"},
        {"step": "0s"},
        {"step": "x"},
        {"step": -5},
        {"step": float("nan")},
        {"step": 0.001, "since": NOON - HOUR},
        {"last": "1h", "since": NOON},
        {"since": NOON + HOUR},
        {"since": "yesterday"},
        {"last": "2026-01-01"},
    ],
)
def test_wrong_questions(options: dict[str, object]) -> None:
    """What makes no sense of a counter is refused."""
    vault = Vault(MemorySoup())
    vault.minute(60)
    with pytest.raises(DeclarationError):
        history(vault.soup, "count", until=NOON + MINUTE, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("quantile", [-0.1, 1.1, float("nan")])
def test_wrong_quantiles(quantile: float) -> None:
    """A quantile lies in 0..1."""
    vault = Vault(MemorySoup())
    vault.minute()
    with pytest.raises(DeclarationError):
        values(vault.soup, "hdr", 1, quantile=quantile)


def test_nothing_recorded() -> None:
    """A name that nobody recorded in the range is not found."""
    vault = Vault(MemorySoup())
    vault.minute()
    with pytest.raises(NotFoundError, match="other"):
        values(vault.soup, "other", 1)
    with pytest.raises(NotFoundError):
        history(vault.soup, "count", since=NOON - HOUR, until=NOON - MINUTE)


def test_only_what_is_asked_for_is_read() -> None:
    """Of many hours, those in the range are read, and one behind it, into which an interval may reach."""
    vault = Vault(MemorySoup())
    for _ in range(300):
        vault.minute(1)
    vault.soup.reads.clear()
    history(vault.soup, "count", since=NOON, until=NOON + 10 * MINUTE)
    assert len(vault.soup.reads) < 75


def test_last() -> None:
    """`last` goes back from now; steps begin at multiples of their length, and hold its begin."""
    vault = Vault(MemorySoup())
    for _ in range(90):
        vault.minute(60)
    found: History = history(vault.soup, "count", last="1h", step="20m", clock_ns=lambda: vault.clock.wall)
    assert found.times.tolist() == [NOON / 1e9 + 60 * each for each in (20, 40, 60, 80)]
    assert found.values.tolist() == [1.0] * 4


def test_gone_meanwhile() -> None:
    """An object whose time came between the query and the reading is passed over."""
    vault = Vault(MemorySoup())
    vault.minute(60)
    vault.minute(60)
    gone = next(iter(vault.soup.objects))
    original = vault.soup.get
    vault.soup.get = lambda address: original("none" if address == gone else address)  # type: ignore[method-assign]
    assert values(vault.soup, "count", 2) == [None, 1.0]


def test_an_object_that_is_none() -> None:
    """What has the type of an interval and is none is told, not passed over."""
    vault = Vault(MemorySoup())
    vault.minute()
    vault.soup.put_many([NewObject(b"{}", "metrics", {}, NOON)])
    with pytest.raises(DecodeError):
        values(vault.soup, "count", 1)
