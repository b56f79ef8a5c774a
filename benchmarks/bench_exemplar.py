"""An observation while a span is current. In a process without spans it is that of bench_histogram.py."""

from __future__ import annotations

import prometheus_client
from race import Call, Race
from table import Row, Table, against_no_op, against_peer

from vaultscope import Registry
from vaultscope.tracing import SpanContext, use_span

BOUNDS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7


def bench_unsampled(race: Race, table: Table) -> None:
    """histogram.observe(v) in a span whose trace is not sampled: the current span is looked at."""
    histogram = Registry().histogram("cas.put.duration", buckets=BOUNDS_MS)
    with use_span(SpanContext(TRACE, SPAN)):
        times = race(Call("histogram.observe(value)", histogram=histogram, value=37.5))
    table.add(Row.of_times("`histogram.observe(v)` in an unsampled span", times, against_no_op(times, 7)))
    assert histogram.count > 0


def bench_sampled(race: Race, table: Table) -> None:
    """The same in a sampled one: the bucket is asked whether it wants the exemplar. The peer is told one by
    hand."""
    registry = Registry()
    histogram = registry.histogram("cas.put.duration", buckets=BOUNDS_MS)
    peer = prometheus_client.Histogram(
        "cas_put", "Put latency", registry=prometheus_client.CollectorRegistry(), buckets=BOUNDS_MS
    )
    exemplar = {"trace_id": f"{TRACE:032x}", "span_id": f"{SPAN:016x}"}
    with use_span(SpanContext(TRACE, SPAN, sampled=True)):
        times = race(
            Call("histogram.observe(value)", histogram=histogram, value=37.5),
            prometheus_client=Call(
                "histogram.observe(value, exemplar)", histogram=peer, value=37.5, exemplar=exemplar
            ),
        )
    bars = against_no_op(times, 10), against_peer(times, "prometheus_client", 40)
    table.add(Row.of_times("`histogram.observe(v)` in a sampled span", times, *bars))
    assert len(registry.snapshot()["cas.put.duration"].series().exemplars) == 1
