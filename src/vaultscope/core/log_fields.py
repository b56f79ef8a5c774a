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
_TRACEBACK_MAX = _MAX // 4 * 3  # as JSON it grows, and its type and message need room, too
_MESSAGE_MAX = _MAX // 16


def encode(value: object) -> tuple[int, bytes, bool]:
    """The type, the bytes, and whether they are only a part. What cannot be said is named by its type."""
    try:
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return _BYTES, bytes(memoryview(value).cast("B")[: _MAX + 1]), False
        if isinstance(value, BaseException):
            value = _exception(value)
        data = dumps(value)
        if len(data) <= _MAX:
            return _JSON, data, False
        return _TEXT, data[:_MAX].decode("utf-8", "ignore").encode(), True
    except Exception:
        return _TEXT, f"<{type(value).__qualname__} that cannot be shown>".encode("utf-8", "replace"), False


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


def _exception(error: BaseException) -> dict[str, str]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception:
        message = "<a message that cannot be shown>"
    return {"type": name, "message": _shorten(message, _MESSAGE_MAX), "traceback": _traceback(error)}


def _traceback(error: BaseException) -> str:
    if error.__traceback__ is None and error.__cause__ is None and error.__context__ is None:
        return ""
    import traceback  # 3 ms, and most programs never log an exception

    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__)
    except Exception:  # its own parts fail, or its chain is too deep
        lines = traceback.format_tb(error.__traceback__)
    return _shorten("".join(lines), _TRACEBACK_MAX)


def _shorten(text: str, size: int) -> str:
    """As much of both ends as has room: what was called, and what went wrong."""
    if len(_utf8(text)) <= size:
        return text
    half = size // (2 * max(len(c.encode("utf-8", "replace")) for c in text[:size] + text[-size:]))
    return f"{text[:half]}\n  ...\n{text[-half:]}"


_core.set_field_encoder(encode)
