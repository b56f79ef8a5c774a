"""The tables of a soup in PostgreSQL, made by whoever comes first.

Address, content and type are as in every soup. id: in the order in which objects were put by one vault; the
number of a batch times 1024, and the place in it. stored: about the bytes that the row takes, with its index
entries and the content as it is kept. pins: who wants it kept, NULL if nobody does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from zlib import crc32

from vaultscope.core.soup_query import Name
from vaultscope.edge.soup_postgres_pool import PostgresPool
from vaultscope.edge.soup_postgres_sql import index_expressions
from vaultscope.errors import StorageError

if TYPE_CHECKING:
    from vaultscope.edge.soup_postgres_pool import Connection

__all__ = ["BATCH_ROWS", "prepare_indexes", "prepare_schema"]

SCHEMA_VERSION = 1
BATCH_ROWS = 1024
_LOCK = 0x76736F75  # "vsou"

_TABLES = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE SEQUENCE batches;
CREATE TABLE objects (
  id bigint NOT NULL,
  created_ns bigint NOT NULL,
  expires_ns bigint,
  size integer NOT NULL,
  stored integer NOT NULL,
  packed boolean NOT NULL,
  is_pinned boolean NOT NULL GENERATED ALWAYS AS (pins IS NOT NULL) STORED,
  type text COLLATE "C" NOT NULL,
  address bytea NOT NULL,
  pins text[] COLLATE "C",
  attributes jsonb NOT NULL,
  content bytea NOT NULL,
  CONSTRAINT objects_address UNIQUE (address)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE objects ALTER content SET STORAGE EXTERNAL;
CREATE INDEX objects_type ON objects (type, (created_ns + 0), id) INCLUDE (size);
CREATE INDEX objects_created ON objects (created_ns, id) INCLUDE (stored, is_pinned);
CREATE INDEX objects_expires ON objects (expires_ns) WHERE expires_ns IS NOT NULL AND NOT is_pinned;
CREATE TABLE about (version integer NOT NULL);
INSERT INTO about VALUES ({version});
"""
_VERSION = "SELECT version FROM about"
# Asks the catalogue itself: what a session has cached of it may be older than a lock that it waited for.
_IS_THERE = """
SELECT EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
               WHERE nspname = %s::text AND relname = 'about')
"""
_IS_VALID = """
SELECT indisvalid
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = %s::text AND relname = %s::text
"""


def prepare_schema(pool: PostgresPool, schema: str) -> None:
    """Makes the tables if they are not there. Raises StorageError: they are another version's, or cannot be
    made."""
    if not pool.rows(_IS_THERE, [schema])[0][0]:
        pool.run(lambda connection: _create(connection, schema))
    versions = [row[0] for row in pool.rows(_VERSION)]
    if versions != [SCHEMA_VERSION]:
        found = ", ".join(map(str, versions)) or "none"
        raise StorageError(
            f"{pool.name}: a soup of version {found}, which this vaultscope ({SCHEMA_VERSION}) cannot read"
        )


def _create(connection: Connection, schema: str) -> None:
    from psycopg import sql

    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    if connection.execute(_IS_THERE, [schema]).fetchall()[0][0]:
        return  # another one was faster
    connection.execute(
        sql.SQL(_TABLES).format(schema=sql.Identifier(schema), version=sql.Literal(SCHEMA_VERSION))
    )


def prepare_indexes(pool: PostgresPool, schema: str, attributes: Sequence[str]) -> None:
    """Makes the indexes of attributes that are not there. Others read and write meanwhile, however long it
    takes. If another vault is just making indexes, that is left to it. Raises StorageError."""
    for attribute in attributes:
        for kind, (expression, names) in zip(
            ("number", "text"), index_expressions(Name(attribute)), strict=True
        ):
            name = _index_name(kind, attribute)
            if pool.rows(_IS_VALID, [schema, name]) != [(True,)]:
                _create_index(pool, schema, name, expression, names)


def _create_index(pool: PostgresPool, schema: str, name: str, expression: str, names: list[Any]) -> None:
    from psycopg import sql

    with pool.borrowed() as connection, _alone(connection) as is_alone:
        valid = connection.execute(_IS_VALID, [schema, name]).fetchall()
        if not is_alone or valid == [(True,)]:
            return
        if valid:  # whoever began it did not end it
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(name)))
        value = sql.SQL(expression.replace("%s", "{}")).format(*map(sql.Literal, names))
        connection.execute(
            sql.SQL(
                "CREATE INDEX CONCURRENTLY {} ON objects ({}, created_ns, id) WHERE {} IS NOT NULL"
            ).format(sql.Identifier(name), value, value)
        )


@contextmanager
def _alone(connection: Connection) -> Iterator[bool]:
    """Whether nobody else makes indexes meanwhile; without a limit of time."""
    if not connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchall()[0][0]:
        yield False
        return
    limit = connection.execute("SELECT current_setting('statement_timeout')").fetchall()[0][0]
    try:
        connection.execute("SET statement_timeout = 0")
        yield True
    finally:
        if not connection.closed:
            connection.execute("SELECT set_config('statement_timeout', %s, false)", [limit])
            connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _index_name(kind: str, attribute: str) -> str:
    """PostgreSQL cuts names at 63 bytes; a longer one gets a number in place of its end."""
    name = f"{kind} {attribute}"
    if len(name.encode()) <= 63:
        return name
    return f"{name.encode()[:50].decode(errors='ignore')} {crc32(name.encode()):08x}"
