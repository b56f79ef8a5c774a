"""Tracing: what belongs to one operation, in one process and across several.

A span is begun and ended in C. When the first span of a trace in this process ends, its local root, the tracer
decides about all of them: a trace with an error is kept, a slow one is, and of the others a share; the rest is
gone without a trace of it. What is kept goes to the sinks, each of which has a thread of its own.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from weakref import WeakSet

from vaultscope._native._core import Counter, NativeTracer, NoSpan, Span, SpanRule, monotonic_ns
from vaultscope._native.traced import traced
from vaultscope.core.registry import Registry, default_registry
from vaultscope.errors import DeclarationError

__all__ = ["SpanSink", "Tracer", "default_tracer"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])
    # The root, the other spans, how many had no room, why it was kept, and when the monotonic clock began
    Kept = tuple[Span, Sequence[Span], int, str, int]

_TURN = 0.05  # seconds that a sink waits for more
_BACK_OFF = (0.05, 5.0)
_GRACE = 0.5
_BATCH_SPANS = 512


class SpanSink:
    """Where traces go that are kept. Subclass it and write `write`; `name` must be unique in the tracer. All but
    flush and close is called in the sink's own thread."""

    name: str

    def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
        """Takes spans, as `Span.as_dict` makes them with `"reason"` added, those of one trace one after the other
        and its local root first: all or none of them. What it raises is counted, and the same spans are given
        again, after 50 ms at first and 5 s at last."""
        raise NotImplementedError

    def flush(self) -> None:
        """Makes sure of what was written. Any thread."""

    def close(self) -> None:
        """After the last write."""

    def after_fork(self) -> None:
        """In the child of a fork, before it is used there: its threads, and who held its locks, are gone."""


class _SinkThread(threading.Thread):
    """Takes traces from a bounded queue to a sink."""

    def __init__(self, sink: SpanSink, spans_max: int, missed: Counter, errors: Counter) -> None:
        super().__init__(name=f"vaultscope-trace {sink.name}", daemon=True)
        self.sink = sink
        self._queue: deque[Kept] = deque()
        self._room = spans_max
        self._waiting = 0  # spans that are in the queue, or being written
        self._lock = threading.Lock()
        self._missed, self._errors = missed.labels(sink.name), errors.labels(sink.name)
        self._wake = threading.Event()
        self._stopping = False
        self._deadline = 0.0

    def put(self, kept: Kept) -> None:
        """Called where a trace ends, and so as short as it can be."""
        size = 1 + len(kept[1])
        with self._lock:
            if self._waiting + size <= self._room:
                self._waiting += size
                self._queue.append(kept)
                return
        self._missed.inc(size)

    def run(self) -> None:
        """The thread."""
        back_off = 0.0
        batch: list[Kept] = []
        while True:
            if not batch:
                batch = self._take()
            if not batch:
                if self._stopping:
                    return
                self._wake.wait(_TURN)
                continue
            if self._write(batch):
                batch = []
                back_off = 0.0
            elif self._stopping and time.monotonic() >= self._deadline:
                self._miss(batch)
                return
            else:
                back_off = min(max(back_off * 2, _BACK_OFF[0]), _BACK_OFF[1])
                self._wake.wait(back_off if not self._stopping else _BACK_OFF[0])

    def _take(self) -> list[Kept]:
        batch: list[Kept] = []
        spans = 0
        while self._queue and spans < _BATCH_SPANS:
            batch.append(self._queue.popleft())
            spans += 1 + len(batch[-1][1])
        return batch

    def _write(self, batch: list[Kept]) -> bool:
        try:
            self.sink.write([record for kept in batch for record in _records(kept)])
        except BaseException:  # SystemExit, too: nobody would come for what is left
            self._errors.inc()
            return False
        self._settle(batch)
        return True

    def _settle(self, batch: list[Kept]) -> int:
        size = sum(1 + len(kept[1]) for kept in batch)
        with self._lock:
            self._waiting -= size
        return size

    def _miss(self, batch: list[Kept]) -> None:
        while batch:
            self._missed.inc(self._settle(batch))
            batch = self._take()

    @property
    def is_idle(self) -> bool:
        """Whether everything that was put is written."""
        return self._waiting == 0

    def stop(self, timeout: float) -> None:
        """Has what is left written, for as long as the time allows, and ends. Returns at once."""
        self._deadline = time.monotonic() + timeout
        self._stopping = True
        self._wake.set()


def _records(kept: Kept) -> list[dict[str, Any]]:
    root, others, lost, reason, anchor_ns = kept
    first = root.as_dict(anchor_ns)
    first["reason"] = reason
    if lost:
        first["lost_spans"] = lost
    return [first, *(span.as_dict(anchor_ns) for span in others)]


