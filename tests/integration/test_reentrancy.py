"""Signal handlers, the garbage collector and finalizers write to the metric that is being written to:
totals are exact."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

import pytest

from vaultscope import Registry

INTERVAL = 1e-4  # seconds between two signals
SIGNALS = 300  # at least that many, however slow the machine


@pytest.fixture
def signals() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Starts calling a function from a signal handler, again and again, in the main thread."""
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGALRM)

    def start(handler: Callable[[], None]) -> None:
        def handle(number: int, frame: types.FrameType | None) -> None:
            handler()

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_in_a_signal_handler(signals: Callable[[Callable[[], None]], None]) -> None:
    """A handler writes to every kind of metric, and binds children, while the main thread does nothing
    else."""
    registry = Registry()
    counter, gauge = registry.counter("c"), registry.gauge("g")
    histogram, hdr = registry.histogram("h"), registry.hdr_histogram("r")
    family = registry.counter("f", labels=("x",))
    handled = 0

    def write() -> None:
        counter.inc()
        gauge.inc()
        histogram.observe(1.0)
        hdr.record(1)
        family.labels("1").inc()

    def handler() -> None:
        nonlocal handled
        handled += 1
        write()

    signals(handler)
    turns = 0
    while handled < SIGNALS:
        write()
        turns += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    total = turns + handled
    snapshot = registry.snapshot()
    assert (snapshot.value("c"), snapshot.value("g"), snapshot.value("f", x="1")) == (total, total, total)
    for name in "hr":
        series = snapshot[name].series()
        assert (series.count, series.sum) == (total, total)


def test_snapshots_in_a_signal_handler(signals: Callable[[Callable[[], None]], None]) -> None:
    """A handler declares, takes snapshots and unregisters, also while the main thread does: none waits for
    itself."""
    registry = Registry()
    counter = registry.counter("c")
    handled = 0
    seen: list[float] = []
    busy = False

    def handler() -> None:
        nonlocal handled, busy
        if busy:  # a handler may be interrupted by the next signal, and two cannot both unregister one name
            return
        busy = True
        handled += 1
        registry.gauge("g", callback=lambda: 1.0)
        seen.append(registry.snapshot().value("c"))
        registry.unregister("g")
        busy = False

    signals(handler)
    turns = 0
    while handled < SIGNALS:
        counter.inc()
        turns += 1
        registry.histogram("h", labels=("x",)).labels("1").observe(1)
        assert registry.snapshot().value("c") == turns
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert seen == sorted(seen)
    assert counter.value == turns


def test_a_handler_within_a_number(signals: Callable[[Callable[[], None]], None]) -> None:
    """The signal arrives while an amount is asked for its value, in the middle of inc()."""
    registry = Registry()
    counter, histogram = registry.counter("c"), registry.histogram("h")
    handled = 0

    def handler() -> None:
        nonlocal handled
        handled += 1
        counter.inc()
        histogram.observe(1.0)

    class Slow:
        def __index__(self) -> int:
            before = handled
            while handled == before:
                pass
            return 1

    signals(handler)
    for _ in range(50):
        counter.inc(Slow())  # type: ignore[arg-type]
        histogram.observe(Slow())  # type: ignore[arg-type]
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert handled >= 100
    assert counter.value == histogram.count == histogram.sum == handled + 50


def test_an_error_in_a_handler(signals: Callable[[Callable[[], None]], None]) -> None:
    """An error that a handler raises comes out of a loop of inc() as it would of any other, and the total
    is exact."""
    counter = Registry().counter("c")
    handled = 0

    class Stop(Exception):  # noqa: N818
        pass

    def handler() -> None:
        nonlocal handled
        handled += 1
        if handled == SIGNALS:
            raise Stop

    signals(handler)
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            counter.inc()

    with pytest.raises(Stop):
        count()
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert counter.value in (turns, turns - 1)  # it came before the last inc(), or after


