"""@tracer.traced on functions, coroutines and generators of both sorts: each call is a span, and is
otherwise unchanged."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import threading
import types
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from tracebook import Tracebook

from vaultscope.errors import DeclarationError
from vaultscope.tracing import Tracer, current_span


@pytest.fixture
def book() -> Iterator[Tracebook]:
    book = Tracebook()
    yield book
    assert current_span.get(None) is None
    book.close()


@pytest.fixture
def tracer(book: Tracebook) -> Tracer:
    return book.tracer


def now() -> Any:
    """The current span's name."""
    span = current_span.get(None)
    return None if span is None else span.name


def parents(spans: list[dict[str, Any]]) -> dict[str, str]:
    """Each span's parent, by their names."""
    names = {span["span_id"]: span["name"] for span in spans}
    return {span["name"]: names.get(span["parent_span_id"], "") for span in spans}


# ---- what it looks like ----


def a_function() -> None: ...


async def a_coroutine() -> None: ...


def a_generator() -> Generator[None, None, None]:
    yield


async def an_async_generator() -> AsyncGenerator[None, None]:
    yield


@pytest.mark.parametrize("function", [a_function, a_coroutine, a_generator, an_async_generator])
def test_it_is_what_it_was(tracer: Tracer, function: Callable[..., Any]) -> None:
    """Name, docstring, signature and kind are the function's own."""
    wrapped = tracer.traced(function)
    assert (wrapped.__name__, wrapped.__qualname__, wrapped.__doc__) == (
        function.__name__, function.__qualname__, function.__doc__,
    )  # fmt: skip
    assert inspect.signature(wrapped) == inspect.signature(function)
    for predicate in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert predicate(wrapped) == predicate(function)


def test_names(book: Tracebook, tracer: Tracer) -> None:
    """It is named after the function, with its class, unless a name is given; options are those of span()."""

    class Store:
        @tracer.traced
        def get(self) -> None: ...

        @tracer.traced("cas.put", kind="client", tier=2)
        def put(self) -> None: ...

        @tracer.traced()
        def drop(self) -> None: ...

        @classmethod
        @tracer.traced(attributes={"kind": "odd"})
        def scan(cls) -> None: ...

    store = Store()
    store.get()
    store.put()
    store.drop()
    store.scan()
    place = "test_names.<locals>.Store."
    assert book.names == [place + "get", "cas.put", place + "drop", place + "scan"]
    assert (book.spans[1]["kind"], book.spans[1]["attributes"]) == ("client", {"tier": 2})
    assert book.spans[3]["attributes"] == {"kind": "odd"}


def test_wrong_options_are_refused_at_once(tracer: Tracer) -> None:
    """Where the function is decorated, not at its first call."""
    with pytest.raises(DeclarationError, match="kind"):
        tracer.traced("a", kind="x")(a_function)


def test_above_other_decorators(book: Tracebook, tracer: Tracer) -> None:
    """Above classmethod and staticmethod it traces what they hold, and the method stays what it was."""

    class Store:
        @tracer.traced
        @classmethod
        def scan(cls, n: int) -> tuple[type, int]:
            return cls, n

        @tracer.traced("drop", tier=2)
        @staticmethod
        def drop(n: int) -> int:
            return n

        @tracer.traced
        @staticmethod
        def steps(n: int) -> Generator[int, None, None]:
            yield n

    class Lower(Store): ...

    assert isinstance(vars(Store)["scan"], classmethod) and isinstance(vars(Store)["drop"], staticmethod)
    for store in (Lower, Lower()):
        assert store.scan(1) == (Lower, 1)
        assert store.drop(2) == 2
        assert list(store.steps(3)) == [3]
    place = "test_above_other_decorators.<locals>.Store."
    assert book.names == [place + "scan", "drop", place + "steps"] * 2


@pytest.mark.parametrize("what", [Tracebook, 5, b"a", property(len), functools.partialmethod(len)], ids=repr)
def test_what_is_no_function(tracer: Tracer, what: Any) -> None:
    """A class, a name that is no text, and what cannot be called are refused, with a name or without; inside
    of a classmethod, too."""
    for decorate in (tracer.traced, tracer.traced(), tracer.traced("a")):
        for each in (what, classmethod(what), staticmethod(what)):
            with pytest.raises(DeclarationError, match="functions are traced"):
                decorate(each)


@pytest.mark.parametrize("function", [len, functools.partial(pow, 2), str.upper, lambda x: x], ids=repr)
def test_any_callable(book: Tracebook, tracer: Tracer, function: Callable[..., Any]) -> None:
    """Builtins, partials and methods are functions, too, though not all have a name."""
    argument: Any = 3 if isinstance(function, functools.partial) else "x"
    assert tracer.traced(function)(argument) == function(argument)
    assert len(book.names) == 1


