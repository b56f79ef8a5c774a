"""Spans: thrown away, kept, switched off, and the headers that carry a trace; beside OpenTelemetry's SDK.

The equal of a span that the tail decision throws away is one of OpenTelemetry's that its batch processor
takes and a null exporter forgets: who decides at the end must have recorded all of them. What its head
sampler throws away, with errors and slow ones among it, stands beside.

What is timed is the caller's processor time. Where spans are kept, both sides' threads drain them on another
processor, and both are empty before each lap: neither drops anything, which is checked.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from bench_log import elsewhere
from bench_log_native import figures
from bench_native import compiled, nanoseconds
from opentelemetry import trace as opentelemetry
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from race import ROUNDS, Call, Race, Sample, Times
from table import Bar, Row, Table, against_no_op, against_peer

from vaultscope import Registry
from vaultscope.tracing import SpanContext, SpanSink, Tracer, extract, inject, use_span

PEER = "OpenTelemetry"
HEAD = "OpenTelemetry, thrown away by its head sampler"
OFF = "OpenTelemetry without an SDK"
CLOCK, INTEGER = "`time.perf_counter_ns()`", "`hash(text)`"
LAP_SPANS = 10_000
NAMES: dict[str, object] = {
    "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "size": 4096,
}
CONTEXT = {
    "trace_id": 0x0AF7651916CD43DD8448EB211C80319C,
    "span_id": 0x00F067AA0BA902B7,
}


# ---- ours, and the peer ----


class NullSink(SpanSink):
    """Counts what it is given, and forgets it."""

    name = "null"

    def __init__(self) -> None:
        self.spans = 0

    def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
        self.spans += len(spans)


class NullExporter(SpanExporter):
    """The same for OpenTelemetry."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


