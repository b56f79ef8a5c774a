"""Propagation: which carriers it reads and writes, in which case, and what it makes of several headers."""

from __future__ import annotations

import itertools
import pickle
import time
import urllib.request
from collections import OrderedDict, UserDict
from collections.abc import Iterator, MutableMapping
from email.message import Message
from http.client import HTTPMessage
from types import MappingProxyType
from typing import Any
from wsgiref.headers import Headers

import pytest

from vaultscope import DeclarationError, Registry
from vaultscope._native._core import SpanContext, current_span, use_span
from vaultscope.signals.propagation import extract, inject
from vaultscope.signals.tracing import Tracer

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
OTHER = "11f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
CONTEXT = SpanContext(int(TRACE, 16), int(SPAN, 16), sampled=True, tracestate="a=1")


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    tracer = Tracer(Registry())
    yield tracer
    tracer.close()


class Folded(MutableMapping[str, str]):
    """A case-insensitive mapping, as the headers of requests are."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs = {name.lower(): (name, value) for name, value in pairs}

    def __getitem__(self, name: str) -> str:
        return self.pairs[name.lower()][1]

    def __setitem__(self, name: str, value: str) -> None:
        self.pairs[name.lower()] = (name, value)

    def __delitem__(self, name: str) -> None:
        del self.pairs[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.pairs.values())

    def __len__(self) -> int:
        return len(self.pairs)


class Listed(dict[str, "list[str]"]):
    """A dict with several values a name, of which items() gives the last, as Django's and werkzeug's are."""

    def items(self) -> Iterator[tuple[str, str]]:  # type: ignore[override]
        return ((name, values[-1]) for name, values in super().items())

    def getlist(self, name: str) -> list[str]:
        return self[name]


def message(kind: type[Message], *pairs: tuple[str, str]) -> Message:
    made = kind()
    for name, value in pairs:
        made[name] = value
    return made


# ---- extract: carriers ----

W3C = (("Host", "vault"), ("TraceParent", PARENT), ("TRACESTATE", "a=1"))


@pytest.mark.parametrize(
    "carrier",
    [
        dict(W3C),
        OrderedDict(W3C),
        UserDict(W3C),
        MappingProxyType(dict(W3C)),
        Folded(*W3C),
        message(Message, *W3C),
        message(HTTPMessage, *W3C),
        Headers(list(W3C)),
        W3C,
        list(W3C),
        iter(list(W3C)),
        [[name, value] for name, value in W3C],
        [(name.lower().encode(), value.encode()) for name, value in W3C],
        {name.encode(): value.encode() for name, value in W3C},
        {name: [value] for name, value in W3C},
        {name: (value, None) for name, value in W3C},
        Listed((name, [value]) for name, value in W3C),
        {
            "wsgi.version": (1, 0),
            "REQUEST_METHOD": "GET",
            "HTTP_TRACEPARENT": PARENT,
            "HTTP_TRACESTATE": "a=1",
        },
        {"TRACEPARENT": PARENT, "TRACESTATE": "a=1", "PATH": "/bin"},  # of a process's environment
        {"traceparent": f" \t{PARENT}\t ", "tracestate": "\ta=1 "},
    ],
    ids=lambda carrier: type(carrier).__name__,
)
def test_extract_from(carrier: object) -> None:
    """The headers are found in whatever holds them, in whatever case."""
    context = extract(carrier)
    assert context == CONTEXT
    assert context is not None
    assert (context.sampled, context.remote, context.tracestate) == (True, True, "a=1")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-trace-id": TRACE, "x-span-id": SPAN},
        {"HTTP_X_TRACE_ID": TRACE, "HTTP_X_SPAN_ID": SPAN},
        [(b"X-TRACE-ID", TRACE.encode()), (b"X-SPAN-ID", SPAN.encode())],
        {"B3": f"{TRACE}-{SPAN}"},
        {"HTTP_B3": f"{TRACE}-{SPAN}"},
        {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN},
        {"X-B3-TraceId": TRACE, "X-B3-SpanId": f" {SPAN}"},
        {"HTTP_X_B3_TRACEID": TRACE, "HTTP_X_B3_SPANID": SPAN},
    ],
)
def test_other_headers(headers: object) -> None:
    """So are the memo's and B3's; what they do not say about sampling is left open."""
    context = extract(headers)
    assert context == CONTEXT
    assert context is not None
    assert context.deferred and not context.sampled and not context.random


@pytest.mark.parametrize(
    "carrier",
    [
        None, 5, "traceparent", b"traceparent", object(), {}, [], (), {"traceparent": None},
        {"traceparent": 5}, {"traceparent": []}, {"traceparent": [None]}, {None: PARENT}, {5: PARENT},
        {("traceparent",): PARENT}, [PARENT], [("traceparent",)], [("traceparent", PARENT, 1)], [None],
        {"traceparent": [[PARENT]]},
        {"trace-parent": PARENT}, {"trace_parent": PARENT}, {"HTTP_": PARENT}, {"": PARENT},
        {"HTTP_HTTP_TRACEPARENT": PARENT}, {"X_Trace_Id": TRACE, "X_Span_Id": SPAN},
        {"traceparent\n": PARENT}, {"ｔraceparent": PARENT},
        {"traceparent": "\ud800" * 55}, {"tracestate": "a=1"}, {"x-span-id": SPAN}, {"x-b3-traceid": TRACE},
        {"x-b3-spanid": SPAN}, dict, SpanContext,
    ],
    ids=repr,
)  # fmt: skip
def test_nothing(carrier: object) -> None:
    """What holds no trace gives none, and raises nothing."""
    assert extract(carrier) is None


def test_hostile_carriers() -> None:
    """A carrier that raises gives none; one that does not end ends all the same."""

    class Raising(dict[str, str]):
        def items(self) -> None:  # type: ignore[override]
            raise RuntimeError

    class Strange:
        def items(self) -> int:
            return 5

    endless = itertools.repeat(("name", "value"))
    loop: list[object] = []
    loop.append(("traceparent", loop))
    for carrier in (Raising(traceparent=PARENT), Strange(), endless, loop, {"traceparent": loop}):
        assert extract(carrier) is None


def test_large_headers() -> None:
    """Headers of megabytes are read in the time that it takes to look at them."""
    large = 4 << 20
    start = time.perf_counter()
    for name in ("traceparent", "b3", "x-trace-id", "x-b3-traceid", "x-b3-sampled"):
        for character in (" ", "0", "-", "a", ","):
            assert extract({name: character * large, "x-b3-spanid": SPAN}) is None
    for state in ("a=1," * (large // 4), "a" * large, "a=" + " " * large, "," * large, " " * large):
        context = extract({"traceparent": PARENT, "tracestate": state})
        assert context is not None and context.tracestate == ""
    assert time.perf_counter() - start < 5


# ---- extract: several headers ----


@pytest.mark.parametrize(
    "carrier",
    [
        {"traceparent": PARENT, "TraceParent": PARENT},
        {"traceparent": [PARENT, PARENT]},
        {"traceparent": f"{PARENT},{PARENT}"},
        {"traceparent": PARENT, "HTTP_TRACEPARENT": PARENT},
        [("traceparent", PARENT), ("traceparent", PARENT)],
        message(Message, ("traceparent", PARENT), ("Traceparent", PARENT)),
        Listed(traceparent=[PARENT, PARENT]),
        [("traceparent", "00-junk"), ("traceparent", PARENT)],
    ],
    ids=lambda carrier: type(carrier).__name__,
)
def test_traceparent_twice(carrier: object) -> None:
    """A traceparent that comes twice counts for nothing, wherever it does."""
    assert extract(carrier) is None


@pytest.mark.parametrize(
    "carrier",
    [
        [("traceparent", PARENT), ("tracestate", "a=1,b=2"), ("Tracestate", ""), (b"tracestate", b"c=3")],
        {"traceparent": PARENT, "tracestate": ["a=1,b=2", "", "c=3"]},
        message(
            Message,
            ("tracestate", "a=1,b=2"),
            ("traceparent", PARENT),
            ("tracestate", ""),
            ("TRACESTATE", "c=3"),
        ),
        Listed(traceparent=[PARENT], tracestate=["a=1,b=2", "", "c=3"]),
    ],
    ids=lambda carrier: type(carrier).__name__,
)
def test_tracestate_in_parts(carrier: object) -> None:
    """Several tracestate headers are one, in their order."""
    context = extract(carrier)
    assert context is not None
    assert context.tracestate == "a=1,b=2,,c=3"


def test_tracestate_in_too_many_parts() -> None:
    """They are counted together: 32 members are the most."""
    for count, state in ((32, ",".join(f"k{i}=v" for i in range(32))), (33, "")):
        context = extract([("traceparent", PARENT), *(("tracestate", f"k{i}=v") for i in range(count))])
        assert context is not None
        assert context.tracestate == state


def test_tracestate_key_twice() -> None:
    """A key that comes twice is passed on: level 2 leaves that to who adds it."""
    context = extract({"traceparent": PARENT, "tracestate": "foo=1,foo=2"})
    assert context is not None
    assert context.tracestate == "foo=1,foo=2"


def test_tracestate_needs_its_parent() -> None:
    """A tracestate without a traceparent, or with one that is malformed, is nobody's."""
    for parent in ({}, {"traceparent": "00-junk"}):
        context = extract({**parent, "tracestate": "a=1", "x-trace-id": TRACE, "x-span-id": SPAN})
        assert context == CONTEXT
        assert context is not None
        assert context.tracestate == ""


