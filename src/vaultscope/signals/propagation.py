"""Propagation: a trace goes on in the process that is called.

    headers = {}
    inject(headers)  # where a request goes out

    with tracer.span("vault.get", kind="server", parent=extract(request.headers)):  # where it comes in

Formats: "w3c" (traceparent and tracestate, W3C Trace Context level 2), "memo" (X-Trace-Id and X-Span-Id),
"b3" (one header; read from several, too) and "b3multi" (several; only written).

What the specifications leave open, or are often read otherwise:

- A traceparent that comes twice is nobody's. A tracestate is passed on as it came; of more than 512
  characters whole members are left out: those of more than 128 first, and from the end. That its keys differ
  is for those to see to who add them, as level 2 has it.
- The flag of a random id is set for traces that begin here, and else passed on as it came.
- What says nothing of sampling (the memo's headers, B3 that defers) is decided where it goes on, by the
  trace's id: as the caller's vault did.
- X-Trace-Id alone is enough: what goes on from it has no parent. `b3: 0` alone is not: it names no trace.
- X-Trace-Id may be a UUID with its hyphens; it is handed on without them.

Source: memo, Distributed Tracing; https://www.w3.org/TR/trace-context-2/; the B3 specification,
https://github.com/openzipkin/b3-propagation.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

from vaultscope._native._core import (
    SpanContext,
    current_span,
    extract_plain,
    header_name,
    inject_plain,
    trace_headers,
    trace_keys,
)
from vaultscope.core.trace_headers import NAMES, READERS, WRITERS
from vaultscope.errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from vaultscope._native._core import NoSpan

__all__ = ["extract", "inject"]

_WRITTEN = ("w3c", "memo")
_W3C = ("w3c",)
_READ = ("w3c", "b3", "memo")
_HEADERS_MAX = 10_000  # that are looked at: a carrier may be endless


def inject(
    carrier: Any,
    context: SpanContext | NoSpan | None = None,
    *,
    formats: Sequence[str] = _WRITTEN,
    setter: Callable[[Any, str, str], object] | None = None,
) -> None:
    """Writes the headers of a trace, in place of those that are there; nothing, if there is no span.

    carrier: a mapping that takes headers (a dict, an http.client or email message, the headers of requests,
        urllib3, werkzeug, Starlette), or a list of pairs (of bytes, if those that are there are).
    context: whose headers; None: the current span's.
    setter: called with the carrier, a name and a value, for carriers of other kinds; what is there already is
        its affair. For urllib: `setter=Request.add_header`.

    Raises DeclarationError for a format that is none, TypeError for a carrier that takes no headers.
    """
    plain = setter is None and type(carrier) is dict
    memo = formats is _WRITTEN
    if plain and (memo or formats == _W3C) and inject_plain(carrier, context, memo):
        return
    if context is None:
        context = current_span.get(None)
    if not isinstance(context, SpanContext):
        return
    headers: dict[str, str] = {}
    for name in formats:
        if name not in WRITERS:
            raise _no_format(name, WRITERS)
        WRITERS[name](context, headers)
    if setter is not None:
        for name, value in headers.items():
            setter(carrier, name, value)
    elif isinstance(carrier, list):
        _append(carrier, headers, formats)
    elif hasattr(carrier, "keys") and hasattr(carrier, "__setitem__"):
        _replace(carrier, headers, formats)
    else:
        raise TypeError(f"a {type(carrier).__name__} takes no headers; inject() has a `setter` for that")


def _replace(carrier: Any, headers: Mapping[str, str], formats: Iterable[str]) -> None:
    """First takes out what would be there twice, or is of another trace: some mappings add."""
    ours = _names(formats)
    for key in trace_keys(list(carrier.keys())):
        if header_name(key) in ours:
            with suppress(KeyError):  # of some, all spellings are gone with the first
                del carrier[key]
    for name, value in headers.items():
        carrier[name] = value


def _append(carrier: list[Any], headers: Mapping[str, str], formats: Iterable[str]) -> None:
    ours = _names(formats)
    carrier[:] = [pair for pair in carrier if header_name(pair[0]) not in ours]
    if carrier and isinstance(carrier[0][0], bytes):  # as ASGI has them, in lower case
        carrier.extend((name.lower().encode(), value.encode()) for name, value in headers.items())
    else:
        carrier.extend(headers.items())


def _names(formats: Iterable[str]) -> set[str]:
    return {header for name in formats for header in NAMES[name]}


def extract(carrier: Any, *, formats: Sequence[str] = _READ) -> SpanContext | None:
    """What a request's headers say of its trace: what the first of the formats says that says something.

    carrier: a mapping in whatever case, with a value a name, a list of them, or a method that gives them
        (getlist, get_all, getall); WSGI's environ; or pairs, of text or bytes, as in ASGI's scope["headers"].

    Returns a span's `parent`; None: there is none, or it is malformed. Raises DeclarationError for a format
    that is none, and nothing for what a carrier holds or does.
    """
    if formats is _READ and type(carrier) is dict:
        context = extract_plain(carrier)
        if context is not None:
            return context
    try:
        found = _found(carrier)
    except Exception:  # whatever it is, and whatever came in: the request goes on without
        return None
    if not found and formats is _READ:
        return None
    for name in formats:
        if name not in READERS:
            raise _no_format(name, READERS)
        context = READERS[name](found)
        if context is not None:
            return context
    return None


def _found(carrier: Any) -> dict[str, Any]:
    if not hasattr(carrier, "items"):
        return trace_headers(islice(carrier, _HEADERS_MAX))
    found = trace_headers(islice(carrier.items(), _HEADERS_MAX))
    if found:
        for method in ("getlist", "get_all", "getall"):
            if hasattr(carrier, method):
                _complete(found, carrier, getattr(carrier, method))
                break
    return found


def _complete(found: dict[str, Any], carrier: Any, values: Callable[[Any], Iterable[Any]]) -> None:
    """items() of such mappings gives one value a name, or all of them; so whatever gives more."""
    for key in dict.fromkeys(trace_keys(islice(carrier.keys(), _HEADERS_MAX))):
        every = trace_headers([(key, list(islice(values(key), _HEADERS_MAX)))])
        for name, value in every.items():
            found[name] = max(found[name], value, key=_count)


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list) else 1


def _no_format(name: str, formats: Iterable[str]) -> DeclarationError:
    return DeclarationError(f"a format is one of {', '.join(formats)}, not {name!r}")
