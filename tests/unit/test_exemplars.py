"""Exemplars: what a bucket remembers of the current span, and how OpenMetrics shows it."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from peer import Peer
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from vaultscope import HdrHistogram, Histogram, Registry
from vaultscope.core.snapshot import Exemplar
from vaultscope.edge.prometheus import render
from vaultscope.tracing import SpanContext, Tracer, current_span, use_span

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
IDS = ("0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7")
SAMPLED = SpanContext(int(IDS[0], 16), int(IDS[1], 16), sampled=True)
PATIENCE = 30.0  # seconds


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def histogram(registry: Registry) -> Histogram:
    return registry.histogram("h", unit="ms", buckets=(1, 10, 100))


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    tracer = Tracer(Registry(), rate=1.0)
    yield tracer
    tracer.close()


def exemplars(registry: Registry, name: str = "h", **labels: str) -> tuple[Exemplar, ...]:
    return registry.snapshot()[name].series(**labels).exemplars


def values(registry: Registry, name: str = "h", **labels: str) -> list[tuple[float, float]]:
    """(upper bound, value) of each."""
    return [(found.upper_bound, found.value) for found in exemplars(registry, name, **labels)]


def texts(registry: Registry, name: str) -> list[Any]:
    """The samples of a metric's family as prometheus_client reads them from OpenMetrics text."""
    text = render(registry.snapshot(), OPENMETRICS)[0].decode()
    return next(family.samples for family in text_string_to_metric_families(text) if family.name == name)


# ---- when a bucket remembers ----


def test_sampled_span(registry: Registry, histogram: Histogram, tracer: Tracer) -> None:
    """The bucket that takes the value remembers it, the current span's ids, and the time."""
    before = time.time_ns()
    with tracer.span("outer"), tracer.span("inner") as span:
        histogram.observe(3.5)
    (found,) = exemplars(registry)
    assert (found.upper_bound, found.value) == (10.0, 3.5)
    assert (found.trace_id, found.span_id) == (span.trace_hex, span.span_hex)
    assert before <= found.time_ns <= time.time_ns()
    assert span.trace_hex in repr(found)


def test_span_from_elsewhere(registry: Registry, histogram: Histogram) -> None:
    """A context that came from another process is remembered like a span."""
    with use_span(SAMPLED):
        histogram.observe(3.5)
    (found,) = exemplars(registry)
    assert (found.trace_id, found.span_id) == IDS


@contextmanager
def current(value: object) -> Iterator[None]:
    token = current_span.set(value)  # type: ignore[arg-type]
    try:
        yield
    finally:
        current_span.reset(token)


@pytest.mark.parametrize(
    "what",
    [None, SpanContext(1, 2), SpanContext(1, 2, sampled=None), "a text", SAMPLED.trace_id, object()],
    ids=["none", "unsampled", "deferred", "text", "number", "object"],
)
def test_what_is_no_sampled_span(registry: Registry, histogram: Histogram, what: object) -> None:
    """Without a current span of a sampled trace nothing is remembered, and the value is counted."""
    with current(what):
        histogram.observe(3.5)
        histogram.observe(3)
    assert exemplars(registry) == ()
    assert histogram.count == 2


def test_unsampled_span(registry: Registry, histogram: Histogram) -> None:
    """A span of a trace that is sampled out leaves no exemplar, and none is left when it has ended."""
    for tracer in Tracer(Registry(), rate=0.0), Tracer(Registry(), rate=1.0, enabled=False):
        with tracer.span("a"):
            histogram.observe(3.5)
        tracer.close()
    assert exemplars(registry) == ()


def test_a_span_beyond_max_traces(registry: Registry, histogram: Histogram) -> None:
    """Its trace is not kept, though it is sampled: nothing leads there, nor to what is below it."""
    tracer = Tracer(Registry(), rate=1.0, max_traces=1)
    with tracer.span("first"), use_span(None):
        with tracer.span("beyond") as span, tracer.span("inner"):
            histogram.observe(3.5)
        assert span.sampled and exemplars(registry) == ()
    with tracer.span("later") as span:
        histogram.observe(3.5)
    assert exemplars(registry)[0].trace_id == span.trace_hex
    tracer.close()


