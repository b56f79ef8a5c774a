"""Moments as people write them: `10m` ago, or a time in ISO 8601; in nanoseconds since 1970."""

from __future__ import annotations

import re
from calendar import timegm
from functools import lru_cache

__all__ = ["parse_moment", "time_ns"]

_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SECOND_NS = 1_000_000_000
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9})\d*)?)?(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)


def time_ns(text: object) -> int | None:
    """Nanoseconds since 1970 of a time in ISO 8601; one without an offset is UTC, as all that we write. None
    if it is no such time."""
    match = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    try:
        seconds = _seconds(day, clock or "00:00:00")
    except ValueError:
        return None
    if offset and offset not in "Zz":
        shift = int(offset[1:3]) * 3600 + int(offset[-2:]) * 60
        seconds -= shift if offset[0] == "+" else -shift
    return seconds * _SECOND_NS + int((fraction or "").ljust(9, "0"))


@lru_cache(1024)  # the lines of one second follow each other
def _seconds(day: str, clock: str) -> int:
    year, month, date = map(int, day.split("-"))
    hour, minute, second = map(int, f"{clock}:00".split(":")[:3])
    if not (1 <= month <= 12 and 1 <= date <= 31 and hour <= 23 and minute <= 59 and second <= 60):
        raise ValueError(f"{day} {clock}")
    return timegm((year, month, date, hour, minute, second))


def parse_moment(text: str, now_ns: int) -> int:
    """Nanoseconds since 1970 of what --since is given: `90s`, `10m`, `2h`, `1d`, `1w` before now, or a time
    in ISO 8601, UTC unless it says otherwise. Raises ValueError."""
    if match := _SPAN.fullmatch(text):
        return now_ns - int(float(match[1]) * _SPANS[match[2]] * _SECOND_NS)
    moment = time_ns(text)
    if moment is None:
        raise ValueError(f"{text!r} is neither a span such as 10m nor a time such as 2026-01-31T23:59:59")
    return moment
