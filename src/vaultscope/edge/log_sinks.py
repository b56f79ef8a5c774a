"""Sinks that keep records in memory, hand them to a function, or put them into a content-addressed store."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vaultscope.core.json_codec import canonical, loads
from vaultscope.core.moment import time_ns
from vaultscope.core.soup import NewObject, Soup
from vaultscope.core.soup_attributes import pick_attributes
from vaultscope.signals.log import Sink

__all__ = ["CallableSink", "MemorySink", "RecordStore", "SoupSink"]

Record = dict[str, Any]
_FOUND_BY = ("level", "logger", "vault", "pid", "trace_id", "span_id")


class MemorySink(Sink):
    """Keeps the last records, for tests.

    Args:
        records_max: How many; older ones are forgotten, and counted.
        name: The cursor's.
    """

    forgotten: int
    """How many records had to make room."""

    def __init__(self, records_max: int = 10_000, *, name: str = "memory") -> None:
        if records_max < 1:
            raise ValueError(f"room for {records_max} records is none")
        self.name = name
        self.forgotten = 0
        self._records: deque[Record] = deque(maxlen=records_max)
        self._mutex = threading.Lock()

    @property
    def records(self) -> list[Record]:
        """What is kept, oldest first: a list of one's own, of dicts as the lines of JSON say."""
        with self._mutex:
            return list(self._records)

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        """Keeps the batch."""
        new = [loads(line) for line in lines.splitlines()]
        with self._mutex:
            self.forgotten += max(0, len(self._records) + len(new) - (self._records.maxlen or 0))
            self._records.extend(new)

    def after_fork(self) -> None:
        """The child has a copy of what was kept."""
        self._mutex = threading.Lock()

    def clear(self) -> None:
        """Forgets all, and that it did."""
        with self._mutex:
            self._records.clear()
            self.forgotten = 0


class _EachSink(Sink):
    """Does something with each record. When that fails the batch comes again, and what was done of it is not
    done twice."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lines = b""  # of the batch that failed
        self._done = 0  # records of it

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        """Hands the records over, one after the other. Raises what `_one` does."""
        done = self._done if lines == self._lines else 0
        self._lines = b""
        try:
            for line in lines.splitlines()[done:]:
                self._one(line)
                done += 1
        except BaseException:
            self._lines, self._done = lines, done
            raise

    def _one(self, line: bytes) -> None:
        raise NotImplementedError


class CallableSink(_EachSink):
    """Calls a function with each record, a dict, in a thread of the sink's own.

    If it raises, it is called with that record again, with the journal's back-off; what comes later waits
    meanwhile. It must not log to the journal that calls it: each record would cause another.

    Args:
        function: Called with a record; with `batches`, with a list of them.
        batches: Whether to call it once for each batch. One that fails comes again as a whole.
        name: The cursor's; the function's if it is left out.
    """

    def __init__(self, function: Callable[[Any], object], *, batches: bool = False, name: str = "") -> None:
        super().__init__(name or getattr(function, "__qualname__", "") or type(function).__qualname__)
        self._function = function
        self._batches = batches

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        """Calls the function. Raises what it does."""
        if self._batches:
            self._function([loads(line) for line in lines.splitlines()])
        else:
            super().write(lines, records)

    def _one(self, line: bytes) -> None:
        self._function(loads(line))


class RecordStore(Protocol):
    """Where a SoupSink puts records: a store that names what it holds by its content."""

    def put(self, data: bytes, *, type: str) -> str:
        """Stores the bytes, which are of that type, and returns their hash. The same bytes again change
        nothing. Raises if it cannot."""


class SoupSink(_EachSink):
    """Puts each record into a store, as canonical JSON: sorted keys, no spaces, UTF-8.

    A Soup is given a batch at once, and can find a record by its time and by the attributes that it has of
    these: level, logger, vault, pid, trace_id, span_id.

    Source: the memo, Log Sinks.

    Args:
        store: Where to, a Soup or what is like one; it is called from a thread of the sink's own.
        name: The cursor's.
    """

    TYPE = "log-entry"

    def __init__(self, store: RecordStore | Soup, *, name: str = "soup") -> None:
        super().__init__(name)
        self._store = store

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        """Puts the records. Raises what the store does; a record that comes again changes nothing there."""
        put_many = getattr(self._store, "put_many", None)
        if put_many is None:
            super().write(lines, records)
        else:
            put_many([self._object(loads(line)) for line in lines.splitlines()])

    def _object(self, record: Record) -> NewObject:
        return NewObject(
            canonical(record), self.TYPE, pick_attributes(record, _FOUND_BY), time_ns(record.get("time"))
        )

    def _one(self, line: bytes) -> None:
        self._store.put(canonical(loads(line)), type=self.TYPE)