def test_a_partial_of_a_generator(book: Tracebook, tracer: Tracer) -> None:
    """It is a generator, though it has no code of its own."""

    def steps(first: int, last: int) -> Generator[int, None, None]:
        yield from range(first, last)

    assert list(tracer.traced("steps")(functools.partial(functools.partial(steps, 1), 3))()) == [1, 2]
    assert book.names == ["steps"]


def test_while_tracing_is_off(book: Tracebook, tracer: Tracer) -> None:
    """Switched off, all sorts work as without; switched on again, they are traced."""
    decorated = [tracer.traced(one) for one in (a_function, a_generator, a_coroutine, an_async_generator)]
    for enabled in (False, True):
        tracer.enabled = enabled
        decorated[0]()
        assert list(decorated[1]()) == [None]
        asyncio.run(decorated[2]())
        assert asyncio.run(collect(decorated[3]())) == [None]
    assert book.names == ["a_function", "a_generator", "a_coroutine", "an_async_generator"]


def test_a_generator_of_a_tracer_that_is_off_hides_no_span(book: Tracebook, tracer: Tracer) -> None:
    """What another tracer's generator does belongs to the span around it."""

    @Tracebook(enabled=False).tracer.traced
    def steps() -> Generator[Any, None, None]:
        yield now()

    with tracer.span("outer"):
        assert list(steps()) == ["outer"]


# ---- functions and coroutines ----


def test_function(book: Tracebook, tracer: Tracer) -> None:
    """Arguments and result go through; it is the current span while it runs."""

    @tracer.traced("add")
    def add(a: int, /, b: int = 2, *more: int, c: int, **others: int) -> tuple[Any, ...]:
        assert now() == "add"
        return a, b, more, c, others

    assert add(1, c=3) == (1, 2, (), 3, {})
    assert add(1, 5, 6, c=3, self=4, name=5) == (1, 5, (6,), 3, {"self": 4, "name": 5})
    assert book.names == ["add", "add"]


def test_recursion(book: Tracebook, tracer: Tracer) -> None:
    """Each level is a child of the one above."""

    @tracer.traced
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down(n - 1)

    assert down(5) == 5
    spans = book.spans
    assert len({span["trace_id"] for span in spans}) == 1
    assert len({span["parent_span_id"] for span in spans}) == 6


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), StopIteration(5)], ids=repr)
def test_function_that_raises(book: Tracebook, tracer: Tracer, error: BaseException) -> None:
    """The very error goes on."""

    @tracer.traced
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert book.span["status"] == ("ok" if isinstance(error, StopIteration) else "error")


def test_coroutine(book: Tracebook, tracer: Tracer) -> None:
    """Its span lasts from its first step to its last, and is current in what it awaits, not beside it."""

    @tracer.traced("work")
    async def work() -> str:
        assert now() == "work"
        await asyncio.sleep(0)
        assert now() == "work"
        return "done"

    async def main() -> None:
        coroutine = work()
        assert book.tracer.open_traces == 0  # it has not begun
        assert await coroutine == "done"
        assert now() is None

    asyncio.run(main())
    assert book.names == ["work"]


def test_coroutine_that_is_cancelled(book: Tracebook, tracer: Tracer) -> None:
    """It is an error."""
    begun = asyncio.Event()

    @tracer.traced
    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert book.span["status"] == "error"
    assert book.span["status_message"].startswith("CancelledError")


def test_coroutine_that_is_dropped(book: Tracebook, tracer: Tracer) -> None:
    """One that is closed in its middle ends, and that is no error."""

    @tracer.traced
    async def work() -> None:
        await asyncio.sleep(0)

    coroutine = work()
    coroutine.send(None)
    assert book.tracer.open_traces == 1
    coroutine.close()
    assert book.span["status"] == "ok"


# ---- generators ----


def test_generator(book: Tracebook, tracer: Tracer) -> None:
    """Sent values, items and the result go through; it is one span, current while it runs and not while its
    consumer does."""

    @tracer.traced("echo")
    def echo(first: int) -> Generator[int, int, str]:
        received = yield first
        while received:
            assert now() == "echo"
            with tracer.span("step"):
                received = yield received * 2
        return "done"

    with tracer.span("outer"):
        generator = echo(1)
        assert next(generator) == 1
        assert now() == "outer"
        assert generator.send(5) == 10
        with pytest.raises(StopIteration) as end:
            generator.send(0)
        assert end.value.value == "done" and now() == "outer"
    assert parents(book.spans) == {"outer": "", "echo": "outer", "step": "echo"}


