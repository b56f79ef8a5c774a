"""Timing a block."""

from __future__ import annotations

import time
from dataclasses import asdict

import prometheus_client
from race import Call, Race
from table import Bar, Row, Table, duration

from vaultscope import Registry


def bench_with_time(race: Race, table: Table) -> None:
    """`with histogram.time(): pass`: two clock reads, and everything around them.

    A clock read is taken to be what `time.perf_counter_ns()` costs beyond a method that does nothing.
    """
    histogram = Registry().histogram("cas.put.duration")
    peer = prometheus_client.Histogram(
        "cas_put", "Put latency", registry=prometheus_client.CollectorRegistry()
    )
    times = race(
        Call("with histogram.time(): pass", histogram=histogram),
        prometheus_client=Call("with histogram.time(): pass", histogram=peer),
        clock=Call("clock()", clock=time.perf_counter_ns),
    )
    clock = times.rivals["clock"].median - times.no_op.median
    beyond = (times.ours.median - 2 * clock) / times.no_op.median
    beside = {
        "no-op C method": duration(times.no_op),
        "`perf_counter_ns()`": duration(times.rivals["clock"]),
        "prometheus_client": duration(times.rivals["prometheus_client"]),
    }
    bar = Bar("× no-op beyond two clock reads", beyond, 25)
    table.add(Row("`with hist.time(): pass`", duration(times.ours), beside, (bar,), asdict(times)))
    assert histogram.count > 0