def test_the_first_format_that_says_something() -> None:
    """Formats are asked in their order; what is malformed in one is left to the next."""
    headers = {
        "traceparent": f"00-{'1' * 32}-{SPAN}-01",
        "b3": f"{'2' * 32}-{SPAN}",
        "x-b3-traceid": "3" * 32,
        "x-b3-spanid": SPAN,
        "x-trace-id": "4" * 32,
        "x-span-id": SPAN,
    }
    found = []
    for broken in (None, "traceparent", "b3", "x-b3-traceid", "x-trace-id"):
        if broken is not None:
            headers[broken] += "x"
        context = extract(headers)
        found.append(context and context.trace_hex[0])
    assert found == ["1", "2", "3", "4", None]
    assert extract({"traceparent": PARENT}, formats=("memo", "b3")) is None


def test_a_format_that_is_none() -> None:
    """A format that does not exist is an error of who names it, whatever is in the carrier."""
    for carrier in ({}, {"traceparent": PARENT}):
        with pytest.raises(DeclarationError, match="w3c"):
            extract(carrier, formats=("jaeger",))
    with pytest.raises(DeclarationError, match="b3multi"):
        inject({}, CONTEXT, formats=("jaeger",))


# ---- B3 ----


@pytest.mark.parametrize(
    ("headers", "sampled"),
    [
        ({}, None),
        ({"x-b3-sampled": "1"}, True),
        ({"x-b3-sampled": "0"}, False),
        ({"x-b3-sampled": "true"}, True),
        ({"x-b3-sampled": "False"}, False),
        ({"x-b3-flags": "1"}, True),
        ({"x-b3-flags": "1", "x-b3-sampled": "0"}, True),
        ({"x-b3-flags": "0"}, None),
        ({"x-b3-sampled": ["0", "1"]}, False),
        ({"x-b3-parentspanid": "junk"}, None),
    ],
)
def test_b3_sampling(headers: dict[str, object], sampled: bool | None) -> None:
    """The flag of debugging goes before, the first of several values counts, and nothing leaves it open."""
    context = extract({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, **headers})
    assert context is not None
    assert (None if context.deferred else context.sampled) is sampled


