"""Finding a bound child by its label value."""

from __future__ import annotations

import prometheus_client
from race import Call, Race
from table import Row, Table, against_no_op, against_peer

from vaultscope import Registry


def bench_labels(race: Race, table: Table) -> None:
    """family.labels("put") where that child is bound already, among eight of them."""
    family = Registry().counter("cas.operations.total", labels=("operation",))
    peer = prometheus_client.Counter(
        "cas_operations", "Operations", ["operation"], registry=prometheus_client.CollectorRegistry()
    )
    operations = ("put", "get", "has", "delete", "list", "verify", "pin", "unpin")
    held = [(family.labels(operation), peer.labels(operation)) for operation in operations]
    times = race(
        Call('family.labels("put")', family=family),
        prometheus_client=Call('family.labels("put")', family=peer),
    )
    bars = against_no_op(times, 15), against_peer(times, "prometheus_client", 20)
    table.add(Row.of_times('`family.labels("put")`, bound', times, *bars))
    assert family.labels("put") is held[0][0]
