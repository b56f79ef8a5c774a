"""One open log file: who else has it open, whether its end is whole, whether it still has its name.

Each process that writes to a log file holds a shared lock on it (flock: the kernel gives it up for a process
that is killed). So who gets an exclusive one knows that nobody writes there any more: a rotated file is
compressed or removed only then, and whatever another process still had to write to it is in it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator

__all__ = ["LogTarget", "exclusively"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_OPEN_TRIES = 16
_TAIL_BYTES = 1 << 20  # more than any line has
_BEGINNING = b'{"time":"'  # of each line that is ours
# A file system without locks; the first is what NFS says of a file that is open for reading only.
_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LogTarget:
    """A log file that is open at its end; made if it is missing. A symbolic link is followed.

    What is no regular file (a pipe, a terminal, /dev/null) can be written to and is left alone otherwise.

    Args:
        path: The file.
        mode: Its permissions, if it is made here, less the umask.
        like: A file that it takes the place of: one that is made here gets its permissions and, as far as
            that is allowed, its owner.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: str, mode: int, like: os.stat_result | None = None) -> None:
        self.path = path
        self.fd = -1
        for attempt in range(_OPEN_TRIES):
            fd = os.open(path, _FLAGS, mode)
            try:
                status = os.fstat(fd)
                is_ours = not stat.S_ISREG(status.st_mode) or (
                    # Between opening and locking, another process may have rotated it, and be compressing it.
                    # Whoever else keeps it locked, as a command under flock(1) does, is not waited for.
                    (_share(fd) or attempt == _OPEN_TRIES - 1) and _has_name(path, status)
                )
                if is_ours:
                    self._prepare(fd, status, like)
            except BaseException:
                os.close(fd)
                raise
            if is_ours:
                break
            os.close(fd)
        else:
            raise OSError(errno.EAGAIN, "the log file is being replaced all the time", path)
        self.fd = fd
        self._synced = (-1, -1)

    def _prepare(self, fd: int, status: os.stat_result, like: os.stat_result | None) -> None:
        self.is_regular = stat.S_ISREG(status.st_mode)
        self._status = status
        if not self.is_regular:
            os.set_blocking(fd, True)  # opening did not wait for a pipe's reader; writing may
        elif like is not None and status.st_size == 0:
            with contextlib.suppress(OSError):
                os.fchown(fd, like.st_uid, like.st_gid)
            with contextlib.suppress(OSError):
                os.fchmod(fd, stat.S_IMODE(like.st_mode))

    def status(self) -> os.stat_result:
        """What the file is at the moment."""
        return os.fstat(self.fd)

    def is_current(self) -> bool:
        """Whether the path still names this file: it was neither renamed, nor removed, nor replaced."""
        return not self.is_regular or _has_name(self.path, self._status)

    def sync(self) -> None:
        """Brings what was written to the disk; returns at once if that is nothing. Raises OSError."""
        if not self.is_regular:
            return
        status = self.status()
        state = (status.st_size, status.st_mtime_ns)
        if state != self._synced:
            os.fdatasync(self.fd)
            self._synced = state

    def close(self) -> None:
        """Unlocks and closes the file; again does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            # By name, since the lock would stay as long as a child that was forked from C has the file open.
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def close_inherited(self) -> None:
        """Closes a forked child's copy, and leaves the lock to the parent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


@contextlib.contextmanager
def exclusively(path: str) -> Iterator[int | None]:
    """Holds a rotated file locked, open for reading; None: somebody else has it open still, or it is no file.

    Where the file system knows no locks it counts as nobody's: one process only may write to a log there.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        yield None
        return
    try:
        is_held = stat.S_ISREG(os.fstat(fd).st_mode) and _lock(fd, fcntl.LOCK_EX)
        yield fd if is_held else None
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _has_name(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # as far as can be seen


def _lock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _share(fd: int) -> bool:
    """Takes the shared lock. Who is alone mends the file's end first. False: somebody has it to himself."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _lock(fd, fcntl.LOCK_SH)
    _mend(fd)
    return _lock(fd, fcntl.LOCK_SH)


def _mend(fd: int) -> None:
    """Takes away a last line that is not whole: who was writing it is dead. One that is not ours is ended.

    In a file arena the cursor, too, knows of a batch that was left half written, and takes back all of it
    when it is pumped next. It looks at the file's size for that. Here nothing is cut but what is behind the
    last newline, so a batch that was whole stays so, and one that was not does, too.
    """
    try:
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # it may be written only
    try:
        size = os.fstat(reader).st_size
        tail = os.pread(reader, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    finally:
        os.close(reader)
    torn = tail[tail.rfind(b"\n") + 1 :]
    if not torn:
        return
    is_ours = torn.startswith(_BEGINNING[: len(torn)]) or not torn.strip(
        b"\0"
    )  # zeros: a power cut left them
    with contextlib.suppress(OSError):  # the file may be one that only grows
        if is_ours and len(torn) < _TAIL_BYTES:
            os.ftruncate(fd, size - len(torn))
            return
    os.write(fd, b"\n")
