"""The SELECT statements of a soup in SQLite: which index finds what is asked for."""

from __future__ import annotations

from collections.abc import Sequence
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

    indexed: attributes that have an index.
    """

    where: Condition | None
    types: Sequence[str]
    since_ns: int | None
    until_ns: int | None
    indexed: Sequence[str] = ()


def index_sql(name: Name) -> str:
    """Creates the index of an attribute: for equality, and for both orders."""
    value = _DIALECT.value(name)
    return (
        f"CREATE INDEX IF NOT EXISTS {_index(name)} ON objects ({value}, created_ns) "
        f"WHERE {value} IS NOT NULL"
    )


def _index(name: Name) -> str:
    return '"attribute {}"'.format(name.text.replace('"', '""'))


def select_page(wanted: Wanted, order: Order, key: tuple[Any, ...] | None, limit: int) -> Sql:
    """Rows of COLUMNS, then id, then the attribute that they are sorted by, if there is one: so many of those
    behind `key`, which is what they are sorted by.

    They are merged of what several statements find, each of which reads an index in its order, and no more
    than it gives: one for each type, and for each way to be behind the key. (A comparison of pairs would have
    SQLite look at all objects of the key's moment again.)
    """
    by = _sorted_by(order)
    behind = [[]] if key is None else _behind(by, key, "<" if order.is_backwards else ">")
    types = wanted.types or (None,)
    selects = [_select_one(wanted, each, order, parts, limit) for each in types for parts in behind]
    if len(selects) == 1:
        return selects[0]
    text, values = joined(" UNION ALL ", [(f"SELECT * FROM ({one})", values) for one, values in selects])
    columns = ["created_ns", "id"] if order.name is None else ["sort_key", "created_ns", "id"]
    return f"{text} {_order_by(columns, order)} LIMIT ?", [*values, limit]


def select_count(wanted: Wanted) -> Sql:
    """How many there are."""
    types = ", ".join("?" * len(wanted.types))
    parts: list[Sql] = [(f"type IN ({types})", list(wanted.types))] if wanted.types else []
    return _with(f"SELECT count(*) FROM {_table(wanted)}", [*parts, *_conditions(wanted)])


def _sorted_by(order: Order) -> list[str]:
    return [*([] if order.name is None else [_DIALECT.value(order.name)]), "created_ns", "id"]


def _behind(by: Sequence[str], key: Sequence[Any], sign: str) -> list[list[Sql]]:
    """The ways to be behind a key: the last of it differs, or the one before, or so on."""
    ways = []
    for last in reversed(range(len(by))):
        parts = []
        for position in range(last + 1):
            text, values = constant(key[position])
            parts.append((f"{by[position]} {sign if position == last else '='} {text}", values))
        ways.append(parts)
    return ways


def _select_one(wanted: Wanted, type: str | None, order: Order, behind: Sequence[Sql], limit: int) -> Sql:
    extra = ""
    parts = [*_conditions(wanted), *behind]
    if order.name is not None:
        value, kind = _DIALECT.value(order.name), _DIALECT.kind(order.name)
        extra = f", {value} AS sort_key"
        parts += [(f"{value} IS NOT NULL", []), (f"{kind} IN ('integer', 'real', 'text')", [])]
    if type is not None:
        parts.insert(0, ("type = ?", [type]))
    text, values = _with(f"SELECT {COLUMNS}, id{extra} FROM {_table(wanted, order)}", parts)
    return f"{text} {_order_by(_sorted_by(order), order)} LIMIT ?", [*values, limit]


def _order_by(columns: Sequence[str], order: Order) -> str:
    direction = " DESC" if order.is_backwards else ""
    return "ORDER BY " + ", ".join(column + direction for column in columns)


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


def _table(wanted: Wanted, order: Order | None = None) -> str:
    """The table, and the index of an attribute if there is one that helps. SQLite would have to guess, and
    take that of the type for the better one. Of several, it is the one that was declared first."""
    parts = wanted.where.parts if isinstance(wanted.where, All) else (wanted.where,)
    found = [
        part.name.text
        for part in parts
        if isinstance(part, Compare) and part.op == "=" and not part.name.is_field
        if part.value is not None and not isinstance(part.value, bool)  # those ask for the kind only
    ]
    for text in wanted.indexed:
        if text in found:
            return f"objects INDEXED BY {_index(Name(text))}"
    name = None if order is None else order.name
    if name is not None and not name.is_field and name.text in wanted.indexed:
        return f"objects INDEXED BY {_index(name)}"
    return "objects"
