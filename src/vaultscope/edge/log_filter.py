"""Lines of a log as records, and which of them are wanted: by level, logger, field and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from vaultscope._native._core import LEVELS
from vaultscope.core.json_codec import dumps, loads
from vaultscope.core.moment import parse_moment, time_ns

__all__ = ["Entry", "FieldTest", "LogFilter", "parse_moment", "read_entry", "time_ns"]

ALIASES = {"warning": "warn", "critical": "fatal"}
RANKS = {name: rank for rank, name in enumerate(LEVELS)}
MISSING = object()


class Entry(NamedTuple):
    """A line of a log.

    time_ns: since 1970, UTC; of a line that does not tell, the time of the one before it.
    line: as it was read, without the newline.
    record: None if it is no JSON object.
    """

    time_ns: int
    line: bytes
    record: dict[str, Any] | None


def read_entry(line: bytes, before_ns: int) -> Entry | None:
    """What a line says; None of one that is blank. before_ns: the time of the entry before it."""
    try:
        record = loads(line)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        at_ns = time_ns(record.get("time"))
        return Entry(before_ns if at_ns is None else at_ns, line, record)
    return Entry(before_ns, line, None) if line.strip() else None


class FieldTest:
    """Whether a record has a field, and, if a value is asked for, whether it is that: `path` or `path=value`.

    A path goes down objects and lists by dots; a name that holds dots itself is found first. A value is
    compared as it is written in JSON, a text without its quotes.
    """

    def __init__(self, text: str) -> None:
        self.path, equals, value = text.partition("=")
        self.value = value if equals else None

    def __call__(self, record: dict[str, Any]) -> bool:
        """Whether the record passes."""
        found = _look_up(record, self.path)
        return found is not MISSING and (self.value is None or _as_text(found) == self.value)


def _look_up(value: object, path: str) -> object:
    if isinstance(value, dict) and path in value:
        return value[path]
    at = path.find(".")
    while at >= 0:
        inner = MISSING
        if isinstance(value, dict):
            inner = value.get(path[:at], MISSING)
        if inner is not MISSING and (found := _look_up(inner, path[at + 1 :])) is not MISSING:
            return found
        at = path.find(".", at + 1)
    if isinstance(value, list):
        first, _, rest = path.partition(".")
        if first.isdecimal() and int(first) < len(value):
            return _look_up(value[int(first)], rest) if rest else value[int(first)]
    return MISSING


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else dumps(value).decode("utf-8", "replace")


@dataclass(frozen=True)
class LogFilter:
    """Which lines are wanted. All that is asked for must hold; of loggers, one of them.

    level: at least this one.
    loggers: each with those below it: `cas` is `cas.gc`, too.
    fields: see FieldTest.
    since_ns, until_ns: since 1970; the first is included, the second is not.
    only_json: no line that is no record.
    """

    level: str | None = None
    loggers: tuple[str, ...] = ()
    fields: tuple[FieldTest, ...] = ()
    since_ns: int | None = None
    until_ns: int | None = None
    only_json: bool = False

    def __call__(self, entry: Entry) -> bool:
        """Whether the entry is wanted."""
        if self.since_ns is not None and entry.time_ns < self.since_ns:
            return False
        if self.until_ns is not None and entry.time_ns >= self.until_ns:
            return False
        record = entry.record
        if record is None:
            return not (self.only_json or self.level is not None or self.loggers or self.fields)
        if self.level is not None and _rank(record.get("level")) < RANKS[self.level]:
            return False
        if self.loggers and not self._is_logger(str(record.get("logger", ""))):
            return False
        return all(test(record) for test in self.fields)

    def _is_logger(self, name: str) -> bool:
        return any(name == each or name.startswith(f"{each}.") or not each for each in self.loggers)


def _rank(level: object) -> int:
    """Of a record's level, whoever wrote it; what is no level is below all."""
    name = level.lower() if isinstance(level, str) else ""
    return RANKS.get(ALIASES.get(name, name), -1)
