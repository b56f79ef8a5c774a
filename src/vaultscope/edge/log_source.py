"""Where lines of a log come from: a file that is written meanwhile, a compressed one, standard input, or the
ring in an arena's file, of a vault that lives or of one that was killed; or a soup (soup_source.py).

A source is read again and again: `lines` gives what is complete up to its present end, and the next time goes
on there.
"""

from __future__ import annotations

import errno
import gzip
import os
import select
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from vaultscope._native._core import NativeJournal, NativeRegistry
from vaultscope.edge.soup_open import SQLITE_MAGIC, is_url
from vaultscope.errors import NotFoundError, VaultscopeError

if TYPE_CHECKING:
    from vaultscope.edge.soup_source import SoupPart

__all__ = [
    "ArenaSource",
    "FileSource",
    "GzipSource",
    "PipeSource",
    "Source",
    "SourceError",
    "open_source",
]

ARENA_MAGIC = b"\x89vsa\r\n\x1a\n"
GZIP_MAGIC = b"\x1f\x8b"
BLOCK_BYTES = 1 << 20  # a longer line is taken in pieces
POLL_MS = 100
WRITING_SECONDS = 0.1  # how long a record may take to be written; it is a copy of a few hundred bytes

Notice = Callable[[str], None]  # told what a reader of the log should know


class SourceError(Exception):
    """A source cannot be read, or not to its end; the message names it and says why."""


class Source(Protocol):
    """What lines come from."""

    name: str
    ended: bool  # nothing will come any more

    def lines(self) -> Iterator[bytes]:
        """Complete lines up to the present end, without newlines. Raises SourceError."""

    def rest(self) -> bytes:
        """The last line if it is not complete, for who reads no further."""

    def rewind(self, size: int) -> bool:
        """Goes to the first line that begins in the last `size` bytes. True: it is the first of all, as it is
        always where one cannot go back."""

    def close(self) -> None:
        """Lets the file go."""


def open_source(
    path: str,
    *,
    follow: bool,
    notice: Notice,
    stopped: Callable[[], bool],
    part: SoupPart | None = None,
) -> Source:
    """The source at a path, by what the file begins with; `-` is standard input, and the URL of a database of
    PostgreSQL is a soup. Raises OSError; VaultscopeError: it is damaged, or cannot be reached;
    ModuleNotFoundError: the soup's database needs a package.

    follow: read on in what takes the file's place, and wait for no one source.
    stopped: whether to wait no longer for what comes through a pipe.
    part: what is read of a soup; its log if left out.
    """
    if is_url(path):
        return _open_soup(path, part, notice)
    if path == "-":
        return PipeSource(path, os.dup(0), wait=not follow, stopped=stopped)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        return PipeSource(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC), wait=not follow, stopped=stopped)
    with open(path, "rb") as file:
        magic = file.read(len(SQLITE_MAGIC))
    if magic == SQLITE_MAGIC:
        return _open_soup(path, part, notice)
    if magic.startswith(ARENA_MAGIC):
        return ArenaSource(path, notice=notice)
    if magic.startswith(GZIP_MAGIC):
        return GzipSource(path)
    return FileSource(path, follow=follow, notice=notice)


def _open_soup(name: str, part: SoupPart | None, notice: Notice) -> Source:
    from vaultscope.edge.soup_source import SoupPart, SoupSource  # it is built on this module

    return SoupSource(name, part or SoupPart(), notice=notice)


class FileSource:
    """A text file. Followed, it is the path that counts: the file that takes its place is read on from its
    beginning, as is one that was cut.

    Of several files that take the path between two looks, the last one is seen.

    Raises OSError.
    """

    ended = False

    def __init__(self, path: str, *, follow: bool, notice: Notice) -> None:
        self.name = path
        self._follow = follow
        self._notice = notice
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._offset = 0  # of the first line that was not given

    def lines(self) -> Iterator[bytes]:
        """Complete lines up to the present end, and, followed, of the file that took its place."""
        another = self._follow and self._was_replaced()
        yield from self._to_the_end()  # who writes to the new file has written all that he had for this one
        if another:
            if last := self.rest():
                yield last
            try:
                file = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # it is on its way again
                return
            os.close(self._file)
            self._file, self._offset = file, 0
            yield from self._to_the_end()

    def _to_the_end(self) -> Iterator[bytes]:
        end = os.fstat(self._file).st_size
        if end < self._offset:
            self._notice(f"{self.name} was cut: reading it from its beginning")
            self._offset = 0
        while self._offset < end:
            try:
                block = os.pread(self._file, BLOCK_BYTES, self._offset)
            except OSError as error:
                raise SourceError(f"{self.name}: {error.strerror}") from None
            complete = block.rfind(b"\n") + 1
            if not complete and len(block) < BLOCK_BYTES:
                return
            self._offset += complete or len(block)
            yield from block[: complete - 1 if complete else None].split(b"\n")

    def _was_replaced(self) -> bool:
        """Whether another file is at the path, and in use: until then somebody may still write to the old."""
        try:
            there = os.stat(self.name)
        except OSError:
            return False
        return there.st_size > 0 and not os.path.samestat(there, os.fstat(self._file))

    def rest(self) -> bytes:
        """The last line if it is not complete, for who reads no further."""
        return os.pread(self._file, BLOCK_BYTES, self._offset).partition(b"\n")[0]

    def rewind(self, size: int) -> bool:
        """Goes to the first line that begins in the last `size` bytes. True: it is the first of all."""
        start = os.fstat(self._file).st_size - size
        self._offset = 0
        if start <= 0:
            return True
        before = os.pread(self._file, BLOCK_BYTES, start - 1)
        self._offset = start + before.find(b"\n") if b"\n" in before else start
        return False

    def close(self) -> None:
        """Lets the file go."""
        os.close(self._file)


