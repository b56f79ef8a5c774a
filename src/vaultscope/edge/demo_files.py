"""The files a demo feeds to the store: finding every one of them and reading each without ever getting stuck.

A tree taken from anywhere may hold loops of links, pipes with nobody at the other end, devices, and files
that change or vanish while they are looked at. So links are never followed, only regular files are read,
each is opened in a way that cannot block and looked at again once it is open, and no more than a limit is
read of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class Entry:
    """Something found under the top: a regular file to read, or why there is nothing to read."""

    path: str
    skip: str | None = None  # why it is not read
    error: OSError | None = None  # it could not be looked at, or is a directory that could not be listed


class SkippedError(Exception):
    """The file is passed over, for the reason in the text."""


class StoppedError(Exception):
    """The reader was asked to stop in the middle of a file."""


def walk(top: str, *, prune: Callable[[str], bool] = lambda path: False) -> Iterator[Entry]:
    """Every entry below a directory that is no directory itself, each directory's in order of name.

    A directory that cannot be listed is one entry with its error. Nothing is held open between two entries,
    so the caller may take its time.

    Args:
        top: The directory; it is not resolved.
        prune: Whether to leave a directory out, by its path below `top`.
    """
    pending = [top]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Entry(directory, error=error)
            continue
        below: list[str] = []
        for entry in entries:
            try:
                if entry.is_symlink():
                    yield Entry(entry.path, skip="symbolic link")
                elif entry.is_dir(follow_symlinks=False):
                    if not prune(entry.path):
                        below.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield Entry(entry.path)
                else:
                    yield Entry(entry.path, skip="special file")
            except OSError as error:  # the file system tells no types and the entry is out of reach
                yield Entry(entry.path, error=error)
        pending.extend(reversed(below))


def read(entry: Entry, limit: int, stopped: Callable[[], bool] = lambda: False) -> bytes:
    """The content of an entry that is a regular file.

    Args:
        entry: As `walk` gave it.
        limit: How many bytes the file may have.
        stopped: Whether to give up; asked after every piece of 8 MiB.

    Raises:
        SkippedError: It is no regular file (any more), is longer than the limit, or has vanished.
        StoppedError: `stopped()` said so.
        OSError: It cannot be read, or could not be looked at in the first place.
    """
    if entry.skip is not None:
        raise SkippedError(entry.skip)
    try:
        if entry.error is not None:
            raise entry.error
        # Not blocking: what was a file when it was listed may be a pipe by now. The flag does nothing to
        # real files.
        descriptor = os.open(
            entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        )
    except FileNotFoundError:
        raise SkippedError("vanished") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link or a socket by now
            raise SkippedError("special file") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SkippedError("special file")
        return _read_all(descriptor, status.st_size, limit, stopped)
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, size: int, limit: int, stopped: Callable[[], bool]) -> bytes:
    """Reads to the end rather than to `size`: files grow, and those of /proc say 0."""
    if size > limit:
        raise SkippedError("too large")
    pieces: list[bytes] = []
    total = 0
    while True:
        piece = os.read(descriptor, min(_CHUNK_BYTES, max(size + 1 - total, 1 << 16)))
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        total += len(piece)
        if total > limit:
            raise SkippedError("too large")
        if stopped():
            raise StoppedError


def printable(path: str) -> str:
    """A path that can be shown on any terminal: bytes that are not UTF-8 and control characters appear
    escaped."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
