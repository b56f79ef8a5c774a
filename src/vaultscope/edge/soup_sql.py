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
    like_parts,
)

__all__ = ["Dialect", "SqliteDialect", "translate"]

TYPE_CHECKING = False

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
        parts = [translate(part, dialect) for part in condition.parts]
        word = " AND " if isinstance(condition, All) else " OR "
        return f"({word.join(text for text, _ in parts)})", [each for _, values in parts for each in values]
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


class SqliteDialect:
    """SQLite's JSON functions over a column `attributes`, NULL if there are none."""

    _FIELDS = {  # noqa: RUF012 - a constant
        "address": "'sha256:' || lower(hex(address))",
        "created": "created_ns",
        "expires": "expires_ns",
        "size": "size",
        "type": "type",
    }

    def value(self, name: Name) -> str:
        """The expression of a value, as an index over it has it, too."""
        if name.is_field:
            return f"({self._FIELDS[name.text]})" if name.text == "address" else self._FIELDS[name.text]
        return f"json_extract(attributes,{self._path(name)})"

    def kind(self, name: Name) -> str:
        """The expression of its JSON type; NULL if it is missing."""
        if name.is_field:
            return (
                f"CASE typeof({self.value(name)}) WHEN 'null' THEN NULL ELSE typeof({self.value(name)}) END"
            )
        return f"json_type(attributes,{self._path(name)})"

    def _path(self, name: Name) -> str:
        return "'$.\"" + name.text.replace("'", "''") + "\"'"

    def compare(self, name: Name, op: str, value: Any) -> Sql:
        """The comparison comes first, as an index can use it."""
        if name.is_field:
            return self._compare_field(name, op, value)
        kind = self.kind(name)
        if value is None:
            return (f"ifnull({kind} = 'null', 0)", []) if op == "=" else ("0", [])
        if isinstance(value, bool):
            wanted = str(value if op == "=" else not value).lower()
            return f"ifnull({kind} = '{wanted}', 0)", []
        sign, values = constant(value)
        if isinstance(value, str):
            return f"({self.value(name)} {op} {sign} AND ifnull({kind} = 'text', 0))", values
        return f"({self.value(name)} {op} {sign} AND ifnull({kind} IN ('integer', 'real'), 0))", values

    def _compare_field(self, name: Name, op: str, value: Any) -> Sql:
        is_text = name.text in ("address", "type")
        if value is None or isinstance(value, bool) or isinstance(value, str) != is_text:
            return "0", []
        if name.text == "address" and op == "=" and (raw := raw_address(value)):
            return "address = ?", [raw]
        text = f"{self.value(name)} {op} ?"
        return (f"ifnull({text}, 0)" if name.text == "expires" else text), [value]

    def like(self, name: Name, pattern: str) -> Sql:
        """By GLOB: SQLite's LIKE takes ASCII letters of either case for the same."""
        signs = {"%": "*", "_": "?"}
        glob = "".join(
            signs[each] if is_sign else f"[{each}]" if each in "*?[" else each
            for is_sign, each in like_parts(pattern)
        )
        return f"({self.value(name)} GLOB ? AND ifnull({self.kind(name)} = 'text', 0))", [glob]

    def contains(self, name: Name, value: Any) -> Sql:
        """Text by instr, a list by json_each."""
        found, values = ("0", [])
        if isinstance(value, str):
            found, values = (
                f"ifnull({self.kind(name)} = 'text' AND instr({self.value(name)}, ?) > 0, 0)",
                [value],
            )
        if name.is_field:
            return found, values
        item, more = self._item(value)
        each = f"SELECT 1 FROM json_each(attributes, {self._path(name)}) AS item WHERE {item}"
        return f"({found} OR ifnull({self.kind(name)} = 'array', 0) AND EXISTS ({each}))", [*values, *more]

    def _item(self, value: Any) -> Sql:
        if value is None:
            return "item.type = 'null'", []
        if isinstance(value, bool):
            return f"item.type = '{str(value).lower()}'", []
        sign, values = constant(value)
        kinds = "('text')" if isinstance(value, str) else "('integer', 'real')"
        return f"item.type IN {kinds} AND item.value = {sign}", values

    def exists(self, name: Name) -> Sql:
        """JSON's null is a value."""
        return f"({self.kind(name)}) IS NOT NULL", []


def constant(value: Any) -> Sql:
    """A value to compare with. A float goes the way of those in the column, from its digits: not every SQLite
    makes the nearest float of them."""
    return ("json_extract(?, '$[0]')", [f"[{value!r}]"]) if isinstance(value, float) else ("?", [value])


def raw_address(address: str) -> bytes | None:
    """The 32 bytes of an address, as they are stored; None if it is none."""
    scheme, _, digits = address.partition(":")
    if scheme != "sha256" or len(digits) != 64 or digits.lower() != digits:
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None


def joined(word: str, parts: Sequence[Sql]) -> Sql:
    """The parts with a word between them."""
    return word.join(text for text, _ in parts), [each for _, values in parts for each in values]
