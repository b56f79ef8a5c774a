"""A span as plain data, of bounded size, whatever anyone put into it: what sinks write.

Attributes are the caller's objects, and this is where they are first looked at: in a sink's thread, long
after the call. So an object that is hostile, endless or changed meanwhile costs its own attribute, and
nothing more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from enum import Enum
from itertools import islice
from typing import Any

from vaultscope.core.json_codec import dumps, loads

__all__ = ["cut_text", "span_record", "split_traces"]

TEXT_BYTES_MAX = 8 << 10
DATA_BYTES_MAX = TEXT_BYTES_MAX // 2  # in hexadecimal digits they are twice as many
DEPTH_MAX = 16
# What the parts of a span have room for. In JSON a control character is six bytes long: a line of all of them
# has less than a MiB, which is what readers of lines take.
ATTRIBUTES_BYTES_MAX = EVENTS_BYTES_MAX = 40 << 10
LINKS_BYTES_MAX = 8 << 10
_VALUE_BYTES = 24  # what a value counts besides its text, so that a million numbers are many, too
_LONG_BITS = 4096  # an integer beyond is written in hexadecimal digits: decimal ones take ever longer

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def span_record(span: Mapping[str, Any], *, exact: bool = False) -> dict[str, Any]:
    """The span as sinks are given it, with plain values that are copies. Never raises.

    Values become what core/json_codec makes of them; an exception that is the attribute `exception` of an
    event becomes `exception.type`, `exception.message` and `exception.stacktrace`, as OpenTelemetry has it. A
    text of more than 8 KiB is cut, and says so; so are bytes of more than 4 KiB, in hexadecimal digits. What
    is beyond 40 KiB of attributes, 40 KiB of events (the last ones are kept) and 8 KiB of links is left out,
    and counted in `omitted`.

    exact: leaves bytes, NaN and infinities as they are, for formats that have words for them.
    """
    record: dict[str, Any] = {}
    omitted = 0
    for key, value in span.items():
        if key == "attributes":
            plain = _Plain(ATTRIBUTES_BYTES_MAX, exact=exact)
            record[key] = plain.attributes(value)
        elif key == "events":
            plain = _Plain(EVENTS_BYTES_MAX, exact=exact)
            record[key] = plain.last_of(value)
        elif key == "links":
            plain = _Plain(LINKS_BYTES_MAX, exact=exact)
            record[key] = plain.last_of(value)
        else:
            record[key] = value if type(value) is int else _Plain(TEXT_BYTES_MAX).value(value)
            continue
        omitted += plain.omitted
    if omitted:
        record["omitted"] = record.get("omitted", 0) + omitted
    return record


def split_traces(spans: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """What a sink is given, trace by trace: each begins with its local root."""
    traces: list[list[Mapping[str, Any]]] = []
    for span in spans:
        if not traces or "reason" in span or span["trace_id"] != traces[-1][0]["trace_id"]:
            traces.append([])
        traces[-1].append(span)
    return traces


def cut_text(text: str) -> str:
    """The text if it has no more than 8 KiB of UTF-8, else its beginning, and how many characters are
    missing. A lone surrogate becomes U+FFFD."""
    part = text[: TEXT_BYTES_MAX + 1]
    if not part.isascii():
        part = _LONE_SURROGATE.sub("\ufffd", part)
    data = part.encode()
    if len(data) <= TEXT_BYTES_MAX:
        return part
    head = data[:TEXT_BYTES_MAX].decode("utf-8", "ignore")
    return head + _mark(len(text) - len(head))


def _mark(missing: int) -> str:
    return f"…[{missing} more]"


def _cut_middle(text: str) -> str:
    """As much of both ends as has room: what was called, and what went wrong."""
    text = text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)
    data = text.encode()
    if len(data) <= TEXT_BYTES_MAX:
        return text
    half = TEXT_BYTES_MAX // 2
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head}\n{_mark(len(text) - len(head) - len(tail))}\n{tail}"


class _Plain:
    """Makes plain values as long as there is room.

    omitted: what was left out since there was none.
    """

    def __init__(self, room: int, *, exact: bool = False) -> None:
        self.omitted = 0
        self._room = room
        self._exact = exact

    def attributes(self, given: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
        """The mapping, as far as there is room. Raises what its methods do."""
        plain: dict[str, Any] = {}
        # Taken in one piece: another thread may be changing it.
        for key, value in self._taken(given.items()):
            if self._room <= 0:
                self.omitted += 1
            else:
                name = self._key(key)
                plain[name] = self.value(value, depth + 1)
        return plain

    def last_of(self, things: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Events or links: if there is no room for all, the last ones, which are next to what went wrong."""
        plain: list[dict[str, Any]] = []
        for thing in reversed(things):
            if self._room <= 0:
                break
            plain.append({key: self._part(key, value) for key, value in thing.items()})
        self.omitted += len(things) - len(plain)
        return plain[::-1]

    def _part(self, key: str, value: Any) -> Any:
        if key != "attributes":
            return self.value(value)
        error = value.get("exception")
        if not isinstance(error, BaseException):
            return self.attributes(value)
        more = {name: each for name, each in value.items() if name != "exception"}
        return {**self._exception(error), **self.attributes(more)}

    def value(self, value: object, depth: int = 0) -> Any:
        """What stands for a value: JSON's kinds, and with `exact` also bytes and any float. Never raises."""
        self._room -= _VALUE_BYTES
        try:
            return self._value(value, depth)
        except BaseException:  # SystemExit, too: it would end the sink's thread
            return self._text(f"<{_name(type(value))} that cannot be read>")

    def _value(self, value: object, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self.value(value.value, depth + 1) if depth < DEPTH_MAX else "..."
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return self._integer(int.__int__(value))
        if isinstance(value, float):
            return float.__float__(value) if self._exact or math.isfinite(value) else None
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._data(value)
        if depth >= DEPTH_MAX:  # a cycle, most of the time
            return "..."
        if isinstance(value, Mapping):
            return self.attributes(value, depth)
        if isinstance(value, (Sequence, Set)):
            return [self.value(each, depth + 1) for each in self._taken(value) if self._has_room()]
        return self.value(loads(dumps(value)), depth + 1)

    def _taken(self, items: Iterable[Any]) -> list[Any]:
        """So many of them as there can be room for, and one more."""
        most = max(self._room, 0) // _VALUE_BYTES + 2  # the last room may be less than a value's
        return list(islice(items, most))

    def _has_room(self) -> bool:
        self.omitted += self._room <= 0
        return self._room > 0

    def _key(self, key: object) -> str:
        try:
            if not isinstance(key, str):
                (key,) = loads(dumps({key: None}))
            return self._text(str.__str__(key))
        except BaseException:
            return self._text(f"<{_name(type(key))} that cannot be read>")

    def _text(self, text: str) -> str:
        text = cut_text(text)
        self._room -= len(text) if text.isascii() else len(text.encode())
        return text

    def _integer(self, value: int) -> int | str:
        if -(1 << 63) <= value < 1 << 63:
            return value
        if value.bit_length() > _LONG_BITS:
            return self._text(hex(value))
        self._room -= len(str(value))
        return value

    def _data(self, value: bytes | bytearray | memoryview) -> bytes | str:
        view = memoryview(value)
        if view.nbytes > DATA_BYTES_MAX:
            head = bytes(
                view.cast("B")[:DATA_BYTES_MAX] if view.c_contiguous else view.tobytes()[:DATA_BYTES_MAX]
            )
            return self._text(head.hex()) + _mark(view.nbytes - DATA_BYTES_MAX)
        self._room -= view.nbytes * 2
        return view.tobytes() if self._exact else view.hex()

    def _exception(self, error: BaseException) -> dict[str, Any]:
        try:
            message = str(error)
        except BaseException:
            message = "<a message that cannot be read>"
        plain = {
            "exception.type": self._text(_name(type(error), with_module=True)),
            "exception.message": self._text(str.__str__(message)),
        }
        if stacktrace := _stacktrace(error):
            stacktrace = _cut_middle(stacktrace)
            self._room -= len(stacktrace)
            plain["exception.stacktrace"] = stacktrace
        return plain


def _name(kind: type, *, with_module: bool = False) -> str:
    try:
        is_short = not with_module or kind.__module__ == "builtins"
        return str(kind.__qualname__ if is_short else f"{kind.__module__}.{kind.__qualname__}")
    except BaseException:  # a metaclass may say what these are
        return "object"


def _stacktrace(error: BaseException) -> str:
    if error.__traceback__ is None and error.__cause__ is None and error.__context__ is None:
        return ""
    import traceback  # 3 ms, and most programs trace no exception

    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except BaseException:  # its own parts fail, or its chain is too deep
        return "".join(traceback.format_tb(error.__traceback__))
