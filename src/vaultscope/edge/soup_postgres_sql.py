"""Conditions in the SQL of PostgreSQL, over the tables of soup_postgres_schema.

Numbers in JSONB are decimals, which are in the order of the floats that they are the digits of. Text is
compared by code points: in UTF-8 that is by bytes, COLLATE "C". What users give, names of attributes
included, goes to the server beside the SQL, never in it.
"""

from __future__ import annotations

from typing import Any

from vaultscope.core.json_codec import canonical
from vaultscope.core.soup_query import Name, like_parts
from vaultscope.edge.soup_sql import Sql, joined

__all__ = ["PREFIX", "PostgresDialect", "index_expressions", "number", "number_constant", "prefix", "text"]

PREFIX = 512  # characters of a text that are in an index; an entry has room for 2,704 bytes

_TEXTS = {"address": "('sha256:' || encode(address, 'hex'))", "type": "type"}
_NUMBERS = {"created": "created_ns", "expires": "expires_ns", "size": "size"}
_FALSE: Sql = ("false", [])


class PostgresDialect:
    """JSONB operators over a column `attributes`, which is never NULL."""

    def compare(self, name: Name, op: str, value: Any) -> Sql:
        """An index can use the comparison; where that is NULL, what is beside it is false."""
        if value is None or isinstance(value, bool):
            if name.is_field or op not in ("=", "!=") or (value is None and op == "!="):
                return _FALSE
            constant = "null" if value is None else str(value if op == "=" else not value).lower()
            return f"(attributes -> %s::text) IS NOT DISTINCT FROM '{constant}'::jsonb", [name.text]
        if isinstance(value, str):
            return self._compare_text(name, op, value)
        found = number(name)
        return _both(found, op, number_constant(value)) if found else _FALSE

    def _compare_text(self, name: Name, op: str, value: str) -> Sql:
        found = text(name)
        if not found:
            return _FALSE
        if name == Name("address", True) and op == "=":
            raw = raw_address(value)
            return ("address = %s::bytea", [raw]) if raw else _FALSE
        whole = _both(found, op, ("%s::text", [value]))
        if name.is_field or op == "!=":
            return whole
        # What is less has no greater beginning, and only the beginning is in an index.
        beginning = _both(prefix(name), op if op == "=" else f"{op[0]}=", ("%s::text", [value[:PREFIX]]))
        sql, values = joined(" AND ", [beginning, whole])
        return f"({sql})", values

    def like(self, name: Name, pattern: str) -> Sql:
        """A sign that means itself gets a backslash, and so does one that is last."""
        found = text(name)
        if not found:
            return _FALSE
        escaped = "".join(
            each if is_sign or each not in "%_\\" else f"\\{each}" for is_sign, each in like_parts(pattern)
        )
        return _both(found, "LIKE", ("%s::text", [escaped]))

    def contains(self, name: Name, value: Any) -> Sql:
        """Text by strpos, a list by containment."""
        parts = []
        if isinstance(value, str) and (found := text(name)):
            sql, values = found
            parts.append((f"coalesce(strpos({sql}, %s::text) > 0, false)", [*values, value]))
        if not name.is_field:
            parts.append(("attributes @> %s::jsonb", [canonical({name.text: [value]}).decode()]))
        if not parts:
            return _FALSE
        sql, values = joined(" OR ", parts)
        return f"({sql})", values

    def exists(self, name: Name) -> Sql:
        """JSON's null is a value."""
        if not name.is_field:
            return "attributes ? %s::text", [name.text]
        return ("expires_ns IS NOT NULL" if name.text == "expires" else "true"), []


def _both(left: Sql, op: str, right: Sql) -> Sql:
    """False where the left side is NULL."""
    return f"({left[0]} {op} {right[0]} AND {left[0]} IS NOT NULL)", [*left[1], *right[1], *left[1]]


def text(name: Name) -> Sql | None:
    """The expression of a text; NULL where it is none. None: it never is one."""
    if name.is_field:
        return (f'({_TEXTS[name.text]} COLLATE "C")', []) if name.text in _TEXTS else None
    value = "CASE jsonb_typeof(attributes -> %s::text) WHEN 'string' THEN attributes ->> %s::text END"
    return f'(({value}) COLLATE "C")', [name.text, name.text]


def prefix(name: Name) -> Sql:
    """The beginning of an attribute's text."""
    found = text(name)
    assert found is not None
    return f"left({found[0]}, {PREFIX})", found[1]


def number(name: Name) -> Sql | None:
    """The expression of a number; NULL where it is none. None: it never is one."""
    if name.is_field:
        return (_NUMBERS[name.text], []) if name.text in _NUMBERS else None
    value = (
        "CASE jsonb_typeof(attributes -> %s::text) WHEN 'number' THEN (attributes ->> %s::text)::numeric END"
    )
    return f"({value})", [name.text, name.text]


def number_constant(value: float) -> Sql:
    """A float goes by its digits."""
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "%s::bigint", [value]
    return "%s::numeric", [repr(value)]


def raw_address(address: str) -> bytes | None:
    """The 32 bytes of an address; None if it is none."""
    digits = address.removeprefix("sha256:")
    if len(address) != 71 or len(digits) != 64 or digits.strip("0123456789abcdef"):
        return None
    return bytes.fromhex(digits)


def index_expressions(name: Name) -> list[Sql]:
    """What the indexes of an attribute are over: its numbers, and the beginnings of its texts."""
    found = number(name)
    assert found is not None
    return [found, prefix(name)]
