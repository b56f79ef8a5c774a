"""What several of the log's tests want."""

from __future__ import annotations

import pytest
from logbook import Logbook

from vaultscope.logging import Logger


@pytest.fixture
def book() -> Logbook:
    """A log, and what was logged to it."""
    return Logbook()


@pytest.fixture
def log(book: Logbook) -> Logger:
    """A logger of it."""
    return book.logger()
