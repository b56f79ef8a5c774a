"""JSON in and out, for what programs hand to a log: any object goes in, and strict JSON comes out.

orjson does the work where it is installed, the standard library otherwise. Neither is loaded before it is
needed (orjson takes 20 ms), and what comes out does not depend on which it was, but for the spelling of
floats; `canonical` spells those one way, too.
"""

from __future__ import annotations

import functools
import importlib
import math
import re
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from itertools import islice
from numbers import Integral, Real
from os import PathLike
from typing import Any
from uuid import UUID

__all__ = ["canonical", "dumps", "loads"]

_DEPTH_MAX = 100  # a line of JSON deeper than this is no one's friend
_LAZY_MAX = 10_000  # of what may make its items as it is asked for them: range(10**9)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_AS_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_INTEGERS = (b"0" * 20, b"-" + b"0" * 19)  # that 64 bits may not hold
_UNREADABLE = "\ufffd"


@functools.cache
def _orjson() -> Any:
    try:
        return importlib.import_module("orjson")
    except ImportError:
        return None


@functools.cache
def _json() -> Any:
    return importlib.import_module("json")


def dumps(value: object) -> bytes:
    """The object as one line of strict JSON, in UTF-8.

    Never raises, whatever the object is or does: bytes become hexadecimal digits, dates ISO 8601, an
    exception its type and message, NaN and infinities null, lone surrogates U+FFFD. What JSON has no word for
    becomes its `repr`, a cycle "...", and so does what is nested deeper than 100 where it cannot be written
    as it is.
    """
    fast = _orjson()
    if fast is not None:
        try:
            # It must call nothing of Python's: a list that shrinks meanwhile, in a `repr` or another thread,
            # makes it read freed memory. So there is no `default`, and it refuses what is not plain.
            plain = fast.OPT_PASSTHROUGH_DATACLASS | fast.OPT_PASSTHROUGH_DATETIME
            plain |= fast.OPT_PASSTHROUGH_SUBCLASS
            result: bytes = fast.dumps(value, None, plain)
            return result
        except (TypeError, ValueError, RecursionError):
            pass  # also what is wider than 64 bits, a surrogate, a cycle, a key that is no text
    try:
        return _text(_plain(value, ()), sort=False)
    except Exception:  # a dict that another thread changes, or one whose methods fail
        return _text(_unfailing(value), sort=False)


def canonical(value: object) -> bytes:
    """As `dumps`, with sorted keys: equal objects give the same bytes in every process, whatever is
    installed, and so have one hash."""
    return _text(_plain(value, ()), sort=True)


def loads(data: bytes) -> Any:
    """The object that the JSON says, with whole numbers exact however long they are.

    Raises:
        ValueError: It is no JSON.
    """
    fast = _orjson()
    if fast is not None and not _has_long_integers(data):  # of one beyond 64 bits orjson makes a float
        try:
            return fast.loads(data)
        except ValueError:
            pass  # a lone surrogate, which JSON's grammar allows; or no JSON, which is said below
    return _json().loads(data)


def _has_long_integers(data: bytes) -> bool:
    """Whether there may be one. Faster by far than a regular expression."""
    shape = data.translate(_AS_ZEROS)
    return any(each in shape for each in _LONG_INTEGERS)


def _text(plain: Any, *, sort: bool) -> bytes:
    text: str = _json().dumps(
        plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort
    )
    return _LONE_SURROGATE.sub(_UNREADABLE, text).encode()


def _plain(value: object, above: tuple[int, ...]) -> Any:
    """The object made of what the standard library's encoder takes. `above`: ids of what it lies in."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, above)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return _integer(int.__int__(value))
    if isinstance(value, float):
        return float.__float__(value) if math.isfinite(value) else None
    if id(value) in above or len(above) >= _DEPTH_MAX:
        return "..."
    inside = (*above, id(value))
    if isinstance(value, dict):
        return {_key(key): _plain(each, inside) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, inside) for each in value]
    return _plain(_leaf(value), inside)


def _integer(value: int) -> int | str:
    # The interpreter refuses to write out more digits than it was told to (4,300 unless set).
    try:
        str(value)
    except ValueError:
        return hex(value)
    return value


def _key(key: object) -> str:
    """As orjson has it: the key's JSON, without quotes."""
    plain = _plain(key, ())
    if isinstance(plain, str):
        return _LONE_SURROGATE.sub(_UNREADABLE, plain)
    return _unfailing(key) if isinstance(plain, (list, dict)) else str(_json().dumps(plain))


def _leaf(value: object) -> Any:
    """What stands for an object that is not of JSON's kinds; made of objects that may not be, in turn."""
    try:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return value.hex()
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        if isinstance(value, BaseException):
            return {"type": type(value).__qualname__, "message": str(value)}
        if isinstance(value, Integral):  # numpy's
            return int(value)
        if isinstance(value, Real):
            return float(value)
        if isinstance(value, (UUID, Decimal)):
            return str(value)
        if isinstance(value, PathLike):
            return value.__fspath__()
        if isinstance(value, Mapping):
            return dict(islice(value.items(), _LAZY_MAX))
        if isinstance(value, (Sequence, Set)):
            return list(islice(value, _LAZY_MAX))
    except Exception:
        return _unfailing(value)
    return _unfailing(value)


def _unfailing(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__qualname__} without a repr>"
