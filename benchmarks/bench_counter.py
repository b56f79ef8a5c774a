"""A counter's increment."""

from __future__ import annotations

import prometheus_client
from race import Call, Race
from table import Row, Table, against_no_op, against_peer

from vaultscope import Registry


def bench_inc(race: Race, table: Table) -> None:
    """counter.inc() without an amount, on a counter without labels."""
    counter = Registry().counter("cas.put.count")
    peer = prometheus_client.Counter("cas_put", "Puts", registry=prometheus_client.CollectorRegistry())
    times = race(
        Call("counter.inc()", counter=counter), prometheus_client=Call("counter.inc()", counter=peer)
    )
    table.add(
        Row.of_times(
            "`counter.inc()`", times, against_no_op(times, 3.5), against_peer(times, "prometheus_client", 25)
        )
    )
    assert counter.value > 0
