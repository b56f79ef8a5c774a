"""The soup in a file of SQLite: nothing to install, nothing to run.

Any number of processes and threads may use the file. Writers take turns, in short transactions; readers hold
up nobody.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from vaultscope.core.audit_trail import testify
from vaultscope.core.registry import Registry
from vaultscope.core.soup import (
    DAY,
    Attribute,
    GcReport,
    Moment,
    NewObject,
    Results,
    SoupObject,
    SoupStats,
    TypeStats,
    as_content,
    check_address,
    check_pinner,
    check_types,
    moment_ns,
)
from vaultscope.core.soup_attributes import check_name
from vaultscope.core.soup_query import Condition, Name, check_condition
from vaultscope.edge.soup_file import SoupFile
from vaultscope.edge.soup_gc import SoupGc
from vaultscope.edge.soup_metrics import SoupMetrics
from vaultscope.edge.soup_rows import Retention, attributes_from, content_from, rows_of
from vaultscope.edge.soup_select import COLUMNS, Wanted, index_sql, select_count, select_page
from vaultscope.edge.soup_token import Order
from vaultscope.errors import DamagedError, DeclarationError, NotFoundError, StorageError

__all__ = ["SqliteSoup"]

_DURABILITIES = ("process", "power")
_INSERT = """
INSERT INTO objects (address, type, created_ns, expires_ns, size, packed, attributes, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (address) DO UPDATE SET
  expires_ns = max(expires_ns, excluded.expires_ns),  -- NULL if one is
  size = excluded.size, packed = excluded.packed, content = excluded.content
WHERE expires_ns IS NOT NULL AND (excluded.expires_ns IS NULL OR excluded.expires_ns > expires_ns)
   OR content IS NOT excluded.content OR size IS NOT excluded.size  -- it is damaged
"""
_BY_TYPE = """
SELECT type, count(*), sum(size), min(created_ns), max(created_ns) FROM objects GROUP BY type ORDER BY type
"""
_EVERYTHING = """
SELECT id, address, size, packed, attributes, content FROM objects WHERE id > ? ORDER BY id LIMIT 16
"""
_KINDS = ((bytes, str, int, int, int), (bytes, str, int, type(None), int))  # of a row's first columns
_ROW_BYTES = 300  # of a row and its entries in the indexes, beside content and attributes


class _NoRoomError(Exception):
    """Undoes a transaction."""


class SqliteSoup:
    """A soup in the file at `path`, which is made if it is not there.

    max_bytes: the budget: what the database may take. The oldest objects make room. Beside it there is a log
        of some megabytes, as long as the file is written to.
    retention: seconds that objects are kept, by type; `default_retention` for all others. math.inf: for ever.
    index: attributes that are looked up by, such as "trace_id", the most telling first; each costs a little
        at every put of an object that has it.
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
        self._indexed = tuple(map(check_name, index))
        self._max_bytes = max_bytes
        self._clock = clock
        self.path = os.path.abspath(os.fspath(path))
        self._metrics = SoupMetrics(registry, os.path.basename(self.path), self._size)
        self._file = SoupFile(
            self.path,
            durability=durability,
            busy_seconds=busy_seconds,
            failed=self._metrics.error,
            indexes=[index_sql(Name(name)) for name in self._indexed],
        )
        self._gc = SoupGc(self._file, max_bytes=max_bytes, clock=clock, counted=self._metrics.evicted)
        testify(
            "soup.opened",
            self.path,
            {
                "max_bytes": max_bytes,
                "retention": dict(retention or {}),
                "default_retention": default_retention,
            },
        )

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
        needed = sum([len(row.content) + len(row.attributes or "") for row in rows]) + _ROW_BYTES * len(rows)
        if needed > self._max_bytes:
            raise self._refused(f"{needed} bytes at once")
        self._file.make_way(needed)
        # Python's module asks its adapters about every value of some types, but not of these.
        stored = [
            (bytearray(row[0]), *row[1:5], int(row.packed), row.attributes, bytearray(row.content))
            for row in rows
        ]
        while rows and not self._insert(stored, needed):
            if not self._gc.make_room(needed):
                raise self._refused("all that is left is pinned")
        self._metrics.put(len(rows))
        return [row.address for row in rows]

    def _insert(self, stored: list[tuple[Any, ...]], needed: int) -> bool:
        """False: it was not done, since there would not have been room."""
        try:
            with self._file.write(needed) as connection:
                is_near = self._gc.is_near(needed)
                if is_near and not self._gc.has_room(connection, needed):
                    return False
                connection.executemany(_INSERT, stored)
                if is_near and not self._gc.has_room(connection):
                    raise _NoRoomError
        except _NoRoomError:
            return False
        return True

    def _refused(self, reason: str) -> StorageError:
        self._metrics.error("budget")
        return StorageError(f"{self.path}: no room in the budget of {self._max_bytes} bytes: {reason}")

    # ---- reading ----

    def get(self, address: str) -> bytes:
        """As Soup has it."""
        rows = self._file.rows(
            "SELECT size, packed, content FROM objects WHERE address = ?", [_raw(check_address(address))]
        )
        if not rows:
            raise NotFoundError(f"no object {address}")
        try:
            return content_from(address, *rows[0])
        except DamagedError:
            self._metrics.error("damaged")
            raise

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
            check_types(type),
            None if since is None else moment_ns(since, now_ns),
            None if until is None else moment_ns(until, now_ns),
            self._indexed,
        )

    # ---- keeping house ----

    def delete(self, address: str) -> bool:
        """As Soup has it."""
        raw = _raw(check_address(address))
        with self._file.write() as connection:
            connection.execute("DELETE FROM pins WHERE address = ?", [raw])
            is_done = connection.execute("DELETE FROM objects WHERE address = ?", [raw]).rowcount > 0
        if is_done:
            testify("soup.deleted", self.path, {"address": address})
        return is_done

    def pin(self, address: str, by: str) -> None:
        """As Soup has it."""
        raw = _raw(check_address(address))
        with self._file.write() as connection:
            if not connection.execute("SELECT 1 FROM objects WHERE address = ?", [raw]).fetchall():
                raise NotFoundError(f"no object {address}")
            connection.execute("INSERT OR IGNORE INTO pins VALUES (?, ?)", [raw, check_pinner(by)])
        testify("soup.pinned", self.path, {"address": address, "by": by})

    def unpin(self, address: str, by: str) -> None:
        """As Soup has it."""
        with self._file.write() as connection:
            connection.execute(
                "DELETE FROM pins WHERE address = ? AND by = ?",
                [_raw(check_address(address)), check_pinner(by)],
            )
        testify("soup.unpinned", self.path, {"address": address, "by": by})

    def gc(self, *, max_seconds: float | None = None) -> GcReport:
        """As Soup has it."""
        report = self._gc.run(max_seconds)
        self._metrics.collected()
        return report

    def stats(self) -> SoupStats:
        """As Soup has it."""
        rows = self._file.rows(_BY_TYPE)
        if not all(isinstance(value, int) for row in rows for value in row[1:]):
            raise DamagedError(f"{self.path}: damaged: a size or a time is no number")
        return SoupStats(
            objects=sum(row[1] for row in rows),
            bytes=self._size()[1],
            content_bytes=sum(row[2] for row in rows),
            by_type={row[0]: TypeStats(row[1], row[2]) for row in rows},
            oldest_ns=min((row[3] for row in rows), default=None),
            newest_ns=max((row[4] for row in rows), default=None),
            pinned=self._file.rows("SELECT count(DISTINCT address) FROM pins")[0][0],
            max_bytes=self._max_bytes,
        )

    def _size(self) -> tuple[int, int]:
        """Objects, and bytes of the file."""
        rows = self._file.rows("SELECT count(*) FROM objects")
        pages = self._file.rows("PRAGMA page_count")[0][0] * self._file.rows("PRAGMA page_size")[0][0]
        return rows[0][0], pages

    def verify(self) -> Iterator[str]:
        """As Soup has it. Raises DamagedError where the file itself is, and nothing behind can be read."""
        last = 0
        while rows := self._file.rows(_EVERYTHING, [last]):
            if rows[-1][0] <= last:  # it would go on for ever
                raise DamagedError(f"{self.path}: the order of the rows is damaged")
            for last, raw, size, packed, attributes, content in rows:
                # Whose address is damaged, too, is named by its row.
                address = f"sha256:{raw.hex()}" if isinstance(raw, bytes) else f"row {last}"
                try:
                    content_from(address, size, packed, content)
                    attributes_from(address, attributes)
                except DamagedError:
                    yield address

    def close(self) -> None:
        """As Soup has it."""
        self._metrics.close()
        self._file.close()


def _raw(address: str) -> bytes:
    return bytes.fromhex(address[7:])


def _object(row: Sequence[Any]) -> SoupObject:
    """Raises DamagedError for what no put has made."""
    if tuple(map(type, row[:5])) not in _KINDS:
        raise DamagedError(f"a row is damaged: {row!r:.200}")
    address = f"sha256:{row[0].hex()}"
    known = (row[1], row[2], row[3], row[4], attributes_from(address, row[5]), bool(row[6]))
    return SoupObject(address, *known)
