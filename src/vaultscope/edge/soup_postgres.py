"""The soup in a database of PostgreSQL, for fleets whose vaults share one.

Any number of vaults, processes and threads may use it. psycopg is loaded when the first one is made; the
extra `postgres` has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from vaultscope.core.soup_query import Condition, check_condition
from vaultscope.edge.soup_metrics import SoupMetrics
from vaultscope.edge.soup_postgres_gc import PostgresGc
from vaultscope.edge.soup_postgres_pool import PostgresPool
from vaultscope.edge.soup_postgres_schema import BATCH_ROWS, prepare_indexes, prepare_schema
from vaultscope.edge.soup_postgres_select import COLUMNS, plain_number, select_count, select_page
from vaultscope.edge.soup_rows import Retention, Row, attributes_from, content_from, rows_of
from vaultscope.edge.soup_select import Wanted
from vaultscope.edge.soup_token import Order
from vaultscope.errors import DamagedError, DeclarationError, NotFoundError, StorageError

if TYPE_CHECKING:
    from vaultscope.edge.soup_postgres_pool import Connection

__all__ = ["PostgresSoup"]

# Measured, of PostgreSQL 15: beside content and attributes, a row with its entries in the indexes; an entry
# in an index of an attribute; and what content in pieces takes more than its length and an eighth.
ROW_BYTES = 360
ATTRIBUTE_BYTES = 90
PIECES_BYTES = 900
BATCH_BYTES = 16 << 20  # of one statement
_LOOKS = 64  # so often it is looked whether there is room, while the budget is filled once
_LOOK_SECONDS = 0.5  # that a put spends on making room, if there is so much to delete
_PAGE_BYTES = 8 << 20  # of contents that are read at once to be verified

# By address, so that two who put the same objects never wait for each other.
_INSERT = """
WITH batch AS MATERIALIZED (SELECT nextval('batches') AS id)
INSERT INTO objects (id, address, type, created_ns, expires_ns, size, packed, attributes, stored, content)
SELECT (SELECT id FROM batch) * 1024 + place,
       address, type, created_ns, expires_ns, size, packed, attributes::jsonb, stored, content
