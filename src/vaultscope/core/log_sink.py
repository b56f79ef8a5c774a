"""Sinks of a log, and the thread that each of them has.

A sink that fails or hangs holds up nobody but itself: its thread takes records out of the ring for it alone.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from vaultscope._native import _core
from vaultscope._native._core import Counter, Cursor, Logger, NativeJournal
from vaultscope.core.back_off import BACK_OFF_MIN, longer
from vaultscope.errors import BusyError

__all__ = ["Sink", "SinkCounters", "SinkThread", "in_sink_thread"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_TURN = 0.25  # seconds that a sink waits for records before it looks at what else there is to do
# So often, in so many seconds, a sink's trouble is logged: each word of it is one more record for the sink to
# fail with, and one that fails now and then would never have written them all.
_TROUBLE = (3, 60.0)


class Sink:
    """Where records go. Subclass it and write `write`; `name` must be unique in the journal.

    All but flush and reopen is called in the sink's own thread.
    """

    name: str

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        """Puts lines of JSON where they should be, all or none of them; `records` says how many there are of
        each level. What it raises is counted, and the same lines are given again, after 50 ms at first and
        5 s at last."""
        raise NotImplementedError

    def step(self, cursor: Cursor) -> None:
        """One round: takes what there is, writes it and acknowledges it. A sink that has a faster way, or
        something to do from time to time, overrides it; it must return within a second or so."""
        cursor.wait(_TURN)
        batch = cursor.take()
        if batch is not None:
            self.write(batch.lines, batch.records)
            cursor.done()

    def flush(self) -> None:
        """Makes sure of what was written. Any thread."""

    def reopen(self) -> None:
        """Asks the sink to open its file again, since it was moved away. Any thread."""

    def close(self) -> None:
        """After the last round."""

    def after_fork(self) -> None:
        """In the child of a fork, before it is used there: its threads, and who held its locks, are gone."""


class SinkCounters:
    """What became of the records of one sink: families of counters, by sink and level (errors: by sink)."""

    def __init__(self, name: str, written: Counter, missed: Counter, errors: Counter) -> None:
        self._name = name
        self._families = (written, missed)
        self._counted: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self._errors = errors.labels(name)

    def follow(self, cursor: Cursor) -> None:
        """Counts what is new since the last time."""
        for family, before, now in zip(self._families, self._counted, cursor.counts(), strict=True):
            for level, count in _more(now, before).items():
                family.labels(self._name, level).inc(count)
            before.update(now)

    def error(self) -> None:
        """Counts a failure."""
        self._errors.inc()


def _more(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """By how much each number has grown, where it has."""
    return {name: n - before.get(name, 0) for name, n in now.items() if n > before.get(name, 0)}


def _level(losses: dict[str, int]) -> str:
    return "error" if "error" in losses or "fatal" in losses else "warn"


class SinkThread(threading.Thread):
    """Drains a journal into a sink until it is stopped.

    own: the logger that tells of the sink's failures.
    """

    def __init__(self, native: NativeJournal, sink: Sink, own: Logger, counters: SinkCounters) -> None:
        super().__init__(name=f"vaultscope-log {sink.name}", daemon=True)
        self.sink = sink
        self.cursor: Cursor | None = None
        self.has_asked = False
        """Whether it has a cursor, or was told that another one drains."""
        self._native = native
        self._own = own
        self._trouble = own.limited(*_TROUBLE)
        self._counters = counters
        self._error = ""
        self._stopping = threading.Event()
        self._deadline = 0.0
        self._give_up = self._forget = False
        self._end = 0
        self._missed: dict[str, int] = {}  # that was told, by self._told records
        self._told = 0
        self.is_whole = False
        """Whether it has ended, and nothing was left."""

    def open(self) -> None:
        """Makes this process the one that drains, or finds that another one does: its place is taken when it
        ends. Raises LimitError."""
        with suppress(BusyError):
            self.cursor = self._native.cursor(self.sink.name)
        self.has_asked = True

    def run(self) -> None:
        """The thread. It clears up after itself: one that hung when it was stopped does so when it comes
        back."""
        _core.never_wait_for_room()
        try:
            self._wait_for_place()
            if self.cursor is not None:
                self._drain(self.cursor)
        finally:
            self._finish()

    def _wait_for_place(self) -> None:
        is_last = False
        while self.cursor is None:
            try:
                self.open()
            except Exception as error:
                self._failed(error)
            if self.cursor is None:
                if is_last:
                    return
                is_last = self._stopping.wait(_TURN)

    def _drain(self, cursor: Cursor) -> None:
        back_off = 0.0
        while not self._stopping.is_set():
            if self._step(cursor):
                back_off = 0.0
                self._tell_of_losses(cursor)
            else:
                back_off = longer(back_off)
                self._stopping.wait(back_off)
        cursor.stop()
        self._drain_rest(cursor)
        self._tell_of_losses(cursor)
        self._end = self._native.end()
        self._drain_rest(cursor)

    def _drain_rest(self, cursor: Cursor) -> None:
        while self._is_left(cursor) and time.monotonic() < self._deadline:
            if not self._step(cursor):
                time.sleep(min(BACK_OFF_MIN, max(0.0, self._deadline - time.monotonic())))

    def _is_left(self, cursor: Cursor) -> bool:
        """Whether there is anything of what was logged before it was stopped: more may come all the time."""
        return not cursor.reached(self._end) and cursor.wait(0.0)

    def _step(self, cursor: Cursor) -> bool:
        try:
            self.sink.step(cursor)
        except BaseException as error:  # SystemExit, too: nobody would come for what is left
            self._failed(error)
            return False
        finally:
            self._counters.follow(cursor)
        if self._error:
            self._error = ""
            self._trouble.info("Log sink works again", sink=self.sink.name)
        return True

    def _failed(self, error: BaseException) -> None:
        """Counts a failure, and logs it for the other sinks: once, as long as it is the same one."""
        self._counters.error()
        try:
            text = f"{type(error).__qualname__}: {error}"
        except Exception:
            text = object.__repr__(error)
        if text != self._error:
            self._error = text
            self._trouble.error("Log sink failed", sink=self.sink.name, error=text)

    def _tell_of_losses(self, cursor: Cursor) -> None:
        """When nothing is left to be drained, and so the flood is over: a record about what was dropped, and
        one about what this sink has missed."""
        if cursor.wait(0.0):
            return
        dropped, missed = self._native.take_drops(), cursor.counts()[1]
        if dropped:
            self._own.log(
                _level(dropped), "Log records dropped", dropped=dropped, total=sum(dropped.values())
            )
        more = _more(missed, self._missed)
        total = sum(more.values())
        if total > self._told:  # else it may be this very record that was missed, again and again
            self._own.log(_level(more), "Log records missed", sink=self.sink.name, missed=more, total=total)
            self._missed, self._told = missed, 1

    def stop(self, timeout: float, *, give_up: bool, forget: bool) -> None:
        """Has what is left written, for as long as the time allows, and ends. Returns at once.

        give_up: what is left then is counted as missed: nobody will come for it.
        forget: nothing is kept for the sink.
        """
        self._deadline = time.monotonic() + timeout
        self._give_up, self._forget = give_up, forget
        self._end = self._native.end()
        self._stopping.set()
        if self.cursor is not None:
            self.cursor.stop()

    def flush(self) -> bool:
        """Has the sink make sure of what was written. False: it failed."""
        try:
            self.sink.flush()
        except Exception as error:
            self._failed(error)
            return False
        return True

    def _finish(self) -> None:
        is_whole = True
        cursor = self.cursor
        if cursor is not None:
            is_whole = not self._is_left(cursor)
            while self._give_up and self._is_left(cursor) and cursor.take() is not None:
                cursor.drop()
            self._counters.follow(cursor)
            cursor.close(self._forget or self._give_up)
        try:
            self.sink.close()
        except Exception as error:
            self._failed(error)
            is_whole = False
        self.is_whole = is_whole


def in_sink_thread() -> bool:
    """Whether the caller is a sink at work. What a sink logs must not come back to it."""
    return isinstance(threading.current_thread(), SinkThread)
