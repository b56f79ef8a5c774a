"""Decorators that record how long a call takes, whatever kind of function it is.

A coroutine or generator is measured from its first step to its last: waiting, and the time that the consumer
takes between steps, are in it, since that is how long the operation lasted for who asked. One that is never
started records nothing; one that raises, is closed or cancelled records like any other.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, TypeVar, cast

from vaultscope._native._core import HdrHistogram, Histogram, monotonic_ns, record_elapsed_ns

F = TypeVar("F", bound=Callable[..., Any])


def timed(metric: Histogram | HdrHistogram, function: F) -> F:
    """Wraps `function` so that each call is recorded in `metric`. Raises DeclarationError if its unit is
    not of time."""
    metric.time()  # refuses a unit that is not of time now, not at the first call
    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(function):
        wrapper = _coroutine(metric, function)
    elif inspect.isasyncgenfunction(function):
        wrapper = _async_generator(metric, function)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator(metric, function)
        if function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE:
            wrapper = types.coroutine(wrapper)  # it was one: what is awaited must stay so
    else:
        wrapper = _function(metric, function)
    return cast(F, functools.wraps(function)(wrapper))


def _function(metric: Histogram | HdrHistogram, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        started = monotonic_ns()
        try:
            return function(*args, **kwargs)
        finally:
            record_elapsed_ns(metric, monotonic_ns() - started)

    return call


def _coroutine(
    metric: Histogram | HdrHistogram, function: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        started = monotonic_ns()
        try:
            return await function(*args, **kwargs)
        finally:
            record_elapsed_ns(metric, monotonic_ns() - started)

    return call


def _generator(
    metric: Histogram | HdrHistogram, function: Callable[..., Generator[Any, Any, Any]]
) -> Callable[..., Generator[Any, Any, Any]]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        started = monotonic_ns()
        try:
            return (yield from function(*args, **kwargs))
        finally:
            record_elapsed_ns(metric, monotonic_ns() - started)

    return call


def _async_generator(
    metric: Histogram | HdrHistogram, function: Callable[..., AsyncGenerator[Any, Any]]
) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        started = monotonic_ns()
        generator = function(*args, **kwargs)
        try:
            # There is no `yield from` for these: values, errors and the end are handed through one by one.
            step: Awaitable[Any] = generator.__anext__()
            while True:
                try:
                    item = await step
                except StopAsyncIteration:
                    return
                try:
                    sent = yield item
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step = generator.athrow(error)
                else:
                    step = generator.asend(sent)
        finally:
            try:
                await generator.aclose()
            finally:
                record_elapsed_ns(metric, monotonic_ns() - started)

    return call
