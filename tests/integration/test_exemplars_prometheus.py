"""Exemplars in a Prometheus that keeps them: what it stored is what the snapshot holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_prometheus_server import PrometheusServer

from vaultscope import Registry, Snapshot
from vaultscope.edge.http import MetricsServer
from vaultscope.tracing import SpanContext, Tracer, use_span


@pytest.fixture
def registry() -> Registry:
    """Histograms in ms and in ns, with series and buckets that have exemplars and some that have none."""
    registry = Registry()
    puts = registry.histogram("cas.put.duration", "Time of a put.", unit="ms", labels=("op",))
    gets = registry.hdr_histogram("cas.get.duration", "Time of a get.", buckets=(10**6, 10**9))
    with Tracer(Registry(), rate=1.0).span("request"):
        for elapsed in (0.25, 37.5, 99_999):
            puts.labels("put").observe(elapsed)
        gets.record(1_234_567)
    puts.labels("quiet").observe(3)
    with use_span(SpanContext(2**127 + 1, 2**63 + 1, sampled=True)):
        puts.labels('odd " \n').observe(7)
    return registry


@pytest.fixture
def metrics_server(registry: Registry) -> Iterator[MetricsServer]:
    with MetricsServer(registry) as server:
        yield server


@pytest.fixture
def prometheus(metrics_server: MetricsServer, tmp_path: Path) -> Iterator[PrometheusServer]:
    server = PrometheusServer(tmp_path, f"127.0.0.1:{metrics_server.port}", "exemplar-storage")
    try:
        yield server
    finally:
        server.stop()


Found = set[tuple[str, str, float, str, str, float, int]]


def stored(prometheus: PrometheusServer) -> Found:
    """(name, op, le, trace, span, value, ms since 1970) of each exemplar that Prometheus has, of all time."""
    rows: list[Any] = prometheus.ask(
        "query_exemplars", query='{job="vault"}', start="0", end=str(time.time() + 3600)
    )
    return {
        (
            row["seriesLabels"]["__name__"].replace(".", "_"),
            row["seriesLabels"].get("op", ""),
            float(row["seriesLabels"]["le"]),
            one["labels"]["trace_id"],
            one["labels"]["span_id"],
            float(one["value"]),
            round(one["timestamp"] * 1000),
        )
        for row in rows or ()
        for one in row["exemplars"]
    }


def expected(snapshot: Snapshot) -> Found:
    """The same from a snapshot."""
    found: Found = set()
    for name, per_second in ("cas.put.duration", 1e3), ("cas.get.duration", 1e9):
        for series in snapshot[name]:
            for one in series.exemplars:
                le, value = one.upper_bound / per_second, one.value / per_second
                exported = name.replace(".", "_") + "_seconds_bucket"
                ids = one.trace_id, one.span_id
                found.add((exported, series.labels.get("op", ""), le, *ids, value, one.time_ns // 10**6))
    return found


def test_prometheus_keeps_them(
    registry: Registry, metrics_server: MetricsServer, prometheus: PrometheusServer
) -> None:
    """Every exemplar arrives: series, ids, value in seconds, time; nothing else does; later ones follow."""
    first = expected(registry.snapshot())
    assert len(first) == 5
    prometheus.when(lambda found: stored(prometheus) == first)
    with Tracer(Registry(), rate=1.0).span("later") as span:
        registry.histogram("cas.put.duration", "Time of a put.", unit="ms", labels=("op",)).labels(
            "quiet"
        ).observe(3)
    both = first | expected(registry.snapshot())
    assert len(both) == 6
    prometheus.when(lambda found: stored(prometheus) == both)
    assert span.trace_hex in {trace for _, _, _, trace, _, _, _ in stored(prometheus)}
    assert metrics_server.refused == metrics_server.failures == 0
    assert "exemplar" not in prometheus.log.read_text()
