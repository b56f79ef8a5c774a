"""The SQLite file of a soup, and this process's connections to it.

One connection writes, under a lock; readers borrow theirs from a pool, so that one who scans holds up nobody
who writes. A connection for each thread would leave those of threads that ended behind.

Forks. SQLite keeps its locks of a file by process, in memory that a child inherits: a child that opens the
file while its copy says "locked already" holds no lock at all, and when the parent closes, the log that the
child writes to is deleted under it. So everything is closed before a fork, and opened again by whoever goes
on. (A child of `subprocess` inherits nothing: it starts another program.)
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

from vaultscope.edge.soup_schema import has_tables, make_tables
from vaultscope.errors import DamagedError, StorageError

__all__ = ["SoupFile", "error_of"]

_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}
_LOG_BYTES, _LOG_BYTES_MAX = 4 << 20, 32 << 20
_LOOK_BYTES = 1 << 20  # that are written until the log's length is looked at
_CACHE_BYTES = 16 << 20
_PUT_BYTES = 40 << 10  # that the smallest transaction may add: a few pages of each index
_AMPLE_S = 0.1
_INCREMENTAL = 2
_RETRY_S = 0.001
_FORK_WAIT_S = 5.0


def error_of(error: sqlite3.Error, path: str) -> StorageError:
    """What an error of SQLite is to the soup's users."""
    # SQLITE_CORRUPT and SQLITE_NOTADB are the ones that Python gives the plain class.
    is_damage = type(error) is sqlite3.DatabaseError or "malformed" in str(error)
    return (DamagedError if is_damage else StorageError)(f"{path}: {error}")


