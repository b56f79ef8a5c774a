"""Hand-over: work in other threads and processes belongs to the span that it is done for."""

from __future__ import annotations

import asyncio
import gc
import inspect
import multiprocessing
import threading
import time
import types
import weakref
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from vaultscope import Registry
from vaultscope._native._core import SpanContext, current_span, use_span
from vaultscope.signals.handover import CarryingExecutor, carry
from vaultscope.signals.tracing import Tracer


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    tracer = Tracer(Registry())
    yield tracer
    tracer.close()


def now(*values: object) -> SpanContext | None:
    """The current span; a function of a module, since other processes must find it."""
    return current_span.get(None)


def fail() -> None:
    raise ValueError("as it should")


def in_thread(function: object) -> object:
    """What a function returns in a thread of its own."""
    future: Future[object] = Future()
    thread = threading.Thread(target=lambda: future.set_result(function()))  # type: ignore[operator]
    thread.start()
    thread.join()
    return future.result()


def test_without_hand_over(tracer: Tracer) -> None:
    """A new thread knows no span: that is what all this is for."""
    with tracer.span("a"):
        assert in_thread(now) is None


def test_carry(tracer: Tracer) -> None:
    """A function is carried with the span of that time, which is the parent there, each time it is called."""
    with tracer.span("a") as outer:
        with tracer.span("b") as span:
            carried = carry(now)
            begun = carry(lambda: tracer.start("c"))
        assert in_thread(carried) is span
        assert in_thread(carried) is span
        assert carried() is span
        assert in_thread(begun).parent_id == span.span_id  # type: ignore[attr-defined]
        assert current_span.get() is outer


def test_carry_no_span(tracer: Tracer) -> None:
    """What was carried without a span runs without one, wherever."""
    carried = carry(now)
    with tracer.span("a") as span:
        assert carried() is None
        assert current_span.get() is span


def test_carry_is_transparent(tracer: Tracer) -> None:
    """Arguments, the result, what is raised, and the name are the function's; the span is let go of."""

    def add(a: int, *, b: int = 1) -> int:
        """Adds."""
        return a + b

    with tracer.span("a"):
        carried, failing = carry(add), carry(fail)
    assert (carried(1), carried(1, b=2)) == (2, 3)
    assert (carried.__name__, carried.__doc__) == ("add", "Adds.")
    for _ in range(2):
        with pytest.raises(ValueError, match="should"):
            failing()
        assert current_span.get(None) is None


def test_carry_nested(tracer: Tracer) -> None:
    """Carried functions that call each other have their own spans each."""
    with tracer.span("a") as first:
        inner = carry(now)
    with tracer.span("b") as second:
        outer = carry(lambda: (now(), inner(), now()))
    assert in_thread(outer) == (second, first, second)


def test_carry_a_coroutine(tracer: Tracer) -> None:
    """A carried coroutine function runs with the span until it is done, in whatever loop."""

    async def later() -> tuple[object, object]:
        before = now()
        await asyncio.sleep(0)
        return before, now()

    with tracer.span("a") as span:
        carried = carry(later)
    assert asyncio.iscoroutinefunction(carried) or not hasattr(asyncio, "iscoroutinefunction")
    assert in_thread(lambda: asyncio.run(carried())) == (span, span)


def test_carry_a_generator(tracer: Tracer) -> None:
    """A carried generator has the span in each step, what it was sent or thrown, and its result; between the
    steps the consumer has its own."""

    def steps(first: int) -> Generator[object, object, object]:
        try:
            got = yield first, now()
            yield got, now()
        except KeyError as error:
            with tracer.span("inner") as inner:
                yield error, now() is inner
            return now()
        return None

    with tracer.span("a") as span:
        carried = carry(steps)
    assert inspect.isgeneratorfunction(carried) and carried.__name__ == "steps"
    with tracer.span("b") as mine:
        generator, error = carried(1), KeyError("x")
        assert next(generator) == (1, span) and now() is mine
        assert in_thread(lambda: generator.send(2)) == (2, span)
        assert generator.throw(error) == (error, True) and now() is mine
        with pytest.raises(StopIteration) as end:
            next(generator)
        assert end.value.value is span and now() is mine
    assert span.status == "ok"


def test_carry_a_generator_without_a_span(tracer: Tracer) -> None:
    """What was carried without a span has none in its steps, and its errors fail nobody's span."""

    def steps() -> Iterator[object]:
        yield now()
        raise ValueError("as it should")

    carried = carry(steps)
    with tracer.span("a") as span:
        generator = carried()
        assert next(generator) is None and now() is span
        with pytest.raises(ValueError, match="should"):
            next(generator)
    assert span.status == "ok"


def test_carry_an_asynchronous_generator(tracer: Tracer) -> None:
    """As a generator: also in what it awaits, and while it is closed."""
    seen: list[object] = []

    async def steps() -> AsyncGenerator[object, None]:
        try:
            await asyncio.sleep(0)
            yield now()
            yield now()
        finally:
            await asyncio.sleep(0)
            seen.append(now())

    with tracer.span("a") as span:
        carried = carry(steps)

    async def consume() -> None:
        generator = carried()
        with tracer.span("b") as mine:
            seen.append(await generator.__anext__())
            assert now() is mine
            await generator.aclose()

    asyncio.run(consume())
    assert seen == [span, span] and span.status == "ok"


