"""Decorators that make a span of each call, whatever kind of function it is.

A coroutine's span ends when it is done. A generator's begins with its first step and ends with its last; it
is the current span while the generator runs, and not while its consumer does.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, TypeVar, cast

from vaultscope._native._core import NativeTracer, NoSpan, Span, SpanContext, span_steps
from vaultscope.errors import DeclarationError

F = TypeVar("F", bound=Callable[..., Any])
MakeSpan = Callable[[], "Span | NoSpan"]


def traced(tracer: NativeTracer, function: F, name: str | None, options: dict[str, Any]) -> F:
    """Wraps `function` so that each call is a span of that name; None: of the function's. Raises
    DeclarationError for what is no function, and a class is none: its instances would be of no class."""
    if isinstance(function, (classmethod, staticmethod)):
        return cast(F, type(function)(traced(tracer, function.__func__, name, options)))
    if isinstance(function, type) or not callable(function):
        raise DeclarationError(f"functions are traced, and a name is a str: got {function!r}")
    name = getattr(function, "__qualname__", type(function).__qualname__) if name is None else name

    def make() -> Span | NoSpan:
        return tracer.span(name, **options)

    make()  # refuses options that are none now, not at the first call
    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(function):
        wrapper = _coroutine(make, function)
    elif is_in_steps(function):
        wrapper = _in_steps(lambda: make().start(), function)
    else:
        wrapper = _function(make, function)
    return cast(F, functools.wraps(function)(wrapper))


def carried(span: SpanContext | None, function: F) -> F:
    """Wraps a generator function, or an asynchronous one, so that the span is current in each step: one
    that is known already, and is neither begun nor ended here."""
    return cast(F, functools.wraps(function)(_in_steps(lambda: span, function, is_ours=False)))


def is_in_steps(function: Callable[..., Any]) -> bool:
    """Whether what it gives runs in steps, between which its consumer does."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _in_steps(
    begin: Callable[[], Any], function: Callable[..., Any], *, is_ours: bool = True
) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return _async_generator(begin, function, is_ours)
    wrapper = _generator(begin, function, is_ours)
    if _code_flags(function) & inspect.CO_ITERABLE_COROUTINE:
        return types.coroutine(wrapper)  # it was one: what is awaited must stay so
    return wrapper


def _function(make: MakeSpan, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with make():
            return function(*args, **kwargs)

    return call


def _coroutine(make: MakeSpan, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with make():
            return await function(*args, **kwargs)

    return call


def _generator(
    begin: Callable[[], Any], function: Callable[..., Generator[Any, Any, Any]], is_ours: bool
) -> Callable[..., Generator[Any, Any, Any]]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        span = begin()
        steps = span_steps(span)
        try:
            generator = function(*args, **kwargs)
            step: Callable[[], Any] = generator.__next__
            while True:
                try:
                    with steps:
                        item = step()
                except StopIteration as end:
                    return end.value
                try:
                    sent = yield item
                except GeneratorExit:
                    with steps:
                        generator.close()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.throw, error)
                else:
                    step = generator.__next__ if sent is None else functools.partial(generator.send, sent)
        except BaseException as error:
            if is_ours:
                _fail(span, error)
            raise
        finally:
            if is_ours:
                span.end()

    return call


def _async_generator(
    begin: Callable[[], Any], function: Callable[..., AsyncGenerator[Any, Any]], is_ours: bool
) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        span = begin()
        steps = span_steps(span)
        generator: AsyncGenerator[Any, Any] | None = None
        try:
            generator = function(*args, **kwargs)
            step: Callable[[], Awaitable[Any]] = generator.__anext__
            while True:
                try:
                    with steps:
                        item = await step()
                except StopAsyncIteration:
                    return
                try:
                    sent = yield item
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step = functools.partial(generator.athrow, error)
                else:
                    step = functools.partial(generator.asend, sent)
        except BaseException as error:
            if is_ours:
                _fail(span, error)
            raise
        finally:
            try:
                if generator is not None:
                    with steps:
                        await generator.aclose()
            finally:
                if is_ours:
                    span.end()

    return call


def _code_flags(function: Callable[..., Any]) -> int:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(getattr(function, "__code__", None), "co_flags", 0)


def _fail(span: Span | NoSpan, error: BaseException) -> None:
    if not isinstance(error, GeneratorExit):
        span.error(error)
