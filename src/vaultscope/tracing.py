"""Tracing: spans that cost little enough to be everywhere.

    from vaultscope.tracing import JsonLinesSpanSink, Tracer

    tracer = Tracer(rate=0.1, slow_ms=50)
    tracer.add_sink(JsonLinesSpanSink("vault.spans"))
    with tracer.span("cas.get", hash=digest) as span:
        span.event("cache miss")

The names below are public.
"""

from __future__ import annotations

from vaultscope._native._core import NoSpan, Span, SpanContext, current_span, use_span
from vaultscope.core.span_sink import SpanSink
from vaultscope.edge.otlp import OtlpSpanSink
from vaultscope.edge.span_sinks import CallableSpanSink, JsonLinesSpanSink, MemorySpanSink, SoupSpanSink
from vaultscope.signals.handover import CarryingExecutor, carry
from vaultscope.signals.propagation import extract, inject
from vaultscope.signals.tracing import Tracer, default_tracer

__all__ = [
    "CallableSpanSink",
    "CarryingExecutor",
    "JsonLinesSpanSink",
    "MemorySpanSink",
    "NoSpan",
    "OtlpSpanSink",
    "SoupSpanSink",
    "Span",
    "SpanContext",
    "SpanSink",
    "Tracer",
    "carry",
    "current_span",
    "default_tracer",
    "extract",
    "inject",
    "use_span",
]
