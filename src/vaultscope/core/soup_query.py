"""Conditions on stored objects, as a tree that every store translates, and what they mean.

    from vaultscope.soup import attr

    (attr("level") == "error") & (attr("bytes") > 4096) | ~attr("trace_id").exists()

A name is an attribute's, but for five that are the object's own: type, created, expires, size and address
(created and expires in nanoseconds since 1970; they are compared with a datetime, or with text such as "24h",
too). An attribute that is called like one of those is
`attr("attr.size")`.

A comparison holds only between values of one kind: numbers, text, booleans, None. With a value of another
kind, with a list, or where the attribute is missing, every comparison is false, `!=` too; so `~(a == b)` says
more than `a != b`. Text is compared by code points.

`matches` is the meaning in Python: what a store finds is tested against it.
"""

from __future__ import annotations

import operator
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from vaultscope.core.soup import SoupObject, moment_ns
from vaultscope.core.soup_attributes import check_name, scalar_of
from vaultscope.errors import DeclarationError

__all__ = [
    "All",
    "Any_",
    "Attr",
    "Compare",
    "Condition",
    "Contains",
    "Exists",
    "Like",
    "Name",
    "Not",
    "attr",
    "check_condition",
    "like_parts",
    "matches",
    "name_of",
]

FIELDS = ("address", "created", "expires", "size", "type")
_LEAVES_MAX = 200
_DEPTH_MAX = 50
_PATTERN_MAX = 1000
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


# ---- the tree ----


@dataclass(frozen=True, slots=True)
class Name:
    """What a condition looks at: an attribute, or a field of the object."""

    text: str
    is_field: bool = False

    def of(self, found: SoupObject) -> Any:
        """Its value; `...` if the object has none."""
        if not self.is_field:
            return found.attributes.get(self.text, ...)
        value = getattr(found, {"created": "created_ns", "expires": "expires_ns"}.get(self.text, self.text))
        return ... if value is None else value


_MOMENTS = (Name("created", True), Name("expires", True))


class Condition:
    """What may hold for an object. Combine with `&`, `|` and `~`; Python's `and`, `or` and `not` cannot."""

    __slots__ = ()

    def __and__(self, other: Condition) -> Condition:
        return _joined(All, self, other)

    def __or__(self, other: Condition) -> Condition:
        return _joined(Any_, self, other)

    def __invert__(self) -> Condition:
        return Not(self)

    def __bool__(self) -> bool:
        raise DeclarationError("conditions are combined with &, | and ~, and compared once: no a < b < c")


@dataclass(frozen=True, slots=True)
class Compare(Condition):
    """`name op value`, op one of = != < <= > >=."""

    name: Name
    op: str
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Like(Condition):
    """The text matches as a whole: % is any text, _ one character, a backslash takes their meaning away."""

    name: Name
    pattern: str


@dataclass(frozen=True, slots=True)
class Contains(Condition):
    """The value is a part of the text, or equal to an item of the list."""

    name: Name
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Exists(Condition):
    """The object has the attribute, whatever its value, None too."""

    name: Name


@dataclass(frozen=True, slots=True)
class All(Condition):
    """Every part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any_(Condition):  # noqa: N801 - `Any` is taken
    """At least one part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """The part does not hold."""

    part: Condition


def _joined(kind: type[All] | type[Any_], left: object, right: object) -> Condition:
    parts: list[Condition] = []
    for side in (left, right):
        if not isinstance(side, Condition):
            raise DeclarationError(f"this is no condition: {side!r}")
        parts += side.parts if isinstance(side, kind) else (side,)  # flat: a long chain is not deep
    return kind(tuple(parts))


# ---- how it is written in Python ----