class SoupFile:
    """The file at `path`, which is made if it is not there.

    durability: "process": what was written outlives the process, however it ends; "power": the machine's
        failure, too, at the price of an fsync for each transaction.
    busy_seconds: how long to wait for other processes that write.
    failed: told of each failure, by "read" or "write".
    indexes: statements that make more of them, if they are not there.

    Raises StorageError: it cannot be opened, or is not a soup's; DamagedError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: str,
        busy_seconds: float,
        failed: Callable[[str], None],
        indexes: Sequence[str] = (),
    ) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._synchronous = _SYNCHRONOUS[durability]
        self._busy_seconds = busy_seconds
        self._failed = failed
        self._indexes = indexes
        self._is_closed = False
        self._identity: tuple[int, int] | None = None
        self._unusable = ""
        self._forget()
        with self._lock:
            self._open_writer()
        _open_files.add(self)

    def _forget(self) -> None:
        """As if nothing had been opened."""
        self._lock = threading.RLock()
        self._gate = threading.Condition()
        self._writer: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        self._busy: set[sqlite3.Connection] = set()
        self._is_forking = False
        self._checkpointing = threading.Lock()
        self._unseen_bytes = 0
        self._ample_bytes, self._ample_until = 0, 0.0

    # ---- opening ----

    def _connect(self) -> sqlite3.Connection:
        if self._is_closed or self._unusable:
            raise StorageError(self._unusable or f"{self.path}: the soup is closed")
        connection = sqlite3.connect(
            self.path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
            connection.execute("PRAGMA wal_autocheckpoint=0")  # see _bound_log
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_writer(self) -> sqlite3.Connection:
        """The writer's connection, to a file that is there and has the tables. Raises StorageError."""
        if self._writer is not None and self._identity == self._stat():
            return self._writer
        self._drop_all()  # somebody has deleted the file, or put another one there
        if os.path.isdir(self.path):
            raise StorageError(f"{self.path}: a folder is no soup")
        with suppress(OSError):  # what is wrong there is SQLite's to say
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = None
        try:
            connection = self._connect()
            self._prepare(connection)
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise error_of(error, self.path) from error
        except StorageError:
            if connection is not None:
                connection.close()
            raise
        self._writer, self._identity = connection, self._stat()
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Nothing is changed in a file of somebody else's.
        self._patiently(lambda: has_tables(connection, self.path))
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:  # else it is written again
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # before the first page is written
        self._patiently(lambda: connection.execute("PRAGMA journal_mode=WAL"))
        connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES // 4}")  # how short it is made anew
        connection.execute(f"PRAGMA cache_size=-{_CACHE_BYTES >> 10}")
        connection.execute(
            "PRAGMA secure_delete=FAST"
        )  # else a large object is written once more to be deleted
        self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            make_tables(connection, self.path, self._indexes)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        connection.execute("PRAGMA busy_timeout=0")  # from here on it is _patiently that waits

    def _patiently(self, ask: Callable[[], object]) -> None:
        """Asks what has to wait for others. SQLite's own waiting doubles its pauses up to 100 ms:
        it would miss the gaps that a `gc` leaves."""
        deadline = 0.0
        while True:
            try:
                ask()
                return
            except sqlite3.OperationalError as error:
                deadline = deadline or time.monotonic() + self._busy_seconds
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(_RETRY_S)

    def _stat(self) -> tuple[int, int] | None:
        with suppress(OSError):
            status = os.stat(self.path)
            return status.st_dev, status.st_ino
        return None

    # ---- writing and reading ----

    @contextmanager
    def write(self, size: int = _LOOK_BYTES) -> Iterator[sqlite3.Connection]:
        """A transaction: what is done in it is done as a whole, or not at all if anything is raised. Raises
        StorageError, DamagedError.

        size: about how many bytes it writes."""
        with self._lock:
            try:
                connection = self._open_writer()
            except StorageError:
                self._failed("write")
                raise
            try:
                self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._failed("write")
                self._drop_writer()  # whatever state it is in, the next one begins afresh
                raise error_of(error, self.path) from error
            finally:
                if connection is self._writer and connection.in_transaction:
                    connection.execute("ROLLBACK")
        self._unseen_bytes += size + _LOOK_BYTES // 64
        if self._unseen_bytes >= _LOOK_BYTES:
            self._unseen_bytes = 0
            self._bound_log()

    def checkpoint(self) -> bool:
        """Has the log brought into the file, as far as nobody is in the way: then it begins anew, and the
        file can shrink. False: some of it is left."""
        with suppress(StorageError):
            ((_, pages, done),) = self.rows("PRAGMA wal_checkpoint(PASSIVE)")
            return bool(pages == done)
        return False

    def make_way(self, size: int) -> None:
        """Before so many bytes are put: keeps as much of the disk free as it takes to bring the log into the
        file. Else the log could not begin anew, and nothing be deleted from a full disk. Raises StorageError:
        it is full."""
        size = size * 5 // 4 + _PUT_BYTES
        now = time.monotonic()
        self._ample_bytes -= 2 * size
        if self._ample_bytes >= 0 and now < self._ample_until:
            return
        log = _size_of(self.path + "-wal")
        spare = _free_bytes(self.path) - log - 2 * size
        if spare >= 0:  # it need not be looked at again for every put
            self._ample_bytes, self._ample_until = spare // 16, now + _AMPLE_S
            return
        more = max(0, size - log) if self.checkpoint() else log + size
        if _free_bytes(self.path) < size + more:
            self._failed("write")
            raise StorageError(f"{self.path}: {os.strerror(errno.ENOSPC)}") from OSError(errno.ENOSPC, "")

    def _bound_log(self) -> None:
        """Brings a long log into the file. SQLite would do so in the transaction that makes it too long,
        while other writers wait for the disk."""
        size = _size_of(self.path + "-wal")
        if size >= _LOG_BYTES_MAX:  # others write all the time: so that it could never begin anew
            with self._lock:
                self.checkpoint()
        elif size >= _LOG_BYTES and self._checkpointing.acquire(blocking=False):
            try:
                self.checkpoint()
            finally:
                self._checkpointing.release()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """What a query finds, read at once. Raises StorageError, DamagedError."""
        while True:
            connection = self._borrow()
            try:
                found = connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                was_interrupted = self._is_forking
                self._give_back(connection, is_sound=False)
                if not was_interrupted:
                    self._failed("read")
                    raise error_of(error, self.path) from error
            else:
                self._give_back(connection)
                return found

    def _borrow(self) -> sqlite3.Connection:
        if self._identity != self._stat():
            with self._lock:
                self._open_writer()
        with self._gate:
            self._gate.wait_for(lambda: not self._is_forking)
            try:
                connection = self._idle.pop() if self._idle else self._connect()
            except sqlite3.Error as error:
                raise error_of(error, self.path) from error
            self._busy.add(connection)
            return connection

    def _give_back(self, connection: sqlite3.Connection, *, is_sound: bool = True) -> None:
        with self._gate:
            self._busy.discard(connection)
            if is_sound and not self._is_forking and not self._is_closed:
                self._idle.append(connection)
            else:
                _close(connection)
            self._gate.notify_all()

    # ---- closing ----

    def close(self) -> None:
        """Closes the connections; a second time does nothing."""
        self._is_closed = True
        with self._lock:
            self._drop_all()

    def __del__(self) -> None:
        with suppress(Exception):  # it may not have been opened
            self.close()

    def _drop_writer(self) -> None:
        if self._writer is not None:
            _close(self._writer)
            self._writer = None

    def _drop_all(self) -> None:
        self._drop_writer()
        with self._gate:
            while self._idle:
                _close(self._idle.pop())

    # ---- forks ----

    def before_fork(self) -> None:
        """Closes all, and keeps others from opening it again. What is being read begins anew afterwards; what
        is being written gets time to end."""
        deadline = time.monotonic() + _FORK_WAIT_S
        self._has_lock = self._lock.acquire(timeout=_FORK_WAIT_S)
        with self._gate:
            self._is_forking = True
            while self._busy and time.monotonic() < deadline:
                for connection in self._busy:
                    connection.interrupt()
                self._gate.wait(0.005)
        if self._has_lock:
            self._drop_all()

    def after_fork_in_parent(self) -> None:
        """Lets the others go on."""
        with self._gate:
            self._is_forking = False
            self._gate.notify_all()
        if self._has_lock:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """The child has no connections. If one could not be closed in time, it can never have any."""
        inherited = [*self._busy, *([self._writer] if self._writer else [])]
        self._forget()
        if inherited:
            self._unusable = f"{self.path}: forked while it was in use; start such processes by another way"
            _inherited.extend(inherited)


def _close(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        connection.close()


def _size_of(path: str) -> int:
    with suppress(OSError):
        return os.stat(path).st_size
    return 0


def _free_bytes(path: str) -> int:
    """Of the file system, that are not taken."""
    with suppress(OSError, AttributeError):  # Windows has no such call
        status = os.statvfs(os.path.dirname(path))
        return status.f_bavail * status.f_frsize
    return 1 << 62


_open_files: WeakSet[SoupFile] = WeakSet()
_forking: list[SoupFile] = []
_inherited: list[sqlite3.Connection] = []  # never closed: they are the parent's


def _before_fork() -> None:
    _forking[:] = list(_open_files)
    for file in _forking:
        file.before_fork()


def _after_fork(in_child: bool) -> None:
    for file in _forking:
        if in_child:
            file.after_fork_in_child()
        else:
            file.after_fork_in_parent()
    _forking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(False),
        after_in_child=lambda: _after_fork(True),
    )
