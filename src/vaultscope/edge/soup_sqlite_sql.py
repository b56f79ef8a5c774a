"""What conditions are in SQLite: its JSON functions over a column `attributes`, NULL if there are none."""

from __future__ import annotations

from typing import Any

from vaultscope.core.soup_query import Name, like_parts
from vaultscope.edge.soup_sql import Sql

__all__ = ["SqliteDialect", "constant"]


class SqliteDialect:
    """The leaves of conditions. See Dialect."""

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
        if name.text == "address" and op == "=" and (raw := _raw_address(value)):
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
        found: str = "0"
        values: list[Any] = []
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


def _raw_address(address: str) -> bytes | None:
    """The 32 bytes of an address, as they are stored; None if it is none."""
    scheme, _, digits = address.partition(":")
    if scheme != "sha256" or len(digits) != 64 or digits.lower() != digits:
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None
