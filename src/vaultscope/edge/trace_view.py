"""A trace as a person reads it in a terminal: a waterfall, each span below its parent.

    trace 0af7651916cd43dd8448eb211c80319c
    2026-01-31 12:00:00.123  35.2 ms  3 spans, 1 error, kept: error

    ! cas.put          35.2 ms  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇
        hash            1.2 ms  ▇
    !   store.write    20.0 ms            ▇▇▇▇▇▇▇▇▇▇
          OSError: disk full

Names and messages come from outside, and a terminal obeys what it is sent: nothing but text gets through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeGuard

from rich.cells import cell_len, set_cell_size

from vaultscope.core.json_codec import dumps
from vaultscope.edge.log_text import harmless
from vaultscope.edge.trace_reader import ID_DIGITS, SpanLine, TraceSummary
from vaultscope.edge.trace_tree import Row, trace_rows

__all__ = ["Style", "format_duration", "render_list", "render_trace"]

_DURATION_CELLS = 8
_GUTTER_CELLS = 3  # whether it failed, whether its clock was moved
_NAME_CELLS_MIN = 6
_ID_DIGITS_MIN = 8
_BAR_CELLS_MIN = 8
_DEEP_NAME_CELLS = (
    12  # rows that leave less to their name are not indented further, but say how deep they are
)
_BAR_CELLS = 24  # are left to the bars before names may have more
_SHOWN_ELSEWHERE = (
    "name", "time", "trace_id", "span_id", "parent_span_id", "start_ns", "duration_ns", "status", "vault",
    "attributes", "events", "links", "status_message",
)  # fmt: skip
_RED, _DIM, _BOLD, _BAR, _RESET = "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[36m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Style:
    """How to show it. width: of the terminal, in cells. colour: by ANSI sequences. ascii: no other characters
    of ours. verbose: with attributes, events and links."""

    width: int = 80
    colour: bool = False
    ascii: bool = False
    verbose: bool = False

    def paint(self, colour: str, text: str) -> str:
        """The text in that colour, or as it is."""
        return f"{colour}{text}{_RESET}" if self.colour and text else text


def render_trace(spans: Sequence[SpanLine], style: Style) -> Iterator[str]:
    """The lines of a trace, without newlines. There is one span at least."""
    return _Waterfall(trace_rows(spans), style).lines()


def render_list(traces: Sequence[TraceSummary], style: Style, *, id_digits: int = ID_DIGITS) -> Iterator[str]:
    """A line for each trace, without newlines. A style's width of 0 is room for all.

    id_digits: how many tell the traces apart, which is what an id has where there is no room for more."""
    rows = [
        (
            _time(trace.start_ns),
            format_duration(trace.duration_ns, ascii=style.ascii),
            _count(trace.spans, "span"),
            _count(trace.errors, "error") if trace.errors else "",
            harmless(trace.trace_id),
            harmless(trace.name) or "(no name)",
        )
        for trace in traces
    ]
    when, duration, spans, errors, ids, names = (
        max(map(cell_len, texts), default=0) for texts in zip(*rows, strict=True)
    ) if rows else (0,) * 6  # fmt: skip
    duration = max(duration, _DURATION_CELLS)
    before = when + duration + spans + errors + (8 if errors else 6)
    if style.width and before + ids + 2 + names > style.width:
        ids = min(ids, max(id_digits, _ID_DIGITS_MIN))
        names = min(names, max(style.width - before - ids - 2, _NAME_CELLS_MIN))
    for at, took, count, failed, trace_id, name in rows:
        red = style.paint(_RED, failed.rjust(errors)) + "  " if errors else ""
        row = f"{at.ljust(when)}  {took.rjust(duration)}  {count.rjust(spans)}  {red}"
        yield row + f"{set_cell_size(trace_id, ids)}  {_cut(name, names, style)}"


def format_duration(nanoseconds: int, *, ascii: bool = False) -> str:
    """Three digits that matter, and a unit."""
    if abs(nanoseconds) >= 120_000_000_000:
        minutes, rest = divmod(nanoseconds // 1_000_000_000, 60)
        return f"{minutes}:{rest:02} min"
    for size, unit in ((1_000_000_000, "s"), (1_000_000, "ms"), (1000, "us" if ascii else "µs")):
        if abs(nanoseconds) >= size * 0.9995:
            number = nanoseconds / size
            digits = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
            return f"{number:.{digits}f} {unit}"
    return f"{nanoseconds} ns"


class _Waterfall:
    def __init__(self, rows: list[Row], style: Style) -> None:
        self._rows = rows
        self._style = style
        self._spans = [row.span for row in rows if row.span is not None]
        there = [row for row in rows if row.span is not None]
        self._start_ns = min(row.start_ns for row in there)
        self._total_ns = max(_end_ns(row) for row in there) - self._start_ns
        self._origins = {span.origin for span in self._spans}
        # A message that a child has, too, is shown there only.
        self._told = {(span.parent_span_id, _message(span)) for span in self._spans if span.failed}
        self._measure()

    def _measure(self) -> None:
        room = self._style.width - _GUTTER_CELLS - _DURATION_CELLS - 4
        names = max(room - _BAR_CELLS, room // 2, _NAME_CELLS_MIN)
        self._depth_max = max(1, (names - _DEEP_NAME_CELLS) // 2)
        longest = max(cell_len(self._label(row)) for row in self._rows)
        self._name_cells = min(longest, names)
        self._bar_cells = room - self._name_cells
        if self._bar_cells < _BAR_CELLS_MIN:
            self._bar_cells = 0
            self._name_cells = min(longest, max(room + 2, _NAME_CELLS_MIN))

    def lines(self) -> Iterator[str]:
        yield from self._head()
        for row in self._rows:
            yield self._line(row)
            if row.span is not None:
                yield from self._below(row, row.span)
        yield from self._foot()

    def _foot(self) -> Iterator[str]:
        """Whose clock was not believed, and how far off it seems to be."""
        moved: dict[tuple[str, int], int] = {}
        for row in self._rows:
            if row.span is not None and row.shift_ns:
                key = row.span.origin, row.shift_ns
                moved[key] = moved.get(key, 0) + 1
        if moved:
            yield ""
        for (origin, shift_ns), count in moved.items():
            off = self._duration(abs(shift_ns))
            slow = "behind" if shift_ns > 0 else "ahead"
            yield (
                f"~ {_count(count, 'span')} moved into what called them:"
                f" the clock of {harmless(origin)} is about {off} {slow}"
            )

    def _head(self) -> Iterator[str]:
        style = self._style
        errors = sum(span.failed for span in self._spans)
        parts = [_count(len(self._spans), "span")]
        if errors:
            parts.append(style.paint(_RED, _count(errors, "error")))
        if lost := sum(filter(_is_count, (span.record.get("lost_spans") for span in self._spans))):
            parts.append(style.paint(_RED, f"{lost:,} lost"))
        if reasons := {str(span.record["reason"]) for span in self._spans if "reason" in span.record}:
            parts.append(f"kept: {', '.join(sorted(map(harmless, reasons)))}")
        if len(self._origins) > 1:
            parts.append(f"from {', '.join(sorted(map(harmless, self._origins)))}")
        duration = self._duration(self._total_ns)
        yield style.paint(_BOLD, f"trace {harmless(self._spans[0].trace_id)}")
        yield f"{_time(self._start_ns)}  {duration}  {', '.join(parts)}"
        yield ""

    def _label(self, row: Row) -> str:
        indent = "  " * min(row.depth, self._depth_max)
        if row.depth > self._depth_max:
            indent += f"({row.depth}) "
        if row.span is None:
            return f"{indent}({harmless(row.span_id)} is missing)"
        label = indent + (harmless(row.span.name) or "(no name)")
        if len(self._origins) > 1 and row.span.is_local_root:
            label += f" @{harmless(row.span.origin)}"
        return label

    def _line(self, row: Row) -> str:
        style, span = self._style, row.span
        label = _cut(self._label(row), self._name_cells, style)
        if span is None:
            return (" " * _GUTTER_CELLS + style.paint(_DIM, label)).rstrip()
        label = set_cell_size(label, self._name_cells)
        duration = self._duration(span.duration_ns).rjust(_DURATION_CELLS)
        gutter = f"{'!' if span.failed else ' '}{'~' if row.shift_ns else ' '} "
        bar = self._bar(row, span) if self._bar_cells else ""
        colour = _RED if span.failed else ""
        return (
            f"{style.paint(colour, gutter + label) if colour else gutter + label}  {duration}"
            f"  {style.paint(colour or _BAR, bar)}"
        ).rstrip()

    def _bar(self, row: Row, span: SpanLine) -> str:
        cells, total = self._bar_cells, max(self._total_ns, 1)
        since_ns = row.start_ns - self._start_ns
        offset = min(since_ns * cells // total, cells - 1)
        length = (since_ns + span.duration_ns) * cells // total - offset if self._total_ns else cells
        if length < 1:
            return " " * offset + ("|" if self._style.ascii else "▏")
        # Seven eighths high, so that the bars of two rows do not become one.
        return " " * offset + ("#" if self._style.ascii else "▇") * length

    def _duration(self, nanoseconds: int) -> str:
        return format_duration(nanoseconds, ascii=self._style.ascii)

    # -- below a span's line --------------------------------------------------------------------------------

    def _below(self, row: Row, span: SpanLine) -> Iterator[str]:
        indent = " " * (_GUTTER_CELLS + 2 * min(row.depth, self._depth_max) + 2)
        message = _message(span)
        if span.failed and message and (span.span_id, message) not in self._told:
            for line in message.splitlines():
                yield indent + self._style.paint(_RED, harmless(line))
        if self._style.verbose:
            for line in self._details(row, span):
                yield (indent + self._style.paint(_DIM, harmless(line))).rstrip()

    def _details(self, row: Row, span: SpanLine) -> Iterator[str]:
        record = span.record
        yield f"span {span.span_id}"
        if row.shift_ns:
            yield f"clock moved by {self._duration(row.shift_ns)}"
        for key, value in record.items():
            if key not in _SHOWN_ELSEWHERE and (key, value) != ("kind", "internal"):
                yield from _pair(key, value)
        yield from _pairs(record.get("attributes"))
        for event in _mappings(record.get("events")):
            at = event.get("time_ns")
            since = self._duration(at - span.start_ns) if isinstance(at, int) else "?"
            yield f"+{since} {_text(event.get('name', ''))}"
            for line in _pairs(event.get("attributes")):
                yield f"  {line}"
        for link in _mappings(record.get("links")):
            yield f"link to {_text(link.get('trace_id', ''))} {_text(link.get('span_id', ''))}"
            for line in _pairs(link.get("attributes")):
                yield f"  {line}"


def _cut(text: str, cells: int, style: Style) -> str:
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1) + ("~" if style.ascii else "…")


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value > 0


def _end_ns(row: Row) -> int:
    return row.start_ns + (row.span.duration_ns if row.span is not None else 0)


def _pairs(attributes: object) -> Iterator[str]:
    if isinstance(attributes, Mapping):
        for key, value in attributes.items():
            yield from _pair(str(key), value)


def _pair(key: str, value: object) -> Iterator[str]:
    """A value of several lines, as a stacktrace is, has them to itself."""
    first, *more = _text(value).rstrip("\n").split("\n")
    if not more:
        yield f"{key}={first}"
        return
    yield f"{key}="
    for line in (first, *more):
        yield f"  {line.expandtabs(4)}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else dumps(value).decode()


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, Mapping))


def _message(span: SpanLine) -> str:
    return _text(span.record.get("status_message") or "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _time(nanoseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000, timezone.utc)
    except (ValueError, OverflowError, OSError):  # before the year 1, or after 9999
        return f"{nanoseconds} ns"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{nanoseconds % 1_000_000_000 // 1_000_000:03}"
