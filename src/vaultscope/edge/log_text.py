"""A log record as a person reads it in a terminal: one line, and an exception's traceback below it.

    23:59:59.123 INFO  cas: Object stored hash=9f86d0 size=4096
    23:59:59.124 ERROR cas: Put failed path="a b" error="OSError: disk full"
        Traceback (most recent call last):
        ...

What a record says comes from outside, and a terminal obeys what it is sent. So nothing but text gets through:
control characters, escape sequences and the marks that turn the direction of writing are shown, not sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from vaultscope.core.json_codec import dumps, loads

__all__ = ["harmless", "render_human", "render_line"]

# C0, DEL, C1 (of which U+009B begins a sequence as ESC [ does), line separators, directions, lone surrogates.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_PLAIN = re.compile(r'[^\s"=\\{}\[\],]+')
_SHOWN = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LEVEL_WIDTH = 5
# What is no field, and the ids that say little to a person.
_NOT_FIELDS = frozenset(("time", "level", "logger", "message", "pid", "thread", "span_id"))
_ERROR_KEYS = {"type", "message", "traceback"}

_DIM, _RED, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[0m"
_KEY = "\x1b[36m"
_LEVEL_COLOURS = {
    "trace": _DIM,
    "debug": "\x1b[36m",
    "info": "\x1b[32m",
    "warn": "\x1b[33m",
    "error": _RED,
    "fatal": "\x1b[1;37;41m",
}

Paint = Callable[[str, str], str]


def render_line(line: bytes, *, colour: bool = False) -> str:
    """The text of a record, newline included.

    Args:
        line: The record as one line of JSON. One that cannot be read is shown as it is, made harmless.
        colour: Whether to set it off with ANSI escape sequences.
    """
    try:
        record = loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return harmless(line.decode("utf-8", "replace").rstrip("\n")) + "\n"
    return render_human(record, colour=colour)


def render_human(record: Mapping[str, Any], *, colour: bool = False, dated: bool = False) -> str:
    """The text of a record, newline included.

    Args:
        record: As its line of JSON says it.
        colour: Whether to set it off with ANSI escape sequences.
        dated: Whether to show the day, too.
    """
    paint = _coloured if colour else _bare
    level = harmless(str(record.get("level", "")))
    time = str(record.get("time", ""))
    parts = [
        paint(_DIM, harmless(f"{time[:10]} {time[11:23]}" if dated else time[11:23])),
        paint(_LEVEL_COLOURS.get(level, ""), level.upper().ljust(_LEVEL_WIDTH)),
    ]
    message = harmless(str(record.get("message", "")))
    logger = harmless(str(record.get("logger", "")))
    parts.append(f"{paint(_DIM, logger + ':')} {message}" if logger else message)
    tracebacks = []
    for key, value in record.items():
        if key in _NOT_FIELDS:
            continue
        if isinstance(value, dict) and value.keys() == _ERROR_KEYS:
            tracebacks.append(str(value["traceback"]))
            value = f"{value['type']}: {value['message']}"
        parts.append(f"{paint(_KEY, _word(key) + '=')}{_value(value)}")
    text = " ".join(parts) + "\n"
    for traceback in tracebacks:
        text += "".join(
            f"    {paint(_RED, harmless(each.expandtabs(4)))}\n"
            for each in traceback.rstrip("\n").split("\n")
        )
    return text


def _value(value: object) -> str:
    return _word(value) if isinstance(value, str) else harmless(dumps(value).decode())


def _word(text: str) -> str:
    """The text as it is if it is plainly one word, else in quotes."""
    if _PLAIN.fullmatch(text) and not _HARMFUL.search(text):
        return text
    return harmless(dumps(text).decode())


def harmless(text: str) -> str:
    """The text with an escape in place of each character that a terminal would obey."""
    return _HARMFUL.sub(_show, text)


def _show(match: re.Match[str]) -> str:
    character = match[0]
    number = ord(character)
    return _SHOWN.get(character) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


def _bare(colour: str, text: str) -> str:
    return text


def _coloured(colour: str, text: str) -> str:
    return f"{colour}{text}{_RESET}" if colour and text else text