class Complaints(logging.Handler):
    """What OpenTelemetry says, as it does when its queue is full."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def our_tracer(rate: float) -> Iterator[Tracer]:
    """Keeps all (1) or nothing (0). At the end each span is accounted for."""
    registry, sink = Registry(), NullSink()
    tracer = Tracer(registry, rate=rate)
    with elsewhere():
        tracer.add_sink(sink)
    yield tracer
    assert tracer.close(60.0), "the sink hangs"
    snapshot = registry.snapshot()
    ended = snapshot.value("vaultscope.trace.spans")
    assert snapshot.value("vaultscope.trace.missed", sink="null") == 0
    assert sink.spans == ended * rate and ended > 0


@contextmanager
def their_tracer(*, sampled: bool) -> Iterator[tuple[Any, BatchSpanProcessor]]:
    """A tracer of OpenTelemetry's, and what is to be flushed. At the end nothing was dropped."""
    exporter, complaints, logger = NullExporter(), Complaints(), logging.getLogger("opentelemetry")
    with elsewhere():
        processor = BatchSpanProcessor(exporter)
    provider = TracerProvider(sampler=ALWAYS_ON if sampled else ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    logger.addHandler(complaints)
    try:
        yield provider.get_tracer("cas"), processor
    finally:
        provider.shutdown()
        logger.removeHandler(complaints)
    assert not complaints.said
    assert (exporter.spans > 0) == sampled


def race_of_spans(
    race: Race, rate: float, ours: Callable[[Tracer], Call], theirs: Callable[[Any], Call], **others: Call
) -> Times:
    """Races the call that `ours` makes of our tracer against those that `theirs` makes of the peer's."""
    with ExitStack() as stack:
        tracer = stack.enter_context(our_tracer(rate))
        recorded, processor = stack.enter_context(their_tracer(sampled=True))
        unrecorded, _ = stack.enter_context(their_tracer(sampled=False))
        rivals = {PEER: theirs(recorded), HEAD: theirs(unrecorded), **others}
        flushes = {
            "our flush": Call("tracer.flush(60.0)", tracer=tracer),
            "their flush": Call("processor.force_flush()", processor=processor),
        }
        times = race(ours(tracer), **rivals, **flushes)
    for name in flushes:
        del times.rivals[name]
    return times


def beyond_clock(times: Times, reads: int, limit: float) -> Bar:
    """Our time without that of so many reads of the clock. A read: what a call of it takes longer than
    another call that makes an integer."""
    read = times.rivals[CLOCK].median - times.rivals[INTEGER].median
    return Bar(
        f"× no-op beyond {reads} clock reads", (times.ours.median - reads * read) / times.no_op.median, limit
    )


# ---- spans ----


def bench_thrown_away(race: Race, table: Table) -> None:
    """A span, entered and left, of a trace that is not kept."""
    times = race_of_spans(
        race,
        0,
        lambda tracer: Call('with tracer.span("cas.get"): pass', tracer=tracer),
        lambda tracer: Call('with tracer.start_as_current_span("cas.get"): pass', tracer=tracer),
        **{
            CLOCK: Call("clock()", clock=time.perf_counter_ns),
            INTEGER: Call("hash(text)", hash=hash, text="cas.get"),
        },
    )
    bars = against_peer(times, PEER, 40), beyond_clock(times, 2, 90)
    table.add(Row.of_times('`with tracer.span("cas.get"): pass`, sampled out', times, *bars))


def bench_kept(race: Race, table: Table) -> None:
    """A span with two attributes, kept, while the sink's thread takes them away."""
    times = race_of_spans(
        race,
        1,
        lambda tracer: Call(
            'with tracer.span("cas.get", hash=hash, size=size): pass', tracer=tracer, **NAMES
        ),
        lambda tracer: Call(
            'with tracer.start_as_current_span("cas.get", attributes={"hash": hash, "size": size}): pass',
            tracer=tracer,
            **NAMES,
        ),
    )
    what = '`with tracer.span("cas.get", hash=hash, size=size): pass`, kept'
    table.add(Row.of_times(what, times, against_peer(times, PEER, 30)))


def bench_disabled(race: Race, table: Table) -> None:
    """A tracer that is switched off. The peer is what is there when no SDK is installed."""
    tracer = Tracer(Registry(), enabled=False)
    off = Call('with tracer.start_as_current_span("cas.get"): pass', tracer=opentelemetry.NoOpTracer())
    times = race(Call('with tracer.span("cas.get"): pass', tracer=tracer), **{OFF: off})
    table.add(
        Row.of_times('`with tracer.span("cas.get"): pass`, switched off', times, against_no_op(times, 5))
    )


def get() -> None:
    """What is traced."""


OTHERS: dict[str, tuple[Callable[[Tracer], Call], Callable[[Any], Call]]] = {
    "three spans, one in another": (
        lambda tracer: Call(
            'with span("vault.get"), span("cas.get"), span("disk.read"): pass', span=tracer.span
        ),
        lambda tracer: Call(
            'with span("vault.get"), span("cas.get"), span("disk.read"): pass',
            span=tracer.start_as_current_span,
        ),
    ),
    "a call of a `@tracer.traced` function": (
        lambda tracer: Call("get()", get=tracer.traced("cas.get")(get)),
        lambda tracer: Call("get()", get=tracer.start_as_current_span("cas.get")(get)),
    ),
    "a span with an event": (
        lambda tracer: Call('with tracer.span("cas.get") as span: span.event("cache miss")', tracer=tracer),
        lambda tracer: Call(
            'with tracer.start_as_current_span("cas.get") as span: span.add_event("cache miss")',
            tracer=tracer,
        ),
    ),
    '`tracer.start("cas.get").end()`': (
        lambda tracer: Call('tracer.start("cas.get").end()', tracer=tracer),
        lambda tracer: Call('tracer.start_span("cas.get").end()', tracer=tracer),
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def bench_others(what: str, race: Race, table: Table) -> None:
    """Other ways to make a span, sampled out."""
    times = race_of_spans(race, 0, *OTHERS[what])
    ratio = times.rivals[PEER].median / times.ours.median
    row = Row.of_times(f"{what}, sampled out", times)
    row.beside["that is"] = f"{ratio:,.1f} × faster than {PEER}"
    table.add(row)


# ---- headers ----


@pytest.mark.parametrize(
    "tracestate", ["", "vendor=t61rcWkgMzE,rojo=00f067aa0ba902b7"], ids=["alone", "with state"]
)
def bench_headers(tracestate: str, race: Race, table: Table) -> None:
    """The current span's headers, written to a dict and read from it again; the memo's stand beside."""
    state = opentelemetry.TraceState.from_header([tracestate])
    flags = opentelemetry.TraceFlags(opentelemetry.TraceFlags.SAMPLED)
    remote = opentelemetry.SpanContext(**CONTEXT, is_remote=True, trace_flags=flags, trace_state=state)
    calls = "headers = {}; inject(headers); extract(headers)"
    w3c = Call(
        "headers = {}; inject(headers, formats=formats); extract(headers)",
        inject=inject,
        extract=extract,
        formats=("w3c",),
    )
    propagator = TraceContextTextMapPropagator()
    peer = Call(calls, inject=propagator.inject, extract=propagator.extract)
    with (
        use_span(SpanContext(**CONTEXT, sampled=True, tracestate=tracestate)),
        opentelemetry.use_span(opentelemetry.NonRecordingSpan(remote)),
    ):
        headers: dict[str, str] = {}
        inject(headers, formats=("w3c",))
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        assert headers == carrier
        memo = "ours with X-Trace-Id and X-Span-Id"
        times = race(w3c, **{PEER: peer, memo: Call(calls, inject=inject, extract=extract)})
    what = "`inject` and `extract`: traceparent" + (" and tracestate" if tracestate else "")
    table.add(Row.of_times(what, times, against_peer(times, PEER, 10)))


# ---- in C ----


def bench_native(table: Table, short: bool, tmp_path: Path) -> None:
    """A span that C begins and ends below one of Python's, and that its trace keeps until that ends."""
    size = (3, 500) if short else (ROUNDS, LAP_SPANS)
    printed = subprocess.run(
        [compiled("bench_span", tmp_path), *map(str, size)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    times = {name: Sample.of(values) for name, values in figures(printed).items()}
    beside = {
        "with two attributes": times["span_2_attributes"],
        "where nothing is recorded": times["nowhere"],
        "two reads of the clock": times["two_clocks"],
    }
    table.add(
        Row(
            "C: `vs_span_start` and `vs_span_end`",
            nanoseconds(times["span"]),
            {what: nanoseconds(sample) for what, sample in beside.items()},
            (),
            {name: asdict(sample) for name, sample in times.items()},
        )
    )
