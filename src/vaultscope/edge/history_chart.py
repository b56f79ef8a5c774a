"""A chart of values over time, in text: dots of braille, eight to a sign, or stars where there is only ASCII.

0.99 of cas.put.duration
 3 ms ┤      ⢀⡠⠤⠊
      ┤⠤⠒⠊⠉⠁⠁
 0    ┼─────┬─────
      12:00 12:30
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone

__all__ = ["chart", "quantity"]

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column within a sign
_BRAILLE = 0x2800
_DAY = 86_400.0
_MOST = 1e100  # what is beyond is drawn there
_NAME_COLUMNS = 9  # of a time and the room beside it
_TIME_STEPS = (
    60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200,
    _DAY, 2 * _DAY, 5 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY,
)  # fmt: skip
_SECONDS = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
_BYTES = tuple((1024.0**power, unit) for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB")))
_NUMBERS = ((1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"))
_FAMILIES = {
    "ns": (_SECONDS, 1e-9), "us": (_SECONDS, 1e-6), "µs": (_SECONDS, 1e-6), "ms": (_SECONDS, 1e-3),
    "s": (_SECONDS, 1.0), "seconds": (_SECONDS, 1.0), "bytes": (_BYTES, 1.0),
}  # fmt: skip


def chart(
    times: Sequence[float],
    values: Sequence[float],
    *,
    unit: str = "",
    width: int = 80,
    height: int = 12,
    ascii_only: bool = False,
) -> list[str]:
    """The lines of a chart, none longer than `width`.

    times: seconds since 1970, one step apart; at least one.
    values: as many, in `unit`; where one is not finite, nothing is drawn.
    height: of the lines with dots; two more name the times.
    """
    scale, suffix = _scale(values, unit)
    scaled = [_drawable(value / scale) for value in values]
    known = [value for value in scaled if math.isfinite(value)]
    ticks = _ticks(min(known, default=0.0), max(known, default=1.0), max(2, height // 3))
    top, bottom = ticks[-1], ticks[0]
    digits = _digits(ticks[1] - ticks[0])
    names = [_text(tick, digits) + suffix for tick in ticks]
    margin = max(map(len, names)) + 2
    columns = max(width - margin, 8)
    across, down = (1, 1) if ascii_only else (2, 4)
    dots = _draw(scaled, columns * across, height * down, bottom, top)
    rows = _stars(dots, columns, height) if ascii_only else _braille(dots, columns, height)
    at = {
        round((top - tick) / (top - bottom) * (height - 1)): name
        for tick, name in zip(ticks, names, strict=True)
    }
    edge = "|" if ascii_only else "┤"
    lines = [f"{at.get(row, ''):>{margin - 2}} {edge}{text}".rstrip() for row, text in enumerate(rows)]
    return [*lines, *_time_axis(times, columns, margin, ascii_only=ascii_only)]


def _drawable(value: float) -> float:
    if not math.isfinite(value):
        return math.nan
    return max(-_MOST, min(value, _MOST)) if abs(value) > 1 / _MOST else 0.0


def quantity(values: Sequence[float], unit: str) -> list[str]:
    """Values in one unit, three digits of the largest: 1500000 ns are 1.50 ms. "?" for what is not known."""
    scale, suffix = _scale(values, unit)
    largest = max((abs(value / scale) for value in values if math.isfinite(value)), default=0.0)
    digits = max(0, 2 - math.floor(math.log10(largest))) if largest > 1e-12 else 0
    return [_text(value / scale, digits) + suffix if math.isfinite(value) else "?" for value in values]


def _text(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if abs(value) < 1e7 else f"{value:.3g}"


def _scale(values: Sequence[float], unit: str) -> tuple[float, str]:
    """By how much to divide the values, and what to write behind them then."""
    base, slash, per = unit.partition("/")
    family, size = _FAMILIES.get(base, (_NUMBERS, 1.0))
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0) * size
    fitting = [each for each in family if each[0] <= largest * (1 + 1e-9)]
    scale, name = fitting[-1] if fitting else family[0]
    if family is not _NUMBERS:
        name = f" {name}"
    elif base not in ("", "1"):
        name = f"{name} {base}"
    return scale / size, f"{name}{slash}{per}"


def _digits(step: float) -> int:
    """Behind the point, to tell numbers that are so far apart."""
    if not 1e-12 < step < 1e12:
        return 0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return digits + int(abs(step * 10**digits - round(step * 10**digits)) > 1e-6)  # 2.5 wants one more


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers, evenly apart, that hold all; from 0 on where that wastes no more than half."""
    if low >= 0 and low <= high / 2:
        low = 0.0
    if high - low <= max(abs(high), abs(low)) * 1e-9:  # they look the same, and rounding would show
        low, high = (low - abs(low) / 10, high + abs(high) / 10) if abs(high) > 1e-9 else (0.0, 1.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * each for each in range(first, max(last, first + 1) + 1)]


def _draw(
    values: Sequence[float], columns: int, rows: int, bottom: float, top: float
) -> set[tuple[int, int]]:
    """The dots, (column, row from above), of a line through the values that are known and neighbours."""
    dots: set[tuple[int, int]] = set()
    before: tuple[int, int] | None = None
    for index, value in enumerate(values):
        if not math.isfinite(value):
            before = None
            continue
        x = index * (columns - 1) // max(len(values) - 1, 1)
        here = (x, round((top - value) / (top - bottom) * (rows - 1)))
        dots.update(_line(before or here, here))
        before = here
    return dots


def _line(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for each in range(length + 1):
        share = each / length
        yield round(start[0] + (end[0] - start[0]) * share), round(start[1] + (end[1] - start[1]) * share)


def _braille(dots: Iterable[tuple[int, int]], columns: int, rows: int) -> list[str]:
    signs = [[0] * columns for _ in range(rows)]
    for x, y in dots:
        signs[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    return ["".join(chr(_BRAILLE + sign) if sign else " " for sign in row) for row in signs]


def _stars(dots: set[tuple[int, int]], columns: int, rows: int) -> list[str]:
    return ["".join("*" if (x, y) in dots else " " for x in range(columns)) for y in range(rows)]


def _time_axis(times: Sequence[float], columns: int, margin: int, *, ascii_only: bool) -> list[str]:
    """The line below, and names of round times, UTC, that leave room between them."""
    first, last = times[0], times[-1]
    seconds = max(last - first, 1.0)
    form = "%m-%d" if seconds > 4 * _DAY else "%H:%M"
    step = next((each for each in _TIME_STEPS if each * columns / seconds >= _NAME_COLUMNS), _TIME_STEPS[-1])
    rule = ["-" if ascii_only else "─"] * columns
    names = [" "] * columns
    at = math.ceil(first / step) * step
    free = 0
    while at <= last:
        x = round((at - first) / seconds * (columns - 1))
        moment = datetime.fromtimestamp(at, timezone.utc)
        name = moment.strftime("%m-%d" if at % _DAY == 0 else form)
        if x >= free and x + len(name) <= columns:
            rule[x] = "+" if ascii_only else "┬"
            names[x : x + len(name)] = name
            free = x + len(name) + 1
        at += step
    corner = "+" if ascii_only else "┼"
    return [
        " " * (margin - 1) + corner + "".join(rule),
        (" " * margin + "".join(names)).rstrip(),
    ]
