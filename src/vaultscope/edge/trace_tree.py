"""The spans of one trace as a tree, in the order in which they are shown, on one clock.

Several processes may have written it, each with a clock of its own, and some of it may be missing: nothing
here takes for granted that a parent is there, that it began before its children, or that there is one root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vaultscope.edge.trace_reader import SpanLine

__all__ = ["Row", "trace_rows"]


@dataclass(slots=True)
class Row:
    """A line of the waterfall.

    span: None: a span that others call their parent, and that is not there.
    span_id: its id, there or not.
    depth: how many rows it lies below.
    shift_ns: how far its clock was moved, so that it lies in its parent.
    """

    span: SpanLine | None
    span_id: str
    depth: int
    shift_ns: int = 0

    @property
    def start_ns(self) -> int:
        """When it began, by the clock of the trace's first span."""
        return self.span.start_ns + self.shift_ns if self.span else 0


def trace_rows(spans: Iterable[SpanLine]) -> list[Row]:
    """All spans of a trace, each below its parent, in the order of time; each once, also what was written
    twice, or lies in a circle."""
    tree = _Tree(spans)
    return list(tree.rows())


class _Tree:
    def __init__(self, spans: Iterable[SpanLine]) -> None:
        self._spans: dict[str, SpanLine] = {}
        for span in spans:
            self._spans.setdefault(span.span_id, span)
        self._below: dict[str, list[SpanLine]] = {}
        for span in sorted(self._spans.values(), key=lambda span: (span.start_ns, -span.duration_ns)):
            self._below.setdefault(span.parent_span_id, []).append(span)
        self._shown: set[str] = set()

    def rows(self) -> Iterator[Row]:
        """The rows."""
        missing = [parent for parent in self._below if parent and parent not in self._spans]
        tops = [*self._below.get("", ()), *missing]
        for top in sorted(tops, key=lambda top: self._start_of(top)):
            yield from self._from(top)
        for span in self._spans.values():  # in a circle, which no root leads to
            yield from self._from(span)

    def _start_of(self, top: SpanLine | str) -> int:
        return self._below[top][0].start_ns if isinstance(top, str) else top.start_ns

    def _from(self, top: SpanLine | str) -> Iterator[Row]:
        """The row and those below it. By hand, not by recursion: a chain may have 10,000 links."""
        first = Row(None, top, 0) if isinstance(top, str) else Row(top, top.span_id, 0)
        waiting = [first]
        while waiting:
            row = waiting.pop()
            if row.span_id in self._shown:
                continue
            self._shown.add(row.span_id)
            yield row
            waiting += [
                Row(span, span.span_id, row.depth + 1, row.shift_ns + _skew(row, span))
                for span in reversed(self._below.get(row.span_id, ()))
            ]


def _skew(row: Row, child: SpanLine) -> int:
    """How far a child's clock is to be moved, seen from its parent's.

    Only another process has another clock, so only a local root is moved, and only if the times cannot be: a
    child does not begin before its parent, and what serves a client's call does not begin after that call is
    over. (It may well end after it: its answer has gone out before.) It is moved to the middle of its parent:
    the way there takes as long as the way back.
    """
    parent = row.span
    if parent is None or not child.is_local_root:
        return 0
    is_late = child.start_ns > parent.end_ns and (_kind(parent), _kind(child)) == ("client", "server")
    if child.start_ns >= parent.start_ns and not is_late:
        return 0
    return parent.start_ns + max(0, parent.duration_ns - child.duration_ns) // 2 - child.start_ns


def _kind(span: SpanLine) -> Any:
    return span.record.get("kind")
