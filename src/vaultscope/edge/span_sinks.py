"""Sinks that keep traces in memory, hand them to a function, put them into a store, or write them to a
file."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, cast

from vaultscope._native._core import Cursor
from vaultscope.core.json_codec import canonical, dumps
from vaultscope.core.soup import NewObject, Soup
from vaultscope.core.soup_attributes import pick_attributes
from vaultscope.core.span_sink import SpanSink
from vaultscope.edge.log_file import FileSink
from vaultscope.edge.log_sinks import RecordStore
from vaultscope.edge.span_record import span_record, split_traces

__all__ = ["CallableSpanSink", "JsonLinesSpanSink", "MemorySpanSink", "SoupSpanSink"]

Record = dict[str, Any]
_FOUND_BY = ("trace_id", "name", "status", "duration_ns", "reason")
Spans = Sequence[Mapping[str, Any]]


class MemorySpanSink(SpanSink):
    """Keeps the last spans, for tests.

    Args:
        spans_max: How many; older ones are forgotten, and counted.
        name: In the tracer.
    """

    forgotten: int
    """How many spans had to make room."""

    def __init__(self, spans_max: int = 10_000, *, name: str = "memory") -> None:
        if spans_max < 1:
            raise ValueError(f"room for {spans_max} spans is none")
        self.name = name
        self.forgotten = 0
        self._spans: deque[Record] = deque(maxlen=spans_max)
        self._mutex = threading.Lock()

    @property
    def spans(self) -> list[Record]:
        """What is kept, oldest first: a list of one's own, of dicts of plain values."""
        with self._mutex:
            return list(self._spans)

    @property
    def traces(self) -> dict[str, list[Record]]:
        """What is kept, by the traces' ids."""
        traces: dict[str, list[Record]] = {}
        for span in self.spans:
            traces.setdefault(span["trace_id"], []).append(span)
        return traces

    def write(self, spans: Spans) -> None:
        """Keeps the spans."""
        new = [span_record(span) for span in spans]
        with self._mutex:
            self.forgotten += max(0, len(self._spans) + len(new) - (self._spans.maxlen or 0))
            self._spans.extend(new)

    def after_fork(self) -> None:
        """The child has a copy of what was kept."""
        self._mutex = threading.Lock()

    def clear(self) -> None:
        """Forgets all, and that it did."""
        with self._mutex:
            self._spans.clear()
            self.forgotten = 0


class _EachTraceSink(SpanSink):
    """Does something with each trace. When that fails the same spans come again, and what was done of them is
    not done twice."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._batch: tuple[str, ...] = ()  # that failed, by the ids of its spans
        self._done = 0  # traces of it

    def write(self, spans: Spans) -> None:
        """Hands the traces over, one after the other. Raises what `_one` does."""
        batch = tuple(span["span_id"] for span in spans)
        done = self._done if batch == self._batch else 0
        self._batch = ()
        try:
            for trace in split_traces(spans)[done:]:
                self._one([span_record(span) for span in trace])
                done += 1
        except BaseException:
            self._batch, self._done = batch, done
            raise

    def after_fork(self) -> None:
        """What had failed is the parent's to write."""
        self._batch = ()

    def _one(self, trace: list[Record]) -> None:
        raise NotImplementedError


class CallableSpanSink(_EachTraceSink):
    """Calls a function with each trace, in a thread of the sink's own: a list of its spans, as dicts of plain
    values, its local root first.

    If it raises, it is called with that trace again, with the tracer's back-off; what comes later waits
    meanwhile.

    Args:
        function: Called with a trace.
        name: In the tracer; the function's if it is left out.
    """

    def __init__(self, function: Callable[[list[Record]], object], *, name: str = "") -> None:
        super().__init__(name or getattr(function, "__qualname__", "") or type(function).__qualname__)
        self._function = function

    def _one(self, trace: list[Record]) -> None:
        self._function(trace)