FROM unnest(%b::bigint[], %b::bytea[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::boolean[],
            %b::text[], %b::bigint[], %b::bytea[])
  AS new (place, address, type, created_ns, expires_ns, size, packed, attributes, stored, content)
ON CONFLICT (address) DO UPDATE SET
  expires_ns = CASE WHEN objects.expires_ns > excluded.expires_ns THEN objects.expires_ns
                    WHEN objects.expires_ns IS NOT NULL THEN excluded.expires_ns END,
  size = excluded.size, packed = excluded.packed, stored = excluded.stored, content = excluded.content
WHERE objects.expires_ns IS NOT NULL
  AND (excluded.expires_ns IS NULL OR excluded.expires_ns > objects.expires_ns)
   OR objects.content <> excluded.content OR objects.size <> excluded.size  -- it is damaged
"""
_BY_TYPE = """
SELECT type, count(*), sum(size)::bigint FROM objects GROUP BY type ORDER BY type
"""
_STATS = """
SELECT min(created_ns), max(created_ns), (SELECT count(*) FROM objects WHERE is_pinned),
       pg_total_relation_size('objects')
FROM objects
"""
_PIN = """
UPDATE objects SET pins = CASE WHEN %s::text = ANY(pins) THEN pins ELSE array_append(pins, %s::text) END
WHERE address = %s::bytea RETURNING true
"""
_UNPIN = """
UPDATE objects SET pins = nullif(array_remove(pins, %s::text), '{}')
WHERE address = %s::bytea AND %s::text = ANY(pins) RETURNING true
"""
_DELETE = "DELETE FROM objects WHERE address = %s::bytea RETURNING true"
_SIZES = "SELECT address, stored FROM objects WHERE address > %s::bytea ORDER BY address LIMIT 1024"
_CONTENTS = """
SELECT address, size, packed, attributes::text, content
FROM objects WHERE address = ANY(%s::bytea[]) ORDER BY address
"""


class PostgresSoup:
    """A soup in the database that `conninfo` names: "postgresql://user@host/database?sslmode=verify-full", or
    "host=... dbname=...". Its tables are made if they are not there.

    What was put is as durable as the server makes it (`synchronous_commit`), and it is the server that says
    who may. A connection must be one's own: PgBouncer, where it is used, in its session mode.

    schema: where its tables are; several soups can share a database.
    max_bytes: the budget, about: what its rows may take. The oldest objects make room. Each process looks
        when it has put a 64th of it.
    retention: seconds that objects are kept, by type; `default_retention` for all others. math.inf: for ever.
    index: attributes that are looked up by, such as "trace_id"; each costs a little at every put. One that is
        new is indexed here and now, while others read and write.
    connections_max: at a time; who finds none waits.
    statement_seconds: how long the server may work for one statement, and how long to wait for a connection.
    clock: nanoseconds since 1970.

    Raises DeclarationError; StorageError: there is no such database, or nothing can be put there;
    ModuleNotFoundError: there is no psycopg.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        schema: str = "vaultscope",
        max_bytes: int = 1 << 30,
        retention: Mapping[str, float] | None = None,
        default_retention: float = 30 * DAY,
        index: Sequence[str] = (),
        connections_max: int = 8,
        statement_seconds: float = 30.0,
        registry: Registry | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if not isinstance(max_bytes, int) or max_bytes < 1 << 16:
            raise DeclarationError(f"the budget is a number of bytes, at least 65536, not {max_bytes!r}")
        if not isinstance(connections_max, int) or connections_max < 1:
            raise DeclarationError(f"connections are at least 1, not {connections_max!r}")
        if not 0.001 <= statement_seconds <= 86_400:
            raise DeclarationError(f"a statement has 0.001 to 86400 seconds, not {statement_seconds!r}")
        self._retention = Retention(retention, default_retention)
        self._indexed = tuple(map(check_name, index))
        self._max_bytes = max_bytes
        self._clock = clock
        self._known_size = (0, 0)
        self._unseen_bytes = max_bytes  # put since it was last looked: so the first put looks
        self._pool = PostgresPool(
            conninfo,
            schema=_checked_schema(schema),
            connections_max=connections_max,
            statement_seconds=statement_seconds,
            failed=self._failed,
        )
        self._metrics: SoupMetrics | None = None
        try:
            prepare_schema(self._pool, schema)
            prepare_indexes(self._pool, schema, self._indexed)
        except BaseException:
            self._pool.close()
            raise
        self.path = f"{self._pool.database}.{schema}"
        """What it is called in metrics."""
        self._metrics = SoupMetrics(registry, self.path, self._size)
        self._gc = PostgresGc(
            self._pool, max_bytes=max_bytes, clock=clock, counted=self._metrics.evicted, sized=self._sized
        )
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
        if not rows:
            return []
        self._make_room(sum(map(self._stored_bytes, rows)))
        batches = [self._columns(batch) for batch in _batches(_distinct(rows))]

        def insert(connection: Connection) -> None:
            for columns in batches:
                connection.execute(_INSERT, columns)

        self._pool.run(insert)
        self._counts.put(len(rows))
        return [row.address for row in rows]

    def _columns(self, batch: list[Row]) -> list[list[Any]]:
        """The arrays of the statement, by address."""
        rows = [
            (
                place, _raw(row.address), row.type, row.created_ns, row.expires_ns, row.size, row.packed,
                row.attributes or "{}", self._stored_bytes(row), row.content,
            )
            for place, row in sorted(enumerate(batch), key=lambda each: each[1].address)
        ]  # fmt: skip
        return [list(column) for column in zip(*rows, strict=True)]

    def _stored_bytes(self, row: Row) -> int:
        """About what the row takes. Content of more than two kilobytes is kept in pieces."""
        content = len(row.content)
        pieces = content // 8 + PIECES_BYTES if content > 2000 else 0
        indexes = ATTRIBUTE_BYTES * len(self._indexed)
        return content + pieces + len(row.attributes or "") + ROW_BYTES + indexes

    def _make_room(self, needed: int) -> None:
        """Looks, now and then, whether there is room for so many bytes. Raises StorageError."""
        if needed > self._max_bytes:
            raise self._refused(f"{needed} bytes at once")
        self._unseen_bytes += needed
        if self._unseen_bytes < self._max_bytes // _LOOKS:
            return
        report = self._gc.run(_LOOK_SECONDS, more_bytes=needed)
        self._unseen_bytes = 0 if report.complete else self._max_bytes  # then the next put looks again
        if self._gc.pinned_bytes + needed > self._max_bytes:
            raise self._refused("all that is left is pinned")

    def _refused(self, reason: str) -> StorageError:
        self._counts.error("budget")
        return StorageError(f"{self._pool.name}: no room in the budget of {self._max_bytes} bytes: {reason}")

    # ---- reading ----

    def get(self, address: str) -> bytes:
        """As Soup has it."""
        raw = _raw(check_address(address))
        rows = self._pool.rows("SELECT size, packed, content FROM objects WHERE address = %s::bytea", [raw])
        if not rows:
            raise NotFoundError(f"no object {address}")
        try:
            return content_from(address, *rows[0])
        except DamagedError:
            self._counts.error("damaged")
            raise

    def head(self, address: str) -> SoupObject:
        """As Soup has it."""
        raw = _raw(check_address(address))
        rows = self._pool.rows(f"SELECT {COLUMNS} FROM objects WHERE address = %s::bytea", [raw])
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
            return self._page(wanted, by, key, count)

        start = None if after is None else by.key(after)
        return Results(fetch, by.token, start=start, limit=limit, after=after)

    def _page(
        self, wanted: Wanted, order: Order, key: tuple[Any, ...] | None, count: int
    ) -> list[tuple[tuple[Any, ...], SoupObject]]:
        """Numbers come before text; backwards, text before numbers."""
        passes = [False] if order.name is None else [order.is_backwards, not order.is_backwards]
        if key is not None and order.name is not None and isinstance(key[0], str) != passes[0]:
            passes = passes[1:]
        found: list[Any] = []
        for of_text in passes:
            is_within = key is not None and (order.name is None or isinstance(key[0], str) == of_text)
            select = select_page(
                wanted, order, key if is_within else None, count - len(found), of_text=of_text
            )
            if select is not None and len(found) < count:
                found += self._pool.rows(*select)
        return [((*map(plain_number, row[8:]), row[2], row[7]), _object(row)) for row in found]

    def count(
        self,
        where: Condition | None = None,
        *,
        type: str | Sequence[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> int:
        """As Soup has it."""
        return int(self._pool.rows(*select_count(self._wanted(where, type, since, until)))[0][0])

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
        is_done = bool(self._pool.rows(_DELETE, [_raw(check_address(address))]))
        if is_done:
            testify("soup.deleted", self.path, {"address": address})
        return is_done

    def pin(self, address: str, by: str) -> None:
        """As Soup has it."""
        raw, by = _raw(check_address(address)), check_pinner(by)
        if not self._pool.rows(_PIN, [by, by, raw]):
            raise NotFoundError(f"no object {address}")
        testify("soup.pinned", self.path, {"address": address, "by": by})

    def unpin(self, address: str, by: str) -> None:
        """As Soup has it."""
        raw, by = _raw(check_address(address)), check_pinner(by)
        self._pool.rows(_UNPIN, [by, raw, by])
        testify("soup.unpinned", self.path, {"address": address, "by": by})

    def gc(self, *, max_seconds: float | None = None) -> GcReport:
        """As Soup has it; `freed_bytes` are those of rows, whose room the server keeps for new ones."""
        report = self._gc.run(max_seconds)
        self._counts.collected()
        return report

    def stats(self) -> SoupStats:
        """As Soup has it; `bytes` are those of the server's files, with room for new rows."""
        rows = self._pool.rows(_BY_TYPE)
        oldest_ns, newest_ns, pinned, size = self._pool.rows(_STATS)[0]
        return SoupStats(
            objects=sum(row[1] for row in rows),
            bytes=size,
            content_bytes=sum(row[2] for row in rows),
            by_type={row[0]: TypeStats(row[1], row[2]) for row in rows},
            oldest_ns=oldest_ns,
            newest_ns=newest_ns,
            pinned=pinned,
            max_bytes=self._max_bytes,
        )

    def verify(self) -> Iterator[str]:
        """As Soup has it."""
        last = b""
        while sizes := self._pool.rows(_SIZES, [last]):
            last = sizes[-1][0]
            group: list[bytes] = []
            total = 0
            for raw, stored in sizes:
                group.append(raw)
                total += stored
                if total >= _PAGE_BYTES:
                    yield from self._damaged(group)
                    group, total = [], 0
            yield from self._damaged(group)

    def _damaged(self, group: list[bytes]) -> Iterator[str]:
        for raw, size, packed, attributes, content in self._pool.rows(_CONTENTS, [group]) if group else ():
            address = f"sha256:{raw.hex()}"
            try:
                content_from(address, size, packed, content)
                attributes_from(address, attributes)
            except DamagedError:
                yield address

    def close(self) -> None:
        """As Soup has it."""
        self._counts.close()
        self._pool.close()

    # ---- figures ----

    @property
    def _counts(self) -> SoupMetrics:
        assert self._metrics is not None  # it is there when the soup is
        return self._metrics

    def _failed(self) -> None:
        if self._metrics is not None:
            self._metrics.error("database")

    def _sized(self, objects: int, size: int) -> None:
        self._known_size = (objects, size)

    def _size(self) -> tuple[int, int]:
        """As it was last looked: a scrape does not wait for a server."""
        return self._known_size


def _checked_schema(name: object) -> str:
    if isinstance(name, str) and 1 <= len(name.encode(errors="replace")) <= 63 and name.isprintable():
        return name
    raise DeclarationError(f"a schema is named by 1 to 63 bytes of printable characters, not {name!r:.200}")


def _distinct(rows: Iterable[Row]) -> list[Row]:
    """Each address once: the first one's row, the last one's expiry."""
    found: dict[str, Row] = {}
    for row in rows:
        first = found.setdefault(row.address, row)
        if first.expires_ns is not None and (row.expires_ns is None or row.expires_ns > first.expires_ns):
            found[row.address] = first._replace(expires_ns=row.expires_ns)
    return list(found.values())


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """What one statement takes each."""
    batch: list[Row] = []
    total = 0
    for row in rows:
        if batch and (len(batch) == BATCH_ROWS or total + len(row.content) > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(row)
        total += len(row.content)
    yield batch


def _raw(address: str) -> bytes:
    return bytes.fromhex(address[7:])


def _object(row: Sequence[Any]) -> SoupObject:
    address = f"sha256:{row[0].hex()}"
    found = attributes_from(address, row[5])
    attributes = {name: _as_put(found[name]) for name in sorted(found)}
    return SoupObject(address, row[1], row[2], row[3], row[4], attributes, row[6])


def _as_put(value: Any) -> Any:
    """A decimal writes out 1e300, which reads as an integer then; beyond 64 bits there are only floats."""
    if isinstance(value, tuple):
        return tuple(map(_as_put, value))
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return float(value)
    return value
