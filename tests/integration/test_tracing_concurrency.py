"""Tasks, threads, forks: no span has the parent of another's, and none is written by two.

The facts hold on any interpreter; they can fail where there is no GIL to make several steps one.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from tracebook import Record, Tracebook

from vaultscope.tracing import CarryingExecutor, Span, current_span, use_span

TASKS, THREADS, TRACES = 10_000, 8, 300


@pytest.fixture(autouse=True)
def busy_switching() -> Iterator[None]:
    """With a GIL, threads change places far more often than the interpreter's five milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def book() -> Iterator[Tracebook]:
    """Room for all that a test makes."""
    book = Tracebook(queue_spans=2**30, max_traces=2**30, max_spans=2**30)
    yield book
    book.close()


def together(work: Callable[[int], object], threads: int = THREADS) -> None:
    """Calls work(0), work(1)... in threads of their own, all at once. An error fails the test."""
    start, errors = threading.Barrier(threads), []

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]


def is_tree(spans: list[Record], depth: int) -> None:
    """Each span is named after its place: "7/0/1" is a child of "7/0", which is one of "7"; no place is
    there twice."""
    by_id = {span["span_id"]: span for span in spans}
    assert len(by_id) == len(spans)
    assert max(Tally(span["name"] for span in spans).values()) == 1
    for span in spans:
        above, _, _ = span["name"].rpartition("/")
        parent = by_id.get(span["parent_span_id"])
        assert (parent["name"] if parent else "") == above, span
        assert parent is None or parent["trace_id"] == span["trace_id"]
    assert max(span["name"].count("/") for span in spans) == depth


# ---- tasks ----


async def grow(book: Tracebook, name: str, depth: int, pause: random.Random) -> None:
    """A span, with two tasks below it that grow meanwhile."""
    with book.tracer.span(name) as span:
        assert current_span.get() is span
        for _ in range(pause.randrange(3)):
            await asyncio.sleep(0)
            assert current_span.get() is span
        if depth:
            await asyncio.gather(*(grow(book, f"{name}/{n}", depth - 1, pause) for n in range(2)))
        assert current_span.get() is span


def test_ten_thousand_tasks(book: Tracebook) -> None:
    """10,000 tasks at once, each with spans of its own and tasks below them: each span's parent is the one
    it should be."""

    async def main() -> None:
        pause = random.Random(5)
        await asyncio.gather(*(grow(book, str(n), 2, pause) for n in range(TASKS)))
        assert current_span.get(None) is None

    asyncio.run(main())
    spans = book.spans
    assert len(spans) == TASKS * 7 and book.tracer.open_traces == 0
    is_tree(spans, 2)


def test_tasks_that_outlive_their_parent(book: Tracebook) -> None:
    """A task that ends after the span in which it was made keeps it as its parent."""

    async def late(name: str) -> None:
        await asyncio.sleep(0)
        with book.tracer.span(name):
            await asyncio.sleep(0)

    async def main() -> None:
        tasks = []
        for number in range(500):
            with book.tracer.span(str(number)):
                tasks += [asyncio.create_task(late(f"{number}/{n}")) for n in range(3)]
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert len(book.spans) == 2000
    is_tree(book.spans, 1)


def test_tasks_that_are_cancelled(book: Tracebook) -> None:
    """Of a thousand tasks that are cancelled at any point each span ends, in its place."""

    async def main() -> None:
        pause = random.Random(7)
        tasks = [asyncio.create_task(grow(book, str(n), 2, pause)) for n in range(1000)]
        for task in tasks:
            await asyncio.sleep(0)
            task.cancel()
        assert set(map(type, await asyncio.gather(*tasks, return_exceptions=True))) <= {
            asyncio.CancelledError,
            type(None),
        }

    asyncio.run(main())
    spans = book.spans
    assert book.tracer.open_traces == 0
    by_id = {span["span_id"]: span["name"] for span in spans}
    for span in spans:
        assert by_id.get(span["parent_span_id"], "") == span["name"].rpartition("/")[0]


# ---- threads ----


def test_eight_threads(book: Tracebook) -> None:
    """Eight threads on one tracer: each thread's spans are its own, and all are counted."""

    def work(number: int) -> None:
        for trace in range(TRACES):
            with book.tracer.span(f"{number}.{trace}", thread=number) as root:
                for inner in range(3):
                    with book.tracer.span(f"{number}.{trace}/{inner}") as span:
                        assert span.parent_id == root.span_id and current_span.get() is span
                assert current_span.get() is root

    together(work)
    spans = book.spans
    assert len(spans) == THREADS * TRACES * 4 == book.count("spans")
    assert book.decisions == {"sampled": THREADS * TRACES} and book.tracer.open_traces == 0
    is_tree(spans, 1)


