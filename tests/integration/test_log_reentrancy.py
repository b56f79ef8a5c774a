"""Log calls from where the interpreter may be at any moment: signal handlers, finalisers, its end."""

from __future__ import annotations

import gc
import itertools
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from logbook import Logbook, parse

from vaultscope.logging import Logger, current_span

DEADLINE = 120


@pytest.fixture
def book() -> Logbook:
    """A log that is large enough for what happens here."""
    return Logbook(ring_bytes=1 << 26)


@pytest.fixture
def log(book: Logbook) -> Logger:
    return book.logger()


@pytest.fixture
def handler() -> Iterator[None]:
    """SIGALRM is as it was, afterwards."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Slow:
    """Its repr takes a few bytecodes, in which a signal may come."""

    def __repr__(self) -> str:
        return "-".join(str(i) for i in range(20))


def test_a_signal_handler_that_logs(book: Logbook, log: Logger, handler: None) -> None:
    """A handler logs while the call that it interrupted, maybe another handler, is at it; each record is
    whole, and there once."""
    numbers = itertools.count()

    def alarm(number: int, frame: FrameType | None) -> None:
        log.warn("alarm", turn=next(numbers), value=Slow(), exc_info=True)

    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    outer = 0
    limited = log.limited(10**6, 1e6).bind(bound=[Slow()])
    end = time.monotonic() + 1
    records = []
    while time.monotonic() < end:
        limited.info("m", turn=outer, value=Slow(), text="é" * 3000)
        outer += 1
        if outer % 100 == 0:  # before the ring is full
            records += book.records
    signal.setitimer(signal.ITIMER_REAL, 0)
    records += book.records
    inner = next(numbers)
    assert sorted(r["turn"] for r in records if r["message"] == "alarm") == list(range(inner))
    assert [r["turn"] for r in records if r["message"] == "m"] == list(range(outer))
    assert inner > 50
    assert {r["value"] for r in records} == {repr(Slow())}


def test_a_signal_handler_that_raises(book: Logbook, log: Logger, handler: None) -> None:
    """What a handler raises within a log call goes through, as KeyboardInterrupt does; the next works."""

    class Alarm(BaseException):
        pass

    def alarm(number: int, frame: FrameType | None) -> None:
        raise Alarm

    class Waits:
        def __repr__(self) -> str:
            signal.raise_signal(signal.SIGALRM)
            return "not reached"

    signal.signal(signal.SIGALRM, alarm)
    for _ in range(100):
        with pytest.raises(Alarm):
            log.info("m", x=Waits())
        with pytest.raises(Alarm):
            log.bind(x=[Waits()])
        with pytest.raises(Alarm):
            log.exception(Waits())
    log.info("after")
    assert book.record["message"] == "after"


def test_an_error_is_not_swallowed(book: Logbook, log: Logger) -> None:
    """A log call within a handler of an exception leaves that as it was."""
    try:
        raise ValueError("mine")
    except ValueError:
        before = sys.exc_info()
        log.info("m", x=object(), y=Slow(), exc_info=True)
        after = sys.exc_info()
    assert before == after
    assert sys.exc_info()[1] is None


def test_finalisers_that_log(book: Logbook, log: Logger) -> None:
    """__del__, weakref callbacks and finalisers log while the garbage collector is at work, also if a log
    call set it off."""
    seen: list[str] = []

    class Node:
        def __init__(self, number: int) -> None:
            self.number, self.other = number, self

        def __del__(self) -> None:
            log.info("del", number=self.number, x=[Slow()])
            seen.append("del")

    def callback(reference: object) -> None:
        log.info("callback", x=Slow())
        seen.append("callback")

    references = []
    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for i in range(500):
            node = Node(i)
            references.append(weakref.ref(node, callback))
            weakref.finalize(node, log.info, "finalize", x={"a": Slow()})
            del node
            log.info("m", x=[{} for _ in range(20)], y={"a": [Slow()]})
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    messages = [record["message"] for record in book.records]
    assert {name: messages.count(name) for name in ("m", "del", "callback", "finalize")} == dict.fromkeys(
        ("m", "del", "callback", "finalize"), 500
    )
    assert len(seen) == 1000


def test_a_logger_that_ends_in_its_own_call(book: Logbook) -> None:
    """A logger whose last reference goes while it logs ends after the call."""
    for _ in range(10):
        holder: dict[str, Any] = {}

        class Lets:
            def __repr__(self, holder: dict[str, Any] = holder) -> str:
                holder.clear()
                gc.collect(0)
                return "let go"

        holder["log"] = book.journal.native.logger("gone").bind(a=1).limited(5)
        holder.pop("log").info("m", x=Lets())
        holder["log"] = book.journal.native.logger("gone")
        holder["info"] = holder["log"].info
        holder["info"]("m", x=Lets())
    assert [record["x"] for record in book.records] == ["let go"] * 20


def test_tracers_that_log(book: Logbook, log: Logger) -> None:
    """sys.settrace and sys.setprofile functions may log; what they see of a log call is no endless chain."""
    calls = 0
    busy = False

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal calls, busy
        if not busy:
            busy = True
            calls += 1
            log.info("trace", event=event, name=frame.f_code.co_name, argument=argument)
            busy = False
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for i in range(20):
            log.info("traced", x=[Slow()], turn=i)
    finally:
        sys.settrace(before)
    sys.setprofile(trace)
    try:
        for i in range(20):
            log.info("profiled", x=[Slow()], turn=i)
    finally:
        sys.setprofile(None)
    records = book.records
    turns = [r["turn"] for r in records if r["message"] in ("traced", "profiled")]
    assert turns == [*range(20), *range(20)]
    assert sum(r["message"] == "trace" for r in records) == calls > 100


def test_generators_and_threads_that_end(book: Logbook, log: Logger) -> None:
    """A generator that is closed by the collector, and thread-local objects of a thread that ends, log."""

    def generator() -> Iterator[int]:
        try:
            yield 1
        finally:
            log.info("closed")

    class Local:
        def __del__(self) -> None:
            log.info("local", x=Slow())

    local = threading.local()

    def work() -> None:
        local.value = Local()

    for _ in range(20):
        one = generator()
        next(one)
        del one
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    gc.collect()
    messages = [record["message"] for record in book.records]
    assert (messages.count("closed"), messages.count("local")) == (20, 20)


def test_a_span_that_acts(book: Logbook, log: Logger) -> None:
    """What lies in current_span is never called."""

    class Acts:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    token = current_span.set(Acts())  # type: ignore[arg-type]
    log.info("m")
    current_span.reset(token)
    assert "trace_id" not in book.record


LATE = """
class Late:
    def __del__(self, log=log): log.info("late", x=[self], exc_info=True)