def test_b3_short_trace() -> None:
    """An id of 64 bits is the lower half."""
    for headers in (
        {"b3": f"{SPAN}-{OTHER}-1"},
        {"x-b3-traceid": SPAN.upper(), "x-b3-spanid": OTHER.upper()},
    ):
        context = extract(headers)
        assert context is not None
        assert (context.trace_id, context.span_id) == (int(SPAN, 16), int(OTHER, 16))


def test_b3_first_value() -> None:
    """Of several b3 headers the first counts; a malformed one, or a state alone, leaves it to the others."""
    several = {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN}
    assert extract([("b3", f"{TRACE}-{SPAN}"), ("b3", f"{TRACE}-{OTHER}")]) == CONTEXT
    assert extract({"b3": "0", **several}) == CONTEXT
    assert extract({"b3": "junk", **several}) == CONTEXT
    assert extract({"b3": "d"}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"x-b3-sampled": "2"},
        {"x-b3-traceid": TRACE[:-1]},
        {"x-b3-traceid": "0" * 32},
        {"x-b3-spanid": SPAN + "0"},
        {"x-b3-spanid": SPAN[1:] + " "},
        {"x-b3-spanid": "0" * 16},
    ],
)
def test_b3_malformed(headers: dict[str, str]) -> None:
    """Ids of other lengths, zeros, and states that are none, are nothing."""
    assert extract({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, **headers}) is None


# ---- inject ----