def test_ended_span(registry: Registry, histogram: Histogram, tracer: Tracer) -> None:
    """What is observed after the span's block is none of it."""
    with tracer.span("a"):
        pass
    histogram.observe(3.5)
    assert exemplars(registry) == ()


def test_the_tracer_is_enough() -> None:
    """In a process that made no SpanContext by hand exemplars are taken and log records carry ids."""
    code = """if True:
        from vaultscope import Registry
        from vaultscope.logging import Journal, MemorySink
        from vaultscope.tracing import Tracer
        registry = Registry()
        histogram = registry.histogram("h")
        journal = Journal(registry)
        journal.add_sink(sink := MemorySink())
        with Tracer(registry, rate=1.0).span("a") as span:
            histogram.observe(3.5)
            journal.get_logger("x").info("hello")
        journal.flush()
        assert [e.span_id for e in registry.snapshot()["h"].series().exemplars] == [span.span_hex]
        assert [r["span_id"] for r in sink.records] == [span.span_hex]
        journal.close()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def observe(histogram: Histogram) -> None:
    histogram.observe(3.5)


def observe_integer(histogram: Histogram) -> None:
    histogram.observe(7)


def observe_first_of_a_thread(histogram: Histogram) -> None:
    def work() -> None:
        with use_span(SAMPLED):
            histogram.observe(3.5)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def observe_by_timer(histogram: Histogram) -> None:
    with histogram.time():
        pass


def observe_by_decorator(histogram: Histogram) -> None:
    histogram.timed(lambda: None)()


def observe_by_coroutine(histogram: Histogram) -> None:
    async def work() -> None:
        pass

    asyncio.run(histogram.timed(work)())


@pytest.mark.parametrize(
    "way",
    [
        observe,
        observe_integer,
        observe_first_of_a_thread,
        observe_by_timer,
        observe_by_decorator,
        observe_by_coroutine,
    ],
)
def test_every_way_to_observe_one(
    registry: Registry, histogram: Histogram, way: Callable[[Histogram], None]
) -> None:
    """A single value is remembered however it comes."""
    with use_span(SAMPLED):
        way(histogram)
    assert [(e.trace_id, e.span_id) for e in exemplars(registry)] == [IDS]


def test_many_at_once(registry: Registry, histogram: Histogram) -> None:
    """Arrays are of no one span: they leave none, nor do the items of another iterable."""
    with use_span(SAMPLED):
        assert histogram.observe_many([1.0, 2.0]) == 2
        assert histogram.observe_many(memoryview(b"12")) == 2
    assert exemplars(registry) == ()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "text", None, 10**400])
def test_what_is_not_recorded(registry: Registry, histogram: Histogram, value: Any) -> None:
    """A value that the histogram does not take leaves no exemplar."""
    with use_span(SAMPLED):
        histogram.observe(value)
    assert exemplars(registry) == ()
    assert histogram.losses["invalid"] == 1


def test_the_newest_stays(registry: Registry, histogram: Histogram, tracer: Tracer) -> None:
    """A bucket's exemplar gives way to a newer one."""
    with use_span(SAMPLED):
        histogram.observe(3.5)
    deadline = time.monotonic() + PATIENCE
    with tracer.span("a") as span:
        while exemplars(registry)[0].trace_id != span.trace_hex:
            assert time.monotonic() < deadline
            histogram.observe(4.5)
    assert values(registry) == [(10.0, 4.5)]


@pytest.mark.parametrize(
    ("value", "bound"), [(-5, 1.0), (1, 1.0), (1.001, 10.0), (100, 100.0), (100.001, math.inf)]
)
def test_buckets(registry: Registry, histogram: Histogram, value: float, bound: float) -> None:
    """The exemplar is in the bucket that counts the value: its bound is not below it; +Inf too."""
    with use_span(SAMPLED):
        histogram.observe(value)
    assert values(registry) == [(bound, value)]


# ---- HDR histograms ----


