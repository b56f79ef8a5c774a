"""The SELECT statements of a soup in PostgreSQL, written so that an index finds what is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from vaultscope.core.soup_query import All, Compare
from vaultscope.edge.soup_postgres_sql import PREFIX, PostgresDialect, number, number_constant, prefix, text
from vaultscope.edge.soup_select import Wanted
from vaultscope.edge.soup_sql import Sql, joined, translate
from vaultscope.edge.soup_token import Order

__all__ = ["COLUMNS", "plain_number", "select_count", "select_page"]

COLUMNS = "address, type, created_ns, expires_ns, size, attributes::text, is_pinned, id"
_CREATED = "created_ns"
# The same to everybody but the planner, and what the index by type has: who asks for a type must not be led
# through everything that is older, as may seem short where types come and go.
_CREATED_OF_TYPE = "(created_ns + 0)"
_DIALECT = PostgresDialect()

Key = tuple[Any, ...]


def select_count(wanted: Wanted) -> Sql:
    """How many there are."""
    if not wanted.types:
        return _with("SELECT count(*) FROM objects", _conditions(wanted, _CREATED))
    created = _CREATED if _is_by_attribute(wanted) else _CREATED_OF_TYPE
    of_types: Sql = ("type = ANY(%s::text[])", [list(wanted.types)])
    return _with("SELECT count(*) FROM objects", [of_types, *_conditions(wanted, created)])


def select_page(
    wanted: Wanted, order: Order, key: Key | None, limit: int, *, of_text: bool = False
) -> Sql | None:
    """Rows of COLUMNS and, unless they are in the order of creation, of what they are sorted by; those behind
    `key`. Of several types, the first so many of each are merged: each is read in the order of its index.

    of_text: in another order, those that have text there; else those with a number. None: there are none.
    """
    value = None
    if order.name is not None:
        value = text(order.name) if of_text else number(order.name)
        if value is None:
            return None
    selects = [_select_one(wanted, name, order, value, key, limit) for name in wanted.types or (None,)]
    if len(selects) == 1:
        return selects[0]
    sql, values = joined(" UNION ALL ", [(f"({one})", values) for one, values in selects])
    columns: list[Sql] = [(each, []) for each in (["sort_key"] if value else []) + [_CREATED, "id"]]
    sorting, _ = _sorting(columns, order)
    return f"SELECT * FROM ({sql}) AS found ORDER BY {sorting} LIMIT %s", [*values, limit]


def _select_one(
    wanted: Wanted, type: str | None, order: Order, value: Sql | None, key: Key | None, limit: int
) -> Sql:
    is_by_type = type is not None and value is None and not _is_by_attribute(wanted)
    created = _CREATED_OF_TYPE if is_by_type else _CREATED
    parts = _conditions(wanted, created)
    if type is not None:
        parts.insert(0, ("type = %s::text", [type]))
    columns: list[Sql] = [(created, []), ("id", [])]
    found: Sql = (COLUMNS, [])
    if value is not None:
        columns.insert(0, value)
        found = (f"{COLUMNS}, {value[0]} AS sort_key", value[1])
        parts.append((f"{value[0]} IS NOT NULL", value[1]))
    if key is not None:
        parts.append(_behind(columns, order, key))
    if order.name is not None and not order.name.is_field and value == text(order.name):
        # The index has but the beginnings of texts; level ones are put in order behind it.
        beginning, name = prefix(order.name)
        columns.insert(0, (beginning, name))
        parts.append((f"{beginning} IS NOT NULL", name))
        if key is not None:
            sign = "<=" if order.is_backwards else ">="
            parts.append((f"{beginning} {sign} %s::text", [*name, key[0][:PREFIX]]))
    sorting, sorting_values = _sorting(columns, order)
    sql, values = _with(f"SELECT {found[0]} FROM objects", parts)
    return f"{sql} ORDER BY {sorting} LIMIT %s", [*found[1], *values, *sorting_values, limit]


def _behind(columns: Sequence[Sql], order: Order, key: Key) -> Sql:
    constants = [("%s::text", [each]) if isinstance(each, str) else number_constant(each) for each in key]
    left, names = joined(", ", columns)
    right, values = joined(", ", constants)
    return f"({left}) {'<' if order.is_backwards else '>'} ({right})", [*names, *values]


def _sorting(columns: Sequence[Sql], order: Order) -> Sql:
    direction = " DESC" if order.is_backwards else ""
    return joined(", ", [(column + direction, values) for column, values in columns])


def _is_by_attribute(wanted: Wanted) -> bool:
    """Whether an index of an attribute says which few objects it can be. The planner would not guess how few:
    it keeps no statistics of indexes that leave out what lacks the attribute."""
    parts = wanted.where.parts if isinstance(wanted.where, All) else (wanted.where,)
    return any(
        isinstance(part, Compare)
        and part.op == "="
        and not part.name.is_field
        and part.name.text in wanted.indexed
        for part in parts
    )


def _with(select: str, parts: Sequence[Sql]) -> Sql:
    if not parts:
        return select, []
    where, values = joined(" AND ", parts)
    return f"{select} WHERE {where}", values


def _conditions(wanted: Wanted, created: str) -> list[Sql]:
    parts: list[Sql] = []
    if wanted.since_ns is not None:
        parts.append((f"{created} >= %s::bigint", [wanted.since_ns]))
    if wanted.until_ns is not None:
        parts.append((f"{created} < %s::bigint", [wanted.until_ns]))
    if wanted.where is not None:
        parts.append(translate(wanted.where, _DIALECT))
    return parts


def plain_number(value: Any) -> Any:
    """A decimal of the database as the number that was put; what is no decimal, as it is."""
    if not isinstance(value, Decimal):
        return value
    whole = int(value)
    return whole if whole == value and -(2**63) <= whole < 2**63 else float(value)