@pytest.mark.parametrize("threshold", [1, 10])
def test_in_the_garbage_collector(threshold: int) -> None:
    """gc.callbacks write to the metrics that are being written to, with a collection at nearly every
    allocation."""
    registry = Registry()
    histogram, family = registry.histogram("h"), registry.counter("f", labels=("x",), max_series=0)
    calls = 0

    def callback(phase: str, info: dict[str, int]) -> None:
        nonlocal calls
        calls += 1
        histogram.observe(1.0)
        family.labels("gc").inc()
        family.labels("new").inc()

    before = gc.get_threshold()
    gc.callbacks.append(callback)
    try:
        gc.set_threshold(threshold)
        for i in range(2000):
            histogram.observe_many([1.0, 1])
            family.labels(str(i % 500)).inc()
            registry.counter("f", labels=["x"])
            if i % 100 == 0:
                gc.collect()  # a free-threaded interpreter takes the threshold for a hint
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(callback)
    assert calls > 0
    assert histogram.count == histogram.sum == 4000 + calls
    values = {series.labels["x"]: series.value for series in registry.snapshot()["f"]}
    assert values == {"gc": calls, "new": calls, **{str(i): 4 for i in range(500)}}


def test_in_a_finalizer() -> None:
    """__del__ writes to the metric, at whatever moment the last reference goes."""
    registry = Registry()
    counter, histogram = registry.counter("c"), registry.histogram("h")
    ended = 0

    class Amount:
        def __index__(self) -> int:
            return 2

        def __del__(self) -> None:
            nonlocal ended
            ended += 1
            counter.inc()
            histogram.observe(1.0)

    class Cycle(Amount):
        def __init__(self) -> None:
            self.me = self

    for _ in range(5000):
        counter.inc(Amount())  # type: ignore[arg-type]
        histogram.observe(Cycle())  # type: ignore[arg-type]
    gc.collect()
    assert ended == 10_000
    assert counter.value == 10_000 + 10_000
    assert (histogram.count, histogram.sum) == (5000 + 10_000, 10_000 + 10_000.0)


def test_a_finalizer_that_forgets_the_series() -> None:
    """__del__ removes, unregisters and declares anew while the series is written to: nothing is lost to
    the wrong one."""
    registry = Registry()
    family = registry.counter("f", labels=("x",))
    removed = 0

    class Amount:
        def __index__(self) -> int:
            return 1

        def __del__(self) -> None:
            nonlocal removed
            removed += 1
            family.clear()
            family.labels("other").inc()

    for i in range(1000):
        child = family.labels(str(i % 7))
        child.inc(Amount())  # type: ignore[arg-type]
        assert child.value == 1
    assert removed == 1000
    assert [(series.labels["x"], series.value) for series in registry.snapshot()["f"]] == [("other", 1)]


def test_profilers_and_tracers() -> None:
    """A profile function that counts every call, those of the metric's own methods too, counts them all."""
    counter = Registry().counter("c")
    calls: list[int] = []

    def profile(frame: types.FrameType, event: str, argument: object) -> None:
        if event == "c_call" and getattr(argument, "__name__", "") == "inc":
            calls.append(1)
            counter.inc(10)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        for _ in range(1000):
            counter.inc()
    finally:
        sys.setprofile(before)
    assert len(calls) == 1000
    assert counter.value == 11_000


def test_threads_that_end() -> None:
    """What a thread's own finalizers write, after its function has returned, is counted."""
    registry = Registry()
    counter, histogram = registry.counter("c"), registry.histogram("h")
    local = threading.local()

    class Last:
        def __del__(self) -> None:
            counter.inc()
            histogram.observe(1.0)

    def work() -> None:
        local.last = Last()
        counter.inc()

    for _ in range(10):
        threads = [threading.Thread(target=work) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    gc.collect()
    assert (counter.value, histogram.count) == (400, 200)