@pytest.fixture
def hdr(registry: Registry) -> HdrHistogram:
    return registry.hdr_histogram("r", unit="us", buckets=(100, 10_000), highest=1_000_000)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (50, (100.0, 50.0)),
        (50.4, (100.0, 50.0)),
        (500, (10_000.0, 500.0)),
        (-3, (100.0, 0.0)),
        (10**7, (math.inf, 1e6)),
        (10**30, (math.inf, 1e6)),
    ],
)
def test_hdr_with_buckets(
    registry: Registry, hdr: HdrHistogram, value: float, found: tuple[float, float]
) -> None:
    """One with buckets remembers the value that it recorded: rounded, and within its range."""
    with use_span(SAMPLED):
        hdr.record(value)
    assert values(registry, "r") == [found]


def test_hdr_timer(registry: Registry, hdr: HdrHistogram) -> None:
    """A timer's exemplar is the whole number of units that was recorded."""
    with use_span(SAMPLED), hdr.time():
        pass
    ((_, value),) = values(registry, "r")
    assert value == hdr.sum


def test_summary(registry: Registry) -> None:
    """One that is exported as a summary takes none: OpenMetrics has no place for them."""
    hdr = registry.hdr_histogram("r")
    with use_span(SAMPLED), hdr.time():
        hdr.record(5)
    assert exemplars(registry, "r") == ()
    assert all(sample.exemplar is None for sample in texts(registry, "r_seconds"))


def test_no_histogram(registry: Registry) -> None:
    """A counter or gauge has no exemplars to ask for."""
    registry.counter("c")
    registry.gauge("g")
    for name in "cg":
        with pytest.raises(TypeError, match="not a histogram or hdr"):
            exemplars(registry, name)


# ---- series ----


def test_children_and_overflow(registry: Registry) -> None:
    """Each child has its own, and so has the overflow series."""
    family = registry.histogram("h", labels=("op",), max_series=1)
    with use_span(SAMPLED):
        family.labels("put").observe(3)
        family.labels("get").observe(40)
    assert values(registry, op="put") == [(5.0, 3.0)]
    assert values(registry, op="_overflow") == [(50.0, 40.0)]


def test_removed_and_unregistered(registry: Registry) -> None:
    """A series' exemplars go with it, as with its metric; handles to what is gone can still be used."""
    family = registry.histogram("h", labels=("op",))
    child = family.labels("put")
    with use_span(SAMPLED):
        child.observe(3)
        family.remove("put")
        child.observe(40)
        family.labels("put")
        assert values(registry, op="put") == []
        registry.unregister("h")
        family.labels("put").observe(3)
    again = registry.histogram("h", labels=("op",))
    again.labels("put")
    assert values(registry, op="put") == []


def test_snapshot_stays(registry: Registry, histogram: Histogram) -> None:
    """A snapshot shows what was there when it was taken."""
    before = registry.snapshot()
    with use_span(SAMPLED):
        histogram.observe(3)
    after = registry.snapshot()
    with use_span(SAMPLED):
        histogram.observe(40)
    assert [len(s["h"].series().exemplars) for s in (before, after, registry.snapshot())] == [0, 1, 2]
    assert after.native.nbytes > before.native.nbytes


# ---- threads, tasks, processes ----


