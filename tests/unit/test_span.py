"""One span: who it is, what is said of it, how it begins and ends, and that nothing that is said of it
harms its host."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from tracebook import Tracebook

from vaultscope.errors import DeclarationError
from vaultscope.tracing import NoSpan, Span, SpanContext, Tracer, current_span, use_span


@pytest.fixture
def book() -> Iterator[Tracebook]:
    book = Tracebook()
    yield book
    assert current_span.get(None) is None
    book.close()


class Hostile:
    """Raises whatever it is asked."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("no")

    __eq__ = __bool__ = __str__ = __repr__ = __len__ = __iter__ = __format__ = _refuse
    __hash__ = _refuse

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no")


# ---- who it is ----


def test_a_dict_of_it(book: Tracebook) -> None:
    """A sink is given exactly this, of a span of which everything was said."""
    other = SpanContext(0xABC, 0xDEF)
    with (
        book.tracer.span("outer") as outer,
        book.tracer.span("cas.get", kind="client", links=[other], size=1) as span,
    ):
        span.event("miss", tier=2)
        span.error("gone")
    root, inner = book.spans
    event = inner["events"][0]
    assert inner == {
        "trace_id": outer.trace_hex,
        "span_id": span.span_hex,
        "parent_span_id": outer.span_hex,
        "name": "cas.get",
        "kind": "client",
        "start_ns": inner["start_ns"],
        "duration_ns": span.duration_ns,
        "status": "error",
        "status_message": "gone",
        "attributes": {"size": 1},
        "events": [{"time_ns": event["time_ns"], "name": "miss", "attributes": {"tier": 2}}],
        "links": [{"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}", "attributes": {}}],
    }
    assert inner["start_ns"] <= event["time_ns"] <= inner["start_ns"] + inner["duration_ns"]
    assert root == {
        "trace_id": outer.trace_hex,
        "span_id": outer.span_hex,
        "parent_span_id": "",
        "name": "outer",
        "kind": "internal",
        "start_ns": root["start_ns"],
        "duration_ns": outer.duration_ns,
        "status": "ok",
        "reason": "error",
    }


def test_identity(book: Tracebook) -> None:
    """A span has ids that are not 0; an inner one has its parent's trace, and the parent's id as
    parent_id."""
    with book.tracer.span("a") as a, book.tracer.span("b") as b:
        assert 0 < a.trace_id < 1 << 128 and 0 < a.span_id < 1 << 64
        assert (a.parent_id, b.parent_id) == (0, a.span_id)
        assert b.trace_id == a.trace_id and b.span_id != a.span_id
        assert (a.trace_hex, a.span_hex) == (f"{a.trace_id:032x}", f"{a.span_id:016x}")
        assert a.random and not a.remote and a.sampled


def test_its_context(book: Tracebook) -> None:
    """Its context equals it, and is no span: it can be kept without keeping what the span holds."""
    with book.tracer.span("a") as span:
        context = span.context
    assert type(context) is SpanContext
    assert context == span and hash(context) == hash(span)
    assert context.sampled and context.random and not context.remote


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_is_its_context(book: Tracebook, copied: Any) -> None:
    """What goes to another process, or is copied, is who it is: not a second span that could be ended."""
    with book.tracer.span("a") as span:
        twin = copied(span)
    assert type(twin) is SpanContext and twin == span
    assert len(book.spans) == 1


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_no_copy_before_it_begins(book: Tracebook, copied: Any) -> None:
    """It has no ids yet that could be copied, and can still begin."""
    span = book.tracer.span("a")
    with pytest.raises(DeclarationError, match="not begun"):
        copied(span)
    with span:
        assert copied(span)


def test_it_comes_from_a_tracer_alone() -> None:
    """A span that was made otherwise is refused, or does nothing, but does not crash."""
    with pytest.raises(TypeError, match="comes from a tracer"):
        Span()  # type: ignore[call-arg]
    span = Span.__new__(Span)
    span.set(a=1).event("x")
    span.link(SpanContext(1, 1))
    span.error(ValueError("x"))
    span.end()
    assert (span.attributes, span.trace_id, span.duration_ns) == ({}, 0, 0)
    with pytest.raises(TypeError, match="comes from a tracer"):
        span.start()
    with pytest.raises(TypeError, match="comes from a tracer"), span:
        pass
    assert current_span.get(None) is None


