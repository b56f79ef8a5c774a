"""The log: a journal takes the records of its loggers, and gives them to its sinks.

A call copies its record into a ring and returns. Each sink has a thread of its own that takes records out of
the ring, as lines of JSON, and puts them where they should be.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from contextvars import ContextVar

from vaultscope._native import _core
from vaultscope._native._core import Counter, Logger, NativeJournal
from vaultscope.core import log_fields  # noqa: F401  (it tells the native logger how to write what C does not know)
from vaultscope.core.lifetime import Living
from vaultscope.core.log_sink import Sink, SinkCounters, SinkThread, in_sink_thread
from vaultscope.core.registry import Registry, default_registry
from vaultscope.errors import DeclarationError

__all__ = ["Journal", "Sink", "default_journal", "in_sink_thread", "level"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_GRACE = 0.5  # seconds for a sink's thread to see that it is to end
_POLL = 0.002


class Journal:
    """A log: loggers by name, and sinks.

    registry: whose arena the log's ring lies in, and whose metrics say what became of the records. Over an
        arena in a file, one ring is shared by all processes; one of them at a time drains it, and what a
        process that was killed had logged is drained by another, or at the next start. Each journal over
        memory has a ring of its own.
    policy: what a full ring does: "drop" what is new, "overwrite" what is oldest, "block" the caller for
        `block_ms` at most. An eighth of the ring is kept for levels error and fatal. Without a sink what is
        oldest is overwritten.
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
        self.registry = default_registry() if registry is None else registry
        self.native = NativeJournal(self.registry._native, policy, ring_bytes, block_ms)
        self._own = self.native.logger("vaultscope.log")
        self._loggers: dict[str, Logger] = {}
        self._threads: dict[str, SinkThread] = {}
        self._lock = threading.Lock()
        _open_journals.add(self)

    def get_logger(self, name: str = "") -> Logger:
        """The logger of that name: `cas.gc` follows the level of `cas` until it has one of its own. Raises
        DeclarationError for a name of more than 255 bytes."""
        logger = self._loggers.get(name)
        if logger is None:
            logger = self._loggers.setdefault(name, self.native.logger(name))
        return logger

    # ---- sinks ----

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """In the order in which they were added."""
        return tuple(thread.sink for thread in list(self._threads.values()))

    def add_sink(self, sink: Sink) -> None:
        """Gives the sink all records from the oldest that is still there on. Raises DeclarationError if there
        is one of that name, LimitError if there are eight."""
        with self._lock:
            if sink.name in self._threads:
                raise DeclarationError(f"there is a log sink {sink.name!r} already")
            thread = self._thread(sink)
            thread.open()
            thread.start()
            self._threads[sink.name] = thread
            _at_work.add(self)

    def _thread(self, sink: Sink) -> SinkThread:
        written = self._counter("vaultscope.log.written", "Log records that a sink has written", "level")
        missed = self._counter("vaultscope.log.missed", "Log records that a sink has missed", "level")
        errors = self._counter("vaultscope.log.sink.errors", "How often a log sink has failed")
        return SinkThread(self.native, sink, self._own, SinkCounters(sink.name, written, missed, errors))

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return self.registry._declare(
            Counter, "counter", name, help, ("sink", *labels), "", 1000, internal=True
        )

    def remove_sink(self, sink: Sink, timeout: float = 5.0) -> bool:
        """Writes what is left, for `timeout` seconds at most, and closes the sink; nothing is kept for it.
        False: something was left, or it hangs. Raises DeclarationError if it is not there."""
        with self._lock:
            thread = self._threads.get(sink.name)
            if thread is None or thread.sink is not sink:
                raise DeclarationError(f"no such log sink: {sink.name!r}")
            del self._threads[sink.name]
        return self._end([thread], timeout, forget=True)

    def close(self, timeout: float = 5.0) -> bool:
        """Writes what is left, for `timeout` seconds at most, and closes all sinks. False: something was
        left; in an arena's file it stays, for the next process. Loggers still work; so does add_sink."""
        with self._lock:
            threads = list(self._threads.values())
            self._threads.clear()
        return self._end(threads, timeout, forget=False)

    def _end(self, threads: list[SinkThread], timeout: float, *, forget: bool) -> bool:
        deadline = time.monotonic() + timeout
        give_up = forget or self.registry.arena is None
        for thread in threads:
            thread.stop(timeout, give_up=give_up, forget=forget)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()) + _GRACE)
        if not self._threads:
            _at_work.discard(self)
        # One that hangs is a daemon: it ends with the process, if not before.
        return all(thread.is_whole for thread in threads)

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until every sink has what was logged before, by whichever process drains. False: not in that
        time, or a sink failed."""
        position = self.native.end()
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while not (self._is_served() and self.native.reached(position)):
            if time.monotonic() >= deadline:
                return False
            pause.wait(_POLL)
        flushed = [thread.flush() for thread in list(self._threads.values())]
        return all(flushed)

    def _is_served(self) -> bool:
        """Whether somebody drains for the sinks: after a fork, or when another process ends, that takes a
        moment."""
        threads = list(self._threads.values())
        return not threads or (all(thread.has_asked for thread in threads) and self.native.is_drained())

    def _renew(self) -> None:
        """In the child of a fork: its threads are gone; its sinks are not."""
        self._lock = threading.Lock()
        for sink in self.sinks:
            with suppress(Exception):
                sink.after_fork()
            thread = self._threads[sink.name] = self._thread(sink)
            thread.start()  # which opens the cursor


# ---- the default journal ----

_at_work: set[Journal] = set()  # a journal with sinks ends when it is closed, or at exit, as a thread does
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


def _forked() -> None:
    global _default_lock
    _default_lock = threading.Lock()


_open_journals: Living[Journal] = Living(Journal.close, Journal._renew, forked=_forked)


# ---- the level of a context ----


_levels: ContextVar[tuple[level, ...]] = ContextVar("vaultscope.levels", default=())


class level:  # noqa: N801
    """Sets the level of what is logged within the block, and in the tasks that take over its context,
    whatever the loggers' own levels are: `with level("debug"): ...`. One may be kept and used by many.

    Raises DeclarationError. Source: memo, Log Levels.
    """

    def __init__(self, name: str) -> None:
        self._number = _core.log_level_number(name)

    def __enter__(self) -> level:
        _core.use_context_levels()
        _levels.set((*_levels.get(), self))
        _core.context_level.set(self._number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Blocks may end in another order than they began (generators), or in another context: then there is
        # nothing to undo. Tokens know neither.
        levels = list(_levels.get())
        for at in reversed(range(len(levels))):
            if levels[at] is self:
                del levels[at]
                _levels.set(tuple(levels))
                _core.context_level.set(levels[-1]._number if levels else None)
                return