def test_generator_begins_with_its_first_step(book: Tracebook, tracer: Tracer) -> None:
    """One that is made and never used is no span; its parent is what is current at the first step."""
    traced = tracer.traced("steps")(a_generator)
    traced().close()
    generator = traced()
    assert book.tracer.open_traces == 0
    with tracer.span("first"):
        next(generator)
    assert list(generator) == []
    assert parents(book.spans) == {"first": "", "steps": "first"}


def test_generator_errors(book: Tracebook, tracer: Tracer) -> None:
    """What it raises is its error and goes on; what is thrown in reaches it, and may be answered."""

    @tracer.traced
    def steps() -> Generator[str, None, None]:
        try:
            yield "a"
        except KeyError:
            yield "caught"
        raise ValueError("x")

    generator = steps()
    next(generator)
    assert generator.throw(KeyError("k")) == "caught"
    with pytest.raises(ValueError, match="x"):
        next(generator)
    assert (book.span["status"], book.span["status_message"]) == ("error", "ValueError: x")


def test_generators_that_are_called_wrongly(book: Tracebook, tracer: Tracer) -> None:
    """Arguments that do not fit are found out in the first step: an error of a span that ends."""

    @tracer.traced("steps")
    def steps() -> Generator[None, None, None]:
        yield

    @tracer.traced("asteps")
    async def asteps() -> AsyncGenerator[None, None]:
        yield

    wrong: Any = 1
    with pytest.raises(TypeError):
        next(steps(wrong))  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        asyncio.run(anext(asteps(wrong)))  # type: ignore[call-arg]
    assert [(span["name"], span["reason"]) for span in book.spans] == [
        ("steps", "error"),
        ("asteps", "error"),
    ]
    assert tracer.open_traces == 0


def test_generator_that_is_closed(book: Tracebook, tracer: Tracer) -> None:
    """close() runs its finally within the span, and is no error; an error that comes of it is."""
    seen = []

    @tracer.traced("steps")
    def steps(fails: bool) -> Generator[None, None, None]:
        try:
            yield
        finally:
            seen.append(now())
            if fails:
                raise ValueError

    generator = steps(False)
    next(generator)
    generator.close()
    generator = steps(True)
    next(generator)
    with pytest.raises(ValueError):
        generator.close()
    assert seen == ["steps", "steps"]
    assert [span["status"] for span in book.spans] == ["ok", "error"]


def test_generator_that_ignores_its_close(book: Tracebook, tracer: Tracer) -> None:
    """It is a RuntimeError, as without a span."""

    @tracer.traced
    def steps() -> Generator[None, None, None]:
        with suppress(GeneratorExit):
            yield
        yield

    for one in (steps, inspect.unwrap(steps)):
        generator = one()
        next(generator)
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            generator.close()
    assert [span["status"] for span in book.spans] == ["error"]


@pytest.mark.parametrize("how", ["thread", "collector", "dropped"])
def test_generator_that_ends_elsewhere(book: Tracebook, tracer: Tracer, how: str) -> None:
    """Closed by another thread, by the collector, or because nobody has it any more: it ends once, ok, and
    no context is disturbed."""
    seen = []

    @tracer.traced("steps")
    def steps() -> Generator[None, None, None]:
        with tracer.span("inner"):
            try:
                yield
            finally:
                seen.append(now())

    def hold() -> None:
        with tracer.span("holder"):
            generator = steps()
            next(generator)
            if how == "collector":
                cycle: list[Any] = [generator]
                cycle.append(cycle)
            if how == "thread":
                thread = threading.Thread(target=generator.close)
                thread.start()
                thread.join()

    hold()
    gc.collect()
    assert len(seen) == 1
    assert current_span.get(None) is None or now() == "inner"
    assert book.tracer.open_traces == 0
    assert sorted(book.names) == ["holder", "inner", "steps"]
    assert {span["status"] for span in book.spans} == {"ok"}
    assert parents(book.spans) == {"holder": "", "steps": "holder", "inner": "steps"}
    current_span.set(None)  # type: ignore[arg-type]


def test_generators_that_take_turns(book: Tracebook, tracer: Tracer) -> None:
    """Two that are stepped in turns, with a span around each, never see each other's."""

    @tracer.traced
    def steps(name: str) -> Generator[Any, None, None]:
        for number in range(3):
            with tracer.span(f"{name}{number}"):
                yield now()

    with tracer.span("outer"):
        pairs = list(zip(steps("a"), steps("b"), strict=True))
    assert pairs == [(f"a{n}", f"b{n}") for n in range(3)]
    spans = book.spans
    for span in spans:
        if span["name"][0] in "ab":
            (parent,) = [one for one in spans if one["span_id"] == span["parent_span_id"]]
            assert parent["name"].endswith("steps")


