"""Sinks of traces, and the thread that each of them has."""

from __future__ import annotations

import threading
import time

from vaultscope._native._core import Counter, SpanQueue, enter_sink_thread, kept_records
from vaultscope.core.back_off import BACK_OFF_MIN, longer

__all__ = ["SpanSink", "SpanSinkThread"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_TURN = 0.05  # seconds that a sink waits for more
_BATCH_SPANS = 512


class SpanSink:
    """Where traces go that are kept. Subclass it and write `write`; `name` must be unique in the tracer.
    All but flush and close is called in the sink's own thread."""

    name: str

    def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
        """Takes spans, as `Span.as_dict` makes them with `"reason"` added, those of one trace one after the
        other and its local root first: all or none of them. What it raises is counted, and the same spans
        are given again, after 50 ms at first and 5 s at last."""
        raise NotImplementedError

    def flush(self) -> None:
        """Makes sure of what was written. Any thread."""

    def close(self) -> None:
        """After the last write."""

    def after_fork(self) -> None:
        """In the child of a fork, before it is used there: its threads, and who held its locks, are gone."""


class SpanSinkThread(threading.Thread):
    """Takes traces from their queue to a sink, until it is stopped."""

    def __init__(self, sink: SpanSink, spans_max: int, missed: Counter, errors: Counter) -> None:
        super().__init__(name=f"vaultscope-trace {sink.name}", daemon=True)
        self.sink = sink
        self.queue = SpanQueue(spans_max, missed.labels(sink.name))
        self.is_whole = False
        """Whether it has ended, and nothing was left."""
        self._errors = errors.labels(sink.name)
        self._wake = threading.Event()
        self._stopping = False
        self._end = 0
        self._deadline = 0.0

    def run(self) -> None:
        """The thread. It clears up after itself: one that hung when it was stopped does so when it comes
        back."""
        enter_sink_thread()
        back_off = 0.0
        while not self._stopping:
            if self._step():
                back_off, pause = 0.0, 0.0 if self._is_left(self.queue.added) else _TURN
            else:
                back_off = pause = longer(back_off)
            if pause:
                self._wake.wait(pause)
                self._wake.clear()
        while self._is_left(self._end) and time.monotonic() < self._deadline:
            if not self._step():
                time.sleep(min(BACK_OFF_MIN, max(0.0, self._deadline - time.monotonic())))
        self.is_whole = self._finish()

    def _step(self) -> bool:
        try:
            batch = self.queue.take(_BATCH_SPANS)
            if batch:
                self.sink.write([record for kept in batch for record in kept_records(kept)])
                batch.clear()
                self.queue.settle()
        except BaseException:  # SystemExit, too: nobody would come for what is left
            self._errors.inc()
            return False
        return True

    def _is_left(self, end: int) -> bool:
        """Whether there is anything of the first `end` spans."""
        return self.queue.done < end

    def _finish(self) -> bool:
        is_whole = not self._is_left(self._end)
        self.queue.shut_off()
        while self.queue.take(_BATCH_SPANS):
            self.queue.drop()
        try:
            self.sink.close()
        except BaseException:
            self._errors.inc()
            is_whole = False
        return is_whole

    def flush(self, deadline: float) -> bool:
        """Waits until the sink has what is in the queue now. False: not in that time, or it failed."""
        end = self.queue.added
        pause = threading.Event()
        while self._is_left(end):
            if time.monotonic() >= deadline or not self.is_alive():
                return False
            self._wake.set()
            pause.wait(0.002)
        try:
            self.sink.flush()
        except Exception:
            self._errors.inc()
            return False
        return True

    def stop(self, timeout: float) -> None:
        """Has what was kept so far written, for as long as the time allows, and ends. Returns at once."""
        self._deadline = time.monotonic() + timeout
        self._end = self.queue.added
        self._stopping = True
        self._wake.set()
