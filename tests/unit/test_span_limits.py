"""What tracing may hold in memory, and what is counted when there is more."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tracebook import Tracebook

import vaultscope
from vaultscope import Registry
from vaultscope.errors import DeclarationError
from vaultscope.tracing import SpanContext, Tracer


@pytest.fixture
def book() -> Iterator[Tracebook]:
    """Two traces, three inner spans, four attributes."""
    book = Tracebook(max_traces=2, max_spans=3, max_attributes=4)
    yield book
    book.close()


# ---- attributes ----


def numbered(count: int) -> dict[str, int]:
    return {f"a{number}": number for number in range(count)}


@pytest.mark.parametrize("how", ["call", "mapping", "both", "set", "one by one"])
def test_attributes(book: Tracebook, how: str) -> None:
    """The first four stay, however they are set; the others are counted."""
    six = numbered(6)
    ways: dict[str, Any] = {
        "call": six,
        "mapping": {"attributes": six},
        "both": {**six, "attributes": {"b": 1}},
    }
    with book.tracer.span("a", **ways.get(how, {})) as span:
        if how == "set":
            span.set(**six)
        if how == "one by one":
            for name, value in six.items():
                span.set_attribute(name, value)
    assert book.span["attributes"] == numbered(4)
    assert book.span["omitted"] == (3 if how == "both" else 2)


def test_one_that_is_there_can_be_changed(book: Tracebook) -> None:
    """The limit is one of names."""
    with book.tracer.span("a", **numbered(4)) as span:
        span.set(a0="new", b=1)
    assert book.span["attributes"]["a0"] == "new"
    assert book.span["omitted"] == 1


def test_events_links_and_their_attributes(book: Tracebook) -> None:
    """Each has the same limit of its own, and what is left out is counted together."""
    links = [SpanContext(1, number + 1) for number in range(5)]
    with book.tracer.span("a", links=links) as span:
        for number in range(6):
            span.event(f"e{number}")
    record = book.take()[0]
    assert [event["name"] for event in record["events"]] == ["e0", "e1", "e2", "e3"]
    assert [link["span_id"][-1] for link in record["links"]] == ["1", "2", "3", "4"]
    assert record["omitted"] == 3
    with book.tracer.span("b") as span:
        span.event("e", **numbered(6))
        span.link(links[0], **numbered(5))
    record = book.span
    assert record["events"][0]["attributes"] == record["links"][0]["attributes"] == numbered(4)
    assert record["omitted"] == 3


def test_an_error_is_told_though_there_is_no_room_for_its_event(book: Tracebook) -> None:
    with suppress(ValueError), book.tracer.span("a") as span:
        for _ in range(4):
            span.event("e")
        raise ValueError("x")
    assert book.span["status_message"] == "ValueError: x"
    assert len(book.span["events"]) == 4


# ---- spans of a trace ----


def test_spans(book: Tracebook) -> None:
    """The first three that end below a local root stay; it says how many did not, and a counter does."""
    for _ in range(2):
        with book.tracer.span("root"):
            for number in range(5):
                with book.tracer.span(f"s{number}"):
                    pass
        assert [span["name"] for span in book.spans] == ["root", "s0", "s1", "s2"]
        assert book.take()[0]["lost_spans"] == 2
    assert book.count("spans.lost") == 4 and book.count("spans") == 12


def test_an_error_in_a_span_that_has_no_room(book: Tracebook) -> None:
    """It keeps the trace all the same."""
    book = Tracebook(rate=0.0, max_spans=1)
    with book.tracer.span("root"):
        with book.tracer.span("kept"):
            pass
        with suppress(ValueError), book.tracer.span("lost"):
            raise ValueError
    assert (book.names, book.spans[0]["reason"], book.spans[0]["lost_spans"]) == (
        ["root", "kept"],
        "error",
        1,
    )


# ---- traces ----


def test_traces(book: Tracebook) -> None:
    """Beyond two that are open, a trace has ids and parents, and is not kept for being sampled, and is
    counted."""
    held = [book.tracer.start("held") for _ in range(2)]
    with book.tracer.span("beyond", x=1) as span, book.tracer.span("inner") as inner:
        assert span.trace_id and inner.parent_id == span.span_id
        assert not span.is_recording and not inner.is_recording
    assert book.tracer.open_traces == 2 and book.count("evicted") == 1
    for span in held:
        span.end()
    with book.tracer.span("again"):
        pass
    assert book.names == ["held", "held", "again"]
    assert book.decisions == {"sampled": 3, "dropped": 1}


@pytest.mark.parametrize("where", ["root", "inner"])
def test_errors_beyond(book: Tracebook, where: str) -> None:
    """A trace beyond the limit that fails is kept, without its inner spans; what failed is known."""
    held = [book.tracer.start("held") for _ in range(2)]
    with suppress(ValueError), book.tracer.span("root"):
        with suppress(ValueError), book.tracer.span("inner"):
            raise ValueError("x")
        if where == "root":
            raise ValueError("y")
    record = book.span
    assert (record["name"], record["reason"]) == ("root", "error")
    assert record.get("status_message") == ("ValueError: y" if where == "root" else None)
    del held


def test_slow_ones_beyond() -> None:
    """A slow trace beyond the limit is kept as well."""
    book = Tracebook(rate=0.0, max_traces=1, slow_ms=1e-9)
    with book.tracer.span("held"):
        book.tracer.start("beyond").end()  # in its trace: it is no local root
        with book.tracer.span("own", parent=SpanContext(1, 2)):
            pass
    assert [(span["name"], span.get("reason")) for span in book.spans] == [
        ("own", "slow"),
        ("held", "slow"),
        ("beyond", None),
    ]
    assert book.count("evicted") == 1


# ---- spans of C ----


class Text(ctypes.Structure):
    """vs_text."""

    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t))


def end_in_c(capsule: object, *, failed: bool = False) -> None:
    """A span of C's below that of the capsule."""
    library = ctypes.CDLL(str(Path(vaultscope.get_library_dirs()[0]) / "libvaultscope.so"))
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    span = (ctypes.c_uint64 * 512)()  # more than a vs_span has
    scope = ctypes.c_void_p(pointer_of(capsule, b"vs_span_scope"))
    library.vs_span_start(ctypes.byref(span), scope, Text(b"c", 1))
    library.vs_span_end(ctypes.byref(span), 2 if failed else 1)