def test_a_generator_is_a_coroutine_still(book: Tracebook, tracer: Tracer) -> None:
    """One that @types.coroutine marked can be awaited."""

    @tracer.traced("old")
    @types.coroutine
    def old() -> Generator[None, None, str]:
        yield
        return now()

    async def main() -> Any:
        return await old()

    assert asyncio.run(main()) == "old"
    assert book.names == ["old"]


# ---- asynchronous generators ----


async def collect(items: AsyncGenerator[Any, Any]) -> list[Any]:
    return [item async for item in items]


def test_async_generator(book: Tracebook, tracer: Tracer) -> None:
    """Items and sent values go through; it is current while it runs, and not while its consumer does."""

    @tracer.traced("echo")
    async def echo() -> AsyncGenerator[Any, Any]:
        await asyncio.sleep(0)
        received = yield now()
        yield received, now()

    async def main() -> None:
        with tracer.span("outer"):
            generator = echo()
            assert await generator.asend(None) == "echo"
            assert now() == "outer"
            assert await generator.asend(5) == (5, "echo")
            with pytest.raises(StopAsyncIteration):
                await generator.asend(None)
            assert now() == "outer"

    asyncio.run(main())
    assert parents(book.spans) == {"outer": "", "echo": "outer"}
    assert {span["status"] for span in book.spans} == {"ok"}


def test_async_generator_errors(book: Tracebook, tracer: Tracer) -> None:
    """What is thrown in reaches it; what it raises is its error, and goes on."""

    @tracer.traced
    async def steps() -> AsyncGenerator[str, None]:
        try:
            yield "a"
        except KeyError:
            yield "caught"
        raise ValueError("x")

    async def main() -> None:
        generator = steps()
        assert await generator.asend(None) == "a"
        assert await generator.athrow(KeyError("k")) == "caught"
        with pytest.raises(ValueError, match="x"):
            await generator.asend(None)

    asyncio.run(main())
    assert (book.span["status"], book.span["status_message"]) == ("error", "ValueError: x")


@pytest.mark.parametrize("how", ["aclose", "break", "other task", "loop ends"])
def test_async_generator_that_is_abandoned(book: Tracebook, tracer: Tracer, how: str) -> None:
    """Closed by hand, left in its middle, closed by another task, or by the loop at its end: it ends once,
    and that is no error."""
    seen, kept = [], []

    @tracer.traced("steps")
    async def steps() -> AsyncGenerator[int, None]:
        try:
            with tracer.span("inner"):
                yield 1
                yield 2
        finally:
            seen.append(now())
            await asyncio.sleep(0)

    async def main() -> None:
        with tracer.span("outer"):
            generator = steps()
            assert await generator.asend(None) == 1
            if how == "aclose":
                await generator.aclose()
            elif how == "break":
                del generator
                gc.collect()
                while not seen:
                    await asyncio.sleep(0)
            elif how == "other task":
                await asyncio.create_task(generator.aclose())  # type: ignore[arg-type]
            else:
                kept.append(generator)

    asyncio.run(main())
    assert seen == ["steps"] or (how != "aclose" and len(seen) == 1)
    assert book.tracer.open_traces == 0
    assert parents(book.spans) == {"outer": "", "steps": "outer", "inner": "steps"}
    assert {span["status"] for span in book.spans} == {"ok"}


def test_async_generator_whose_consumer_is_cancelled(book: Tracebook, tracer: Tracer) -> None:
    """Cancelled while the generator runs, it is the generator's error, too."""
    waiting = asyncio.Event()

    @tracer.traced("steps")
    async def steps() -> AsyncGenerator[int, None]:
        yield 1
        waiting.set()
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(collect(steps()))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert book.span["status_message"].startswith("CancelledError")


def test_spans_within_an_async_generator_stay_within(book: Tracebook, tracer: Tracer) -> None:
    """A span that is open across a yield is current again in the generator's next step, and never its
    consumer's parent."""

    @tracer.traced("steps")
    async def steps() -> AsyncGenerator[int, None]:
        with tracer.span("open"):
            yield 1
            with tracer.span("second"):
                yield 2

    async def main() -> None:
        with tracer.span("outer"):
            async for number in steps():
                with tracer.span(f"consumer{number}"):
                    await asyncio.sleep(0)

    asyncio.run(main())
    found = parents(book.spans)
    assert found["open"] == "steps"
    assert found["second"] == "open"
    assert found["consumer1"] == found["consumer2"] == "outer"
