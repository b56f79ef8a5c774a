"""The core catalogue: the memo's metrics under the memo's names, and what follows from them."""

from __future__ import annotations

import math
import re
from typing import get_type_hints

import pytest

from vaultscope import Counter, Gauge, HdrHistogram, Registry
from vaultscope.core.catalogue import CATALOGUE, DURATION_BUCKETS_NS, Catalogue
from vaultscope.errors import DeclarationConflictError

S = 1_000_000_000

# The memo's Core Metrics, word for word.
MEMO = """
    (storage.used.bytes gauge "Total bytes used")
    (storage.available.bytes gauge "Bytes available")
    (storage.objects.count gauge "Number of objects")
    (cas.put.count counter "CAS put operations")
    (cas.put.bytes counter "Bytes written")
    (cas.put.duration histogram "Put latency")
    (cas.get.count counter "CAS get operations")
    (cas.get.bytes counter "Bytes read")
    (cas.get.duration histogram "Get latency")
    (soup.queries.count counter "Soup queries")
    (soup.queries.duration histogram "Query latency")
    (soup.index.size.bytes gauge "Index size")
    (network.connections.active gauge "Active connections")
    (network.bytes.sent counter "Bytes sent")
    (network.bytes.received counter "Bytes received")
    (replication.lag.seconds gauge "Replication lag")
    (replication.objects.pending gauge "Objects pending sync")
    (errors.total counter "Total errors" labels: (type))
    (errors.rate gauge "Error rate per second")
"""
MEMO_ROWS = re.findall(r'\((\S+) (\w+) "([^"]*)"(?: labels: \((\w+)\))?\)', MEMO)

# What alerts, health and aggregates refer to without declaring it.
UNDECLARED = {
    "storage.percent.used": "gauge",
    "network.peers.connected": "gauge",
    "cas.operations.total": "counter",
    "cas.operations.rate": "gauge",
    "cas.latency.average": "gauge",
    "cas.latency.p99": "gauge",
}

KINDS = {"counter": Counter, "gauge": Gauge, "duration": HdrHistogram}


class Clock:
    """Monotonic time that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.ns = 1000 * S

    def __call__(self) -> int:
        return self.ns

    def pass_seconds(self, seconds: float) -> None:
        self.ns += round(seconds * S)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(registry: Registry, clock: Clock) -> Catalogue:
    return Catalogue(registry, clock_ns=clock)


def read(registry: Registry, name: str) -> float:
    """A value as the next snapshot shows it."""
    return registry.snapshot().value(name)


# --- declarations


@pytest.mark.parametrize(("name", "kind", "text", "label"), MEMO_ROWS)
def test_memo_row(vault: Catalogue, registry: Registry, name: str, kind: str, text: str, label: str) -> None:
    """Each of the memo's metrics is there with its name, kind, help text and label."""
    metric = registry.snapshot()[name]
    assert {"hdr": "histogram"}.get(metric.kind, metric.kind) == kind
    assert metric.help == text
    assert metric.label_names == ((label,) if label else ())


@pytest.mark.parametrize(("name", "kind"), UNDECLARED.items())
def test_names_the_memo_forgot(vault: Catalogue, registry: Registry, name: str, kind: str) -> None:
    """What alerts, health and aggregates refer to is there as well."""
    assert registry.snapshot()[name].kind == kind


def test_nothing_else_is_in_the_catalogue() -> None:
    """The catalogue is the memo's rows and the names that it forgot, each once."""
    names = [row.name for row in CATALOGUE]
    assert sorted(names) == sorted([row[0] for row in MEMO_ROWS] + list(UNDECLARED))


def test_attributes_are_typed_as_declared() -> None:
    """Every row has an attribute of its kind, and there is no attribute without a row."""
    assert get_type_hints(Catalogue) == {row.attribute: KINDS[row.kind] for row in CATALOGUE}


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_attribute_is_the_registrys_metric(vault: Catalogue, registry: Registry, row: object) -> None:
    """A Catalogue's attribute is what the registry has under the dotted name."""
    assert getattr(vault, row.attribute) is registry.get(row.name)


def test_buckets_are_the_memos_milliseconds() -> None:
    """Durations are in ns, and their exported buckets are the memo's twelve bounds."""
    assert [bound / 1e6 for bound in DURATION_BUCKETS_NS] == [
        1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000,
    ]  # fmt: skip


def test_percentiles_are_exact_to_three_digits(vault: Catalogue) -> None:
    """A duration between two buckets is known better than its bucket: 123,456 ns is not "below 1 ms"."""
    vault.cas_put_duration.record(123_456)
    assert vault.cas_put_duration.quantile(0.5) == pytest.approx(123_456, rel=1e-3)


