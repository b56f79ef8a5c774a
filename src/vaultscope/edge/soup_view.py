"""Objects of a soup as a table that fits a terminal, newest last or first, as they were asked for.

    created (UTC)            type       size     address       attributes
    2026-01-31 12:00:00.123  log-entry  312 B    9f86d081884c  level=error logger=cas pid=4711
    2026-01-31 12:00:00.456  trace      4.1 KiB  4e07408562be* name=cas.put status=error

An address is shown by its first digits, which `vaultscope get` takes; * marks one that is pinned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from rich.cells import cell_len, set_cell_size

from vaultscope.core.json_codec import dumps
from vaultscope.core.soup import SoupObject
from vaultscope.edge.log_text import harmless

__all__ = ["format_bytes", "render_table"]

DIGITS = 12
_SCREEN = 256  # rows that say how wide the columns are
_TYPE_CELLS_MAX = 24
_ATTRIBUTES_CELLS_MIN = 10
_HEADING = ("created (UTC)", "type", "size", "address", "attributes")
_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_PLAIN_SIGNS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@+-")


def render_table(
    found: Iterable[SoupObject], *, width: int, colour: bool, ascii_only: bool = False
) -> Iterator[str]:
    """The lines of the table, without newlines; none if there is no object."""
    objects = iter(found)
    first = list(islice(objects, _SCREEN))
    if not first:
        return
    types = max(len(_HEADING[1]), *(cell_len(harmless(each.type)) for each in first))
    types = min(types, _TYPE_CELLS_MAX)
    widths = (23, types, 8, DIGITS + 1)
    rest = max(width - sum(widths) - 2 * len(widths) + 1, _ATTRIBUTES_CELLS_MIN)
    heading = _row(_HEADING, widths, rest, ascii_only)
    yield f"{_DIM}{heading}{_RESET}" if colour else heading
    for group in (first, objects):
        for each in group:
            yield _row(_cells(each), widths, rest, ascii_only)


def _row(cells: tuple[str, ...], widths: tuple[int, ...], rest: int, ascii_only: bool) -> str:
    parts = [_cut(text, size, ascii_only) for text, size in zip(cells, widths, strict=False)]
    padded = [set_cell_size(text, size) for text, size in zip(parts, widths, strict=True)]
    # Behind the address is one blank: its last cell is the mark's, and mostly empty.
    return f"{'  '.join(padded)} {_cut(cells[-1], rest, ascii_only)}".rstrip()


def _cut(text: str, size: int, ascii_only: bool) -> str:
    if cell_len(text) <= size:
        return text
    mark = "~" if ascii_only else "…"
    return set_cell_size(text, size - 1).rstrip() + mark


def _cells(found: SoupObject) -> tuple[str, ...]:
    digits = found.address.partition(":")[2][:DIGITS] + ("*" if found.pinned else "")
    pairs = (f"{_word(name)}={_value(value)}" for name, value in found.attributes.items())
    return _time(found.created_ns), harmless(found.type), format_bytes(found.size), digits, " ".join(pairs)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _word(value)
    return harmless(dumps(value).decode("utf-8", "replace"))


def _word(text: str) -> str:
    """Text with blanks or signs in it gets quotes, as a condition wants it."""
    is_plain = text and _PLAIN_SIGNS.issuperset(text)
    return text if is_plain else "'" + harmless(text).replace("'", "''") + "'"


def _time(nanoseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return str(nanoseconds)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{nanoseconds // 1_000_000 % 1000:03}"


def format_bytes(count: int) -> str:
    """Two digits that matter, or three, and a unit."""
    if count < 1024:
        return f"{count} B"
    size = count / 1024
    for unit in ("KiB", "MiB", "GiB"):
        if size < 999.5:
            return f"{size:.{1 if size < 9.95 else 0}f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
