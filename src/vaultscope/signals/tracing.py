"""Tracing: what belongs to one operation, in one process and across several.

A span is begun and ended in C. When the first span of a trace in this process ends, its local root, the
tracer decides about all of them: a trace with an error is kept, a slow one is, and of the others a share;
the rest is gone without a trace of it. What is kept goes to the sinks, each of which has a thread of its
own.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress

from vaultscope._native._core import (
    Counter,
    NativeTracer,
    NoSpan,
    Span,
    SpanRule,
    spans_after_fork,
    with_span_method,
)
from vaultscope._native.traced import traced
from vaultscope.core.lifetime import Living
from vaultscope.core.registry import Registry, default_registry
from vaultscope.core.span_sink import SpanSink, SpanSinkThread
from vaultscope.errors import DeclarationError

__all__ = ["Tracer", "default_tracer"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeGuard, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

_GRACE = 0.5
_PATIENCE = 5.0  # for what a tracer leaves that is dropped unclosed
_SLOW_MS_MAX = 1e9
_RATE = 0.1


@with_span_method
class Tracer(NativeTracer):
    """Makes spans, and gives the traces that are kept to its sinks.

    registry: whose metrics say what became of the traces. None: the default one.
    rate: the share of traces that is kept though nothing was wrong with them: 0 to 1. It is decided by the
        trace's id, so that all vaults decide alike; of a trace that came from another process its flag says
        it.
    slow_ms: how long a local root must have taken for its trace to be kept; None: never for that.
    rules: for single operations: name of the local root to {"rate": ..., "slow_ms": ...}; what is not there
        is as above.
    max_traces: that are open at a time; beyond it a trace has ids, and is kept only if it fails or is slow,
        without its inner spans.
    max_spans: inner spans a trace.
    max_attributes: attributes a span, and as many events, and links.
    queue_spans: that wait for each sink. What finds no room is counted.
    enabled: False: spans that do nothing.

    Thread-safe. Raises DeclarationError. Source: memo, Tracing, Trace Sampling.
    """

    # With a dict, CPython 3.12 and 3.13 would know no shortcut to the methods.
    __slots__ = ("__weakref__", "_lock", "_queue_spans", "_threads", "registry")

    def __init__(
        self,
        registry: Registry | None = None,
        *,
        rate: float = _RATE,
        slow_ms: float | None = None,
        rules: Mapping[str, Mapping[str, float]] | None = None,
        max_traces: int = 10_000,
        max_spans: int = 512,
        max_attributes: int = 128,
        queue_spans: int = 20_000,
        enabled: bool = True,
    ) -> None:
        for what, limit in (
            ("max_traces", max_traces),
            ("max_spans", max_spans),
            ("max_attributes", max_attributes),
            ("queue_spans", queue_spans),
        ):
            if type(limit) is not int or not 0 < limit < 2**31:
                raise DeclarationError(f"{what} is an integer above 0, got {limit!r}")
        self.registry = default_registry() if registry is None else registry
        self._queue_spans = queue_spans
        self._threads: dict[str, SpanSinkThread] = {}
        self._lock = threading.Lock()
        traces = self._counter(
            "vaultscope.trace.traces", "Traces whose local root ended, by what became of them", "decision"
        )
        usual = {"rate": rate, "slow_ms": slow_ms}
        if not isinstance(rules, (Mapping, type(None))):
            raise DeclarationError(f"rules map names of local roots to rules, not {rules!r}")
        super().__init__(
            _rule("", usual, usual),
            {name: _rule(name, rule, usual) for name, rule in (rules or {}).items()},
            (
                self._counter("vaultscope.trace.spans", "Spans that ended"),
                (traces.labels("sampled"), traces.labels("slow"), traces.labels("error")),
                traces.labels("dropped"),
                self._counter("vaultscope.trace.evicted", "Traces that began while too many were open"),
                self._counter("vaultscope.trace.spans.lost", "Spans that their trace had no room for"),
                self._counter("vaultscope.trace.abandoned", "Traces whose local root was never ended"),
            ),
            max_traces,
            max_spans,
            max_attributes,
        )
        self.enabled = enabled
        _open_tracers.add(self)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return self.registry._declare(Counter, "counter", name, help, labels, "", 1000, internal=True)

    # ---- spans ----

    def start(self, name: str, /, **options: Any) -> Span | NoSpan:
        """A span that has begun and is not the current one; end it with `end()`. Options as for `span`."""
        return self.span(name, **options).start()

    def traced(self, name: str | F | None = None, /, **options: Any) -> Any:
        """Decorates a function, coroutine, generator or asynchronous generator: each call is a span, named
        after the function unless a name is given. Below or above `@staticmethod` and `@classmethod`. Options
        as for `span`. Raises DeclarationError for a class, and for what is no function."""
        if not isinstance(name, (str, type(None))):
            return traced(self, name, None, options)

        def decorate(function: F) -> F:
            return traced(self, function, name, options)

        return decorate

    # ---- sinks ----

    @property
    def sinks(self) -> tuple[SpanSink, ...]:
        """In the order in which they were added."""
        return tuple(thread.sink for thread in list(self._threads.values()))

    def add_sink(self, sink: SpanSink) -> None:
        """Gives the sink what is kept from now on. Raises DeclarationError if there is one of that name, or
        it is no SpanSink with a name."""
        if not isinstance(sink, SpanSink) or not isinstance(getattr(sink, "name", None), str):
            raise DeclarationError(f"a trace sink is a SpanSink that has a name, not {sink!r}")
        with self._lock:
            if sink.name in self._threads:
                raise DeclarationError(f"there is a trace sink {sink.name!r} already")
            thread = self._thread(sink)
            thread.start()  # which a process that has too many refuses
            self._threads[sink.name] = thread
            self._send()

    def _thread(self, sink: SpanSink) -> SpanSinkThread:
        missed = self._counter("vaultscope.trace.missed", "Spans that a sink has missed", "sink")
        errors = self._counter("vaultscope.trace.sink.errors", "How often a trace sink has failed", "sink")
        return SpanSinkThread(sink, self._queue_spans, missed, errors)

    def _send(self) -> None:
        self.send_to(tuple(thread.queue for thread in self._threads.values()))

    def remove_sink(self, sink: SpanSink, timeout: float = 5.0) -> bool:
        """Writes what is left, for `timeout` seconds at most, and closes the sink. False: something was
        left. Raises DeclarationError if it is not there."""
        with self._lock:
            thread = self._threads.get(sink.name)
            if thread is None or thread.sink is not sink:
                raise DeclarationError(f"no such trace sink: {sink.name!r}")
            del self._threads[sink.name]
            self._send()
        return _end([thread], timeout)

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until every sink has what was kept before. False: not in that time, or a sink failed."""
        deadline = time.monotonic() + timeout
        flushed = [thread.flush(deadline) for thread in list(self._threads.values())]
        return all(flushed)

    def close(self, timeout: float = 5.0) -> bool:
        """Writes what is left, for `timeout` seconds at most, and closes all sinks. False: something was
        left."""
        with self._lock:
            threads = list(self._threads.values())
            self._threads.clear()
            self._send()
        return _end(threads, timeout)

    def __del__(self) -> None:
        for thread in getattr(self, "_threads", {}).values():
            thread.stop(_PATIENCE)

    def _renew(self) -> None:
        """In the child of a fork: its threads are gone, and what waited is the parent's to write."""
        self._lock = threading.Lock()
        self.renew()
        for name, old in list(self._threads.items()):
            with suppress(Exception):
                old.sink.after_fork()
            self._threads[name] = thread = self._thread(old.sink)
            try:
                thread.start()
            except RuntimeError:  # there are too many: what the child keeps is missed
                thread.queue.shut_off()
        self._send()