def test_eight_threads_below_one_root(book: Tracebook) -> None:
    """Children of one root, begun by one thread and ended by all: each is kept once, and an error among
    them is known."""
    book = Tracebook(rate=0.0, max_spans=2**30, queue_spans=2**30)
    root = book.tracer.start("root")
    spans = [book.tracer.start(f"root/{n}", parent=root) for n in range(THREADS * TRACES)]
    spans[5].error()

    def work(number: int) -> None:
        for span in spans[number::2]:  # each of them by four threads
            span.set(thread=number)
            span.end()

    together(lambda number: work(number % 2))
    root.end()
    records = book.spans
    assert len(records) == 1 + THREADS * TRACES and records[0]["reason"] == "error"
    assert len({span["span_id"] for span in records}) == len(records)
    assert book.count("spans") == len(records) and book.tracer.open_traces == 0
    book.close()


def test_one_span_that_all_write(book: Tracebook) -> None:
    """Attributes, events and links of eight threads on one span are all there, and it ends once."""
    book = Tracebook(max_attributes=2**20)
    span = book.tracer.start("a", first=0)

    def work(number: int) -> None:
        for n in range(TRACES):
            span.set_attribute(f"{number}.{n}", n)
            span.event(f"{number}.{n}")
            span.link(span)
        barrier.wait()
        span.end()

    barrier = threading.Barrier(THREADS)
    together(work)
    record = book.span
    assert len(record["attributes"]) == 1 + THREADS * TRACES
    assert len(record["events"]) == len(record["links"]) == THREADS * TRACES
    assert book.count("spans") == 1 and "omitted" not in record
    book.close()


def test_one_span_that_all_enter(book: Tracebook) -> None:
    """Eight threads enter and leave the same span at once, again and again; it ends when none is in it."""
    span = book.tracer.start("a")
    with span:

        def work(number: int) -> None:
            for _ in range(TRACES):
                with span:
                    assert current_span.get() is span
                assert current_span.get(None) is None

        together(work)
        assert span.status == "pending"
    assert span.status == "ok" and len(book.spans) == 1


def test_the_last_reference(book: Tracebook) -> None:
    """Spans that one thread makes and others let go are freed once: what they hold is let go, too."""
    alive = 0
    lock = threading.Lock()

    class Value:
        def __init__(self) -> None:
            nonlocal alive
            with lock:
                alive += 1

        def __del__(self) -> None:
            nonlocal alive
            with lock:
                alive -= 1

    unkept = Tracebook(rate=0.0).tracer
    handed: list[list[Span]] = [[] for _ in range(THREADS)]

    def work(number: int) -> None:
        for _ in range(TRACES):
            with unkept.span("a", value=Value()) as span:
                handed[(number + 1) % THREADS].append(span)
            with suppress(IndexError):
                handed[number].pop()

    together(work)
    handed.clear()
    del work
    assert unkept.open_traces == 0
    assert alive == 0