@pytest.mark.parametrize("kind", ["internal", "server", "client", "producer", "consumer"])
def test_kinds(book: Tracebook, kind: str) -> None:
    """OpenTelemetry's five kinds."""
    with book.tracer.span("a", kind=kind) as span:
        assert span.kind == kind
    assert book.span["kind"] == kind


@pytest.mark.parametrize(
    ("name", "text"),
    [("", ""), ("a\0b\n", "a\0b\n"), ("\ud800", "\ud800"), (5, "5"), (None, "None"), (b"\xffx", "\ufffdx")],
    ids=repr,
)
def test_names_of_any_kind(book: Tracebook, name: Any, text: str) -> None:
    """A name that is no text is written as one."""
    with book.tracer.span(name) as span:
        assert span.name == text
    assert book.span["name"] == text


@pytest.mark.parametrize("wrong", [{"kind": "x"}, {"kind": 5}, {"parent": "x"}, {"parent": 5}], ids=repr)
def test_wrong_options(book: Tracebook, wrong: dict[str, Any]) -> None:
    """An option that is none is an error where the span is made."""
    with pytest.raises(DeclarationError, match=next(iter(wrong))):
        book.tracer.span("a", **wrong)


@pytest.mark.parametrize("wrong", [{"links": 5}, {"links": ["x"]}, {"attributes": 5}], ids=repr)
def test_options_of_wrong_types(book: Tracebook, wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        book.tracer.span("a", **wrong)


def test_a_name_is_needed(book: Tracebook) -> None:
    """Without a name, or with more than one, it is a TypeError."""
    for arguments in ((), ("a", "b")):
        with pytest.raises(TypeError, match="name"):
            book.tracer.span(*arguments)
    assert book.tracer.open_traces == 0


# ---- what happens in it ----


def test_attributes(book: Tracebook) -> None:
    """They are set when it is made, before it begins and within it; the last one of a name is what holds."""
    span = book.tracer.span("a", x=1, y=1, attributes={"z": 1, "x": 5, "kind": "odd"})
    span.set(y=2, w=0)
    with span:
        span.set_attribute("x y", [1])
        span.set(z=3)
    assert span.attributes == {"x": 1, "y": 2, "z": 3, "kind": "odd", "w": 0, "x y": [1]}
    assert book.span["attributes"] == span.attributes


def test_attributes_are_copies(book: Tracebook) -> None:
    """Whoever asks for the attributes cannot change them; the values are the very objects."""
    value: list[int] = []
    with book.tracer.span("a", value=value) as span:
        span.attributes["other"] = 1
        assert span.attributes["value"] is value
    assert list(book.span["attributes"]) == ["value"]


def test_set_returns_the_span(book: Tracebook) -> None:
    with book.tracer.span("a").set(x=1) as span:
        assert span.set(y=2) is span
    assert book.span["attributes"] == {"x": 1, "y": 2}


def test_after_its_end_nothing_is_said(book: Tracebook) -> None:
    """What is set on a span that has ended is left out: a sink may be reading it."""
    with book.tracer.span("a", x=1) as span:
        assert span.is_recording
    span.set(y=1)
    span.event("x")
    span.link(SpanContext(1, 1))
    span.error("late")
    span.ok()
    assert not span.is_recording
    assert (span.attributes, span.status) == ({"x": 1}, "ok")
    assert {"events", "links", "status_message"}.isdisjoint(book.span)


def test_links(book: Tracebook) -> None:
    """A link leads to a context, to a span, which is not kept alive by it, or to nothing if tracing was
    off."""
    off = Tracebook(enabled=False)
    with book.tracer.span("before") as before:
        pass
    with book.tracer.span("a", links=(before, off.tracer.span("x"))) as span:
        span.link(SpanContext(1, 2), why="retry")
        span.link(off.tracer.span("x"))
    links = book.spans[-1]["links"]
    assert [link["span_id"] for link in links] == [before.span_hex, f"{2:016x}"]
    assert [link["attributes"] for link in links] == [{}, {"why": "retry"}]
    with pytest.raises(TypeError, match="link"):
        span.link("x")  # type: ignore[arg-type]
    assert not any(type(one) is Span for one in gc.get_referents(span) if one is not span)


def test_a_link_to_what_has_not_begun(book: Tracebook) -> None:
    """It has no ids yet: there is nothing that a link could lead to."""
    later = book.tracer.span("later")
    with book.tracer.span("a", links=[later]) as span:
        span.link(later)
    assert "links" not in book.span


def test_hostile_values_do_no_harm(book: Tracebook) -> None:
    """Objects that raise whatever they are asked, everywhere: the host sees none of it, and the span is
    kept."""
    hostile: Any = Hostile()
    tracer = Tracebook(rules={"x": {"rate": 1.0}}).tracer
    for make in (book.tracer.span, tracer.span):
        with make(hostile, value=hostile, attributes={5: hostile}) as span:
            span.set(other=hostile)
            span.set_attribute(hostile, hostile)
            span.set_attribute([], 1)
            span.event(hostile, value=hostile)
            span.error(hostile)
            assert "Hostile" in span.name and "Hostile" in repr(span)
    record = book.span
    assert record["attributes"]["value"] is hostile and record["attributes"]["5"] is hostile
    assert "Hostile" in record["name"] and "Hostile" in record["status_message"]
    assert record["attributes"]["[]"] == 1
    assert "Hostile" in record["events"][0]["name"]


def test_hostile_exceptions(book: Tracebook) -> None:
    """An exception that cannot be written is re-raised like any other."""

    class BadError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    error = BadError()
    with pytest.raises(BadError) as caught, book.tracer.span("a"):
        raise error
    assert caught.value is error
    assert "BadError" in book.span["status_message"]


class StoppedError(Exception):
    """One whose text is being made when a signal comes."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_interrupted_while_an_exception_is_noted(book: Tracebook) -> None:
    """A block that is interrupted while it says what went wrong is left and ended like any other, with an
    error."""
    with pytest.raises(KeyboardInterrupt), book.tracer.span("a") as span:
        raise StoppedError
    assert current_span.get(None) is None
    assert (span.status, book.span["reason"], book.tracer.open_traces) == ("error", "error", 0)


def test_a_key_whose_hash_fails_later(book: Tracebook) -> None:
    """A key of a subclass of str is a text from the first: its hash may fail when the span is written, and
    nothing is lost."""

    class Text(str):
        __slots__ = ()
        fails = False

        def __hash__(self) -> int:
            if Text.fails:
                raise RuntimeError("no")
            return 1

    with book.tracer.span("a", **{Text("k"): 1, "l": 2}):
        Text.fails = True
    assert book.span["attributes"] == {"k": 1, "l": 2}
    assert book.count("sink.errors", sink="kept") == 0


def test_a_subclass_of_str_is_not_asked(book: Tracebook) -> None:
    """A key or name of a subclass of str, whose hash fails, is a text all the same."""

    class Text(str):
        __slots__ = ()

        def __hash__(self) -> int:
            raise RuntimeError("no")

    ruled = Tracebook(rules={"x": {"rate": 0.0}})
    with ruled.tracer.span(Text("x")) as span:
        span.set_attribute(Text("k"), 1)
    assert span.attributes == {"k": 1}


# ---- how it went ----


def test_status(book: Tracebook) -> None:
    """Pending until it ends; then ok, unless it was said to be otherwise."""
    with book.tracer.span("a") as span:
        assert span.status == "pending"
    assert span.status == "ok"
    with book.tracer.span("b") as span:
        span.error("first")
        span.error("second")
        assert span.status == "error"
    assert book.spans[-1]["status_message"] == "second"


def test_an_exception(book: Tracebook) -> None:
    """It is recorded, with its type, and goes on unchanged: the same object, with the traceback it would
    have had."""

    def fail() -> None:
        raise KeyError("gone")

    caught: list[BaseException] = []
    frames: list[list[str]] = []
    for traced in (True, False):
        try:
            if traced:
                with book.tracer.span("a"):
                    fail()
            else:
                fail()
        except KeyError as error:
            caught.append(error)
            frames.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])
    assert frames[0] == frames[1]
    assert {(error.__context__, error.__cause__) for error in caught} == {(None, None)}
    span = book.span
    assert (span["status"], span["reason"]) == ("error", "error")
    assert span["status_message"] == "KeyError: 'gone'"
    (event,) = span["events"]
    assert event["name"] == "exception" and event["attributes"] == {"exception": caught[0]}
    assert event["attributes"]["exception"] is caught[0]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "error"),
        (KeyboardInterrupt(), "error"),
        (SystemExit(1), "error"),
        (asyncio.CancelledError(), "error"),
        (GeneratorExit(), "ok"),
        (StopIteration(5), "ok"),
        (StopAsyncIteration(), "ok"),
    ],
    ids=repr,
)
def test_which_exceptions_are_errors(book: Tracebook, error: BaseException, status: str) -> None:
    """All but those by which generators end."""
    with pytest.raises(type(error)) as caught, book.tracer.span("a"):
        raise error
    assert caught.value is error
    assert book.span["status"] == status


def test_ok_is_the_last_word(book: Tracebook) -> None:
    """A span that was said to be ok stays so, whatever is raised, and whatever was said before."""
    with suppress(ValueError), book.tracer.span("a") as span:
        span.error("no")
        span.ok()
        raise ValueError
    assert book.span["status"] == "ok"
    assert "status_message" not in book.span


@pytest.mark.parametrize("because", [ValueError("x"), "x", "", None, 5], ids=repr)
def test_error_by_hand(book: Tracebook, because: Any) -> None:
    """It may be told by an exception, which becomes an event, by anything else, or by nothing."""
    with book.tracer.span("a") as span:
        span.error(because)
    record = book.span
    assert record["status"] == "error"
    assert record.get("status_message", "") == (
        "ValueError: x" if isinstance(because, ValueError) else str(because)
    )
    assert ("events" in record) == isinstance(because, ValueError)


# ---- times ----


def test_times(book: Tracebook) -> None:
    """It begins when the wall clock says, to the millisecond, and lasts as long as it took."""
    best = float("inf")
    for _ in range(20):  # the machine may stop between two lines
        before, began = time.time_ns(), time.monotonic_ns()
        with book.tracer.span("a") as span:
            inside = time.monotonic_ns()
            while time.monotonic_ns() - inside < 1_000_000:
                pass
            lasted = time.monotonic_ns() - inside
        after, ended = time.time_ns(), time.monotonic_ns()
        record = book.take()[0]
        assert lasted <= record["duration_ns"] <= ended - began
        assert record["duration_ns"] == span.duration_ns
        if ended - began < 10_000_000:
            best = min(
                best, max(before - record["start_ns"], record["start_ns"] + record["duration_ns"] - after)
            )
    assert best < 1_000_000


def test_duration_of_an_open_span(book: Tracebook) -> None:
    """0 before it begins; then it grows; then it stays."""
    span = book.tracer.span("a")
    assert span.duration_ns == 0
    span.start()
    first = span.duration_ns
    while span.duration_ns == first:
        pass
    assert span.duration_ns > first
    span.end()
    assert span.duration_ns == span.duration_ns


def test_a_dict_of_an_open_span(book: Tracebook) -> None:
    """One that is still open can be looked at."""
    with book.tracer.span("a") as span:
        record = span.as_dict(0)
        assert record["status"] == "pending" and record["duration_ns"] >= 0
        assert "reason" not in record


# ---- begin and end ----


def test_by_hand(book: Tracebook) -> None:
    """start() makes a child of the current span, and not the current one; end() ends it, once."""
    with book.tracer.span("outer") as outer:
        span = book.tracer.start("a", x=1)
        assert current_span.get() is outer
        assert span.parent_id == outer.span_id and span.duration_ns >= 0
        assert span.start() is span
        span.end()
        span.end()
        assert span.attributes == {"x": 1}
    assert book.names == ["outer", "a"]
    assert book.count("spans") == 2


def test_a_span_that_is_not_started_does_not_end(book: Tracebook) -> None:
    book.tracer.span("a").end()
    assert (book.spans, book.count("spans"), book.tracer.open_traces) == ([], 0, 0)


def test_with_after_start(book: Tracebook) -> None:
    """A span that was started by hand can be entered; its start is the first one."""
    span = book.tracer.start("a")
    start = span.as_dict(0)["start_ns"]
    with span as entered:
        assert entered is span and current_span.get() is span
    assert book.span["start_ns"] - start > 0 and span.as_dict(0)["start_ns"] == start


def test_end_within_its_block(book: Tracebook) -> None:
    """It stays the current span to the end of the block, and is ended once."""
    with book.tracer.span("a") as span:
        span.end()
        assert current_span.get() is span
    assert current_span.get(None) is None
    assert len(book.spans) == 1


def test_an_error_after_its_end_is_not_its_own(book: Tracebook) -> None:
    with suppress(ValueError), book.tracer.span("a") as span:
        span.end()
        raise ValueError
    assert book.span["status"] == "ok"


def test_nested_with_of_one_span(book: Tracebook) -> None:
    """Entered again within itself, it ends with the outermost block, and the span before is current again."""
    with book.tracer.span("outer") as outer, book.tracer.span("a") as span:
        with span, span:
            assert current_span.get() is span
        assert current_span.get() is span and span.status == "pending"
        with book.tracer.span("inner") as inner:
            assert inner.parent_id == span.span_id
    assert current_span.get(None) is None
    assert outer.status == "ok" and book.names == ["outer", "inner", "a"]


def test_with_of_a_span_that_has_ended(book: Tracebook) -> None:
    """It is the current span again, and not ended a second time."""
    with book.tracer.span("a") as span:
        pass
    duration = span.duration_ns
    with span:
        assert current_span.get() is span
        with book.tracer.span("b") as late:
            assert late.parent_id == span.span_id
    assert span.duration_ns == duration
    assert book.names == ["a", "b"]


def test_blocks_that_end_out_of_order(book: Tracebook) -> None:
    """A block that ends before one within it takes that along: no span stays current for ever, none is
    lost."""
    a, b = book.tracer.span("a"), book.tracer.span("b")
    a.__enter__()
    b.__enter__()
    a.__exit__(None, None, None)
    assert current_span.get(None) is None
    b.__exit__(None, None, None)
    assert current_span.get(None) is None
    assert sorted(book.names) == ["a", "b"]
    assert book.tracer.open_traces == 0


def test_out_of_order_around_one_that_was_entered_again(book: Tracebook) -> None:
    """A block is left while one within it is open twice, with another in between: what is found current by
    then leads to it by each of its blocks once."""
    x, a, b = (book.tracer.span(name) for name in "xab")
    for span in (x, a, b, a):
        span.__enter__()
    x.__exit__(None, None, None)
    assert current_span.get(None) is None
    for span in (a, b, a):
        span.__exit__(None, None, None)
    assert current_span.get(None) is None and book.tracer.open_traces == 0
    assert sorted(book.names) == ["a", "b", "x"]


def test_begun_by_many_threads_at_once(book: Tracebook) -> None:
    """One span that four threads enter at the same moment begins once, and ends once."""
    turns = threading.Barrier(4)
    shared: list[Span | NoSpan] = []

    def work() -> None:
        for _ in range(200):
            if turns.wait() == 0:
                shared[:] = [book.tracer.span("a")]
            turns.wait()
            with shared[0]:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert book.tracer.open_traces == 0 and len(book.spans) == 200


def test_ended_in_another_thread(book: Tracebook) -> None:
    """A span can be ended, and an entered one left, by a thread that did not enter it."""
    span = book.tracer.span("a")
    span.__enter__()
    thread = threading.Thread(target=span.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert book.names == ["a"]
    assert current_span.get() is span  # here it was never left
    current_span.set(None)  # type: ignore[arg-type]


def test_entered_by_two_threads(book: Tracebook) -> None:
    """In each it is current between its own enter and exit; it ends when the last has left."""
    span, seen = book.tracer.span("a"), []
    inside, leave = threading.Barrier(2), threading.Barrier(2)

    def work() -> None:
        with span:
            inside.wait()
            seen.append(current_span.get())
            leave.wait()
        seen.append(current_span.get(None))

    thread = threading.Thread(target=work)
    thread.start()
    with span:
        inside.wait()
    assert current_span.get(None) is None and span.status == "pending"
    leave.wait()
    thread.join()
    assert seen == [span, None] and span.status == "ok"
    assert len(book.spans) == 1


def test_left_in_a_copy_of_its_context(book: Tracebook) -> None:
    """Left in a context that is a copy of the one in which it was entered, the span before is current
    there."""
    with book.tracer.span("outer") as outer:
        span = book.tracer.span("a")
        span.__enter__()
        other = contextvars.copy_context()
        other.run(span.__exit__, None, None, None)
        assert other.run(current_span.get) is outer
        assert span.status == "ok"
        current_span.set(outer)
    assert book.names == ["outer", "a"]


def test_exit_without_enter(book: Tracebook) -> None:
    """An exit that no enter came before changes nothing."""
    with book.tracer.span("outer") as outer:
        book.tracer.span("a").__exit__(None, None, None)
        assert current_span.get() is outer
    assert book.names == ["outer"]


def test_exit_stack(book: Tracebook) -> None:
    """Other ways to enter work as well."""
    with ExitStack() as stack:
        span = stack.enter_context(book.tracer.span("a"))
        assert current_span.get() is span
    assert book.names == ["a"]


def test_parent(book: Tracebook) -> None:
    """parent= goes before the current span: a span, a context from elsewhere, or one that has not begun,
    which is none."""
    remote = SpanContext(5, 6, sampled=True, remote=True, tracestate="a=b")
    with book.tracer.span("current") as current, book.tracer.span("other") as other:
        with book.tracer.span("a", parent=current) as a:
            assert a.parent_id == current.span_id and a.trace_id == other.trace_id
        with book.tracer.span("b", parent=remote) as b:
            assert (b.trace_id, b.parent_id, b.tracestate, b.remote) == (5, 6, "a=b", False)
            with book.tracer.span("c") as c:
                assert (c.trace_id, c.tracestate) == (5, "a=b")
        with book.tracer.span("d", parent=book.tracer.span("not begun")) as d:
            assert d.parent_id == 0 and d.trace_id != other.trace_id
        with book.tracer.span("e", parent=None) as e:
            assert e.parent_id == other.span_id
    assert {span["name"]: span.get("tracestate") for span in book.spans}["c"] == "a=b"


def test_a_parent_of_another_tracer(book: Tracebook) -> None:
    """Two tracers share traces: the second's span is a local root of its own, in the same trace."""
    other = Tracebook(rate=0.0)
    with book.tracer.span("a") as a, other.tracer.span("b") as b:
        assert (b.trace_id, b.parent_id, b.sampled) == (a.trace_id, a.span_id, True)
    assert (book.names, other.names) == (["a"], ["b"])


# ---- hand-over ----


def test_use_span(book: Tracebook) -> None:
    """It makes a span the current one for a block, and neither begins nor ends it."""
    span = book.tracer.start("a")
    with use_span(span) as used:
        assert used is span and current_span.get() is span
        with book.tracer.span("b") as b:
            assert b.parent_id == span.span_id
    assert current_span.get(None) is None and span.status == "pending"
    span.end()


def test_use_span_of_none_and_of_contexts(book: Tracebook) -> None:
    """None: there is no current span within. A context: it is the parent."""
    with book.tracer.span("a") as a:
        with use_span(None), book.tracer.span("b") as b:
            assert b.parent_id == 0 and b.trace_id != a.trace_id
        assert current_span.get() is a
        with use_span(SpanContext(7, 8)), book.tracer.span("c") as c:
            assert (c.trace_id, c.parent_id) == (7, 8)


def test_use_span_of_a_disabled_tracer_changes_nothing(book: Tracebook) -> None:
    """The span of a tracer that is off has no say about those of others."""
    nothing = Tracebook(enabled=False).tracer.span("x")
    with book.tracer.span("a") as a, use_span(nothing):
        assert current_span.get() is a


def test_use_span_again(book: Tracebook) -> None:
    """One use_span that is entered within itself leaves nothing behind."""
    with book.tracer.span("outer") as outer:
        use = use_span(book.tracer.start("a"))
        with use, use:
            pass
        with use:
            pass
        assert current_span.get() is outer


def test_use_span_refuses_what_is_no_span() -> None:
    with pytest.raises(TypeError, match="not a span"):
        use_span("x")  # type: ignore[arg-type]


def test_use_span_does_not_swallow(book: Tracebook) -> None:
    """What is raised within goes on, and is not the span's."""
    span = book.tracer.start("a")
    with pytest.raises(ValueError), use_span(span):
        raise ValueError
    span.end()
    assert book.span["status"] == "ok"


# ---- what becomes of the object ----


def test_a_span_refers_to_itself(book: Tracebook) -> None:
    """A cycle through an attribute, and one through an exception's frame, are collected, and what they hold
    with them."""

    class Value:
        gone = 0

        def __del__(self) -> None:
            Value.gone += 1

    def work() -> None:
        with book.tracer.span("a", value=Value()) as span:
            span.set(me=span)
        with suppress(ValueError), book.tracer.span("b", value=Value()) as span:
            raise ValueError
        span = book.tracer.start("c", value=Value())
        span.set(me=span)

    work()
    assert len(book.take()) == 2
    gc.collect()
    assert Value.gone == 3


def test_a_generator_in_its_own_span(book: Tracebook) -> None:
    """A generator that is suspended within a span to which it is an attribute is collected, and its span
    ended."""

    def steps() -> Iterator[None]:
        with book.tracer.span("a") as span:
            span.set(me=held[0])
            yield

    held = [steps()]
    contextvars.Context().run(next, held[0])  # which ends with it, too
    held.clear()
    gc.collect()
    assert book.names == ["a"]


def test_many_that_are_never_left(book: Tracebook) -> None:
    """100,000 spans, each entered within the one before and none left, are let go without a deep
    recursion."""

    def work() -> None:
        for _ in range(100_000):
            book.tracer.span("a").__enter__()

    contextvars.Context().run(work)
    gc.collect()
    assert book.tracer.open_traces == 0
    assert book.count("abandoned") == 1


@pytest.mark.parametrize("how", ["name", "attribute", "parent"])
def test_chains_of_spans(book: Tracebook, how: str) -> None:
    """Half a million spans, each of which holds the one before, are let go without a deep recursion."""
    make = book.tracer.span
    span = make("a")
    for _ in range(500_000):
        span = make(span) if how == "name" else make("a", **{"a" if how == "attribute" else how: span})
    del span
    assert book.tracer.open_traces == 0


def test_a_tracer_that_goes_before_its_span(book: Tracebook) -> None:
    """An open local root that is in a cycle and alone has a tracer: the collector clears both, in whatever
    order, and the root is counted as never ended."""
    for _ in range(20):
        tracer = Tracer(book.registry)
        span = tracer.start("a")
        span.set(me=span)
        del tracer, span
        gc.collect()
    assert book.count("abandoned") == 20


def test_spans_of_the_collector(book: Tracebook) -> None:
    """The collector may run code that makes spans, wherever an allocation in the middle of a span starts it:
    none is lost, and none stays current."""
    made: list[Any] = []

    def trace(phase: str, _: object) -> None:
        if phase == "start" and not made:
            made.append(current_span.get(None))
            with book.tracer.span("gc") as span:
                span.event("x")
            if isinstance(made[0], Span):
                made[0].set(by="gc").event("gc")

    count = told = 0
    before = gc.get_threshold()
    gc.callbacks.append(trace)
    try:
        for _ in range(300):
            with book.tracer.span("root"):
                held: list[list[int]] = [[] for _ in range(200)]  # takes what lists are spare
                made.clear()
                gc.set_threshold(1)
                with book.tracer.span("inner", a=1) as span:
                    span.set(b=2).event("y")
                gc.set_threshold(*before)
                count += len(made)
                told += isinstance(made[0] if made else None, Span)
                del held
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(trace)
    spans = book.spans
    assert len(spans) == 600 + count
    assert sum(event["name"] == "gc" for span in spans for event in span.get("events", ())) == told
    assert sum(span.get("attributes", {}).get("by") == "gc" for span in spans) == told
    assert all(
        span["attributes"].items() >= {"a": 1, "b": 2}.items() for span in spans if span["name"] == "inner"
    )


def test_never_ended(book: Tracebook) -> None:
    """A local root that nobody ends is counted when it is collected, and makes room for others."""
    span = book.tracer.start("a")
    assert (book.tracer.open_traces, book.count("abandoned")) == (1, 0)
    del span
    gc.collect()
    assert (book.tracer.open_traces, book.count("abandoned")) == (0, 1)


def test_what_is_recycled_is_clean(book: Tracebook) -> None:
    """The memory of spans is used again: nothing of the one before is seen in the next."""
    for _ in range(3):
        with (
            suppress(ValueError),
            book.tracer.span("old", kind="client", parent=SpanContext(1, 2, sampled=True)) as old,
        ):
            old.set(x=1)
            old.event("e")
            old.link(SpanContext(3, 4))
            raise ValueError
    del old
    book.take()
    for _ in range(600):
        span = book.tracer.span("new")
        assert (span.trace_id, span.span_id, span.parent_id, span.sampled) == (0, 0, 0, False)
        with span:
            pass
        assert (span.status, span.kind, span.attributes, span.tracestate) == ("ok", "internal", {}, "")
        del span
    for record in book.take():
        assert record["reason"] == "sampled" and record["parent_span_id"] == ""
        assert {"attributes", "events", "links", "status_message"}.isdisjoint(record)


def test_an_attribute_that_makes_spans_when_it_dies(book: Tracebook) -> None:
    """The end of a span may run code that makes spans."""

    class Value:
        def __del__(self) -> None:
            with book.tracer.span("from the grave", x=1):
                pass

    unkept = Tracebook(rate=0.0).tracer
    for _ in range(500):
        with unkept.span("a", value=Value()):
            pass
    assert set(book.names) == {"from the grave"}
    assert len(book.spans) == 500


def test_references_are_balanced(book: Tracebook) -> None:
    """A thousand spans leave the counts of all they touched as they were."""
    name, value = "a" + str(time.time()), object()
    unkept = Tracebook(rate=0.0).tracer

    def work(count: int) -> None:
        for _ in range(count):
            with unkept.span(name, value=value) as span, unkept.span(name, attributes={"value": value}):
                pass
            with span:
                pass

    work(10)
    before = [sys.getrefcount(one) for one in (name, value, unkept, NoSpan)]
    work(1000)
    gc.collect()
    after = [sys.getrefcount(one) for one in (name, value, unkept, NoSpan)]
    assert after[:2] == before[:2] and after[3] == before[3]
    assert abs(after[2] - before[2]) <= 2


# ---- a span of a tracer that is off ----


def test_no_span_does_nothing() -> None:
    """What a tracer that is off gives takes everything that a span does, and is never the current one."""
    book = Tracebook(enabled=False)
    with book.tracer.span("a", kind="client", x=1) as span:
        assert type(span) is NoSpan
        assert current_span.get(None) is None
        assert span.set(a=1) is span and span.start() is span
        span.set_attribute("a", 1)
        span.event("a", x=1)
        span.link(SpanContext(1, 2), x=1)
        span.ok()
        span.error(ValueError())
        span.end()
        assert not span.is_recording and span.context is None
    assert book.spans == [] and book.count("spans") == 0


def test_no_span_raises_on(book: Tracebook) -> None:
    """An exception in its block goes on; ExitStack knows it."""
    off = Tracebook(enabled=False).tracer
    with pytest.raises(ValueError), off.span("a"):
        raise ValueError
    stack = ExitStack()
    assert type(stack.enter_context(off.span("a"))) is NoSpan
    with pytest.raises(ValueError), stack:
        raise ValueError


def test_no_span_as_a_parent(book: Tracebook) -> None:
    """A span whose parent was not traced begins a trace: whatever is current is not its parent."""
    with (
        book.tracer.span("current"),
        book.tracer.span("a", parent=Tracebook(enabled=False).tracer.span("x")) as span,
    ):
        assert span.parent_id == 0
