"""A tracer: what it does when it is off, its sinks and what they miss, its end, its default, and the ids in
log records."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from sinks import until
from tracebook import Kept, Tracebook

from vaultscope import Registry
from vaultscope.errors import DeclarationError
from vaultscope.logging import Journal, MemorySink
from vaultscope.tracing import NoSpan, Span, SpanContext, SpanSink, Tracer, current_span, default_tracer

logging.getLogger()  # imported for what the log does with it


@pytest.fixture
def book() -> Iterator[Tracebook]:
    book = Tracebook()
    yield book
    book.close()


def trace(tracer: Tracer, count: int = 1, name: str = "a") -> None:
    for _ in range(count):
        with tracer.span(name):
            pass


class Gate(Kept):
    """Waits in write until it is let go."""

    def __init__(self, name: str = "gate") -> None:
        super().__init__(name)
        self.waiting, self.open = threading.Event(), threading.Event()

    def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
        self.waiting.set()
        assert self.open.wait(30)
        super().write(spans)


class Failing(Kept):
    """Raises as often as it is told to."""

    def __init__(self, times: float, error: type[BaseException] = OSError) -> None:
        super().__init__("failing")
        self.left, self.error = times, error
        self.tries: list[list[str]] = []

    def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
        self.tries.append([span["span_id"] for span in spans])
        if self.left > 0:
            self.left -= 1
            raise self.error("no")
        super().write(spans)


# ---- on and off ----


def test_off(book: Tracebook) -> None:
    """A tracer that is off makes no spans, in any way; switched on, it does; what was open then is not
    lost."""
    tracer = book.tracer
    with tracer.span("before") as before:
        tracer.enabled = False
        assert type(tracer.span("a")) is type(tracer.start("a")) is NoSpan
        assert not tracer.enabled and current_span.get() is before
    tracer.enabled = True
    assert type(tracer.span("a")) is Span
    assert book.names == ["before"]


def test_off_from_the_start() -> None:
    tracer = Tracer(Registry(), enabled=False)
    assert not tracer.enabled
    assert tracer.span("a") is tracer.span("b", x=1)


def test_off_nothing_is_checked() -> None:
    """While it is off, even a wrong call costs nothing and breaks nothing."""
    with Tracer(Registry(), enabled=False).span("a", kind="x", parent=5) as span:
        assert type(span) is NoSpan


def test_a_tracer_without_sinks(book: Tracebook) -> None:
    """It works, and counts."""
    tracer = Tracer(book.registry, rate=1.0)
    trace(tracer, 10)
    assert book.decisions == {"sampled": 10} and tracer.flush() and tracer.sinks == ()


def test_a_subclass() -> None:
    """A tracer can be subclassed, and its span() replaced."""

    class Mine(Tracer):
        def span(self, name: Any, /, **more: Any) -> Any:
            return super().span(f"mine.{name}", **more)

    tracer, sink = Mine(Registry(), rate=1.0), Kept()
    tracer.add_sink(sink)
    with tracer.span("a", x=1):
        tracer.start("b").end()
    assert tracer.close()
    assert [span["name"] for span in sink.spans] == ["mine.a", "mine.b"]


def test_a_tracer_that_was_not_initialised() -> None:
    """It does not crash."""
    tracer = Tracer.__new__(Tracer)
    assert type(tracer.span("a")) is NoSpan
    tracer.enabled = True
    with pytest.raises(TypeError, match="not initialised"):
        tracer.span("a")


# ---- sinks ----


def test_sinks_get_traces(book: Tracebook) -> None:
    """Each sink has all spans of a trace one after the other, its local root first, by traces as they
    ended."""
    other = Kept("other")
    book.tracer.add_sink(other)
    assert book.tracer.sinks == (book.sink, other)
    for number in range(3):
        with book.tracer.span(f"root{number}"):
            trace(book.tracer, 2, f"inner{number}")
    assert book.names == [f"{name}{n}" for n in range(3) for name in ("root", "inner", "inner")]
    assert [span["name"] for span in other.spans] == book.names


def test_sink_names_are_unique(book: Tracebook) -> None:
    """A second sink of a name is refused; after the first was removed it is not."""
    with pytest.raises(DeclarationError, match="kept"):
        book.tracer.add_sink(Kept())
    with pytest.raises(DeclarationError, match="no such"):
        book.tracer.remove_sink(Kept())  # of that name, but not that one
    assert book.tracer.remove_sink(book.sink)
    with pytest.raises(DeclarationError, match="no such"):
        book.tracer.remove_sink(book.sink)
    book.tracer.add_sink(Kept())


@pytest.mark.parametrize("sink", [5, print, None, Kept, SpanSink(), object()], ids=repr)
def test_what_is_no_sink(book: Tracebook, sink: Any) -> None:
    """A function, a class, a sink without a name: refused, and nothing is sent there."""
    with pytest.raises(DeclarationError, match="SpanSink"):
        book.tracer.add_sink(sink)
    assert book.tracer.sinks == (book.sink,)


def test_removed(book: Tracebook) -> None:
    """It has what was kept before, is closed, and gets nothing of what comes after; nor does one that is
    added get what was before."""
    trace(book.tracer, 100, "before")
    assert book.tracer.remove_sink(book.sink)
    other = Kept("other")
    book.tracer.add_sink(other)
    trace(book.tracer, 100, "after")
    assert book.tracer.flush()
    assert {span["name"] for span in book.sink.spans} == {"before"} and len(book.sink.spans) == 100
    assert book.sink.closed and not other.closed
    assert {span["name"] for span in other.spans} == {"after"} and len(other.spans) == 100


def test_closed(book: Tracebook) -> None:
    """close() writes all and closes the sinks; the tracer goes on without any, and can be given others."""
    trace(book.tracer, 1000)
    assert book.tracer.close()
    assert len(book.sink.spans) == 1000 and book.sink.closed
    assert book.tracer.sinks == () and book.tracer.close()
    trace(book.tracer, 10)
    assert len(book.sink.spans) == 1000
    other = Kept("other")
    book.tracer.add_sink(other)
    trace(book.tracer)
    assert book.tracer.flush() and len(other.spans) == 1


def test_batches_are_bounded(book: Tracebook) -> None:
    """A sink is given some hundred spans at a time, and a trace is never divided."""
    gate = Gate()
    book.tracer.add_sink(gate)
    for _ in range(300):
        with book.tracer.span("root"):
            trace(book.tracer, 9)
    gate.open.set()
    assert book.tracer.flush(30.0)
    assert sum(gate.batches) == 3000
    assert max(gate.batches) <= 520 and all(size % 10 == 0 for size in gate.batches)


def test_a_queue_is_bounded() -> None:
    """What a sink that hangs has no room for is counted, to the span; what had room is written when it
    comes back."""
    book = Tracebook(queue_spans=10)
    gate = Gate()
    book.tracer.add_sink(gate)
    trace(book.tracer)
    assert gate.waiting.wait(30)
    trace(book.tracer, 20)
    with book.tracer.span("root"):  # eleven spans: there is never room
        trace(book.tracer, 10)
    assert book.count("missed", sink="gate") == 20 - 9 + 11
    gate.open.set()
    assert book.tracer.flush()
    assert len(gate.spans) == 10
    trace(book.tracer)
    assert book.tracer.flush() and len(gate.spans) == 11
    book.close()


def test_a_trace_that_ends_while_its_sink_is_removed(book: Tracebook) -> None:
    """What comes to a queue that nobody empties any more is missed, and counted."""
    queue = book.tracer._threads["kept"].queue
    assert book.tracer.remove_sink(book.sink)
    book.tracer.send_to((queue,))  # as one sees it that was about to be kept
    trace(book.tracer, 3)
    book.tracer.send_to(())
    assert book.count("missed", sink="kept") == 3


def test_a_name_that_ends_the_sinks_thread(book: Tracebook) -> None:
    """A name whose text is SystemExit is written otherwise, and holds up nothing behind it."""

    class Name:
        def __str__(self) -> str:
            raise SystemExit

    with book.tracer.span(Name()) as span:  # type: ignore[arg-type]
        span.event(Name())  # type: ignore[arg-type]
    trace(book.tracer, 1, "behind")
    assert book.tracer.flush()
    assert ["Name object" in name for name in book.names] == [True, False]
    assert book.count("sink.errors", sink="kept") == 0


def no_threads(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_no_thread_for_a_sink(book: Tracebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started the sink is not there, and can be added later."""
    sink = Kept("other")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_threads)
        with pytest.raises(RuntimeError):
            book.tracer.add_sink(sink)
    assert book.tracer.sinks == (book.sink,)
    book.tracer.add_sink(sink)
    trace(book.tracer)
    assert book.tracer.close(30.0) and len(sink.spans) == 1