class GzipSource:
    """A compressed file, which nobody writes to. Raises OSError."""

    ended = False

    def __init__(self, path: str) -> None:
        self.name = path
        self._file = gzip.GzipFile(path, "rb")

    def lines(self) -> Iterator[bytes]:
        """All lines, the last one too if it is not complete."""
        try:
            while line := self._file.readline(BLOCK_BYTES):
                yield line.removesuffix(b"\n")
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{self.name} is damaged: {error}") from None
        finally:
            self.ended = True

    def rest(self) -> bytes:
        """Nothing: all was given."""
        return b""

    def rewind(self, size: int) -> bool:
        """True: it is read as a whole."""
        self._file.seek(0)
        return True

    def close(self) -> None:
        """Lets the file go."""
        self._file.close()


class PipeSource:
    """Standard input, or what else can be read but once.

    file: its descriptor.
    wait: go on until it ends, or until `stopped` says so; else only as long as there is something.
    """

    ended = False

    def __init__(self, name: str, file: int, *, wait: bool, stopped: Callable[[], bool]) -> None:
        self.name = name
        self._file = file
        self._poll_ms = POLL_MS if wait else 0
        self._stopped = stopped
        self._pending = b""

    def lines(self) -> Iterator[bytes]:
        """Complete lines, as they come."""
        poll = select.poll()
        poll.register(self._file, select.POLLIN)
        while not self._stopped():
            if not poll.poll(self._poll_ms):
                if self._poll_ms:
                    continue
                return
            try:
                block = os.read(self._file, BLOCK_BYTES)
            except OSError as error:
                raise SourceError(f"{self.name}: {error.strerror}") from None
            if not block:
                self.ended = True
                return
            *complete, self._pending = (self._pending + block).split(b"\n")
            yield from complete
            if len(self._pending) >= BLOCK_BYTES:
                yield self._pending
                self._pending = b""

    def rest(self) -> bytes:
        """The last line if it was not complete."""
        return self._pending

    def rewind(self, size: int) -> bool:
        """True: it is read from where it is."""
        return True

    def close(self) -> None:
        """Lets it go."""
        os.close(self._file)


class ArenaSource:
    """The flight recorder: the ring in an arena's file, from the oldest record that is still in memory,
    drained or not. It has no part in the arena. An arena that takes the file's place is read on, as is a
    log that an arena gets later.

    Raises OSError; ArenaError if it is none.
    """

    ended = False

    def __init__(self, path: str, *, notice: Notice) -> None:
        self.name = path
        self._notice = notice
        self._open()

    def _open(self) -> None:
        identity = os.stat(self.name)
        self._native = NativeRegistry(os.fsencode(self.name), True)
        self._identity = identity
        self._journal: NativeJournal | None = None
        self._position: int | None = None
        if self._find_journal() is None:
            self._notice(f"{self.name} has no log yet")

    def _find_journal(self) -> NativeJournal | None:
        if self._journal is None:
            with suppress(NotFoundError):
                self._journal = NativeJournal(self._native)
        return self._journal

    def lines(self) -> Iterator[bytes]:
        """The records up to the present end, as lines of JSON."""
        another = self._was_replaced()
        yield from self._to_the_end()
        if another:
            try:
                self._open()
            except (OSError, VaultscopeError):  # it is being made
                return
            yield from self._to_the_end()

    def _to_the_end(self) -> Iterator[bytes]:
        journal = self._find_journal()
        if journal is None:
            return
        end = journal.end()
        deadline = None
        while self._position is None or self._position < end:
            what, following, line = journal.look(self._position)
            if what == "writing":
                deadline = deadline or time.monotonic() + WRITING_SECONDS
                if time.monotonic() < deadline:
                    time.sleep(WRITING_SECONDS / 100)
                    continue
                self._notice(f"{self.name}: a record is passed over whose writer stopped in the middle of it")
            deadline = None
            self._position = following
            if what == "record":
                yield line.removesuffix(b"\n")
            elif what == "lost":
                self._notice(f"{self.name}: records were overwritten before they could be read")
            elif what == "end":
                return

    def _was_replaced(self) -> bool:
        try:
            return not os.path.samestat(os.stat(self.name), self._identity)
        except OSError:
            return False

    def rest(self) -> bytes:
        """Nothing: a record is whole or not there."""
        return b""

    def rewind(self, size: int) -> bool:
        """Goes to the oldest record."""
        self._position = None
        return True

    def close(self) -> None:
        """Lets the arena go."""
        del self._journal, self._native
