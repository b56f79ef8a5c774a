"""A fixed-bucket histogram's observation."""

from __future__ import annotations

import prometheus_client
from race import Call, Race
from table import Row, Table, against_no_op, against_peer

from vaultscope import Registry

BOUNDS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


def bench_observe(race: Race, table: Table) -> None:
    """histogram.observe(v) with the memo's twelve bounds; 37.5 ms falls in the fifth bucket."""
    histogram = Registry().histogram("cas.put.duration", buckets=BOUNDS_MS)
    registry = prometheus_client.CollectorRegistry()
    peer = prometheus_client.Histogram(
        "cas_put_duration", "Put latency", registry=registry, buckets=BOUNDS_MS
    )
    times = race(
        Call("histogram.observe(value)", histogram=histogram, value=37.5),
        prometheus_client=Call("histogram.observe(value)", histogram=peer, value=37.5),
    )
    bars = against_no_op(times, 6), against_peer(times, "prometheus_client", 40)
    table.add(Row.of_times("`histogram.observe(v)`, 12 buckets", times, *bars))
    assert histogram.count > 0