def test_second_catalogue_is_the_same(vault: Catalogue, registry: Registry) -> None:
    """Two stores in one registry count into the same metrics."""
    assert Catalogue(registry).cas_put_count is vault.cas_put_count


def test_second_catalogue_leaves_the_rates_alone(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """The first catalogue's window goes on: a second one does not begin it anew."""
    vault.cas_put_count.inc(100)
    clock.pass_seconds(10)
    Catalogue(registry, clock_ns=lambda: 0)
    assert read(registry, "cas.operations.rate") == 10.0


def test_name_taken_by_another_shape(registry: Registry) -> None:
    """A catalogue does not take over somebody else's metric."""
    registry.counter("storage.used.bytes", "Something else")
    with pytest.raises(DeclarationConflictError):
        Catalogue(registry)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_no_sensible_window(registry: Registry, seconds: float) -> None:
    """A window has a length."""
    with pytest.raises(ValueError):
        Catalogue(registry, window_seconds=seconds)


# --- storage.percent.used


def test_percent_used_before_anything_is_known(vault: Catalogue, registry: Registry) -> None:
    """A vault that has set neither figure has no percentage, rather than one of 0."""
    assert math.isnan(read(registry, "storage.percent.used"))


def test_percent_used(vault: Catalogue, registry: Registry) -> None:
    """It is the used part of used and available together."""
    vault.storage_used_bytes.set(96e9)
    vault.storage_available_bytes.set(4e9)
    assert read(registry, "storage.percent.used") == 96.0


def test_percent_used_of_a_full_vault(vault: Catalogue, registry: Registry) -> None:
    """With nothing available it is 100."""
    vault.storage_used_bytes.set(5)
    assert read(registry, "storage.percent.used") == 100.0


def test_percent_used_of_an_unknown_figure(vault: Catalogue, registry: Registry) -> None:
    """If one of the figures is not known, neither is the percentage."""
    vault.storage_used_bytes.set(5)
    vault.storage_available_bytes.set(math.nan)
    assert math.isnan(read(registry, "storage.percent.used"))


def test_percent_used_sees_what_collectors_set(vault: Catalogue, registry: Registry) -> None:
    """A vault that asks for its free space at each snapshot gets the percentage of that snapshot."""
    vault.storage_used_bytes.set(25)
    registry.add_collector(lambda: vault.storage_available_bytes.set(75))
    assert read(registry, "storage.percent.used") == 25.0


# --- cas.operations


def test_operations_total(vault: Catalogue, registry: Registry) -> None:
    """The total is puts and gets together, as they stand at the snapshot."""
    vault.cas_put_count.inc(3)
    vault.cas_get_count.inc(4)
    snapshot = registry.snapshot()
    assert snapshot.value("cas.operations.total") == 7


def test_operations_total_is_cumulative(vault: Catalogue, registry: Registry) -> None:
    """Looking does not reset it, and it is mirrored, not added up."""
    vault.cas_put_count.inc(3)
    registry.snapshot()
    vault.cas_put_count.inc()
    assert [read(registry, "cas.operations.total") for _ in range(3)] == [4, 4, 4]


def test_operations_rate_at_the_first_snapshot(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """The window begins with the catalogue, so the first scrape has a rate."""
    vault.cas_put_count.inc(30)
    vault.cas_get_count.inc(20)
    clock.pass_seconds(10)
    assert read(registry, "cas.operations.rate") == 5.0


def test_operations_before_the_catalogue_are_no_rate(registry: Registry, clock: Clock) -> None:
    """What was counted before the window began is in the total and not in the rate."""
    registry.counter("cas.put.count", "CAS put operations").inc(1000)
    Catalogue(registry, clock_ns=clock)
    clock.pass_seconds(10)
    snapshot = registry.snapshot()
    assert (snapshot.value("cas.operations.total"), snapshot.value("cas.operations.rate")) == (1000, 0.0)


def test_rate_without_time(vault: Catalogue, registry: Registry) -> None:
    """A snapshot in the very moment of construction has no rate."""
    vault.cas_put_count.inc()
    assert math.isnan(read(registry, "cas.operations.rate"))


def test_two_scrapers_do_not_disturb_each_other(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """A snapshot just before another one takes nothing away from its rate."""
    vault.cas_put_count.inc(600)
    clock.pass_seconds(60)
    registry.snapshot()
    clock.pass_seconds(0.001)
    assert read(registry, "cas.operations.rate") == pytest.approx(10.0, rel=1e-3)


def test_rate_forgets_what_is_older_than_the_window(
    vault: Catalogue, registry: Registry, clock: Clock
) -> None:
    """After a quiet window the rate is 0."""
    vault.cas_put_count.inc(600)
    clock.pass_seconds(1)
    registry.snapshot()
    clock.pass_seconds(60)
    assert read(registry, "cas.operations.rate") == 0.0


def test_window_can_be_chosen(registry: Registry, clock: Clock) -> None:
    """A window of a second forgets after a second."""
    vault = Catalogue(registry, clock_ns=clock, window_seconds=1)
    vault.cas_put_count.inc(600)
    clock.pass_seconds(0.5)
    registry.snapshot()
    clock.pass_seconds(1)
    assert read(registry, "cas.operations.rate") == 0.0


def test_clock_that_steps_back(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """After a step back there is no rate for one snapshot, and never a negative one."""
    vault.cas_put_count.inc(10)
    clock.pass_seconds(-500)
    assert math.isnan(read(registry, "cas.operations.rate"))
    vault.cas_put_count.inc(10)
    clock.pass_seconds(5)
    assert read(registry, "cas.operations.rate") == 2.0


# --- cas.latency


def test_latency_without_operations(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """No operation, no latency: NaN and not 0, which would be a fast one."""
    clock.pass_seconds(10)
    snapshot = registry.snapshot()
    assert math.isnan(snapshot.value("cas.latency.average"))
    assert math.isnan(snapshot.value("cas.latency.p99"))


def test_latency_merges_puts_and_gets(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """The mean is over both, in milliseconds."""
    vault.cas_put_duration.record(30_000_000)
    vault.cas_get_duration.record(10_000_000)
    clock.pass_seconds(10)
    assert read(registry, "cas.latency.average") == pytest.approx(20.0, rel=1e-3)


def test_latency_percentile(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """98 quick gets and 2 slow puts: the 99th percentile is a slow one, in milliseconds."""
    vault.cas_get_duration.record_times(1_000_000, 98)
    vault.cas_put_duration.record_times(500_000_000, 2)
    clock.pass_seconds(10)
    assert read(registry, "cas.latency.p99") == pytest.approx(500.0, rel=1e-3)


def test_latency_of_the_window_only(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """A slow start is forgotten when the window has passed over it."""
    vault.cas_put_duration.record_times(9_000_000_000, 1000)
    clock.pass_seconds(1)
    registry.snapshot()
    clock.pass_seconds(60)
    vault.cas_put_duration.record(1_000_000)
    snapshot = registry.snapshot()
    assert snapshot.value("cas.latency.p99") == pytest.approx(1.0, rel=1e-3)
    assert snapshot.value("cas.latency.average") == pytest.approx(1.0, rel=1e-3)


def test_looking_does_not_reset_durations(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """The histograms themselves stay cumulative."""
    vault.cas_put_duration.record(1_000_000)
    clock.pass_seconds(100)
    registry.snapshot()
    assert vault.cas_put_duration.count == 1
    assert vault.cas_get_duration.count == 0


# --- errors.rate


def test_errors_rate_sums_all_types(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """Errors per second, whatever their type, also of types that are new."""
    vault.errors_total.labels("io").inc(5)
    clock.pass_seconds(5)
    registry.snapshot()
    vault.errors_total.labels("io").inc(5)
    vault.errors_total.labels("corrupt").inc(10)
    clock.pass_seconds(5)
    assert read(registry, "errors.rate") == 2.0


def test_errors_rate_without_errors(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """No error at all is a rate of 0, which is known."""
    clock.pass_seconds(5)
    assert read(registry, "errors.rate") == 0.0


def test_removing_a_type_is_no_burst(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """When a type's series is removed, the others do not look like errors that happened just now."""
    vault.errors_total.labels("io").inc(1000)
    vault.errors_total.labels("corrupt").inc(500)
    clock.pass_seconds(1)
    registry.snapshot()
    clock.pass_seconds(60)
    registry.snapshot()
    vault.errors_total.remove("io")
    clock.pass_seconds(1)
    assert read(registry, "errors.rate") == 0.0


# --- export


def test_no_collector_failed(vault: Catalogue, registry: Registry, clock: Clock) -> None:
    """Keeping the derived metrics up to date raises nothing, from the very first snapshot on."""
    for _ in range(3):
        clock.pass_seconds(1)
        assert "vaultscope.collector.errors" not in registry.snapshot()
