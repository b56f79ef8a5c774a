"""Rendering a scrape, the snapshot included."""

from __future__ import annotations

from dataclasses import asdict

import prometheus_client
from race import Call, Race, Times
from table import Bar, Row, Table, against_peer, duration

from vaultscope import Registry
from vaultscope.edge import prometheus


def counters(series: int) -> Registry:
    """A registry with one counter of so many series, each with a value."""
    registry = Registry(max_series=0)
    family = registry.counter("objects.read", "Reads of an object", labels=("object",))
    for number in range(series):
        family.labels(f"object-{number:08d}").inc(number)
    return registry


def ours(registry: Registry) -> Call:
    return Call("render(registry.snapshot())", render=prometheus.render, registry=registry)


def theirs(registry: prometheus_client.CollectorRegistry) -> Call:
    return Call("render(registry)", render=prometheus_client.generate_latest, registry=registry)


def add(table: Table, what: str, times: Times) -> None:
    beside = {"prometheus_client": duration(times.rivals["prometheus_client"])}
    table.add(
        Row(
            what,
            duration(times.ours),
            beside,
            (against_peer(times, "prometheus_client", 100),),
            asdict(times),
        )
    )


def bench_counters(race: Race, table: Table, short: bool) -> None:
    """Ten thousand series of one counter."""
    series = 100 if short else 10_000
    registry = counters(series)
    peers = prometheus_client.CollectorRegistry()
    peer = prometheus_client.Counter("objects_read", "Reads of an object", ["object"], registry=peers)
    for number in range(series):
        peer.labels(f"object-{number:08d}").inc(number)
    add(
        table,
        f"render {series:,} counter series",
        race(ours(registry), rounds=15, prometheus_client=theirs(peers)),
    )


def bench_histograms(race: Race, table: Table, short: bool) -> None:
    """A thousand histograms of twelve buckets."""
    series = 10 if short else 1_000
    bounds = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
    registry = Registry(max_series=0)
    family = registry.histogram("objects.duration", "Time of a read", labels=("object",), buckets=bounds)
    peers = prometheus_client.CollectorRegistry()
    peer = prometheus_client.Histogram(
        "objects_duration", "Time of a read", ["object"], registry=peers, buckets=bounds
    )
    for number in range(series):
        family.labels(f"object-{number:08d}").observe(number)
        peer.labels(f"object-{number:08d}").observe(number)
    add(
        table,
        f"render {series:,} histograms",
        race(ours(registry), rounds=15, prometheus_client=theirs(peers)),
    )


def bench_flat(race: Race, table: Table, short: bool) -> None:
    """The cost of a series is the same however many there are."""
    few, many, most = (10, 100, 1_000) if short else (100, 10_000, 1_000_000)
    times = race(ours(counters(most)), rounds=9, few=ours(counters(few)), many=ours(counters(many)))
    each = {
        few: times.rivals["few"].median / few,
        many: times.rivals["many"].median / many,
        most: times.ours.median / most,
    }
    beside = {f"at {series:,}": f"{cost:,.1f} ns a series" for series, cost in each.items() if series != most}
    bar = Bar(f"× the cost a series at {few:,}", each[most] / each[few], 2)
    what = f"render {most:,} counter series"
    table.add(
        Row(
            what,
            f"{each[most]:,.1f} ns a series; {duration(times.ours)}",
            beside,
            (bar,),
            {"ns_a_series": each},
        )
    )
