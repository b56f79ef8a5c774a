"""What becomes of a field's value that the native logger does not know: a text, bytes, or JSON.

Nothing here raises.
"""

from __future__ import annotations

from vaultscope._native import _core
from vaultscope.core.json_codec import dumps

__all__ = ["encode"]

_TEXT = _core.FIELD_TYPES["text"]
_BYTES = _core.FIELD_TYPES["bytes"]
_JSON = _core.FIELD_TYPES["json"]
_MAX = _core.VALUE_BYTES_MAX


def encode(value: object) -> tuple[int, bytes, bool]:
    """The type, the bytes, and whether they are only a part. What cannot be said is named by its type."""
    try:
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return _BYTES, _head(memoryview(value)), False
        if isinstance(value, BaseException):
            return _JSON, _exception(value), False
        data = dumps(value)
        if len(data) <= _MAX:
            return _JSON, data, False
        return _TEXT, data[:_MAX].decode("utf-8", "ignore").encode(), True
    except Exception:
        return _TEXT, _utf8(object.__repr__(value)), False


def _head(data: memoryview) -> bytes:
    """One byte more than is kept, so that it shows where there were more."""
    return bytes(data.cast("B")[: _MAX + 1]) if data.c_contiguous else data.tobytes()[: _MAX + 1]


def _text(value: str) -> tuple[int, bytes, bool]:
    part = str.__str__(value)[: _MAX + 1]
    data = _utf8(part)
    if len(data) <= _MAX and len(part) == len(value):
        return _TEXT, data, False
    return _TEXT, data[:_MAX].decode("utf-8", "ignore").encode(), True


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _exception(error: BaseException) -> bytes:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception:
        message = "<a message that cannot be shown>"
    traceback = _traceback(error)
    room = _MAX - 64  # for the names of the parts
    while True:
        parts = (_shorten(name, room // 16), _shorten(message, room // 8), _shorten(traceback, room // 4 * 3))
        data = dumps(dict(zip(("type", "message", "traceback"), parts, strict=True)))
        if len(data) <= _MAX:
            return data
        room //= 2  # quotes and control characters are longer in JSON than they are


def _traceback(error: BaseException) -> str:
    if error.__traceback__ is None and error.__cause__ is None and error.__context__ is None:
        return ""
    import traceback  # 3 ms, and most programs never log an exception

    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__)
    except Exception:  # its own parts fail, or its chain is too deep
        lines = traceback.format_tb(error.__traceback__)
    return "".join(lines)


def _shorten(text: str, size: int) -> str:
    """As much of both ends as has room: what was called, and what went wrong."""
    if len(text) <= size and len(_utf8(text)) <= size:
        return text
    half = size // (2 * max(len(c.encode("utf-8", "replace")) for c in text[:size] + text[-size:]))
    return f"{text[:half]}\n  ...\n{text[-half:]}"


_core.set_field_encoder(encode)