def _end(threads: list[SpanSinkThread], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.stop(timeout)
    for thread in threads:
        if thread.is_alive() and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()) + _GRACE)
    # One that hangs is a daemon: it ends with the process, if not before.
    return all(thread.is_whole for thread in threads)


def _rule(name: str, rule: Mapping[str, float | None], usual: Mapping[str, float | None]) -> SpanRule:
    where = f"the rule of {name!r}" if rule is not usual else "the tracer"
    if not isinstance(name, str) or not isinstance(rule, Mapping):
        raise DeclarationError(f"{where} has the name of a local root and is a mapping, got {rule!r}")
    unknown = set(rule) - {"rate", "slow_ms"}
    if unknown:
        raise DeclarationError(f"{where} has rate and slow_ms, not {', '.join(sorted(map(str, unknown)))}")
    rate, slow_ms = rule.get("rate", usual["rate"]), rule.get("slow_ms", usual["slow_ms"])
    if not _is_number(rate) or not 0.0 <= rate <= 1.0:
        raise DeclarationError(f"{where}: a rate is from 0 to 1, got {rate!r}")
    if slow_ms is None:
        return SpanRule(rate)
    if not _is_number(slow_ms) or not 0.0 < slow_ms <= _SLOW_MS_MAX:
        raise DeclarationError(f"{where}: slow_ms is above 0, or None, got {slow_ms!r}")
    return SpanRule(rate, max(1, round(slow_ms * 1e6)))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# ---- the default tracer ----

_default: Tracer | None = None
_default_lock = threading.Lock()


def default_tracer() -> Tracer:
    """The process's tracer, made at first use; it keeps the share that VAULTSCOPE_TRACE_RATE says, or a
    tenth. As the default journal, it has no sink until someone adds one: VAULTSCOPE_TRACES names what
    `vaultscope trace` reads, and nothing is written there by itself."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = Tracer(rate=_rate_of(os.environ.get("VAULTSCOPE_TRACE_RATE") or str(_RATE)))
    return _default


def _rate_of(text: str) -> float:
    """A wrong one must not end the operation that is the first to be traced."""
    with suppress(ValueError):
        if 0.0 <= float(text) <= 1.0:
            return float(text)
    warnings.warn(f"VAULTSCOPE_TRACE_RATE is from 0 to 1, not {text!r}: {_RATE} it is", RuntimeWarning)
    return _RATE


def _forked() -> None:
    global _default_lock
    _default_lock = threading.Lock()
    spans_after_fork()


_open_tracers: Living[Tracer] = Living(Tracer.close, Tracer._renew, forked=_forked)
