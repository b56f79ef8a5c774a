"""What several of the log's tests want."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from logbook import Logbook
from sinks import Kept

from vaultscope import Registry
from vaultscope.logging import Journal, Logger


@pytest.fixture
def book() -> Logbook:
    """A log, and what was logged to it."""
    return Logbook()


@pytest.fixture
def log(book: Logbook) -> Logger:
    """A logger of it."""
    return book.logger()


@pytest.fixture
def journal() -> Iterator[Journal]:
    """A journal over memory, closed afterwards."""
    journal = Journal(Registry())
    yield journal
    journal.close(0.1)


@pytest.fixture
def kept(journal: Journal) -> Kept:
    """A sink of it."""
    sink = Kept()
    journal.add_sink(sink)
    return sink
