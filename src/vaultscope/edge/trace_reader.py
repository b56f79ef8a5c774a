"""Spans out of lines of JSON, and the traces that they belong to.

What is read may be anything: another program's lines, a file that was cut, a span that somebody made up. A
log is read, too: programs in C write their spans there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Any, TypeGuard

from vaultscope.core.json_codec import loads
from vaultscope.edge.log_source import Source, SourceError

__all__ = ["SpanLine", "TraceReader", "TraceSummary", "id_digits", "summarize"]

TIME_NS_MAX = 1 << 63
ID_DIGITS = 32
_LOWER = bytes(range(256)).lower()
_OF_A_LOG = frozenset(("message", "level", "logger"))


@dataclass(slots=True)
class SpanLine:
    """A span that was read. Its ids are in lower case and without hyphens, whoever wrote them.

    line: as it was, without the newline.
    origin: who says it: the vault that the line names, else the source.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_ns: int
    duration_ns: int
    failed: bool
    origin: str
    record: dict[str, Any]
    line: bytes

    @property
    def end_ns(self) -> int:
        """When it ended, in ns since 1970."""
        return self.start_ns + self.duration_ns

    @property
    def is_local_root(self) -> bool:
        """Whether its trace, or its process's part of it, begins with it."""
        return "reason" in self.record or not self.parent_span_id


@dataclass(slots=True)
class TraceSummary:
    """What a list says of a trace. name: of the span that began first. What was written twice counts once."""

    trace_id: str
    start_ns: int
    end_ns: int = 0
    name: str = ""
    has_beginning: bool = False
    errors: int = 0
    span_ids: set[str] = field(default_factory=set)

    @property
    def spans(self) -> int:
        """How many there are."""
        return len(self.span_ids)

    @property
    def duration_ns(self) -> int:
        """From the first span's beginning to the last one's end."""
        return self.end_ns - self.start_ns

    def add(self, span: SpanLine) -> None:
        """Counts a span of the trace."""
        if span.span_id in self.span_ids:
            return
        begins = not span.parent_span_id
        if (begins, -span.start_ns) > (self.has_beginning, -self.start_ns) or not self.spans:
            self.name, self.has_beginning = span.name, begins
        self.start_ns = min(self.start_ns, span.start_ns)
        self.end_ns = max(self.end_ns, span.end_ns)
        self.span_ids.add(span.span_id)
        self.errors += span.failed


@dataclass(slots=True)
class TraceReader:
    """Reads sources, each once.

    stopped: whether to read no further.
    odd: how many lines were neither spans nor records of a log.
    errors: what went wrong with which source.
    """

    sources: Iterable[Source]
    stopped: Callable[[], bool] = bool
    odd: int = 0
    errors: list[str] = field(default_factory=list)

    def spans(self, containing: bytes = b"") -> Iterator[SpanLine]:
        """All spans, in the order in which they lie there. containing: passes over lines without this part of
        an id unread, whatever they are."""
        for source in self.sources:
            for line in self._lines(source):
                if self.stopped():
                    return
                # Another program's line may have it in capitals, or with hyphens.
                if not line or (containing not in line and containing not in line.translate(_LOWER, b"-")):
                    continue
                if line.isspace():
                    continue
                span = _read(line, source.name)
                if isinstance(span, SpanLine):
                    yield span
                else:
                    self.odd += not span

    def find(self, prefix: str) -> dict[str, list[SpanLine]]:
        """The traces whose id begins so, or is this but for zeros in front, by id. Of the second and later
        ones only the first span: that there are several is all that is to be known."""
        found: dict[str, list[SpanLine]] = {}
        # What JSON may have escaped is not looked for in the line.
        for span in self.spans(prefix.encode() if prefix.isascii() and prefix.isalnum() else b""):
            if not span.trace_id.startswith(prefix) and span.trace_id != prefix.zfill(ID_DIGITS):
                continue
            spans = found.setdefault(span.trace_id, [])
            if len(found) == 1 or not spans:
                spans.append(span)
        return found

    def _lines(self, source: Source) -> Iterator[bytes]:
        try:
            yield from source.lines()
            yield source.rest()
        except SourceError as error:
            self.errors.append(str(error))


def summarize(spans: Iterable[SpanLine]) -> list[TraceSummary]:
    """The traces, the newest first."""
    traces: dict[str, TraceSummary] = {}
    for span in spans:
        trace = traces.get(span.trace_id)
        if trace is None:
            trace = traces[span.trace_id] = TraceSummary(span.trace_id, span.start_ns, span.end_ns)
        trace.add(span)
    return sorted(traces.values(), key=lambda trace: trace.start_ns, reverse=True)


def id_digits(traces: Iterable[TraceSummary]) -> int:
    """How many digits of their ids tell the traces apart, from the first on."""
    ids = sorted(trace.trace_id for trace in traces)
    return 1 + max((_common(*pair) for pair in pairwise(ids)), default=0)


def _common(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _read(line: bytes, source: str) -> SpanLine | bool:
    """True: it is no span, but the record of a log. False: it is neither."""
    try:
        record = loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(record, dict):
        return False
    is_log = record.keys() >= _OF_A_LOG
    trace_id, span_id, parent = (_id(record.get(key)) for key in ("trace_id", "span_id", "parent_span_id"))
    start_ns, duration_ns = record.get("start_ns"), record.get("duration_ns")
    if not (trace_id and span_id and parent is not None and _is_time(start_ns) and _is_time(duration_ns)):
        return is_log
    if is_log:
        record = {"name": record["message"]} | {
            key: value for key, value in record.items() if key not in _OF_A_LOG
        }
    name, vault = record.get("name"), record.get("vault")
    return SpanLine(
        trace_id,
        span_id,
        parent if parent.strip("0") else "",
        name if isinstance(name, str) else "",
        start_ns,
        max(0, duration_ns),
        record.get("status") == "error",
        vault if isinstance(vault, str) and vault else source,
        record,
        line,
    )


def _id(value: Any) -> str | None:
    """None: it cannot be one. That there is none is an id, too, of no digits."""
    if value is None:
        return ""
    return value.replace("-", "").lower() if isinstance(value, str) else None


def _is_time(value: Any) -> TypeGuard[int]:
    return type(value) is int and -TIME_NS_MAX < value < TIME_NS_MAX
