"""What an object's attributes may be: few, flat and small, so that every store compares them alike.

Numbers are integers of 64 bits or finite floats, and a float that is such an integer becomes one: then the
decimal digits of two numbers are in the order of their values, whether a store keeps binary floats or
decimals. NUL and lone surrogates, which no database takes, become U+FFFD.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from vaultscope.errors import DeclarationError

__all__ = ["attributes_of", "check_name", "pick_attributes", "scalar_of"]

_COUNT_MAX = 64
_NAME_MAX = 128
_TEXT_MAX = 4096
_LIST_MAX = 256
# A quote or a backslash would have to be escaped in a JSON path, which not every SQLite understands.
_NAME = re.compile(r'[^\x00-\x1f"\\\x7f\ud800-\udfff]+')
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_INTEGERS = range(-(2**63), 2**63)


def check_name(name: object) -> str:
    """The name of an attribute. Raises DeclarationError."""
    if isinstance(name, str) and len(name) <= _NAME_MAX and _NAME.fullmatch(name):
        return str.__str__(name)
    raise DeclarationError(
        f"an attribute's name is up to {_NAME_MAX} printable characters, no quote or backslash: not {name!r}"
    )


def scalar_of(value: object) -> str | int | float | bool | None:
    """The value as it is kept. Raises DeclarationError for one that cannot be."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > _TEXT_MAX:
            raise DeclarationError(f"an attribute has at most {_TEXT_MAX} characters, not {len(value)}")
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, float) and math.isfinite(value):
        whole = int(value)
        return whole if whole == value and whole in _INTEGERS else float(value)
    if isinstance(value, int) and int(value) in _INTEGERS:
        return int(value)
    raise DeclarationError(
        "an attribute is text, a finite number of 64 bits, a boolean, None, or a list of those, "
        f"not {value!r:.200}"
    )


def attributes_of(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The attributes as they are kept, sorted by name; lists as tuples. Raises DeclarationError."""
    if not given:
        return {}
    if not (type(given) is dict or isinstance(given, Mapping)) or len(given) > _COUNT_MAX:
        raise DeclarationError(f"attributes are a mapping of at most {_COUNT_MAX} names, not {given!r:.200}")
    kept = {}
    for name in _checked(tuple(given)):
        value = given[name]
        is_plain = type(value) is str and len(value) <= _TEXT_MAX and value.isprintable()  # as most are
        kept[name] = value if is_plain else _value(value)
    return kept


@lru_cache(256)  # the objects of a type have the same ones
def _checked(names: tuple[str, ...]) -> list[str]:
    return sorted(map(check_name, names))


def pick_attributes(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What a record has of these names and an attribute can be; text is cut to its length. Never raises
    DeclarationError: for records of somebody else's making."""
    picked = {}
    for name in names:
        value = record.get(name)
        with suppress(DeclarationError):
            picked[name] = scalar_of(value[:_TEXT_MAX] if isinstance(value, str) else value)
    return {name: value for name, value in picked.items() if value is not None}


def _value(value: object) -> Any:
    if isinstance(value, (tuple, list)):
        if len(value) > _LIST_MAX:
            raise DeclarationError(f"a list in an attribute has at most {_LIST_MAX} items, not {len(value)}")
        return tuple(map(scalar_of, value))
    return scalar_of(value)
