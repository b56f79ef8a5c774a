"""@histogram.timed on functions, methods, coroutines and generators of both sorts: measured, otherwise
unchanged."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
import types
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest

from vaultscope import Histogram, Registry


@pytest.fixture(params=["histogram", "hdr_histogram"])
def histogram(request: pytest.FixtureRequest) -> Histogram:
    found: Histogram = getattr(Registry(), request.param)("a", unit="ns")
    return found


# ---- functions ----


def test_function(histogram: Histogram) -> None:
    """A call is measured between its first and last line; arguments and result go through."""
    inside: list[int] = []

    @histogram.timed
    def add(a: int, /, b: int = 2, *more: int, c: int, **others: int) -> tuple[Any, ...]:
        inside.append(time.monotonic_ns())
        return a, b, more, c, others

    before = time.monotonic_ns()
    assert add(1, c=3) == (1, 2, (), 3, {})
    assert add(1, 5, 6, c=3, self=4) == (1, 5, (6,), 3, {"self": 4})  # type: ignore[call-arg]
    assert histogram.count == 2
    assert histogram.sum <= time.monotonic_ns() - before


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), StopIteration(5)], ids=repr)
def test_function_that_raises(histogram: Histogram, error: BaseException) -> None:
    """The very error goes on, and the call is measured."""

    @histogram.timed
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert histogram.count == 1


def test_recursion(histogram: Histogram) -> None:
    """A function that calls itself is measured at each level."""

    @histogram.timed
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down(n - 1)

    assert down(10) == 10
    assert histogram.count == 11


def test_methods(histogram: Histogram) -> None:
    """Methods bind as before, class methods, static methods and properties under their own decorators."""

    class Store:
        @histogram.timed
        def get(self) -> object:
            return self

        @classmethod
        @histogram.timed
        def kind(cls) -> object:
            return cls

        @staticmethod
        @histogram.timed
        def free(value: int) -> int:
            return value

        @property
        @histogram.timed
        def size(self) -> int:
            return 7

    store = Store()
    assert store.get() is store
    assert Store.get(store) is store
    assert store.kind() is Store
    assert Store.free(5) == 5
    assert store.size == 7
    assert histogram.count == 5


@pytest.mark.parametrize("function", [len, str.upper, functools.partial(pow, 2), dict, lambda x: x], ids=repr)
def test_any_callable(histogram: Histogram, function: Callable[..., Any]) -> None:
    """Builtins, partials and classes are callables like others."""
    argument: Any = {"pow": 3}.get("pow") if isinstance(function, functools.partial) else ""
    assert histogram.timed(function)(argument) == function(argument)
    assert histogram.count == 1


@pytest.mark.parametrize("what", [5, None, "x"], ids=repr)
def test_what_cannot_be_called(histogram: Histogram, what: Any) -> None:
    """What is no function fails when it is called, as it would have without."""
    with pytest.raises(TypeError):
        histogram.timed(what)()


def test_it_looks_as_before(histogram: Histogram) -> None:
    """Name, module, docstring, signature and attributes are the function's own."""

    def fetch(key: str, *, fresh: bool = False) -> bytes:
        """Fetches."""
        return b""

    fetch.tag = 5  # type: ignore[attr-defined]
    wrapped = histogram.timed(fetch)
    assert (wrapped.__name__, wrapped.__qualname__, wrapped.__module__, wrapped.__doc__) == (
        "fetch", fetch.__qualname__, fetch.__module__, "Fetches.",
    )  # fmt: skip
    assert inspect.signature(wrapped) == inspect.signature(fetch)
    assert wrapped.tag == 5  # type: ignore[attr-defined]
    assert wrapped.__wrapped__ is fetch  # type: ignore[attr-defined]


def a_function() -> None: ...


async def a_coroutine() -> None: ...


def a_generator() -> Generator[None, None, None]:
    yield


async def an_async_generator() -> AsyncGenerator[None, None]:
    yield


@pytest.mark.parametrize("function", [a_function, a_coroutine, a_generator, an_async_generator])
def test_it_is_what_it_was(histogram: Histogram, function: Callable[..., Any]) -> None:
    """Frameworks that ask what kind of function it is have the same answer, also of a bound method."""
    wrapped = histogram.timed(function)
    predicates = (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        inspect.isfunction,
    )
    for predicate in predicates:
        assert predicate(wrapped) == predicate(function)
        assert predicate(functools.partial(wrapped)) == predicate(functools.partial(function))
    assert inspect.iscoroutinefunction(type("C", (), {"m": wrapped})().m) == inspect.iscoroutinefunction(
        function
    )


# ---- generators ----


def test_generator(histogram: Histogram) -> None:
    """Sent values, items and the result go through; it is measured once, at its end."""

    @histogram.timed
    def echo(first: int) -> Generator[int, int, str]:
        received = yield first
        while received:
            received = yield received * 2
        return "done"

    generator = echo(1)
    assert histogram.count == 0
    assert next(generator) == 1
    assert generator.send(5) == 10
    assert histogram.count == 0
    with pytest.raises(StopIteration) as end:
        generator.send(0)
    assert end.value.value == "done"
    assert histogram.count == 1


def test_generator_never_started(histogram: Histogram) -> None:
    """One that is closed before its first step has not run, and is not measured."""
    generator = histogram.timed(a_generator)()
    generator.close()
    del generator
    assert histogram.count == 0


def test_generator_thrown_into(histogram: Histogram) -> None:
    """An error that is thrown in arrives inside; if it is caught there, the generator goes on."""

    @histogram.timed
    def tough() -> Generator[str, None, None]:
        try:
            yield "one"
        except KeyError:
            yield "caught"
        yield "two"

    generator = tough()
    assert next(generator) == "one"
    assert generator.throw(KeyError()) == "caught"
    assert next(generator) == "two"
    with pytest.raises(ValueError, match="out"):
        generator.throw(ValueError("out"))
    assert histogram.count == 1


