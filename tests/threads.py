"""What tests with many threads share: they are started at once, and their errors are the test's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat

import pytest

THREADS = 8
ROUNDS = 1000


@pytest.fixture(autouse=True)
def busy_switching() -> Iterator[None]:
    """With a GIL, threads change places far more often than the interpreter's five milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(*works: Callable[[], object]) -> list[object]:
    """Runs each in a thread of its own, all at once; gives what they returned. An error fails the test."""
    results: list[object] = [None] * len(works)
    errors: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(i: int, work: Callable[[], object]) -> None:
        start.wait()
        try:
            results[i] = work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def in_rounds(check: Callable[[], None], *works: Callable[[], None]) -> None:
    """As together(), again and again by the same threads; `check` is called when all have done a round."""
    done = threading.Barrier(len(works), check)

    def repeated(work: Callable[[], None]) -> None:
        try:
            for _ in repeat(None, ROUNDS):
                work()
                done.wait()
        except BaseException:
            done.abort()
            raise

    together(*[partial(repeated, work) for work in works])
