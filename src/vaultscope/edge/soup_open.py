"""The soup that a user names: the path of a file, or the URL of a database."""

from __future__ import annotations

import errno
import os
import re
from urllib.parse import urlsplit, urlunsplit

from vaultscope.core.registry import Registry
from vaultscope.core.soup import Soup
from vaultscope.errors import StorageError

__all__ = ["SQLITE_MAGIC", "is_url", "open_soup", "public_name"]

SQLITE_MAGIC = b"SQLite format 3\0"
_WAL_HEADER = SQLITE_MAGIC + b"\x10\0\2"  # the page's size, then how it is written
BUDGET_MAX = 1 << 62  # as good as none
_URL = re.compile(r"postgres(ql)?://", re.IGNORECASE)
_SECRET = re.compile(r"((?:^|&)(?:ssl)?password=)[^&]*", re.IGNORECASE)


def is_url(name: str) -> bool:
    """Whether it names a database of PostgreSQL."""
    return _URL.match(name) is not None


def public_name(name: str) -> str:
    """The name without the password that an URL may have."""
    if not is_url(name):
        return name
    try:
        parts = urlsplit(name)
    except ValueError:
        return "postgresql://..."
    user, at, host = parts.netloc.rpartition("@")
    shown = parts._replace(
        netloc=user.partition(":")[0] + at + host, query=_SECRET.sub(r"\1...", parts.query)
    )
    return urlunsplit(shown)


def open_soup(name: str, *, max_bytes: int | None = None) -> Soup:
    """The soup of that name, which is there: none is made.

    max_bytes: its budget; None: none. Its figures are in a registry of their own.

    Raises OSError: there is no such file; StorageError: it is no soup, or cannot be reached;
    DeclarationError; ModuleNotFoundError: psycopg is missing.
    """
    budget = BUDGET_MAX if max_bytes is None else max_bytes
    if is_url(name):
        from vaultscope.edge.soup_postgres import PostgresSoup

        return PostgresSoup(name, max_bytes=budget, registry=Registry())
    from vaultscope.edge.soup_sqlite import SqliteSoup

    if os.path.isdir(name):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    with open(name, "rb") as file:
        header = file.read(len(_WAL_HEADER))
    # A database without a write-ahead log would get one by being opened, and be refused only then.
    if not header.startswith(SQLITE_MAGIC) or header[-1] != _WAL_HEADER[-1]:
        raise StorageError(f"{name}: no soup")
    return SqliteSoup(name, max_bytes=budget, registry=Registry())