def test_a_thousand_threads(registry: Registry, tracer: Tracer) -> None:
    """Of 1,000 threads with a span each, no bucket mixes two: its value and its span are of one thread."""
    histogram = registry.histogram("h", buckets=range(0, 1000, 50))
    span_of: dict[float, tuple[str, str]] = {}
    start = threading.Barrier(1000)

    def work(number: int) -> None:
        start.wait(PATIENCE)
        with tracer.span("a") as span:
            span_of[number] = span.trace_hex, span.span_hex
            for _ in range(20):
                histogram.observe(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = exemplars(registry)
    assert len(found) == 21
    assert all(span_of[e.value] == (e.trace_id, e.span_id) for e in found)
    assert histogram.count == 20_000


def test_tasks(registry: Registry, tracer: Tracer) -> None:
    """Of asyncio tasks that take turns, each value is remembered with its own task's span."""
    histogram = registry.histogram("h", buckets=range(0, 100, 5))
    span_of: dict[float, str] = {}

    async def work(number: int) -> None:
        with tracer.span("a") as span:
            span_of[number] = span.span_hex
            await asyncio.sleep(0)
            histogram.observe(number)

    async def all_of_them() -> None:
        await asyncio.gather(*(work(number) for number in range(100)))

    asyncio.run(all_of_them())
    assert exemplars(registry)
    assert all(span_of[e.value] == e.span_id for e in exemplars(registry))


def test_fork(registry: Registry, histogram: Histogram) -> None:
    """The child of a fork has a copy, and what it observes is its own."""
    with use_span(SAMPLED):
        histogram.observe(3)
        child = os.fork()
        if child == 0:
            histogram.observe(40)
            os._exit(0 if values(registry) == [(10.0, 3.0), (100.0, 40.0)] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert values(registry) == [(10.0, 3.0)]


def test_shared_arena(tmp_path: Path) -> None:
    """Of processes that share an arena each shows all values, and the exemplars of its own."""
    path = str(tmp_path / "shared.arena")
    mine = Registry(arena=path)
    histogram = mine.histogram("h")
    setup = f"from vaultscope.tracing import *\nr = Registry(arena={path!r})\nh = r.histogram('h')"
    with Peer(setup) as peer:
        peer("with use_span(SpanContext(7, 8, sampled=True)): h.observe(40)")
        assert peer(f"[e.value for e in Registry(arena={path!r}).snapshot()['h'].series().exemplars]") == []
        assert peer("[e.value for e in r.snapshot()['h'].series().exemplars]") == [40.0]
        with use_span(SAMPLED):
            histogram.observe(3)
        assert values(mine) == [(5.0, 3.0)]
        assert histogram.count == 2


# ---- text ----


def test_openmetrics(registry: Registry, histogram: Histogram) -> None:
    """prometheus_client reads value, ids and time back; values in base units, each within its bucket."""
    with use_span(SAMPLED):
        for value in (0.5, 37.5, 12345):
            histogram.observe(value)
    buckets = [sample for sample in texts(registry, "h_seconds") if sample.name == "h_seconds_bucket"]
    assert [(b.labels["le"], b.value) for b in buckets] == [
        ("0.001", 1),
        ("0.01", 1),
        ("0.1", 2),
        ("+Inf", 3),
    ]
    assert buckets[1].exemplar is None
    shown = [bucket.exemplar for bucket in buckets if bucket.exemplar is not None]
    assert [e.value for e in shown] == [0.0005, 0.0375, 12.345]
    assert all(e.labels == {"trace_id": IDS[0], "span_id": IDS[1]} for e in shown)
    assert all(sum(map(len, (*e.labels, *e.labels.values()))) <= 128 for e in shown)
    told = [found.time_ns // 10**6 for found in exemplars(registry)]
    assert [round(float(e.timestamp) * 1000) for e in shown] == told


def test_line(registry: Registry, histogram: Histogram) -> None:
    """A line is exactly what the specification shows: count, #, labels, value, seconds with a fraction."""
    with use_span(SAMPLED):
        histogram.observe(37.5)
    seconds, milliseconds = divmod(exemplars(registry)[0].time_ns // 10**6, 1000)
    labels = f'{{trace_id="{IDS[0]}",span_id="{IDS[1]}"}}'
    line = f'h_seconds_bucket{{le="0.1"}} 1 # {labels} 0.0375 {seconds}.{milliseconds:03}'
    assert line in render(registry.snapshot(), OPENMETRICS)[0].decode().splitlines()


def test_older_text() -> None:
    """Text format 0.0.4 knows no exemplars: it is the same with and without."""
    texts = []
    for span in (SAMPLED, None):
        registry = Registry()
        with use_span(span):
            registry.histogram("h").observe(37.5)
        assert len(exemplars(registry)) == (span is not None)
        text, _ = render(registry.snapshot())
        texts.append(text.partition(b"# HELP vaultscope_")[0])
    assert texts[0] == texts[1] != b""


def test_negative_buckets(registry: Registry) -> None:
    """Negative values are shown too, in a histogram that has no sum."""
    histogram = registry.histogram("h", unit="celsius", buckets=(-10, 0))
    with use_span(SAMPLED):
        for value in (-12.5, -0.0, 1e21):
            histogram.observe(value)
    shown = [sample.exemplar.value for sample in texts(registry, "h_celsius") if sample.exemplar]
    assert shown == [-12.5, 0.0, 1e21]
    assert math.copysign(1, shown[1]) == -1
