"""The soup in a file of SQLite: nothing to install, nothing to run.

Any number of processes and threads may use the file. Writers take turns, in short transactions; readers hold
up nobody.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vaultscope.core.registry import Registry
from vaultscope.core.soup import (
    DAY,
    Attribute,
    Moment,
    NewObject,
    Results,
    SoupObject,
    as_content,
    check_address,
    check_type,
    moment_ns,
)
from vaultscope.core.soup_attributes import check_name
from vaultscope.core.soup_query import Condition, Name, check_condition
from vaultscope.edge.soup_file import SoupFile
from vaultscope.edge.soup_rows import Retention, attributes_from, content_from, rows_of
from vaultscope.edge.soup_select import COLUMNS, Wanted, index_sql, select_count, select_page
from vaultscope.edge.soup_token import Order
from vaultscope.errors import DeclarationError, NotFoundError

__all__ = ["SqliteSoup"]

_DURABILITIES = ("process", "power")
_INSERT = """
INSERT INTO objects (address, type, created_ns, expires_ns, size, packed, attributes, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (address) DO UPDATE SET expires_ns = excluded.expires_ns
WHERE expires_ns IS NOT NULL AND (excluded.expires_ns IS NULL OR excluded.expires_ns > expires_ns)
"""


class SqliteSoup:
    """A soup in the file at `path`, which is made if it is not there.

    max_bytes: the budget: what the database may take. The oldest objects make room. Beside it there is a log
        of some megabytes, as long as the file is written to.
    retention: seconds that objects are kept, by type; `default_retention` for all others. math.inf: for ever.
    index: attributes that are looked up by, such as "trace_id"; each costs a little at every put.
    durability: "process": what was put outlives the process, however it ends; "power": the machine's failure,
        too, at the price of an fsync for each transaction.
    busy_seconds: how long to wait for other processes that write.
    clock: nanoseconds since 1970.

    Raises DeclarationError; StorageError: the file cannot be opened, or is not a soup's; DamagedError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 1 << 30,
        retention: Mapping[str, float] | None = None,
        default_retention: float = 30 * DAY,
        index: Sequence[str] = (),
        durability: str = "process",
        busy_seconds: float = 5.0,
        registry: Registry | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if not isinstance(max_bytes, int) or max_bytes < 1 << 16:
            raise DeclarationError(f"the budget is a number of bytes, at least 65536, not {max_bytes!r}")
        if durability not in _DURABILITIES:
            raise DeclarationError(f"durability is one of {', '.join(_DURABILITIES)}, not {durability!r}")
        self._retention = Retention(retention, default_retention)
        self._indexed = tuple(check_name(name) for name in index)
        self._max_bytes = max_bytes
        self._clock = clock
        self._file = SoupFile(path, durability=durability, busy_seconds=busy_seconds)
        self.path = self._file.path
        if self._indexed:
            with self._file.write() as connection:
                for name in self._indexed:
                    connection.execute(index_sql(Name(name)))

    # ---- putting ----

    def put(
        self,
        content: bytes | Mapping[str, Any] | Sequence[Any],
        *,
        type: str,
        attributes: Mapping[str, Attribute] | None = None,
        ttl: float | None = None,
        created_ns: int | None = None,
    ) -> str:
        """As Soup has it."""
        new = NewObject(as_content(content), type, attributes or {}, created_ns, ttl)
        return self.put_many([new])[0]

    def put_many(self, objects: Iterable[NewObject]) -> list[str]:
        """As Soup has it."""
        rows = rows_of(objects, self._retention, self._clock)
        if rows:
            with self._file.write() as connection:
                connection.executemany(_INSERT, [(_raw(row.address), *row[1:]) for row in rows])
        return [row.address for row in rows]

    # ---- reading ----

    def get(self, address: str) -> bytes:
        """As Soup has it."""
        rows = self._file.rows(
            "SELECT size, packed, content FROM objects WHERE address = ?", [_raw(check_address(address))]
        )
        if not rows:
            raise NotFoundError(f"no object {address}")
        return content_from(address, *rows[0])

    def head(self, address: str) -> SoupObject:
        """As Soup has it."""
        rows = self._file.rows(
            f"SELECT {COLUMNS} FROM objects WHERE address = ?", [_raw(check_address(address))]
        )
        if not rows:
            raise NotFoundError(f"no object {address}")
        return _object(rows[0])

    def query(
        self,
        where: Condition | None = None,
        *,
        type: str | Sequence[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        order: str = "created",
        limit: int | None = None,
        after: str | None = None,
    ) -> Results:
        """As Soup has it."""
        wanted = self._wanted(where, type, since, until)
        by = Order.of(order)
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise DeclarationError(f"a limit is a number of objects, not {limit!r}")

        def fetch(key: tuple[Any, ...] | None, count: int) -> list[tuple[tuple[Any, ...], SoupObject]]:
            rows = self._file.rows(*select_page(wanted, by, key, count))
            return [((*reversed(row[8:]), row[2], row[7]), _object(row)) for row in rows]

        start = None if after is None else by.key(after)
        return Results(fetch, by.token, start=start, limit=limit, after=after)

    def count(
        self,
        where: Condition | None = None,
        *,
        type: str | Sequence[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> int:
        """As Soup has it."""
        return int(self._file.rows(*select_count(self._wanted(where, type, since, until)))[0][0])

    def _wanted(
        self,
        where: Condition | None,
        type: str | Sequence[str] | None,
        since: Moment | None,
        until: Moment | None,
    ) -> Wanted:
        now_ns = self._clock()
        return Wanted(
            None if where is None else check_condition(where),
            types_of(type),
            None if since is None else moment_ns(since, now_ns),
            None if until is None else moment_ns(until, now_ns),
            self._indexed,
        )

    def close(self) -> None:
        """As Soup has it."""
        self._file.close()


def types_of(type: str | Sequence[str] | None) -> tuple[str, ...]:
    """The types that a query is given, each once; empty: any. Raises DeclarationError."""
    if type is None:
        return ()
    names = (type,) if isinstance(type, str) else tuple(type)
    if not 1 <= len(names) <= 32:
        raise DeclarationError(f"a query is of 1 to 32 types, not {len(names)}")
    return tuple(dict.fromkeys(map(check_type, names)))


def _raw(address: str) -> bytes:
    return bytes.fromhex(address[7:])


def _object(row: Sequence[Any]) -> SoupObject:
    raw, type, created_ns, expires_ns, size, attributes, pinned, *_ = row
    address = f"sha256:{raw.hex()}"
    return SoupObject(
        address, type, created_ns, expires_ns, size, attributes_from(address, attributes), bool(pinned)
    )