def test_sinks_that_come_and_go(book: Tracebook) -> None:
    """Sinks are added and removed while eight threads end spans: each has whole traces, each once."""
    from tracebook import Kept

    stop, turns, sinks = threading.Event(), threading.Semaphore(0), []

    def work(number: int) -> None:
        if number == 0:
            try:
                for n in range(20):
                    turns.release(THREADS)
                    sinks.append(Kept(f"sink{n}"))
                    book.tracer.add_sink(sinks[-1])
                    if n >= 2:
                        assert book.tracer.remove_sink(sinks[n - 2], 30.0)
            finally:
                stop.set()
        while not stop.is_set():
            for _ in range(100 if turns.acquire(timeout=0.01) else 0):
                with book.tracer.span("root"), book.tracer.span("inner"):
                    pass

    together(work)
    assert sum(len(sink.spans) for sink in sinks)
    everything = {span["span_id"] for span in book.spans}
    for sink in sinks:
        ids = [span["span_id"] for span in sink.spans]
        assert len(set(ids)) == len(ids) and set(ids) <= everything
        assert [span["name"] for span in sink.spans] == ["root", "inner"] * (len(ids) // 2)


# ---- hand-over ----


def test_hand_over_to_threads(book: Tracebook) -> None:
    """Work that a pool does for a span belongs to it, whoever else the pool works for."""

    def step(name: str) -> None:
        with book.tracer.span(name):
            pass

    with ThreadPoolExecutor(THREADS) as pool:
        executor = CarryingExecutor(pool)

        def work(number: int) -> None:
            for trace in range(50):
                name = f"{number}.{trace}"
                with book.tracer.span(name):
                    for future in [executor.submit(step, f"{name}/{n}") for n in range(3)]:
                        future.result()

        together(work)
    assert len(book.spans) == THREADS * 50 * 4
    is_tree(book.spans, 1)


def test_use_span_in_many_threads(book: Tracebook) -> None:
    """One use_span object, used by eight threads at once, leaves each as it was."""
    span = book.tracer.start("a")
    use = use_span(span)

    def work(number: int) -> None:
        with book.tracer.span("own") as own:
            for _ in range(TRACES):
                with use:
                    assert current_span.get() is span
                assert current_span.get() is own

    together(work)
    span.end()


# ---- forks ----

HEAD = """
import json, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads: that is what we test
from vaultscope import Registry
from vaultscope.tracing import SpanSink, Tracer, current_span, use_span

class Lines(SpanSink):
    name = "lines"
    def write(self, spans):
        for span in spans:
            os.write(1, (json.dumps([os.getpid(), span["name"], span["span_id"], span["parent_span_id"],
            span["trace_id"]]) + "\\n").encode())

tracer = Tracer(Registry(), rate=1.0)
tracer.add_sink(Lines())

def in_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            assert tracer.close(30.0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

def trace(name):
    with tracer.span(name):
        pass
"""


def lines(script: str) -> list[list[Any]]:
    """What the processes of a script have written: pid, name, span, parent and trace."""
    import json

    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(script)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_ids_of_a_hundred_forks() -> None:
    """Children that are forked from the same state, and their parent, have ids of their own."""
    spans = lines("""
        trace("before")
        for _ in range(100):
            in_child(lambda: [trace("child") for _ in range(5)])
        trace("after")
    """)
    assert len(spans) == 502
    assert len({span for _, _, span, _, _ in spans}) == len({trace for *_, trace in spans}) == 502
    assert len({pid for pid, *_ in spans}) == 101


def test_a_fork_within_a_span() -> None:
    """The span is the parent's, which alone writes it; what the child does within is below it, and the
    child's."""
    spans = lines("""
        with tracer.span("outer"):
            with tracer.span("inner") as inner:
                pid = os.fork()
                if pid:
                    assert os.waitpid(pid, 0)[1] == 0
                with tracer.span("parent's" if pid else "child's"):
                    pass
        if pid == 0:
            assert tracer.open_traces == 0, tracer.open_traces
            assert current_span.get(None) is None
    """)
    assert sorted(name for _, name, *_ in spans) == ["child's", "inner", "outer", "parent's"]
    by_name = {name: (pid, parent, trace) for pid, name, _, parent, trace in spans}
    inner = next(span for _, name, span, _, _ in spans if name == "inner")
    assert by_name["child's"][1] == by_name["parent's"][1] == inner
    assert by_name["child's"][2] == by_name["outer"][2]
    assert by_name["child's"][0] != by_name["outer"][0] == by_name["inner"][0] == by_name["parent's"][0]


def test_what_waits_at_a_fork_is_written_once() -> None:
    """Traces in the queue, or in the sink's hands, are the parent's to write, whichever moment the fork
    meets."""
    spans = lines("""
        for n in range(50):
            for _ in range(20):
                trace(f"parent{n}")
            in_child(lambda: trace(f"child{n}"))
        assert tracer.flush(30.0)
    """)
    assert len(spans) == len({span for _, _, span, _, _ in spans}) == 50 * 21
    children = {pid for pid, name, *_ in spans if name.startswith("child")}
    assert len(children) == 50
    assert not children & {pid for pid, name, *_ in spans if name.startswith("parent")}


def test_forks_while_threads_trace() -> None:
    """Forks at any moment of what other threads do: no child hangs, and all can trace."""
    spans = lines("""
        stop = threading.Event()
        def flood():
            while not stop.is_set():
                with tracer.span("flood"):
                    trace("inner")
        threads = [threading.Thread(target=flood) for _ in range(3)]
        tracer.remove_sink(tracer.sinks[0])  # it would print all that
        for thread in threads:
            thread.start()
        def work():
            assert tracer.open_traces == 0
            tracer.add_sink(Lines())
            trace("child")
        for _ in range(30):
            in_child(work)
        stop.set()
        for thread in threads:
            thread.join()
        assert tracer.open_traces == 0
    """)
    assert [name for _, name, *_ in spans] == ["child"] * 30


def test_a_sink_that_cannot_be_used_after_a_fork() -> None:
    """Its after_fork raises: the fork goes on, and the other sinks work."""
    spans = lines("""
        class Bad(SpanSink):
            name = "bad"
            def write(self, spans): pass
            def after_fork(self): raise OSError
        tracer.add_sink(Bad())
        in_child(lambda: trace("child"))
    """)
    assert [name for _, name, *_ in spans] == ["child"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_signals_that_trace(book: Tracebook) -> None:
    """A signal handler may make spans, wherever it interrupts, be it another's: they are whole, and below
    what was current."""
    seen = []

    def handler(*_: object) -> None:
        with book.tracer.span("signal") as span:
            seen.append(span)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while len(seen) < 200:
            with book.tracer.span("work") as work:
                assert current_span.get() is work
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert current_span.get(None) is None and book.tracer.open_traces == 0
    by_id = {span["span_id"]: span["name"] for span in book.spans}
    assert len(by_id) == len(book.spans) == book.count("spans")
    assert {by_id.get(span["parent_span_id"], "") for span in book.spans if span["name"] == "signal"} <= {
        "",
        "work",
        "signal",
    }
    assert os.getpid() > 0
