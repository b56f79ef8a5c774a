"""The formats in which a trace goes from one process to the next: what each of them reads and writes.

Readers are given headers as `trace_headers` finds them: name in lower case to a value, or to a list if it
came several times. What is malformed, or not there, is None. Most of W3C's and the memo's is in C, since
every request has them.
"""

from __future__ import annotations

from vaultscope._native._core import SpanContext, read_ids, read_w3c, write_memo, write_w3c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Value = str | bytes | list[str | bytes]
    Found = dict[str, Value]

__all__ = ["NAMES", "READERS", "WRITERS"]


# ---- the memo's, Distributed Tracing ----


def _read_memo(found: Found) -> SpanContext | None:
    """X-Span-Id may be missing: then the trace goes on, and what goes on has no parent."""
    trace, span = found.get("x-trace-id"), found.get("x-span-id")
    if trace is None or isinstance(trace, list) or isinstance(span, list):  # which of them?
        return None
    return read_ids(_without_hyphens(_text(trace)), None if span is None else _text(span))


def _without_hyphens(trace: str) -> str:
    """A UUID as it is usually written: 8-4-4-4-12 digits."""
    groups = trace.split("-") if len(trace) == 36 else ()
    return "".join(groups) if [*map(len, groups)] == [8, 4, 4, 4, 12] else trace


# ---- B3, in one header or in several ----

_STATES = {"0": False, "1": True, "d": True}
_SAMPLED: dict[str, bool | None] = {"": None, "0": False, "1": True, "false": False, "true": True}
_SINGLE_SIZE = 32 + 1 + 16 + 1 + 1 + 1 + 16


def _read_b3(found: Found) -> SpanContext | None:
    single = found.get("b3")
    return (_read_b3_single(_text(single)) if single is not None else None) or _read_b3_several(found)


def _read_b3_single(value: str) -> SpanContext | None:
    """trace-span[-state[-parent]]. A state alone is that of no trace that could go on."""
    if len(value) > _SINGLE_SIZE:
        return None
    trace, span, *more = value.split("-") if "-" in value else ("", "")
    if len(more) > 2 or (more and more[0] not in _STATES) or (len(more) == 2 and not _is_b3_span(more[1])):
        return None
    return _b3(trace, span, _STATES[more[0]] if more else None)


def _read_b3_several(found: Found) -> SpanContext | None:
    trace, span = found.get("x-b3-traceid"), found.get("x-b3-spanid")
    sampled = _text(found.get("x-b3-sampled", ""))
    if trace is None or span is None or sampled not in _SAMPLED:
        return None
    debug = _text(found.get("x-b3-flags", "")) == "1"
    return _b3(_text(trace), _text(span), True if debug else _SAMPLED[sampled])


def _b3(trace: str, span: str, sampled: bool | None) -> SpanContext | None:
    return read_ids(trace, span, sampled) if len(trace) in (16, 32) and len(span) == 16 else None


def _is_b3_span(span: str) -> bool:
    return len(span) == 16 and read_ids(span, None) is not None


def _write_b3(context: SpanContext, headers: dict[str, str]) -> None:
    if context.span_id:
        state = "" if context.deferred else "-1" if context.sampled else "-0"
        headers["b3"] = f"{context.trace_hex}-{context.span_hex}{state}"


def _write_b3_several(context: SpanContext, headers: dict[str, str]) -> None:
    if context.span_id:
        headers["X-B3-TraceId"] = context.trace_hex
        headers["X-B3-SpanId"] = context.span_hex
        if not context.deferred:
            headers["X-B3-Sampled"] = "1" if context.sampled else "0"


def _text(value: Value) -> str:
    """A header's value, of several the first, without white space around it and in lower case."""
    if isinstance(value, list):
        value = value[0]
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value.strip(" \t").lower()


READERS: dict[str, Callable[[Found], SpanContext | None]] = {
    "w3c": read_w3c,
    "memo": _read_memo,
    "b3": _read_b3,
}
WRITERS: dict[str, Callable[[SpanContext, dict[str, str]], None]] = {
    "w3c": write_w3c,
    "memo": write_memo,
    "b3": _write_b3,
    "b3multi": _write_b3_several,
}
# The headers, in lower case, that belong to what a format writes: others of them are of another trace.
NAMES = {
    "w3c": ("traceparent", "tracestate"),
    "memo": ("x-trace-id", "x-span-id"),
    "b3": ("b3",),
    "b3multi": ("x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"),
}