@pytest.mark.parametrize(
    "carrier",
    [
        {},
        {"traceparent": "old", "TraceState": "old=1", "x-trace-id": "old", "Host": "vault"},
        OrderedDict(TRACEPARENT="old"),
        Folded(("TRACEPARENT", "old"), ("tracestate", "old=1")),
        message(Message, ("TraceParent", "old"), ("traceparent", "older"), ("Tracestate", "old=1")),
        message(HTTPMessage, ("Host", "vault")),
        Headers([("traceparent", "old"), ("traceparent", "older")]),
        [("Host", "vault"), ("Traceparent", "old")],
        [(b"host", b"vault"), (b"TRACEPARENT", b"old"), (b"x-span-id", b"old")],
        [],
    ],
    ids=lambda carrier: type(carrier).__name__,
)
def test_inject_into(carrier: object) -> None:
    """Headers are written in place of those that are there in whatever case, once and again."""
    without_state = SpanContext(int(TRACE, 16), int(OTHER, 16))
    for context in (CONTEXT, without_state, CONTEXT):
        inject(carrier, context)
        pairs = carrier if isinstance(carrier, list) else list(carrier.items())  # type: ignore[attr-defined]
        texts = [name.decode() if isinstance(name, bytes) else name for name, _ in pairs]
        names = sorted(name.lower() for name in texts if name.lower() != "host")
        assert names == ["traceparent", *["tracestate"] * (context is CONTEXT), "x-span-id", "x-trace-id"]
        found = extract(carrier)
        assert found == context == extract(carrier, formats=("memo",))
        assert found is not None
        assert (found.sampled, found.tracestate) == (context.sampled, context.tracestate)
    assert len({type(name) for name, _ in pairs}) == 1


def test_inject_names() -> None:
    """Names are written as their specifications have them."""
    headers: dict[str, str] = {}
    inject(headers, CONTEXT, formats=("w3c", "memo", "b3", "b3multi"))
    assert headers == {
        "traceparent": PARENT,
        "tracestate": "a=1",
        "X-Trace-Id": TRACE,
        "X-Span-Id": SPAN,
        "b3": f"{TRACE}-{SPAN}-1",
        "X-B3-TraceId": TRACE,
        "X-B3-SpanId": SPAN,
        "X-B3-Sampled": "1",
    }
    inject(headers, SpanContext(1, 2, sampled=None), formats=["b3multi"])
    assert "X-B3-Sampled" not in headers
    assert headers["b3"] == f"{TRACE}-{SPAN}-1"


def test_inject_by_setter() -> None:
    """Other carriers are written by a function."""
    request = urllib.request.Request("http://vault")
    inject(request, CONTEXT, setter=urllib.request.Request.add_header)
    assert request.header_items()
    assert extract(request.header_items()) == CONTEXT
    calls: list[tuple[object, str, str]] = []
    inject({}, CONTEXT, formats=("w3c",), setter=lambda *call: calls.append(call))
    assert calls == [({}, "traceparent", PARENT), ({}, "tracestate", "a=1")]


@pytest.mark.parametrize("carrier", [(), None, object(), "text", MappingProxyType({})], ids=repr)
def test_inject_into_what_takes_none(carrier: object) -> None:
    """A carrier that takes no headers is an error of who gives it."""
    with pytest.raises(TypeError, match="setter"):
        inject(carrier, CONTEXT)


def test_inject_the_current_span(tracer: Tracer) -> None:
    """Without a context, it is the current span's; without a span, nothing is written."""
    for carrier in ({}, {"traceparent": "old"}):
        with tracer.span("a") as span:
            inject(carrier)
        assert extract(carrier) == span.context
    empty: dict[str, str] = {}
    inject(empty)
    with use_span(None):
        inject(empty)
    token = current_span.set(5)  # type: ignore[arg-type]
    inject(empty)
    current_span.reset(token)
    tracer.enabled = False
    with tracer.span("b") as nothing:
        inject(empty, nothing)
    assert empty == {}
    old = {"traceparent": "old"}
    inject(old)
    assert old == {"traceparent": "old"}


def test_inject_without_ids(tracer: Tracer) -> None:
    """A span that has not begun has no ids, and no headers."""
    span = tracer.span("a")
    for formats in (("w3c", "memo"), ("w3c",), ("b3", "b3multi", "memo")):
        headers: dict[str, str] = {}
        inject(headers, span, formats=formats)
        assert headers == {}


def test_inject_writes_no_lines() -> None:
    """A tracestate that was made by hand is written if it is one."""
    for state in ("a=1\r\nEvil: 1", "a=é", "junk", "\ud800"):
        headers: dict[str, str] = {}
        inject(headers, SpanContext(1, 2, tracestate=state))
        assert "tracestate" not in headers


# ---- what goes on from it ----