class SoupSpanSink(_EachTraceSink):
    """Puts each trace into a store, as canonical JSON: {"spans": [...], "trace_id": "..."}, sorted keys, no
    spaces, UTF-8. What two vaults have of a trace are two objects.

    A Soup is given all of them at once, and can find a trace by the time at which it began, and by what its
    root says: trace_id, name, status, duration_ns, reason.

    Source: the memo, Trace Sampling.

    Args:
        store: Where to, a Soup or what is like one; it is called from a thread of the sink's own.
        name: In the tracer.
    """

    TYPE = "trace"

    def __init__(self, store: RecordStore | Soup, *, name: str = "soup") -> None:
        super().__init__(name)
        self._store = store

    def write(self, spans: Spans) -> None:
        """Puts the traces. Raises what the store does; a trace that comes again changes nothing there."""
        put_many = getattr(self._store, "put_many", None)
        if put_many is None:
            super().write(spans)
        else:
            traces = [[span_record(span) for span in trace] for trace in split_traces(spans)]
            put_many([self._object(trace) for trace in traces])

    def _object(self, trace: list[Record]) -> NewObject:
        root = trace[0]
        return NewObject(self._content(trace), self.TYPE, pick_attributes(root, _FOUND_BY), root["start_ns"])

    def _one(self, trace: list[Record]) -> None:
        self._store.put(self._content(trace), type=self.TYPE)

    def _content(self, trace: list[Record]) -> bytes:
        return canonical({"trace_id": trace[0]["trace_id"], "spans": trace})


class JsonLinesSpanSink(SpanSink):
    """Appends each span to a file, as a line of JSON. `vaultscope trace` reads it.

    A line begins with its `time`, when the span began, as a log's do, so that `vaultscope logs` reads it,
    too. The file is what a FileSink makes of it: appended to in whole lines by any number of processes,
    rotated, compressed, opened anew when others rotate it, and tried again while the disk is full.

    Args:
        path: The file. Its folder must exist. The absolute path is the sink's name.
        vault: Named in each line, to tell the vaults of one trace.
        options: As FileSink has them: max_bytes, every, keep_files, compress, durability and so on.

    Raises:
        ValueError: An argument makes no sense.
        OSError: The file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, vault: str = "", **options: Any) -> None:
        self._file = FileSink(path, **options)
        self.name = self.path = self._file.path
        self._vault = vault
        self._lines = _Lines()
        self._batch: tuple[str, ...] = ()  # what the lines are of

    def write(self, spans: Spans) -> None:
        """Appends the spans. Raises OSError; what has its lines in the file by then is not written twice."""
        batch = tuple(span["span_id"] for span in spans)
        if batch != self._batch:
            self._lines.pending = b"".join(map(self._line, spans))
            self._batch = batch
        self._file.step(cast(Cursor, self._lines))
        self._batch = ()

    def _line(self, span: Mapping[str, Any]) -> bytes:
        record: Record = {"time": _iso(span["start_ns"])}
        if self._vault:
            record["vault"] = self._vault
        return dumps(record | span_record(span)) + b"\n"

    def flush(self) -> None:
        """Brings the file to the disk, unless durability is "none". Raises OSError."""
        self._file.flush()

    def reopen(self) -> None:
        """Has the file opened anew before the next spans. For signal handlers, too."""
        self._file.reopen()

    def close(self) -> None:
        """Closes the file. Compressing gets two seconds to end."""
        self._file.close()

    def after_fork(self) -> None:
        """Closes the child's copy; what was being written is the parent's to write."""
        self._file.after_fork()
        self._lines = _Lines()
        self._batch = ()


class _Lines:
    """What a FileSink takes for its cursor: it has lines, and puts them where it is told."""

    def __init__(self) -> None:
        self.pending = b""

    def pump(
        self, fd: int, *, file_bytes: int = 0, wait: float = 0.0, run: float = 0.0, sync: bool = False
    ) -> str:
        """Writes all lines to the file's end. Raises OSError; what is pending then begins a line."""
        size = os.fstat(fd).st_size
        landed = 0
        try:
            while landed < len(self.pending):
                written = os.write(fd, memoryview(self.pending)[landed:])
                if not written:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                landed += written
        except OSError:
            self._keep_rest(fd, size, landed)
            raise
        self.pending = b""
        if sync:
            os.fdatasync(fd)
        return "idle"

    def _keep_rest(self, fd: int, size: int, landed: int) -> None:
        """A full disk may have taken a part of a line. That is taken back, unless somebody else has written
        behind it since: then it stays, as a line that is none."""
        whole = self.pending.rfind(b"\n", 0, landed) + 1
        self.pending = self.pending[whole:]
        if landed == whole:
            return
        with suppress(OSError):
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode) and status.st_size == size + landed:
                os.ftruncate(fd, size + whole)
                return
        self.pending = b"\n" + self.pending


def _iso(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
