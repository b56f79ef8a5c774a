"""The SELECT statements of a soup in SQLite: which index finds what is asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from vaultscope.core.soup_query import All, Compare, Condition, Name
from vaultscope.edge.soup_sql import Sql, joined, translate
from vaultscope.edge.soup_sqlite_sql import SqliteDialect, constant
from vaultscope.edge.soup_token import Order

__all__ = ["COLUMNS", "Wanted", "index_sql", "select_count", "select_page"]

COLUMNS = (
    "address, type, created_ns, expires_ns, size, attributes, "
    "EXISTS (SELECT 1 FROM pins WHERE pins.address = objects.address) AS pinned"
)
_DIALECT = SqliteDialect()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a query asks for. types empty: any; since_ns and until_ns None: no bound.

    indexed: names that have an index.
    """

    where: Condition | None
    types: Sequence[str]
    since_ns: int | None
    until_ns: int | None
    indexed: Collection[str] = ()


def index_sql(name: Name) -> str:
    """Creates the index of an attribute: for equality, and for both orders."""
    value = _DIALECT.value(name)
    label = name.text.replace('"', '""')
    return (
        f'CREATE INDEX IF NOT EXISTS "attribute {label}" ON objects ({value}, created_ns) '
        f"WHERE {value} IS NOT NULL"
    )


def select_page(wanted: Wanted, order: Order, key: tuple[Any, ...] | None, limit: int) -> Sql:
    """Rows of COLUMNS and, last, the key that they are sorted by; those behind `key`. Of several types, the
    first so many of each are merged: each is read in the order of its index."""
    types = wanted.types or (None,)
    selects = [_select_one(wanted, name, order, key, limit) for name in types]
    if len(selects) == 1:
        return selects[0]
    text, values = joined(" UNION ALL ", [(f"SELECT * FROM ({one})", values) for one, values in selects])
    columns = ["created_ns", "id"] if order.name is None else ["sort_key", "created_ns", "id"]
    direction = " DESC" if order.is_backwards else ""
    by = ", ".join(column + direction for column in columns)
    return f"{text} ORDER BY {by} LIMIT ?", [*values, limit]


def select_count(wanted: Wanted) -> Sql:
    """How many there are."""
    types = ", ".join("?" * len(wanted.types))
    sign = "+" if _is_by_attribute(wanted) else ""
    parts: list[Sql] = [(f"{sign}type IN ({types})", list(wanted.types))] if wanted.types else []
    return _with("SELECT count(*) FROM objects", [*parts, *_conditions(wanted)])


def _select_one(
    wanted: Wanted, type: str | None, order: Order, key: tuple[Any, ...] | None, limit: int
) -> Sql:
    by = ["created_ns", "id"]
    extra = ""
    parts = _conditions(wanted)
    is_by_attribute = _is_by_attribute(wanted)
    if order.name is not None:
        value, kind = _DIALECT.value(order.name), _DIALECT.kind(order.name)
        by.insert(0, value)
        extra = f", {value} AS sort_key"
        parts += [(f"{value} IS NOT NULL", []), (f"{kind} IN ('integer', 'real', 'text')", [])]
        is_by_attribute = is_by_attribute or _is_indexed(order.name, wanted)
    if type is not None:
        # An index of an attribute is the better one, which SQLite would not guess: "+" hides the other.
        parts.insert(0, ("+type = ?" if is_by_attribute else "type = ?", [type]))
    if key is not None:
        signs, behind = joined(", ", [constant(each) for each in key])
        parts.append((f"({', '.join(by)}) {'<' if order.is_backwards else '>'} ({signs})", behind))
    text, values = _with(f"SELECT {COLUMNS}, id{extra} FROM objects", parts)
    direction = " DESC" if order.is_backwards else ""
    return f"{text} ORDER BY {', '.join(each + direction for each in by)} LIMIT ?", [*values, limit]


def _with(select: str, parts: Sequence[Sql]) -> Sql:
    if not parts:
        return select, []
    where, values = joined(" AND ", parts)
    return f"{select} WHERE {where}", values


def _conditions(wanted: Wanted) -> list[Sql]:
    parts: list[Sql] = []
    if wanted.since_ns is not None:
        parts.append(("created_ns >= ?", [wanted.since_ns]))
    if wanted.until_ns is not None:
        parts.append(("created_ns < ?", [wanted.until_ns]))
    if wanted.where is not None:
        parts.append(translate(wanted.where, _DIALECT))
    return parts


def _is_by_attribute(wanted: Wanted) -> bool:
    """Whether an index of an attribute, or the address, says which few objects it can be."""
    parts = wanted.where.parts if isinstance(wanted.where, All) else (wanted.where,)
    return any(
        isinstance(part, Compare)
        and part.op == "="
        and (_is_indexed(part.name, wanted) or part.name == Name("address", True))
        for part in parts
    )


def _is_indexed(name: Name, wanted: Wanted) -> bool:
    return not name.is_field and name.text in wanted.indexed
