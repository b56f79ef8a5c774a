"""Where tests of soups keep them: every store, by name, so that one suite runs over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postgres import PostgresServer

from vaultscope import Registry
from vaultscope.core.soup import Soup
from vaultscope.soup import PostgresSoup, SqliteSoup

NOW_NS = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
SECOND = 1_000_000_000


@dataclass
class Clock:
    """A clock that stands still."""

    now_ns: int = NOW_NS

    def __call__(self) -> int:
        return self.now_ns

    def pass_by(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)


@dataclass
class Place:
    """One database. `open` gives a soup in it, as a process of its own would have it."""

    name: str
    make: Callable[..., Soup]
    clock: Clock = field(default_factory=Clock)
    registry: Registry = field(default_factory=Registry)
    stack: ExitStack = field(default_factory=ExitStack)

    def open(self, **options: Any) -> Soup:
        soup = self.make(**{"clock": self.clock, "registry": self.registry, **options})
        self.stack.callback(soup.close)
        return soup


@contextmanager
def sqlite_place(folder: Path) -> Iterator[Place]:
    """A file."""
    with ExitStack() as stack:
        yield Place("sqlite", lambda **options: SqliteSoup(folder / "a.soup", **options), stack=stack)


@contextmanager
def postgres_place(server: PostgresServer) -> Iterator[Place]:
    """A schema of a server's."""
    schema = server.new_schema()
    try:
        with ExitStack() as stack:
            conninfo = server.conninfo
            yield Place(
                "postgres", lambda **options: PostgresSoup(conninfo, schema=schema, **options), stack=stack
            )
    finally:
        server.ask(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
