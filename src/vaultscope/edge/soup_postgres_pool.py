"""This process's connections to a soup's PostgreSQL.

A connection is borrowed for one statement or one transaction. One that broke is thrown away, and with it all
that lie idle: the server that closed it has closed those, too. The next call connects anew.

Forks. The child has copies of the parent's sockets. It keeps them to its end, never uses them, and never ends
their sessions, which are the parent's.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from vaultscope.errors import DamagedError, DeclarationError, StorageError

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

__all__ = ["PostgresPool"]

VERSION_MIN = 120000
_TRIES = 5
_CORRUPTION = "XX001", "XX002"
# What a call may take is bounded, also when packets just vanish. Seconds, but for the last one.
_DEFAULTS: Mapping[str, str | int] = {
    "application_name": "vaultscope",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_SETTINGS = {
    # Of what SQL here relies on, a server's or a user's defaults say nothing.
    "default_transaction_isolation": "read committed",
    "jit": "off",
}
_CONFIGURE = """
SELECT set_config('search_path', quote_ident(%s::text), false), set_config(name, value, false),
       current_setting('server_encoding'), current_setting('server_version_num')::int
FROM unnest(%s::text[], %s::text[]) AS settings (name, value)
"""


class PostgresPool:
    """Connections to the database that `conninfo` names, for any threads.

    schema: where unqualified names lead to.
    connections_max: at a time; who finds none waits.
    statement_seconds: that a statement may take.
    failed: told that something failed.

    Raises DeclarationError: `conninfo` is none; ModuleNotFoundError.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        schema: str,
        connections_max: int,
        statement_seconds: float,
        failed: Callable[[], None],
    ) -> None:
        try:
            import psycopg
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "a soup in PostgreSQL needs psycopg: pip install 'vaultscope[postgres]'", name="psycopg"
            ) from None
        try:
            given = psycopg.conninfo.conninfo_to_dict(conninfo)
        except psycopg.Error as error:
            raise DeclarationError(f"no connection of PostgreSQL is described so: {error}") from None
        self.database = str(given.get("dbname") or given.get("service") or "postgresql")
        self.name = f"PostgreSQL {given.get('host') or ''}/{self.database}, {schema}"
        self._options = {**_DEFAULTS, **given, "client_encoding": "utf8"}
        self._schema = schema
        timeout = str(int(statement_seconds * 1000))
        self._settings = _SETTINGS | {
            "statement_timeout": timeout,
            "lock_timeout": timeout,
            "idle_in_transaction_session_timeout": timeout,  # who is stopped in one holds up nobody for ever
        }
        self._connections_max = connections_max
        self._wait_seconds = statement_seconds
        self._failed = failed
        self._is_closed = False
        self._forget()
        _pools.add(self)

    def _forget(self) -> None:
        """As if nothing had been opened."""
        self._gate = threading.Condition()
        self._idle: list[Connection] = []
        self._busy = 0

    # ---- what it is for ----

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """What a statement finds, which is a transaction of its own. Raises StorageError."""
        with self.borrowed() as connection:
            return connection.execute(sql.encode(), values, binary=True).fetchall()

    def run(self, work: Callable[[Connection], Any]) -> Any:
        """Does work in a transaction, and again if it got into another one's way. Raises StorageError."""
        from psycopg.errors import TransactionRollback  # deadlocks and their kin

        for _ in range(_TRIES - 1):
            try:
                with self.borrowed() as connection, connection.transaction():
                    return work(connection)
            except StorageError as error:
                if not isinstance(error.__cause__, TransactionRollback):
                    raise
        with self.borrowed() as connection, connection.transaction():
            return work(connection)

    @contextmanager
    def borrowed(self) -> Iterator[Connection]:
        """A connection, outside of a transaction. Raises StorageError, also for what is raised inside."""
        import psycopg

        connection = None
        try:
            connection = self._take()
            yield connection
        except psycopg.Error as error:
            self._failed()
            raise self._error_of(error) from error
        finally:
            if connection is not None:
                self._give_back(connection)

    def _error_of(self, error: psycopg.Error) -> StorageError:
        kind = DamagedError if error.sqlstate in _CORRUPTION else StorageError
        return kind(f"{self.name}: {str(error).strip() or type(error).__name__}")

    # ---- connections ----

    def _take(self) -> Connection:
        deadline = monotonic() + self._wait_seconds
        with self._gate:
            while not self._is_closed and self._busy >= self._connections_max:
                if not self._gate.wait(deadline - monotonic()):
                    self._failed()
                    raise StorageError(f"{self.name}: all {self._busy} connections are in use")
            if self._is_closed:
                raise StorageError(f"{self.name}: the soup is closed")
            self._busy += 1
            while self._idle:
                connection = self._idle.pop()
                if _is_quiet(connection):
                    return connection
                connection.close()
        try:
            return self._connect()
        except BaseException:
            self._release()
            raise

    def _connect(self) -> Connection:
        import psycopg

        options: dict[str, Any] = dict(self._options)
        connection = psycopg.connect("", autocommit=True, prepare_threshold=None, **options)
        try:
            names, values = list(self._settings), list(self._settings.values())
            row = connection.execute(_CONFIGURE, (self._schema, names, values)).fetchall()[0]
            if row[2] != "UTF8":
                raise StorageError(
                    f"{self.name}: the database's encoding is {row[2]}, which lacks characters"
                )
            if row[3] < VERSION_MIN:
                raise StorageError(f"{self.name}: PostgreSQL {VERSION_MIN // 10000} or later is needed")
        except BaseException:
            connection.close()
            raise
        return connection

    def _give_back(self, connection: Connection) -> None:
        from psycopg.pq import TransactionStatus

        is_sound = connection.info.transaction_status == TransactionStatus.IDLE
        with self._gate:
            if is_sound and not self._is_closed:
                self._idle.append(connection)
            else:
                lost = [connection]
                if connection.closed:
                    lost += self._idle
                    self._idle.clear()
                for each in lost:
                    each.close()
        self._release()

    def _release(self) -> None:
        with self._gate:
            self._busy -= 1
            self._gate.notify()

    def close(self) -> None:
        """Closes the connections; those in use, when they are given back."""
        with self._gate:
            self._is_closed = True
            while self._idle:
                self._idle.pop().close()
            self._gate.notify_all()

    def after_fork_in_child(self) -> None:
        """The child has no connections."""
        _inherited.extend(self._idle)
        self._forget()


def _is_quiet(connection: Connection) -> bool:
    """Whether the server has sent nothing since: a farewell, most likely."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


_pools: WeakSet[PostgresPool] = WeakSet()
_inherited: list[Any] = []


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