def test_carry_what_is_awaited_as_a_generator(tracer: Tracer) -> None:
    """A generator that types.coroutine has made awaitable stays so."""

    @types.coroutine
    def pause() -> Generator[object, None, object]:
        yield
        return now()

    with tracer.span("a") as span:
        carried = carry(pause)

    async def work() -> object:
        return await carried()

    assert asyncio.run(work()) is span


def test_asyncio_carries(tracer: Tracer) -> None:
    """asyncio hands over by itself: to_thread, and what is called from another thread."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with tracer.span("a") as span:
            assert await asyncio.to_thread(now) is span
            with CarryingExecutor(ThreadPoolExecutor(1)) as executor:
                assert await loop.run_in_executor(executor, now) is span

    asyncio.run(main())


def test_executor(tracer: Tracer) -> None:
    """What is submitted has the span of that time; what is mapped, of the time of the call."""
    with CarryingExecutor(ThreadPoolExecutor(2)) as executor:
        assert executor.submit(now).result() is None
        with tracer.span("a") as span:
            future = executor.submit(now, 1)
            mapped = executor.map(now, [1, 2], [3, 4], timeout=60)
        assert future.result() is span
        assert list(mapped) == [span, span]
        assert executor.submit(pow, 2, exp=3).result() == 8


def test_executor_keeps_nothing(tracer: Tracer) -> None:
    """Once work is done, or has failed, the pool's threads have no span, nor hold on to one."""
    pool = ThreadPoolExecutor(1)
    executor = CarryingExecutor(pool)
    with tracer.span("a"):
        with pytest.raises(ValueError, match="should"):
            executor.submit(fail).result()
        executor.submit(now).result()
    assert pool.submit(now).result() is None

    class Payload:
        pass

    payload = Payload()
    gone = weakref.ref(payload)
    with tracer.span("b", payload=payload):
        executor.submit(len, "").result()
    del payload
    deadline = time.monotonic() + 30
    while gone() is not None and time.monotonic() < deadline:
        pool.submit(gc.collect).result()  # a worker lets go of its last piece of work when it takes another
    assert gone() is None
    pool.shutdown()


def test_executor_leaves_the_threads_span(tracer: Tracer) -> None:
    """A thread that has a span of its own has it again afterwards."""
    with tracer.span("mine") as mine:
        pool = ThreadPoolExecutor(1, initializer=current_span.set, initargs=(mine,))
    executor = CarryingExecutor(pool)
    with tracer.span("a") as span:
        assert executor.submit(now).result() is span
    assert executor.submit(now).result() is None
    assert pool.submit(now).result() is mine
    pool.shutdown()


def test_executor_shutdown() -> None:
    """It shuts the other one down, with what waits, and takes nothing more."""
    pool = ThreadPoolExecutor(1)
    executor = CarryingExecutor(pool)
    busy, release = threading.Event(), threading.Event()
    first = executor.submit(lambda: (busy.set(), release.wait(60)))
    busy.wait(60)
    second = executor.submit(now)
    executor.shutdown(wait=False, cancel_futures=True)
    release.set()
    assert first.result()[1] is True
    with pytest.raises(CancelledError):
        second.result()
    for closed in (pool, executor):
        with pytest.raises(RuntimeError):
            closed.submit(now)


def test_eight_threads(tracer: Tracer) -> None:
    """Eight threads that work for many spans at once, and hand on themselves, never take one for another."""
    rounds = 200

    def work(depth: int, expected: SpanContext, executor: CarryingExecutor) -> int:
        above = current_span.get()
        assert above == expected
        with tracer.span("step", depth=depth) as span:
            assert (span.trace_id, span.parent_id) == (expected.trace_id, expected.span_id)
            assert current_span.get() is span
            later = executor.submit(work, depth - 1, span.context, executor) if depth else None
        assert current_span.get() is above
        # Waiting for it here could leave no thread to do it.
        futures.append(later) if later is not None else done.append(span.trace_id)
        return span.trace_id

    futures: list[Future[int]] = []
    done: list[int] = []
    traces = set()
    with CarryingExecutor(ThreadPoolExecutor(8)) as executor:
        for _ in range(rounds):
            with tracer.span("root") as root:
                futures.append(executor.submit(work, 3, root.context, executor))
                traces.add(root.trace_id)
        ended = 0
        while ended < len(futures) or len(done) < rounds:
            for future in futures[ended:]:
                assert future.result(60) in traces
                ended += 1
    assert sorted(done) == sorted(traces)
    assert len(futures) == rounds * 4


def test_the_same_function_in_threads(tracer: Tracer) -> None:
    """One carried function may run in many threads at once: no context is entered twice."""
    together = threading.Barrier(8)

    def meet() -> object:
        together.wait(60)
        return now()

    with tracer.span("a") as span:
        carried = carry(meet)
    with ThreadPoolExecutor(8) as pool:
        assert [future.result() for future in [pool.submit(carried) for _ in range(8)]] == [span] * 8


def test_processes(tracer: Tracer) -> None:
    """Another process is told who the span is: its work has the right parent, and its decision."""
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        CarryingExecutor(pool) as executor,
    ):
        with tracer.span("a") as span:
            found = [executor.submit(now).result(), *executor.map(now, [1, 2, 3], chunksize=2)]
        for context in found:
            assert type(context) is SpanContext
            assert context == span.context
            assert context.remote
            assert (context.sampled, context.random) == (span.sampled, True)
        with use_span(None):
            assert executor.submit(now).result() is None