def test_spans_of_c(book: Tracebook) -> None:
    """Those beyond the limit are counted, as Python's are."""
    with book.tracer.span("root") as root:
        capsule = root.capsule()
        for _ in range(7):
            end_in_c(capsule)
    assert book.names == ["root", "c", "c", "c"]
    assert (book.spans[0]["lost_spans"], book.count("spans.lost")) == (4, 4)
    assert book.count("spans") == 1 + 7


def test_errors_of_c_beyond(book: Tracebook) -> None:
    """Of a trace beyond the limit C's spans are not kept, but that one failed is known."""
    held = [book.tracer.start("held") for _ in range(2)]
    for failed in (False, True):
        with book.tracer.span("root") as root:
            end_in_c(root.capsule(), failed=failed)
    record = book.span
    assert (record["name"], record["reason"], "lost_spans" in record) == ("root", "error", False)
    assert book.count("spans.lost") == 0
    assert book.count("spans") == 2 + 2
    del held


def test_spans_of_c_after_their_root(book: Tracebook) -> None:
    """A capsule may outlive the root: what C ends below it then is lost, and harms nothing."""
    with book.tracer.span("root") as root:
        capsule = root.capsule()
    del root
    assert book.take()
    for _ in range(100):
        end_in_c(capsule, failed=True)
    assert book.names == []
    assert (book.count("spans"), book.count("spans.lost")) == (1, 0)


# ---- the settings ----


@pytest.mark.parametrize("name", ["max_traces", "max_spans", "max_attributes", "queue_spans"])
@pytest.mark.parametrize("value", [0, -1, 2**31, 1.5, "1", None, True], ids=repr)
def test_wrong_limits(name: str, value: Any) -> None:
    """A limit is an integer above 0 that fits into 31 bits."""
    with pytest.raises(DeclarationError, match=name):
        Tracer(Registry(), **{name: value})
