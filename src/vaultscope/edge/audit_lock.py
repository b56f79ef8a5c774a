"""The lock of an audit log: a file beside it, held while somebody appends."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vaultscope.errors import BusyError

__all__ = ["AuditLock", "nobody_appends"]

LOCK_SUFFIX = ".lock"
_PAUSE = (0.0005, 0.02)

# A child has a copy of every file that is open when it is forked, and the lock stays locked for as long as
# one of them is. So it must know of it: nobody forks between the opening and the noting.
_noting = threading.RLock()


class AuditLock:
    """What one process at a time has. The file is opened for each time anew: an open one would be handed down
    to children, and be locked for as long as they live.

    Args:
        path: The log's.
        seconds: How long to wait for it.
    """

    def __init__(self, path: str, seconds: float) -> None:
        self._log, self._path = path, path + LOCK_SUFFIX
        self._seconds = seconds
        self._fd = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds it. Raises BusyError: others have it all the time; OSError."""
        deadline = time.monotonic() + self._seconds
        pause = _PAUSE[0]
        while not self._taken():
            if time.monotonic() > deadline:
                raise BusyError(f"{self._log}: other processes append to it all the time")
            time.sleep(pause)
            pause = min(pause * 2, _PAUSE[1])
        try:
            yield
        finally:
            self._let_go()

    def _taken(self) -> bool:
        with _noting:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        is_taken = False
        try:
            with suppress(BlockingIOError, FileNotFoundError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Else somebody has removed it, and another one may have the new one.
                is_taken = os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        finally:
            if not is_taken:
                self._let_go()
        return is_taken

    def _let_go(self) -> None:
        with suppress(OSError, ValueError):
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # for all copies
        self._close()

    def _close(self) -> None:
        with _noting:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def after_fork(self) -> None:
        """In the child: the lock that the parent's thread has is not to outlive the parent; nor is it to be
        unlocked."""
        self._close()


@contextmanager
def nobody_appends(path: str) -> Iterator[None]:
    """While this lasts nobody appends to the log, if its lock can be had: a copy's need not be there."""
    try:
        fd = os.open(path + LOCK_SUFFIX, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_noting.acquire, after_in_parent=_noting.release, after_in_child=_noting.release
    )
