"""The log: a journal takes the records of its loggers, and gives them to its sinks.

A call copies its record into a ring and returns; each sink has a thread of its own that takes records out of the ring, as
lines of JSON, and puts them where they should be. A sink that fails or hangs holds up nobody but itself.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import suppress
from weakref import WeakSet

from vaultscope._native import _core
from vaultscope._native._core import Counter, Cursor, Logger, NativeJournal
from vaultscope.core import log_fields  # noqa: F401  (it tells the native logger how to write what C does not know)
from vaultscope.core.registry import Registry, default_registry
from vaultscope.errors import BusyError, DeclarationError

__all__ = ["Journal", "Sink", "default_journal", "level"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token
    from types import TracebackType
    from typing import Any

_TURN = 0.25  # seconds that a sink waits for records before it looks at what else there is to do
_BACK_OFF = (0.05, 5.0)
_POLL = 0.002


class Sink:
    """Where records go. Subclass it and write `write`; `name` must be unique in the journal.

    All but flush, close and reopen is called in the sink's own thread.
    """

    name: str

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        """Puts lines of JSON where they should be, all or none of them; `records` says how many there are of each level.

        What it raises is counted, and the same lines are given again, after 50 ms at first and 5 s at last.
        """
        raise NotImplementedError

    def step(self, cursor: Cursor) -> None:
        """One round: takes what there is, writes it and acknowledges it. A sink that has a faster way, or something to do
        from time to time, overrides it; it must return within a second or so."""
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


class _Worker(threading.Thread):
    """A sink's thread."""

    def __init__(self, journal: Journal, sink: Sink) -> None:
        super().__init__(name=f"vaultscope-log {sink.name}", daemon=True)
        self.sink = sink
        self.cursor: Cursor | None = None
        self.errors = 0
        self.error = ""
        self.done: tuple[dict[str, int], dict[str, int]] = ({}, {})  # of cursors before this one
        self._journal = journal
        self._stopping = threading.Event()
        self._deadline = 0.0

    def stop(self, timeout: float) -> None:
        """Has what is left written, for as long as the time allows, and ends."""
        self._deadline = time.monotonic() + timeout
        self._stopping.set()
        if self.cursor is not None:
            self.cursor.stop()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.cursor = self._journal.native.cursor(self.sink.name)
            except BusyError:
                self._stopping.wait(_TURN)  # another process drains; this one takes its place when it dies
                continue
            except Exception as error:
                self._failed(error)
                self._stopping.wait(_BACK_OFF[1])
                continue
            break
        if self.cursor is None:
            return
        self._drain(self.cursor)

    def _drain(self, cursor: Cursor) -> None:
        back_off = 0.0
        while not self._stopping.is_set():
            if self._step(cursor):
                back_off = 0.0
                self._journal.report_drops(cursor)
            else:
                back_off = min(max(back_off * 2, _BACK_OFF[0]), _BACK_OFF[1])
                self._stopping.wait(back_off)
        cursor.stop()
        while cursor.wait(0.0) and time.monotonic() < self._deadline:
            if not self._step(cursor):
                time.sleep(min(_BACK_OFF[0], max(0.0, self._deadline - time.monotonic())))

    def _step(self, cursor: Cursor) -> bool:
        try:
            self.sink.step(cursor)
        except Exception as error:
            self._failed(error)
            return False
        if self.error:
            self.error = ""
            self._journal.own.info("Log sink works again", sink=self.sink.name)
        return True

    def _failed(self, error: Exception) -> None:
        self.errors += 1
        text = f"{type(error).__qualname__}: {error}"
        if text != self.error:
            self.error = text
            self._journal.own.error("Log sink failed", sink=self.sink.name, error=text)

    def finish(self, *, forget: bool) -> None:
        """After the thread has ended, or was given up."""
        if self.cursor is None or self.is_alive():
            return
        if self._journal.is_in_memory:
            while self.cursor.take() is not None:
                self.cursor.drop()  # nobody will come for it
        self.done = self.counts()
        self.cursor.close(forget)
        self.cursor = None

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Records by level that were written, and that were missed."""
        try:
            return self.cursor.counts() if self.cursor is not None else self.done
        except ValueError:  # closed meanwhile
            return self.done


class Journal:
    """A log: loggers by name, and sinks.

    registry: whose arena the log's ring lies in, and whose metrics say what became of the records. Over an arena in a file,
        one ring is shared by all processes; one of them at a time drains it, and what a process that was killed had logged
        is drained by another, or at the next start. Each journal over memory has a ring of its own.
    policy: what a full ring does: "drop" what is new, "overwrite" what is oldest, "block" the caller for `block_ms` at
        most. An eighth of the ring is kept for levels error and fatal. Without a sink the oldest is overwritten.
    ring_bytes: of a ring in memory; 0: VAULTSCOPE_LOG_BYTES, or 4 MiB.

    Thread-safe. Raises DeclarationError, LimitError. Source: memo, Logging.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        *,
        policy: str = "drop",
        ring_bytes: int = 0,
        block_ms: float = 100.0,
    ) -> None:
        registry = default_registry() if registry is None else registry
        self.native = NativeJournal(registry._native, policy, ring_bytes, block_ms)
        self.registry = registry
        self.is_in_memory = registry.arena is None
        self.own = self.native.logger("vaultscope.log")
        self._loggers: dict[str, Logger] = {}
        self._workers: dict[str, _Worker] = {}
        self._lock = threading.Lock()
        self._retired: dict[str, _Worker] = {}
        registry.add_collector(self._collect)
        _open_journals.add(self)

    def get_logger(self, name: str = "") -> Logger:
        """The logger of that name: `cas.gc` follows the level of `cas` until it has one of its own. Raises DeclarationError
        for a name of more than 255 bytes."""
        logger = self._loggers.get(name)
        if logger is None:
            logger = self._loggers.setdefault(name, self.native.logger(name))
        return logger

    # ---- sinks ----

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """In the order in which they were added."""
        return tuple(worker.sink for worker in self._workers.values())

    def add_sink(self, sink: Sink) -> None:
        """Gives the sink all records from the oldest that is still there on. Raises DeclarationError if there is one of
        that name."""
        with self._lock:
            if sink.name in self._workers:
                raise DeclarationError(f"there is a log sink {sink.name!r} already")
            self._workers[sink.name] = self._start(sink)

    def _start(self, sink: Sink) -> _Worker:
        worker = _Worker(self, sink)
        worker.start()
        return worker

    def remove_sink(self, sink: Sink, timeout: float = 5.0) -> bool:
        """Writes what is left, for `timeout` seconds at most, and closes the sink; nothing is kept for it. False: something
        was left, or it hangs. Raises DeclarationError if it is not there."""
        with self._lock:
            worker = self._workers.pop(sink.name, None)
        if worker is None:
            raise DeclarationError(f"no such log sink: {sink.name!r}")
        return self._end([worker], timeout, forget=True)

    def _end(self, workers: list[_Worker], timeout: float, *, forget: bool) -> bool:
        deadline = time.monotonic() + timeout
        for worker in workers:
            worker.stop(timeout)
        whole = True
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()) + _TURN)
            if worker.is_alive():
                whole = False  # it hangs; it is a daemon, and ends with the process
                continue
            whole = whole and not (worker.cursor is not None and worker.cursor.wait(0.0))
            worker.finish(forget=forget)
            self._retired[worker.sink.name] = worker
            try:
                worker.sink.close()
            except Exception:
                worker.errors += 1
                whole = False
        return whole

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until every sink has what was logged before, by whichever process drains. False: not in that time."""
        position = self.native.end()
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        with self._lock:
            workers = list(self._workers.values())
        while not (
            self.native.reached(position) and all(worker.cursor or worker.is_alive() for worker in workers)
        ):
            if time.monotonic() >= deadline:
                return False
            pause.wait(_POLL)
        for worker in workers:
            try:
                worker.sink.flush()
            except Exception:
                worker.errors += 1
                return False
        return True

    def close(self, timeout: float = 5.0) -> bool:
        """Writes what is left, for `timeout` seconds at most, and closes all sinks. False: something was left; in an arena's
        file it stays, for the next process. Loggers still work; so does add_sink."""
        with self._lock:
            workers = list(self._workers.values())
            self._workers.clear()
        return self._end(workers, timeout, forget=False)

    # ---- what became of it ----

    def report_drops(self, cursor: Cursor) -> None:
        """Writes one record about what was dropped, once there is nothing left to be drained. For sinks' threads."""
        if cursor.wait(0.0):
            return
        drops = self.native.take_drops()
        if drops:
            severe = "error" in drops or "fatal" in drops
            self.own.log(
                "error" if severe else "warn", "Log records dropped", dropped=drops, total=sum(drops.values())
            )

    def _collect(self) -> None:
        written = self._counter("vaultscope.log.written", "Log records that a sink has written", "level")
        missed = self._counter("vaultscope.log.missed", "Log records that a sink has missed", "level")
        errors = self._counter("vaultscope.log.sink.errors", "Times that a sink has failed")
        for name, worker in (*self._retired.items(), *list(self._workers.items())):
            for counter, by_level in zip((written, missed), worker.counts(), strict=True):
                for one, count in by_level.items():
                    counter.labels(name, one).mirror(count)
            errors.labels(name).mirror(worker.errors)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return self.registry._declare(
            Counter, "counter", name, help, ("sink", *labels), "", 1000, internal=True
        )

    def _renew(self) -> None:
        """In the child of a fork: its threads are gone; its sinks are not."""
        self._lock = threading.Lock()
        sinks = self.sinks
        for sink in sinks:
            with suppress(Exception):
                sink.after_fork()
        self._workers = {sink.name: self._start(sink) for sink in sinks}


# ---- the default journal ----

_open_journals: WeakSet[Journal] = WeakSet()
_default: Journal | None = None
_default_lock = threading.Lock()


def default_journal() -> Journal:
    """The journal of the default registry, made at first use."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = Journal()
    return _default


def _close_all() -> None:
    for journal in list(_open_journals):
        journal.close()


def _after_fork() -> None:
    global _default_lock
    _default_lock = threading.Lock()
    for journal in list(_open_journals):
        journal._renew()
    util = sys.modules.get("multiprocessing.util")
    if util is not None:  # its children leave without atexit
        util.Finalize(None, _close_all, exitpriority=-100)


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# ---- the level of a context ----


class level:  # noqa: N801
    """Sets the level for what is logged within the block, and in the tasks and threads that take over its context, whatever
    the loggers' own levels are: `with level("debug"): ...`. Raises DeclarationError. Source: memo, Log Levels."""

    def __init__(self, name: str) -> None:
        self._number = _core.log_level_number(name)
        self._tokens: list[Token[Any]] = []

    def __enter__(self) -> level:
        _core.use_context_levels()
        self._tokens.append(_core.context_level.set(self._number))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(ValueError):  # a generator that is closed in another context has nothing to undo there
            _core.context_level.reset(self._tokens.pop())