def test_a_trace_goes_on(tracer: Tracer) -> None:
    """A span below what was extracted has its trace, its parent and its tracestate, and passes them on."""
    with tracer.span("a", parent=extract({"traceparent": PARENT, "tracestate": "a=1"})) as span:
        headers: dict[str, str] = {}
        inject(headers)
    assert (span.trace_hex, span.parent_id, span.sampled) == (TRACE, int(SPAN, 16), True)
    assert headers["traceparent"] == f"00-{TRACE}-{span.span_hex}-01"
    assert headers["tracestate"] == "a=1"


def test_random_flag(tracer: Tracer) -> None:
    """A trace that begins here has a random id, and says so, and so do those below; one that came keeps its
    flag."""
    headers: dict[str, str] = {}
    with tracer.span("a"), tracer.span("b"):
        inject(headers)
    assert int(headers["traceparent"][-2:], 16) & 2
    for flags in (0, 1, 2, 3):
        with tracer.span("a", parent=extract({"traceparent": f"{PARENT[:-2]}{flags:02x}"})), tracer.span("b"):
            inject(headers)
        assert int(headers["traceparent"][-2:], 16) == flags


@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize("several", [False, True])
def test_hostile_texts(kind: Any, several: bool) -> None:
    """Of a text of a subclass only the text counts: its methods are not asked, and raise nothing."""

    def fail(*args: object, **kwargs: object) -> Any:
        raise RuntimeError("no")

    names = "strip lower decode split __str__ __eq__ __hash__ __len__ __getitem__ __iter__"
    hostile = type("Hostile", (kind,), dict.fromkeys(names.split(), fail) | {"__class__": property(fail)})

    def value(text: str) -> Any:
        made = hostile(text if kind is str else text.encode())
        return [made, made] if several else made

    for name in ("X-Trace-Id", "X-B3-TraceId"):
        context = extract({name: value(TRACE), "X-Span-Id": SPAN, "X-B3-SpanId": SPAN})
        # Of the memo's headers that came twice neither counts; of B3's the first does.
        assert (context is None) == (several and name == "X-Trace-Id")
    single = extract({"b3": value(f"{TRACE}-{SPAN}")})
    assert single is not None and single.trace_hex == TRACE
    state = extract({"traceparent": PARENT, "tracestate": value("a=1")})
    assert state is not None and state.tracestate == ("a=1,a=1" if several else "a=1")


def test_the_trace_alone(tracer: Tracer) -> None:
    """X-Trace-Id alone is a trace without a parent; handed on as it is, it stays that."""
    context = extract({"X-Trace-Id": "AB"})
    assert context is not None
    assert (context.trace_id, context.span_id) == (0xAB, 0)
    headers: dict[str, str] = {}
    inject(headers, context, formats=("w3c", "memo", "b3", "b3multi"))
    assert headers == {"X-Trace-Id": f"{0xAB:032x}"}
    with tracer.span("a", parent=context) as span:
        pass
    assert (span.trace_id, span.parent_id) == (0xAB, 0)


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_a_deferred_decision(rate: float) -> None:
    """What came without a decision is decided by the trace's id and the rate, as where it began."""
    caller, called = Tracer(Registry(), rate=rate), Tracer(Registry(), rate=rate)
    decisions = set()
    for _ in range(200):
        for formats in (("memo",), ("w3c",), ("b3",)):
            headers: dict[str, str] = {}
            with caller.span("a") as above:
                inject(headers, formats=formats)
            with called.span("b", parent=extract(headers)) as below, called.span("c") as inner:
                pass
            assert above.sampled == below.sampled == inner.sampled
            decisions.add(above.sampled)
    assert decisions == {0.0: {False}, 0.5: {False, True}, 1.0: {True}}[rate]


def test_pickle(tracer: Tracer) -> None:
    """A context is pickled whole; a span as its context, which is remote where it arrives."""
    contexts = [
        CONTEXT,
        SpanContext(2**128 - 1, 2**64 - 1, sampled=None, random=True, remote=True, tracestate="a=1"),
    ]
    alone = extract({"X-Trace-Id": TRACE})
    assert alone is not None
    with tracer.span("a") as span:
        pass
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for context in (*contexts, alone):
            copy = pickle.loads(pickle.dumps(context, protocol))
            for name in ("trace_id", "span_id", "sampled", "deferred", "random", "remote", "tracestate"):
                assert getattr(copy, name) == getattr(context, name)
        copy = pickle.loads(pickle.dumps(span, protocol))
        assert type(copy) is SpanContext
        assert copy == span.context
        assert (copy.remote, copy.random, copy.sampled) == (True, True, span.sampled)
