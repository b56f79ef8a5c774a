"""Conditions as SQL. Every piece is true or false, never NULL, so that `NOT` means what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from vaultscope.core.soup_query import (
    All,
    Any_,
    Compare,
    Condition,
    Contains,
    Exists,
    Like,
    Name,
    Not,
)

__all__ = ["Dialect", "Sql", "joined", "translate"]

Sql = tuple[str, list[Any]]
"""SQL, and what its placeholders stand for."""


class Dialect(Protocol):
    """How one database says the leaves of a condition."""

    def compare(self, name: Name, op: str, value: Any) -> Sql:
        """The value there is of the same kind, and the comparison holds."""

    def like(self, name: Name, pattern: str) -> Sql:
        """It is text, and matches."""

    def contains(self, name: Name, value: Any) -> Sql:
        """It is text with this in it, or a list with it among its items."""

    def exists(self, name: Name) -> Sql:
        """It is there."""


def translate(condition: Condition, dialect: Dialect) -> Sql:
    """The condition as SQL, in brackets where that is needed."""
    if isinstance(condition, (All, Any_)):
        word = " AND " if isinstance(condition, All) else " OR "
        text, values = joined(word, [translate(part, dialect) for part in condition.parts])
        return f"({text})", values
    if isinstance(condition, Not):
        text, values = translate(condition.part, dialect)
        return f"NOT ({text})", values
    if isinstance(condition, Compare):
        return dialect.compare(condition.name, condition.op, condition.value)
    if isinstance(condition, Like):
        return dialect.like(condition.name, condition.pattern)
    if isinstance(condition, Contains):
        return dialect.contains(condition.name, condition.value)
    assert isinstance(condition, Exists)
    return dialect.exists(condition.name)


def joined(word: str, parts: Sequence[Sql]) -> Sql:
    """The parts with a word between them."""
    return word.join(text for text, _ in parts), [each for _, values in parts for each in values]
