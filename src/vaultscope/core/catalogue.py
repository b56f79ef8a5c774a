"""The memo's core catalogue: every metric a vault has, declared in one go.

Names, kinds and help texts are the memo's (Core Metrics). The names that its alerts, health and aggregates
refer to without declaring them are here too; those that follow from other metrics are derived, by a
collector or callback that runs before each snapshot:

    storage.percent.used     gauge     100 x used / (used + available); NaN while a vault has set neither
    cas.operations.total     counter   mirrors puts + gets: it only grows, so a scraper may take its rate
    cas.operations.rate      gauge     (puts + gets) per second over the window
    cas.latency.average      gauge     mean of put and get latency over the window; NaN if there was none
    cas.latency.p99          gauge     99th percentile of the same
    errors.rate              gauge     errors of all types per second over the window

Rates are differences between readings (rates.py), never resets. NaN says "not known" and is neither above
nor below any threshold, so that no alert fires on it. All others are plain metrics that the vault writes,
network.peers.connected among them: nothing implies it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NamedTuple

from vaultscope.core.metrics import DEFAULT_BUCKETS_MS, Counter, Gauge, HdrHistogram
from vaultscope.core.rates import Growth, SlidingCounts, SlidingWindow

if TYPE_CHECKING:
    from vaultscope.core.registry import Registry

NS_PER_MS = 1_000_000

# Durations are HDR histograms in nanoseconds, so that percentiles within the process are exact to three
# digits. Prometheus gets classic buckets from them and no summary: the buckets of several vaults can be
# added up, their quantiles cannot. The bounds are the memo's milliseconds in the declared unit; exported,
# both are in seconds.
DURATION_BUCKETS_NS = tuple(bound * NS_PER_MS for bound in DEFAULT_BUCKETS_MS)


class Declaration(NamedTuple):
    """One row of the catalogue. `kind`: counter, gauge or duration (an HdrHistogram, in ns)."""

    kind: str
    name: str
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()

    @property
    def attribute(self) -> str:
        """Its name in a Catalogue: cas.put.count is cas_put_count."""
        return self.name.replace(".", "_")


# An exported name ends with its unit. So the unit is left open where the memo has it in the middle of the
# name: network.bytes.sent would become network_bytes_sent_bytes_total.
CATALOGUE = (
    Declaration("gauge", "storage.used.bytes", "Total bytes used", "bytes"),
    Declaration("gauge", "storage.available.bytes", "Bytes available", "bytes"),
    Declaration("gauge", "storage.objects.count", "Number of objects"),
    Declaration("gauge", "storage.percent.used", "Share of the storage that is used, in percent"),
    Declaration("counter", "cas.put.count", "CAS put operations"),
    Declaration("counter", "cas.put.bytes", "Bytes written", "bytes"),
    Declaration("duration", "cas.put.duration", "Put latency", "ns"),
    Declaration("counter", "cas.get.count", "CAS get operations"),
    Declaration("counter", "cas.get.bytes", "Bytes read", "bytes"),
    Declaration("duration", "cas.get.duration", "Get latency", "ns"),
    Declaration("counter", "cas.operations.total", "CAS operations, puts and gets"),
    Declaration("gauge", "cas.operations.rate", "CAS operations per second"),
    Declaration("gauge", "cas.latency.average", "Mean latency of CAS operations", "ms"),
    Declaration("gauge", "cas.latency.p99", "99th percentile of the latency of CAS operations", "ms"),
    Declaration("counter", "soup.queries.count", "Soup queries"),
    Declaration("duration", "soup.queries.duration", "Query latency", "ns"),
    Declaration("gauge", "soup.index.size.bytes", "Index size", "bytes"),
    Declaration("gauge", "network.connections.active", "Active connections"),
    Declaration("gauge", "network.peers.connected", "Peers connected"),
    Declaration("counter", "network.bytes.sent", "Bytes sent"),
    Declaration("counter", "network.bytes.received", "Bytes received"),
    Declaration("gauge", "replication.lag.seconds", "Replication lag", "seconds"),
    Declaration("gauge", "replication.objects.pending", "Objects pending sync"),
    Declaration("counter", "errors.total", "Total errors", labels=("type",)),
    Declaration("gauge", "errors.rate", "Error rate per second"),
)

_declaring = threading.Lock()  # cold: two catalogues at once must not both find that they are the first


class Catalogue:
    """The catalogue's metrics, bound, by noun: `vault.cas_put_count.inc()`, `vault.cas_put_duration.time()`.

    A second catalogue in the same registry binds the same metrics; clock and window stay those of the
    first.

    Args:
        registry: where to declare; kept as `registry`.
        clock_ns: monotonic time in nanoseconds, for rates.
        window_seconds: how far rates, average and percentile look back. The first reading is taken right
            here, so that the first snapshot has something to compare with.

    Raises:
        DeclarationConflictError: the registry has one of the names with another shape.
        ValueError: no sensible window.
    """

    storage_used_bytes: Gauge
    storage_available_bytes: Gauge
    storage_objects_count: Gauge
    storage_percent_used: Gauge
    cas_put_count: Counter
    cas_put_bytes: Counter
    cas_put_duration: HdrHistogram
    cas_get_count: Counter
    cas_get_bytes: Counter
    cas_get_duration: HdrHistogram
    cas_operations_total: Counter
    cas_operations_rate: Gauge
    cas_latency_average: Gauge
    cas_latency_p99: Gauge
    soup_queries_count: Counter
    soup_queries_duration: HdrHistogram
    soup_index_size_bytes: Gauge
    network_connections_active: Gauge
    network_peers_connected: Gauge
    network_bytes_sent: Counter
    network_bytes_received: Counter
    replication_lag_seconds: Gauge
    replication_objects_pending: Gauge
    errors_total: Counter
    errors_rate: Gauge

    def __init__(
        self,
        registry: Registry,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        window_seconds: float = 60.0,
    ) -> None:
        if not 1e-9 <= window_seconds < math.inf:
            raise ValueError(f"a window of {window_seconds} s is none")
        self.registry = registry
        with _declaring:
            first = registry.get("cas.operations.rate") is None
            for declaration in CATALOGUE:
                setattr(self, declaration.attribute, _declare(registry, declaration))
            if first:
                derived = DerivedMetrics(self, clock_ns, round(window_seconds * 1e9))
                derived.update()
                registry.add_collector(derived.update)
                # Callbacks come after all collectors: it sees what any of them sets, in the same snapshot.
                registry.gauge("storage.percent.used", callback=derived.percent_used)


def _declare(registry: Registry, row: Declaration) -> Counter | Gauge | HdrHistogram:
    if row.kind == "counter":
        return registry.counter(row.name, row.help, unit=row.unit, labels=row.labels)
    if row.kind == "gauge":
        return registry.gauge(row.name, row.help, unit=row.unit, labels=row.labels)
    return registry.hdr_histogram(
        row.name, row.help, unit=row.unit, labels=row.labels, buckets=DURATION_BUCKETS_NS
    )


class DerivedMetrics:
    """Keeps the derived metrics. No lock: the registry runs its collectors for one snapshot at a time."""

    def __init__(self, vault: Catalogue, clock_ns: Callable[[], int], window_ns: int) -> None:
        self._vault = vault
        self._clock_ns = clock_ns
        self._operations = SlidingWindow(window_ns)
        self._errors = SlidingWindow(window_ns)
        self._errors_grown = Growth()
        self._latency = SlidingCounts(window_ns)

    def update(self) -> None:
        """The collector: brings rates, latencies and the mirrored total up to date."""
        now = self._clock_ns()
        self._update_operations(now)
        self._update_latency(now)
        self._update_errors(now)

    def percent_used(self) -> float:
        """storage.percent.used; NaN if it cannot be known."""
        used = self._vault.storage_used_bytes.value
        capacity = used + self._vault.storage_available_bytes.value
        return 100.0 * used / capacity if capacity > 0 else math.nan

    def _update_operations(self, now: int) -> None:
        total = self._vault.cas_put_count.value + self._vault.cas_get_count.value
        self._vault.cas_operations_total.mirror(total)
        self._operations.add(now, total)
        self._vault.cas_operations_rate.set(self._operations.rate())

    def _update_latency(self, now: int) -> None:
        counts = self._vault.cas_put_duration.snapshot()
        counts.merge(self._vault.cas_get_duration.snapshot())
        self._latency.add(now, counts)
        average = p99 = math.nan
        recent = self._latency.delta()
        if recent is not None and recent.count > 0:
            average = recent.mean / NS_PER_MS
            p99 = recent.quantile(0.99) / NS_PER_MS
        self._vault.cas_latency_average.set(average)
        self._vault.cas_latency_p99.set(p99)

    def _update_errors(self, now: int) -> None:
        values: dict[Hashable, float] = {}
        for series in self._vault.registry.read("errors.total"):
            values[series.labels["type"]] = series.value
        self._errors.add(now, self._errors_grown.add(values))
        self._vault.errors_rate.set(self._errors.rate())