def test_generator_closed_and_dropped(histogram: Histogram) -> None:
    """Closed in the middle, or simply forgotten: its finally runs, and it is measured."""
    ended: list[int] = []

    @histogram.timed
    def items() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(1)

    generator = items()
    next(generator)
    generator.close()
    assert (len(ended), histogram.count) == (1, 1)
    for _ in items():
        break
    assert (len(ended), histogram.count) == (2, 2)


# ---- coroutines ----


def test_coroutine(histogram: Histogram) -> None:
    """It is measured when it has been awaited to its end, with what it awaits; result and error go
    through."""

    @histogram.timed
    async def work(fail: bool) -> int:
        await asyncio.sleep(0)
        assert histogram.count == int(fail)
        if fail:
            raise OSError("torn")
        return 5

    assert asyncio.run(work(False)) == 5
    with pytest.raises(OSError, match="torn"):
        asyncio.run(work(True))
    assert histogram.count == 2
    work(False).close()  # never started
    assert histogram.count == 2


def test_coroutine_cancelled(histogram: Histogram) -> None:
    """A cancelled one is measured, and is cancelled."""

    @histogram.timed
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(wait_for_ever())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert histogram.count == 1


def test_coroutines_at_once(histogram: Histogram) -> None:
    """Each of many that run side by side has a measurement of its own."""

    @histogram.timed
    async def turn(n: int) -> int:
        for _ in range(n):
            await asyncio.sleep(0)
        return n

    async def main() -> list[int]:
        return await asyncio.gather(*[turn(n) for n in range(50)])

    assert asyncio.run(main()) == list(range(50))
    assert histogram.count == 50


# ---- async generators ----


def test_async_generator(histogram: Histogram) -> None:
    """Items, sent values and the end go through; it is measured once, at its end."""

    @histogram.timed
    async def echo(first: int) -> AsyncGenerator[int, int]:
        received = yield first
        while received:
            await asyncio.sleep(0)
            received = yield received * 2

    async def main() -> None:
        generator = echo(1)
        assert await generator.__anext__() == 1
        assert await generator.asend(5) == 10
        assert histogram.count == 0
        with pytest.raises(StopAsyncIteration):
            await generator.asend(0)
        assert [item async for item in echo(3)] == [3]

    asyncio.run(main())
    assert histogram.count == 2


def test_async_generator_thrown_into(histogram: Histogram) -> None:
    """An error that is thrown in arrives inside and may be caught there."""

    @histogram.timed
    async def tough() -> AsyncGenerator[str, None]:
        try:
            yield "one"
        except KeyError:
            yield "caught"
        yield "two"

    async def main() -> None:
        generator = tough()
        assert await generator.__anext__() == "one"
        assert await generator.athrow(KeyError()) == "caught"
        assert await generator.__anext__() == "two"
        with pytest.raises(ValueError, match="out"):
            await generator.athrow(ValueError("out"))
        with pytest.raises(StopAsyncIteration):
            await generator.__anext__()

    asyncio.run(main())
    assert histogram.count == 1


def test_async_generator_that_raises(histogram: Histogram) -> None:
    """Its own error goes on, and it is measured."""

    @histogram.timed
    async def fail() -> AsyncGenerator[int, None]:
        yield 1
        raise OSError("torn")

    async def main() -> None:
        with pytest.raises(OSError, match="torn"):
            async for _ in fail():
                pass

    asyncio.run(main())
    assert histogram.count == 1


def test_async_generator_closed(histogram: Histogram) -> None:
    """aclose() reaches the inside, where it may await, and is measured; never started, it is not."""
    ended: list[int] = []

    @histogram.timed
    async def items() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ended.append(1)

    async def main() -> None:
        generator = items()
        await generator.__anext__()
        await generator.aclose()
        assert (ended, histogram.count) == ([1], 1)
        await items().aclose()
        assert (ended, histogram.count) == ([1], 1)

    asyncio.run(main())


def test_async_generator_forgotten(histogram: Histogram) -> None:
    """One that its consumer leaves in the middle is closed by the loop, and measured then."""

    @histogram.timed
    async def items() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    async def main() -> None:
        async for _ in items():
            break

    asyncio.run(main())
    assert histogram.count == 1


def test_async_generator_whose_end_fails(histogram: Histogram) -> None:
    """An error in its own clean-up goes on, and does not lose the measurement."""

    @histogram.timed
    async def items() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise OSError("clean-up")

    async def main() -> None:
        generator = items()
        await generator.__anext__()
        with pytest.raises(OSError, match="clean-up"):
            await generator.aclose()

    asyncio.run(main())
    assert histogram.count == 1


def test_async_generator_cancelled(histogram: Histogram) -> None:
    """Cancelled while it waits inside, it is cancelled there, and measured."""
    seen: list[str] = []

    @histogram.timed
    async def items() -> AsyncGenerator[int, None]:
        yield 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def consume() -> None:
        async for _ in items():
            pass

    async def main() -> None:
        task = asyncio.create_task(consume())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (seen, histogram.count) == (["cancelled"], 1)


def test_a_generator_that_is_a_coroutine(histogram: Histogram) -> None:
    """What types.coroutine made awaitable is awaitable still, and is measured."""

    @histogram.timed
    @types.coroutine
    def nap() -> Generator[None, None, int]:
        yield
        return 3

    async def main() -> int:
        return await nap()

    assert asyncio.run(main()) == 3
    assert histogram.count == 1
