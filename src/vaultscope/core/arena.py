"""Arenas in files, from outside: who shares one, and its values, without a part in it.

A `Registry(arena=path)` counts in an arena; an `ArenaReader(path)` looks at it from another process, live or
after all its processes are dead.
"""

from __future__ import annotations

import os
import threading
import time

from vaultscope._native._core import NativeRegistry
from vaultscope.core.snapshot import Snapshot

__all__ = ["ArenaProcess", "ArenaReader", "arena_path", "arena_processes"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    class ArenaProcess(NamedTuple):
        """A process that shares an arena: its pid, the stripes that its threads hold, and whether it asks."""

        pid: int
        stripes: int
        is_self: bool
else:
    from collections import namedtuple  # typing alone costs more at import than all of vaultscope

    ArenaProcess = namedtuple("ArenaProcess", ("pid", "stripes", "is_self"))
    ArenaProcess.__doc__ = (
        "A process that shares an arena: its pid, the stripes that its threads hold, and whether it asks."
    )


def arena_path(native: NativeRegistry) -> str | None:
    """The absolute path of the arena's file; None if it is in memory."""
    path = native.path
    return None if path is None else os.fsdecode(path)


def arena_processes(native: NativeRegistry) -> tuple[ArenaProcess, ...]:
    """Who shares the arena and is not known to be dead."""
    return tuple(ArenaProcess(*each) for each in native.processes())


class ArenaReader:
    """Reads the arena in a file, as a scraper does that has no part in it.

    It declares nothing and counts nothing. Where it may write to the file it does what any snapshot does: it
    asks busy histograms aside for a moment and tidies up after dead processes. Where it may only read, a
    histogram that is written all the time may come out torn, and is then counted as unsettled.

    When the file is replaced by another (a deployment that removes it), the next snapshot is of the new one.

    path: of the arena.
    clock_ns: wall clock in nanoseconds since 1970, for snapshots.

    Thread-safe. Raises ArenaError if there is no arena at the path.
    """

    def __init__(
        self, path: str | bytes | os.PathLike[str], *, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.path = os.path.abspath(os.fsdecode(path))
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        identity = _identity(self.path)  # first: a file that comes in its place now is found at the next look
        self._native = NativeRegistry(os.fsencode(self.path), True)
        self._identity = identity

    def _current(self) -> NativeRegistry:
        with self._lock:
            identity = _identity(self.path)
            if identity is not None and identity != self._identity:
                self._open()
            return self._native

    def snapshot(self) -> Snapshot:
        """The values of all metrics in the arena. Raises ArenaError if another file came in its place that is
        no arena; DecodeError if the arena was damaged."""
        return Snapshot(self._current().snapshot(), self._clock_ns())

    def processes(self) -> tuple[ArenaProcess, ...]:
        """Who shares the arena and is not known to be dead."""
        return arena_processes(self._current())


def _identity(path: str) -> tuple[int, int] | None:
    """Which file is at the path; None if there is none now, and the one that was is read on."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # the latter: a path that no file can have
        return None
    return status.st_dev, status.st_ino