def test_no_thread_after_a_fork(book: Tracebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child in which no thread can be started misses what it keeps, counts that, and ends as usual."""
    old = book.tracer._threads["kept"]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_threads)
        book.tracer._renew()
    trace(book.tracer, 2)
    assert book.count("missed", sink="kept") == 2
    assert not book.tracer.flush(0.0) or not book.sink.spans
    assert not book.tracer.close(1.0)
    old.stop(0.0)
    old.join(30.0)
    assert not old.is_alive()


def test_a_sink_that_hangs_holds_no_one(book: Tracebook) -> None:
    """Spans end as before, other sinks have theirs, and flush says what is so after the time that it was
    given."""
    gate = Gate()
    book.tracer.add_sink(gate)
    trace(book.tracer, 1000)
    assert gate.waiting.wait(30)
    assert not book.tracer.flush(0.05)
    while len(book.sink.spans) < 1000:
        assert threading.Event().wait(0.001) is False
    assert not book.tracer.remove_sink(gate, 0.05)
    assert not gate.closed
    gate.open.set()
    assert book.tracer.flush()


def test_a_sink_that_hangs_clears_up_when_it_comes_back(book: Tracebook) -> None:
    """What it had no time for is missed, counted, and it is closed by its own thread."""
    gate = Gate()
    book.tracer.add_sink(gate)
    trace(book.tracer, 1)
    assert gate.waiting.wait(30)
    trace(book.tracer, 700)
    assert not book.tracer.remove_sink(gate, 0.0)
    gate.open.set()
    while not gate.closed:
        assert threading.Event().wait(0.001) is False
    assert len(gate.spans) + book.count("missed", sink="gate") == 701


@pytest.mark.parametrize("error", [OSError, SystemExit, KeyboardInterrupt])
def test_a_sink_that_fails(book: Tracebook, error: type[BaseException]) -> None:
    """It is given the same spans again, until it takes them; each failure is counted, and nothing is missed
    or doubled."""
    sink = Failing(3, error)
    book.tracer.add_sink(sink)
    trace(book.tracer, 10)
    assert book.tracer.flush(30.0)
    assert len(sink.spans) == len({span["span_id"] for span in sink.spans}) == 10
    assert sink.tries[0] == sink.tries[1] == sink.tries[2] == sink.tries[3]
    assert book.count("sink.errors", sink="failing") == 3
    assert book.count("missed", sink="failing") == 0


def test_a_sink_that_never_works(book: Tracebook) -> None:
    """It is tried a few times while it is being removed, not as fast as can be; all is counted as missed."""
    sink = Failing(float("inf"))
    book.tracer.add_sink(sink)
    trace(book.tracer, 10)
    assert not book.tracer.remove_sink(sink, 0.3)
    assert 2 <= len(sink.tries) <= 20
    assert book.count("missed", sink="failing") == 10 and sink.closed


def test_a_sink_that_changes_what_it_is_given(book: Tracebook) -> None:
    """Each sink, and each try, has dicts of its own."""

    class Spoiler(Failing):
        def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
            for span in spans:
                assert span["name"] == "a" and span["attributes"] == {"x": 1}
                span["attributes"].clear()
                span.clear()  # type: ignore[attr-defined]
            if self.left > 0:
                self.left -= 1
                raise OSError

    sink = Spoiler(2)
    book.tracer.add_sink(sink)
    with book.tracer.span("a", x=1):
        pass
    assert book.tracer.flush(30.0) and book.span["attributes"] == {"x": 1}
    assert book.count("sink.errors", sink="failing") == 2


def test_flush_is_of_what_was_before(book: Tracebook) -> None:
    """It returns though at each write other threads have ended more spans."""
    written, stop = threading.Event(), threading.Event()

    class Telling(Kept):
        def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
            super().write(spans)
            written.set()

    def work() -> None:
        while not stop.is_set():
            if written.wait(0.01):
                written.clear()
                trace(book.tracer, 10, "flood")

    sink = Telling("telling")
    book.tracer.add_sink(sink)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            trace(book.tracer, 1, f"mine{number}")
            assert book.tracer.flush(30.0)
            assert any(span["name"] == f"mine{number}" for span in list(sink.spans))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_flush_and_close_that_fail(book: Tracebook) -> None:
    """A sink that cannot make sure of what it has, or cannot be closed, is told of."""

    class Bad(Kept):
        def flush(self) -> None:
            raise OSError

        def close(self) -> None:
            raise OSError

    book.tracer.add_sink(Bad("bad"))
    trace(book.tracer)
    assert not book.tracer.flush()
    assert not book.tracer.close()
    assert len(book.sink.spans) == 1 and book.sink.closed


def test_what_a_sink_traces_does_not_come_back(book: Tracebook) -> None:
    """Spans that a sink makes while it writes are not kept: else each write would make the next one."""

    class Traced(Kept):
        def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
            with book.tracer.span("write") as span:
                span.error("not even that")
                super().write(spans)

    sink = Traced("traced")
    book.tracer.add_sink(sink)
    trace(book.tracer)
    for _ in range(3):
        assert book.tracer.flush()
    assert [span["name"] for span in sink.spans] == ["a"]
    assert book.decisions["dropped"] >= 1


def test_a_sink_that_removes_itself(book: Tracebook) -> None:
    """It may: its thread does not wait for itself."""

    class Shy(Kept):
        def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
            super().write(spans)
            book.tracer.remove_sink(self)

    sink = Shy("shy")
    book.tracer.add_sink(sink)
    trace(book.tracer)
    while not sink.closed:
        assert threading.Event().wait(0.001) is False
    assert book.tracer.sinks == (book.sink,)


def test_the_least_that_a_sink_is(book: Tracebook) -> None:
    """Only write must be there; without it, what is kept is missed."""

    class Least(SpanSink):
        name = "least"

    book.tracer.add_sink(Least())
    trace(book.tracer)
    assert not book.tracer.flush(0.1)
    assert not book.tracer.close(0.1)
    assert book.count("missed", sink="least") == 1


# ---- its end ----


def test_dropped(book: Tracebook) -> None:
    """A tracer that nobody has any more is collected, with what it kept written, and its threads end."""
    tracer, sink = Tracer(Registry(), rate=1.0), Kept()
    tracer.add_sink(sink)
    (thread,) = [
        one for one in threading.enumerate() if one.name == "vaultscope-trace kept" and one.sink is sink
    ]  # type: ignore[attr-defined]
    trace(tracer, 100)
    gone = weakref.ref(tracer)
    del tracer
    gc.collect()
    until(lambda: gone() is None)  # what waits to be written still needs it
    thread.join(30)
    assert not thread.is_alive() and len(sink.spans) == 100 and sink.closed


AT_EXIT = """
import sys
from vaultscope import Registry
from vaultscope.tracing import SpanSink, Tracer

class Printing(SpanSink):
    name = "printing"
    def write(self, spans): print(len(spans), flush=True)
    def close(self): print("closed", flush=True)

tracer = Tracer(Registry(), rate=1.0)
tracer.add_sink(Printing())
with tracer.span("a"):
    with tracer.span("b"):
        pass
open_one = tracer.start("left open")
if "fail" in sys.argv:
    raise ValueError
"""


@pytest.mark.parametrize("how", ["", "fail"])
def test_at_exit(how: str) -> None:
    """What was kept is written when the process ends, also when it ends by an exception."""
    done = subprocess.run([sys.executable, "-c", AT_EXIT, how], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["2", "closed"]
    assert done.returncode == (1 if how else 0)


AT_EXIT_OF_A_CHILD = """
import multiprocessing
from vaultscope import Registry
from vaultscope.tracing import SpanSink, Tracer

class Printing(SpanSink):
    name = "printing"
    def write(self, spans): print(*[span["name"] for span in spans], flush=True)

tracer = Tracer(Registry(), rate=1.0)
tracer.add_sink(Printing())

def work():
    with tracer.span("child"):
        pass

if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    with tracer.span("parent"):
        pass
"""


def test_at_exit_of_a_child() -> None:
    """The children of multiprocessing, which leave without atexit, write theirs as well."""
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT_OF_A_CHILD], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["child", "parent"], done.stderr


# ---- the default tracer ----


def default_rate(value: str | None) -> subprocess.CompletedProcess[str]:
    code = """
from vaultscope.tracing import default_tracer
assert default_tracer() is default_tracer()
kept = 0
for _ in range(2000):
    with default_tracer().span("a") as span:
        kept += span.sampled
print(kept)
"""
    environment = {name: text for name, text in os.environ.items() if name != "VAULTSCOPE_TRACE_RATE"}
    if value is not None:
        environment["VAULTSCOPE_TRACE_RATE"] = value
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("value", "low", "high"), [("0", 0, 0), ("1.0", 2000, 2000), (None, 100, 300), ("", 100, 300)]
)
def test_default_rate(value: str | None, low: int, high: int) -> None:
    """The environment says the rate of the default tracer, or else it is a tenth."""
    done = default_rate(value)
    assert low <= int(done.stdout) <= high and done.stderr == ""


@pytest.mark.parametrize("value", ["often", "1.5", "-1", "nan"])
def test_a_default_rate_that_is_none(value: str) -> None:
    """It does not end the operation that is traced first: a warning says what is wrong, and it is a tenth."""
    done = default_rate(value)
    assert 100 <= int(done.stdout) <= 300
    assert "VAULTSCOPE_TRACE_RATE" in done.stderr and value in done.stderr


def test_the_default_tracer_writes_nowhere() -> None:
    """VAULTSCOPE_TRACES is what is read: it makes no sink."""
    code = "from vaultscope.tracing import default_tracer; print(len(default_tracer().sinks))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "VAULTSCOPE_TRACES": "vault.spans"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_the_default_tracer_counts_in_the_default_registry() -> None:
    from vaultscope import default_registry

    assert default_tracer().registry is default_registry()


# ---- logs ----


def test_log_records_carry_the_ids(book: Tracebook) -> None:
    """Those of the innermost span, also where a SpanContext was never made; none outside."""
    code = """
from vaultscope import Registry
from vaultscope.logging import Journal, MemorySink
from vaultscope.tracing import Tracer
journal, sink = Journal(Registry()), MemorySink()
journal.add_sink(sink)
log, tracer = journal.get_logger("test"), Tracer(Registry(), rate=0.0)
log.info("before")
with tracer.span("outer"):
    with tracer.span("a") as span:
        log.info("within")
log.info("after")
assert journal.flush()
records = {record["message"]: record for record in sink.records}
assert records["within"]["trace_id"] == span.trace_hex and records["within"]["span_id"] == span.span_hex
assert "trace_id" not in records["before"] and "trace_id" not in records["after"]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_log_records_of_contexts_and_no_spans(book: Tracebook) -> None:
    """A context from elsewhere gives its ids; a tracer that is off gives none, and hides none."""
    from vaultscope.tracing import use_span

    journal, sink = Journal(Registry()), MemorySink()
    journal.add_sink(sink)
    log = journal.get_logger("test")
    with use_span(SpanContext(5, 6)):
        log.info("context")
        with Tracer(Registry(), enabled=False).span("off"):
            log.info("off")
    assert journal.flush()
    assert [record["span_id"] for record in sink.records] == [f"{6:016x}"] * 2
    journal.close(0.5)
