"""A sink that writes JSON lines to a file, rotates it, and follows it when others rotate it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Literal

from vaultscope._native._core import Cursor
from vaultscope.edge.log_archive import LogArchive
from vaultscope.edge.log_target import LogTarget
from vaultscope.signals.log import Journal, Sink

__all__ = ["FileSink", "install_sighup"]

_WAIT_SECONDS = 0.25
_RUN_SECONDS = 0.25  # `reopen` is not to wait longer: who rotates may be about to compress
_CHECK_SECONDS = 1.0
_PERIODS = {"hour": 3600.0, "day": 86_400.0}
_DURABILITIES = ("none", "interval", "batch")


class FileSink(Sink):
    """Appends each record to a file, as a line of JSON, formatted and written in C without the GIL.

    The file is opened at once, so that what is wrong with it is told here. It is opened anew when it was
    renamed, removed or replaced (looked for once a second), after `reopen`, and in a forked child: logrotate
    works with `create` and with `copytruncate`. Several processes may write to one file; each batch is one
    append of whole lines. While it cannot be written, because the disk is full, say, or its folder has
    vanished, records stay in the ring, and it is tried again.

    It is rotated between two batches: renamed to <path>.<time in UTC>, see LogArchive, and begun anew with
    the same owner and permissions. A symbolic link is followed, and neither what it leads to nor anything but
    a regular file is rotated; so /dev/stdout and /dev/null will do.

    A last line that is not whole, of a process that was killed, is cut off by the next one, if no other has
    the file open: what was torn amid another's lines stays so. Processes that are to lose and tear nothing,
    even so, share an arena, of which one at a time writes the file.

    Args:
        path: The file. Its folder must exist. The absolute path is the sink's name.
        max_bytes: Rotate once the file has as much, or more by a batch at most; 0: never.
        every: Rotate at each full "hour" or "day" of UTC, or each so many seconds since 1970; "": never. An
            empty file is not.
        keep_files, keep_bytes, keep_days: Rotated files are removed, the oldest first, when there are more of
            them, or they are larger, or older; 0: no such limit.
        compress: "gzip" compresses rotated files, in the background.
        durability: What a power cut may take: "none" leaves it to the system (half a minute, usually),
            "interval" syncs each `interval` seconds, "batch" syncs each batch before it counts as written.
            What is in the file outlives its process in any case.
        interval: Seconds.
        mode: Permissions of a file that is made, less the umask.
        clock: Seconds since 1970.
        ticks: Seconds that never go back.

    Raises:
        ValueError: An argument makes no sense.
        OSError: The file cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 0,
        every: Literal["", "hour", "day"] | float = "",
        keep_files: int = 10,
        keep_bytes: int = 0,
        keep_days: float = 0.0,
        compress: Literal["gzip"] | None = None,
        durability: Literal["none", "interval", "batch"] = "none",
        interval: float = 1.0,
        mode: int = 0o600,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self.name = self.path
        self.max_bytes = max_bytes
        self.period_seconds = _period(every)
        self.durability = durability
        self.interval = interval
        self.mode = mode
        if durability not in _DURABILITIES:
            raise ValueError(f"durability is one of {', '.join(_DURABILITIES)}, not {durability!r}")
        if compress not in (None, "gzip"):
            raise ValueError(f"compress is gzip or None, not {compress!r}")
        if min(max_bytes, keep_files, keep_bytes, keep_days) < 0 or interval <= 0:
            raise ValueError("a limit is not negative, and an interval is positive")
        self.archive = LogArchive(
            self.path,
            keep_files=keep_files,
            keep_bytes=keep_bytes,
            keep_days=keep_days,
            compress=compress,
            clock=clock,
            ticks=ticks,
        )
        self._clock = clock
        self._ticks = ticks
        # Guards the target against being closed while it is synced, or written to.
        self._mutex = threading.Lock()
        self._is_busy = False
        self._is_closed = False
        self._reopen = False  # a plain attribute: a signal handler sets it
        self._cursor: Cursor | None = None
        self._check_at = self._sync_at = self._rotate_at = ticks()
        self._target = self._opened()

    # -- what the journal calls -----------------------------------------------------------------------------

    def step(self, cursor: Cursor) -> None:
        """Writes what there is, waits a quarter of a second for more, sees to the file. Raises OSError."""
        with self._mutex:
            if self._is_closed:
                raise ValueError("the sink is closed")
            self._is_busy = True
        try:
            self._step(cursor)
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._mutex:
            self._is_busy = False
            if self._is_closed:
                self._target.close()

    def _step(self, cursor: Cursor) -> None:
        if cursor is not self._cursor:  # it has just begun to drain: who did before may have rotated
            self._cursor, self._check_at = cursor, self._ticks()
        target = self._current()
        rotates = self._rotates(target) and self._ticks() >= self._rotate_at
        run = self._run_seconds(rotates)
        try:
            cursor.pump(
                target.fd,
                file_bytes=self.max_bytes if rotates else 0,
                wait=min(_WAIT_SECONDS, run),
                run=run,
                sync=self.durability == "batch",
            )
        except OSError:
            if not target.is_regular:
                self._reopen = True  # a pipe may have a new reader by then
            raise
        if self.durability == "interval" and self._ticks() >= self._sync_at:
            self._sync_at = self._ticks() + self.interval
            target.sync()
        # Not before it was pumped: the last process may have left a batch half written, which the cursor then
        # takes back.
        if rotates and self._is_full(target):
            self._rotate(target)
        if self._rotates(target):
            self.archive.tidy_soon()

    def flush(self) -> None:
        """Brings the file to the disk, unless durability is "none". Raises OSError."""
        with self._mutex:
            if self.durability != "none" and not self._is_closed and self._target.fd >= 0:
                self._target.sync()

    def reopen(self) -> None:
        """Has the file opened anew before the next batch. For signal handlers, too."""
        self._reopen = True

    def close(self) -> None:
        """Closes the file, once a step that is under way has ended. Compressing gets two seconds to end."""
        with contextlib.suppress(OSError):
            self.flush()
        with self._mutex:
            self._is_closed = True
            if not self._is_busy:
                self._target.close()
        self.archive.close()

    def after_fork(self) -> None:
        """Closes the child's copy of the file, which would keep open one that is rotated and removed later.
        If the sink is used here, the file is opened anew, with a lock of the child's own."""
        self._mutex = threading.Lock()
        self._is_busy = False
        self._target.close_inherited()
        self.archive.after_fork()

    # -- the file -------------------------------------------------------------------------------------------

    def _opened(self, like: os.stat_result | None = None) -> LogTarget:
        target = LogTarget(self.path, self.mode, like)
        status = target.status()
        began = min(status.st_mtime, self._clock()) if status.st_size else self._clock()
        self._boundary = self._next_boundary(began)
        self._check_at = self._ticks() + _CHECK_SECONDS
        return target

    def _current(self) -> LogTarget:
        """The file that has the name, opened if need be. If that fails the one before stays, unused."""
        wanted, self._reopen = self._reopen or self._target.fd < 0, False
        try:
            if wanted or (self._ticks() >= self._check_at and not self._target.is_current()):
                self._replace()
        except BaseException:
            self._reopen = True
            raise
        if self._ticks() >= self._check_at:
            self._check_at = self._ticks() + _CHECK_SECONDS
        return self._target

    def _replace(self, like: os.stat_result | None = None) -> None:
        new = self._opened(like)
        with self._mutex:
            old, self._target = self._target, new
        try:
            if self.durability != "none" and old.fd >= 0:
                old.sync()
        finally:
            old.close()

    # -- rotation -------------------------------------------------------------------------------------------

    def _rotates(self, target: LogTarget) -> bool:
        is_asked = self.max_bytes > 0 or self.period_seconds > 0
        return is_asked and target.is_regular and not os.path.islink(self.path)

    def _run_seconds(self, rotates: bool) -> float:
        """How long to pump before there is something else to do."""
        run = _RUN_SECONDS
        if self.durability == "interval":
            run = min(run, self.interval)
        if rotates and self.period_seconds:
            run = min(run, self._boundary - self._clock())
        return max(run, 0.01)

    def _next_boundary(self, seconds: float) -> float:
        period = self.period_seconds
        return (seconds // period + 1) * period if period else 0.0

    def _is_full(self, target: LogTarget) -> bool:
        size = target.status().st_size
        if self.period_seconds and self._clock() >= self._boundary:
            if size:
                return True
            self._boundary = self._next_boundary(self._clock())
        return 0 < self.max_bytes <= size

    def _rotate(self, target: LogTarget) -> None:
        # If this fails it is tried again in a while; until then the file grows.
        self._rotate_at = self._ticks() + _CHECK_SECONDS
        before = target.status()
        if self.archive.rotate(target, sync=self.durability != "none"):
            self._check_at = self._ticks()  # should opening the new one fail
            self._replace(before)
            self._rotate_at = self._ticks()


def _period(every: str | float) -> float:
    if every == "":
        return 0.0
    seconds = _PERIODS.get(every) if isinstance(every, str) else float(every)
    if seconds is None or not 1 <= seconds < float("inf"):
        raise ValueError(f'every is "hour", "day" or a number of seconds from 1 on, not {every!r}')
    return seconds


def install_sighup(journal: Journal) -> Callable[[], None]:
    """Has SIGHUP reopen the files of a journal's sinks; a handler that was there before is called, too.

    Only in the main thread. Where SIGHUP would have ended the process it no longer does.

    Returns:
        A function that puts the handler back that was there before.

    Raises:
        ValueError: This is not the main thread.
    """
    before = signal.getsignal(signal.SIGHUP)

    def handle(number: int, frame: FrameType | None) -> None:
        for sink in journal.sinks:
            sink.reopen()
        if callable(before):
            before(number, frame)

    def undo() -> None:
        signal.signal(signal.SIGHUP, before if before is not None else signal.SIG_DFL)

    signal.signal(signal.SIGHUP, handle)
    return undo