"""
ENDS = {
    "module globals": f"{LATE}\nkept = Late()",
    "a cycle": f"{LATE}\nkept = Late(); kept.me = kept",
    "a module's attribute": f"{LATE}\nsys.kept = Late()",
    "a thread": """
def work():
    while True: log.info("late", x=[1])
threading.Thread(target=work, daemon=True).start()
""",
    "atexit": "import atexit; atexit.register(lambda: log.exception('late', x=[object()]))",
    "a logger in a cycle": f"{LATE}\nkept = Late(); kept.log = log.limited(1)\nkept.log.info(kept)",
    "an unclosed journal": "other = Journal(Registry()); other.add_sink(MemorySink())",
    "a cursor": "cursor = Journal(Registry()).native.cursor('c'); log.info('m'); batch = cursor.take()",
    "a context": "block = level('debug'); block.__enter__()",
}


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_the_end_of_the_interpreter(code: str, tmp_path: Path) -> None:
    """Whatever logs while modules and objects are torn down, the program ends as it should."""
    path = tmp_path / "a.log"
    script = f"""
import sys, threading
from vaultscope import Registry
from vaultscope.logging import *
configure(FileSink({str(path)!r}))
log = get_logger()
log.info("m")
{code}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    records = [parse(line) for line in path.read_bytes().splitlines(keepends=True)]
    assert records[0]["message"] == "m"
