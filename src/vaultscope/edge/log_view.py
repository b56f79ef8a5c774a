"""Reading a log: what its sources hold, merged by time, and what comes later, as it comes."""

from __future__ import annotations

import heapq
import select
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from operator import attrgetter
from typing import BinaryIO

from vaultscope.edge.log_filter import Entry, LogFilter, read_entry
from vaultscope.edge.log_source import POLL_MS, PipeSource, Source, SourceError
from vaultscope.edge.log_text import harmless, render_human

__all__ = ["LogView"]

TAIL_BYTES = 1 << 16  # looked through first for the last lines; then eight times that, and so on
NOT_JSON_MARK = "| "

_by_time = attrgetter("time_ns")


class Reader:
    """The entries of one source that are wanted.

    not_json: how many lines were no JSON objects.
    error: what went wrong with the source, which has then ended.
    """

    def __init__(self, source: Source, wanted: LogFilter) -> None:
        self.source = source
        self.not_json = 0
        self.error: str | None = None
        self._wanted = wanted
        self._last_ns = 0

    def entries(self, *, rest: bool) -> Iterator[Entry]:
        """From where the source is to its present end. rest: the last line, too, if it is not complete."""
        for line in self._lines(rest=rest):
            entry = read_entry(line, self._last_ns)
            if entry is None:
                continue
            self._last_ns = entry.time_ns
            self.not_json += entry.record is None
            if self._wanted(entry):
                yield entry

    def last(self, count: int, *, rest: bool) -> Iterable[Entry]:
        """The last `count`. Reads from the end, as far back as it must."""
        size = TAIL_BYTES
        while True:
            self.not_json = 0
            self._last_ns = 0
            whole = self.source.rewind(size)
            found = deque(self.entries(rest=rest), maxlen=count)
            if whole or len(found) >= count:
                return found
            size *= 8

    def _lines(self, *, rest: bool) -> Iterator[bytes]:
        try:
            yield from self.source.lines()
            if rest or self.source.ended:
                yield self.source.rest()
        except SourceError as error:
            self.error = str(error)
            self.source.ended = True


class LogView:
    """Shows the entries that are wanted.

    sources: where they come from.
    wanted: which of them.
    out: where to. Each method raises BrokenPipeError once its reader is gone.
    json: the lines as they are; else rendered for people.
    colour: for a terminal.
    stopped: whether to end.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        wanted: LogFilter,
        out: BinaryIO,
        *,
        json: bool,
        colour: bool,
        stopped: Callable[[], bool],
    ) -> None:
        self._readers = [Reader(source, wanted) for source in sources]
        self._out = out
        self._json = json
        self._colour = colour
        self._stopped = stopped
        # Somebody may look on, line by line.
        self._flush_each = any(isinstance(reader.source, PipeSource) for reader in self._readers)

    @property
    def not_json(self) -> int:
        """How many lines were no JSON objects."""
        return sum(reader.not_json for reader in self._readers)

    @property
    def errors(self) -> list[str]:
        """What went wrong with which source."""
        return [reader.error for reader in self._readers if reader.error is not None]

    def show(self, count: int | None = None) -> None:
        """What is there, merged by time: all of it, or the last entries."""
        self._show(self._present(self._readers, count, rest=True))

    def follow(self, count: int | None = None) -> None:
        """What is there, merged by time, all of it or the last entries; then what comes, until it is stopped
        or all sources have ended. What comes through a pipe is not counted: it begins when it begins."""
        pipes = [reader for reader in self._readers if isinstance(reader.source, PipeSource)]
        others = [reader for reader in self._readers if reader not in pipes]
        self._show(self._present(others, count, rest=False))
        poll = _poll_reader(self._out)
        while not self._stopped():
            live = [reader for reader in self._readers if not reader.source.ended]
            for reader in live:
                self._show(reader.entries(rest=False))
            if not live:
                return
            if poll.poll(POLL_MS):
                raise BrokenPipeError

    def _present(self, readers: list[Reader], count: int | None, *, rest: bool) -> Iterable[Entry]:
        if count is None:
            return heapq.merge(*(reader.entries(rest=rest) for reader in readers), key=_by_time)
        found = sorted((entry for each in readers for entry in each.last(count, rest=rest)), key=_by_time)
        return found[max(len(found) - count, 0) :]

    def _show(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if self._stopped():
                break
            self._write(entry)
            if self._flush_each:
                self._out.flush()
        self._out.flush()

    def _write(self, entry: Entry) -> None:
        if self._json:
            self._out.write(entry.line + b"\n")
            return
        if entry.record is not None:
            text = render_human(entry.record, colour=self._colour, dated=True)
        else:
            text = f"{NOT_JSON_MARK}{harmless(entry.line.decode('utf-8', 'backslashreplace'))}\n"
        self._out.write(text.encode("utf-8", "backslashreplace"))


def _poll_reader(out: BinaryIO) -> select.poll:
    """What tells that nobody reads `out` any more: with no events asked for, it says nothing else."""
    poll = select.poll()
    with suppress(OSError):  # io.UnsupportedOperation is one: a stream in memory
        poll.register(out.fileno(), 0)
    return poll
