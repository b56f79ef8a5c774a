"""Hand-over: work that another thread or process does for a span belongs to it.

    Thread(target=carry(work)).start()
    with CarryingExecutor(ThreadPoolExecutor(8)) as executor:
        executor.submit(work)

Only the current span goes along, not the rest of the context: a copied context can be entered by one thread
at a time, and what else lies in it (a decimal context, a framework's request) was not meant for other
threads. asyncio's tasks, its to_thread and its call_soon_threadsafe copy the context themselves.
"""

from __future__ import annotations

import functools
import inspect
from concurrent.futures import Executor

from vaultscope._native._core import current_span, use_span
from vaultscope._native.traced import carried, is_in_steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from typing import Any, ParamSpec, TypeVar

    from vaultscope._native._core import SpanContext

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["CarryingExecutor", "carry"]


def carry(function: Callable[P, T]) -> Callable[P, T]:
    """The function, to be called anywhere, any time and by many threads at once, with the span that is
    current now as its current one; none: with none. Of a coroutine function, the coroutine runs so; of a
    generator function, each step of the generator, and not what its consumer does between them."""
    span = _current()
    if is_in_steps(function):
        return carried(span, function)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
            with use_span(span):
                return await function(*args, **kwargs)

        return run_coroutine  # type: ignore[return-value]

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with use_span(span):
            return function(*args, **kwargs)

    return run


class CarryingExecutor(Executor):
    """Runs what is submitted by another executor, with the span that was current then; in another process,
    with what identifies it, so that spans there have the right parent."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As Executor.submit."""
        # To another process, a span is pickled as its context.
        return self._executor.submit(_run, _current(), fn, args, kwargs)

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], **options: Any) -> Iterator[T]:
        """As Executor.map, with the options of that executor's."""
        return self._executor.map(functools.partial(_run_mapped, _current(), fn), *iterables, **options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shuts the other executor down."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)


def _current() -> SpanContext | None:
    return current_span.get(None)


def _run(
    span: SpanContext | None, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> T:
    with use_span(span):
        return function(*args, **kwargs)


def _run_mapped(span: SpanContext | None, function: Callable[..., T], *args: Any) -> T:
    with use_span(span):
        return function(*args)
