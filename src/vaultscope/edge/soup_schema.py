"""The tables of a soup in SQLite, and how a file is known to have them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from vaultscope.errors import StorageError

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "has_tables", "make_tables"]

APPLICATION_ID = 0x76736F75  # "vsou"
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE objects (
  id INTEGER PRIMARY KEY,
  address BLOB NOT NULL UNIQUE,
  type TEXT NOT NULL,
  created_ns INTEGER NOT NULL,
  expires_ns INTEGER,
  size INTEGER NOT NULL,
  packed INTEGER NOT NULL,
  attributes TEXT,
  content BLOB NOT NULL
);
CREATE INDEX objects_type ON objects (type, created_ns);
CREATE INDEX objects_created ON objects (created_ns);
CREATE INDEX objects_expires ON objects (expires_ns) WHERE expires_ns IS NOT NULL;
CREATE TABLE pins (address BLOB NOT NULL, by TEXT NOT NULL, PRIMARY KEY (address, by)) WITHOUT ROWID;
"""


def has_tables(connection: sqlite3.Connection, path: str) -> bool:
    """False: the file is empty. Raises StorageError for a file that is not a soup's, or a later one's."""
    # In this order: somebody may be making them.
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if tables == 0 == application:
        return False
    if application != APPLICATION_ID:
        raise StorageError(f"{path}: a database, but not a soup's")
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"{path}: a soup of version {version}; this vaultscope reads version {SCHEMA_VERSION}"
        )
    return True


def make_tables(connection: sqlite3.Connection, path: str, indexes: Sequence[str]) -> None:
    """Makes them in an empty file, and the indexes that are asked for if they are not there; within a
    transaction of the caller's. Raises as `has_tables`."""
    if not has_tables(connection, path):
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    for statement in indexes:
        connection.execute(statement)