class Attr:
    """An attribute, or a field, in a condition: compare it, or ask it."""

    __slots__ = ("_name",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self._name = name_of(name)

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        return self.compare("=", value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return self.compare("!=", value)

    def __lt__(self, value: object) -> Condition:
        return self.compare("<", value)

    def __le__(self, value: object) -> Condition:
        return self.compare("<=", value)

    def __gt__(self, value: object) -> Condition:
        return self.compare(">", value)

    def __ge__(self, value: object) -> Condition:
        return self.compare(">=", value)

    def compare(self, op: str, value: object) -> Condition:
        """`name op value`. Raises DeclarationError for a value that cannot be compared so."""
        if op not in ORDERS:
            raise DeclarationError(f"a comparison is one of {' '.join(ORDERS)}, not {op!r}")
        if self._name in _MOMENTS and isinstance(value, (str, datetime)):
            value = moment_ns(value, time.time_ns())
        scalar = scalar_of(value)
        if op not in ("=", "!=") and (scalar is None or isinstance(scalar, bool)):
            raise DeclarationError(f"{scalar} is neither less nor more than anything")
        return Compare(self._name, op, scalar)

    def between(self, low: object, high: object) -> Condition:
        """At least `low` and at most `high`."""
        return self.compare(">=", low) & self.compare("<=", high)

    def like(self, pattern: str) -> Condition:
        """The text matches: % is any text, _ one character, a backslash takes their meaning away."""
        if not isinstance(pattern, str) or len(pattern) > _PATTERN_MAX:
            raise DeclarationError(f"a pattern is text of at most {_PATTERN_MAX} characters")
        return Like(self._name, str(scalar_of(pattern)))

    def contains(self, value: object) -> Condition:
        """The value is a part of the text, or an item of the list."""
        return Contains(self._name, scalar_of(value))

    def exists(self) -> Condition:
        """There is such an attribute."""
        return Exists(self._name)

    def missing(self) -> Condition:
        """There is no such attribute."""
        return Not(Exists(self._name))


def attr(name: str) -> Attr:
    """The attribute of that name, or the field. Raises DeclarationError for a name that is none."""
    return Attr(name)


def name_of(text: str) -> Name:
    """What a name means. Raises DeclarationError."""
    if text in FIELDS:
        return Name(text, True)
    return Name(check_name(text.removeprefix("attr.") if isinstance(text, str) else text))


# ---- what it means ----


def matches(condition: Condition, found: SoupObject) -> bool:
    """Whether the condition holds for the object."""
    if isinstance(condition, All):
        return all(matches(part, found) for part in condition.parts)
    if isinstance(condition, Any_):
        return any(matches(part, found) for part in condition.parts)
    if isinstance(condition, Not):
        return not matches(condition.part, found)
    assert isinstance(condition, (Compare, Like, Contains, Exists))
    value = condition.name.of(found)
    if isinstance(condition, Compare):
        return _kind(value) == _kind(condition.value) and ORDERS[condition.op](value, condition.value)
    if isinstance(condition, Like):
        return isinstance(value, str) and _pattern(condition.pattern).fullmatch(value) is not None
    if isinstance(condition, Contains):
        if isinstance(value, str):
            return isinstance(condition.value, str) and condition.value in value
        items = value if isinstance(value, (tuple, list)) else ()
        return any(_kind(item) == _kind(condition.value) and item == condition.value for item in items)
    return value is not ...


def _kind(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


@lru_cache(64)
def _pattern(text: str) -> re.Pattern[str]:
    signs = {"%": ".*", "_": "."}
    return re.compile(
        "".join(signs[part] if is_sign else re.escape(part) for is_sign, part in like_parts(text)), re.DOTALL
    )


def like_parts(pattern: str) -> Iterator[tuple[bool, str]]:
    """The characters of a pattern, and whether each is one of the signs % and _."""
    characters = iter(pattern)
    for each in characters:
        if each == "\\":
            yield False, next(characters, "\\")
        else:
            yield each in "%_", each


def check_condition(condition: object) -> Condition:
    """Raises DeclarationError for what is no condition, or larger than a store can take."""
    leaves, level = 0, [condition]
    for _ in range(_DEPTH_MAX):
        below: list[object] = []
        for each in level:
            if isinstance(each, (All, Any_)):
                below += each.parts
            elif isinstance(each, Not):
                below.append(each.part)
            elif isinstance(each, Condition):
                leaves += 1
            else:
                raise DeclarationError(f"this is no condition: {each!r}")
        if not below:
            break
        level = below
    else:
        raise DeclarationError(f"a condition is nested at most {_DEPTH_MAX} deep")
    if leaves > _LEAVES_MAX:
        raise DeclarationError(f"a condition has at most {_LEAVES_MAX} comparisons, not {leaves}")
    assert isinstance(condition, Condition)
    return condition