class Tracer:
    """Makes spans, and gives the traces that are kept to its sinks.

    registry: whose metrics say what became of the traces. None: the default one.
    rate: the share of traces that is kept though nothing was wrong with them: 0 to 1. It is decided by the trace's
        id, so that all vaults decide alike; of a trace that came from another process its flag says it.
    slow_ms: how long a local root must have taken for its trace to be kept; None: never for that.
    rules: for single operations: name of the local root to {"rate": ..., "slow_ms": ...}.
    max_traces: that are open at a time; beyond it a trace has ids, and is kept only if it fails or is slow, without
        its inner spans. max_spans: inner spans a trace; max_attributes: attributes, events, links a span.
    queue_spans: that wait for each sink. What finds no room is counted.
    enabled: False: spans that do nothing.

    Thread-safe. Raises DeclarationError. Source: memo, Tracing, Trace Sampling.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        *,
        rate: float = 0.1,
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
            if not isinstance(limit, int) or not 0 < limit < 2**31:
                raise DeclarationError(f"{what} is an integer above 0, got {limit!r}")
        self.registry = default_registry() if registry is None else registry
        self._queue_spans = queue_spans
        self._threads: dict[str, _SinkThread] = {}
        self._takers: tuple[_SinkThread, ...] = ()
        self._lock = threading.Lock()
        traces = self._counter("vaultscope.trace.traces", "Traces whose local root ended, by what became of them", "decision")
        self._native = NativeTracer(
            _rule("", {"rate": rate, "slow_ms": slow_ms or 0.0}),
            {name: _rule(name, {"rate": rate, "slow_ms": slow_ms or 0.0, **rule}) for name, rule in (rules or {}).items()},
            self._keep,
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
        self._native.enabled = enabled
        self.span = self._native.span
        _open_tracers.add(self)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return self.registry._declare(Counter, "counter", name, help, labels, "", 1000, internal=True)

    @property
    def enabled(self) -> bool:
        """Whether spans are made; to be set at any time."""
        return self._native.enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        self._native.enabled = enabled

    @property
    def open_traces(self) -> int:
        """Traces whose local root has begun and not ended."""
        return self._native.open_traces

    # ---- spans ----

    def start(self, name: str, /, **options: Any) -> Span | NoSpan:
        """A span that has begun and is not the current one; end it with `end()`. Options as for `span`."""
        return self.span(name, **options).start()

    def traced(self, name: str | F | None = None, /, **options: Any) -> Any:
        """Decorates a function, coroutine, generator or asynchronous generator: each call is a span, named after the
        function unless a name is given. Options as for `span`."""
        if callable(name):
            return traced(self._native, name, name.__qualname__, options)

        def decorate(function: F) -> F:
            return traced(self._native, function, name or function.__qualname__, options)

        return decorate

    # ---- sinks ----

    @property
    def sinks(self) -> tuple[SpanSink, ...]:
        """In the order in which they were added."""
        return tuple(thread.sink for thread in self._takers)

    def add_sink(self, sink: SpanSink) -> None:
        """Gives the sink what is kept from now on. Raises DeclarationError if there is one of that name."""
        with self._lock:
            if sink.name in self._threads:
                raise DeclarationError(f"there is a trace sink {sink.name!r} already")
            self._threads[sink.name] = thread = self._thread(sink)
            self._takers = tuple(self._threads.values())
        thread.start()

    def _thread(self, sink: SpanSink) -> _SinkThread:
        missed = self._counter("vaultscope.trace.missed", "Spans that a sink has missed", "sink")
        errors = self._counter("vaultscope.trace.sink.errors", "How often a trace sink has failed", "sink")
        return _SinkThread(sink, self._queue_spans, missed, errors)

    def _keep(self, root: Span, others: Sequence[Span], lost: int, reason: str) -> None:
        takers = self._takers
        if takers:
            kept = (root, others, lost, reason, time.time_ns() - monotonic_ns())
            for taker in takers:
                taker.put(kept)

    def remove_sink(self, sink: SpanSink, timeout: float = 5.0) -> bool:
        """Writes what is left, for `timeout` seconds at most, and closes the sink. False: something was left. Raises
        DeclarationError if it is not there."""
        with self._lock:
            thread = self._threads.pop(sink.name, None)
            self._takers = tuple(self._threads.values())
        if thread is None:
            raise DeclarationError(f"no such trace sink: {sink.name!r}")
        return _end([thread], timeout)

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until every sink has what was kept before. False: not in that time, or a sink failed."""
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        for thread in self._takers:
            while not thread.is_idle:
                if time.monotonic() >= deadline:
                    return False
                pause.wait(0.002)
            try:
                thread.sink.flush()
            except Exception:
                return False
        return True

    def close(self, timeout: float = 5.0) -> bool:
        """Writes what is left, for `timeout` seconds at most, and closes all sinks. False: something was left."""
        with self._lock:
            threads = list(self._threads.values())
            self._threads.clear()
            self._takers = ()
        return _end(threads, timeout)

    def _renew(self) -> None:
        """In the child of a fork: its threads are gone, and what waited is the parent's to write."""
        self._lock = threading.Lock()
        for name, old in list(self._threads.items()):
            old.sink.after_fork()
            self._threads[name] = self._thread(old.sink)
        self._takers = tuple(self._threads.values())
        for thread in self._takers:
            thread.start()


def _end(threads: list[_SinkThread], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.stop(timeout)
    whole = True
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()) + _GRACE)
        whole = whole and not thread.is_alive() and thread.is_idle
        try:
            thread.sink.close()
        except Exception:
            whole = False
    return whole


def _rule(name: str, rule: Mapping[str, float]) -> SpanRule:
    unknown = set(rule) - {"rate", "slow_ms"}
    if unknown:
        raise DeclarationError(f"{name}: a rule has rate and slow_ms, not {', '.join(sorted(unknown))}")
    try:
        return SpanRule(float(rule["rate"]), int(rule["slow_ms"] * 1e6))
    except (TypeError, ValueError, OverflowError) as error:
        raise DeclarationError(f"{name or 'tracer'}: {error}") from None


# ---- the default tracer ----

_open_tracers: WeakSet[Tracer] = WeakSet()
_default: Tracer | None = None
_default_lock = threading.Lock()


def default_tracer() -> Tracer:
    """The process's tracer, made at first use; it keeps the share that VAULTSCOPE_TRACE_RATE says, or a tenth."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = Tracer(rate=float(os.environ.get("VAULTSCOPE_TRACE_RATE") or 0.1))
    return _default


def _close_all() -> None:
    for tracer in list(_open_tracers):
        tracer.close()


def _after_fork() -> None:
    global _default_lock
    _default_lock = threading.Lock()
    for tracer in list(_open_tracers):
        tracer._renew()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
