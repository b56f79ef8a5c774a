"""structlog with our ring at its end."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from vaultscope import Registry
from vaultscope.logging import Journal, MemorySink, StructlogFactory, set_level, structlog_fields


class Log:
    """structlog, configured to end in a journal, and what came of it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.sink = MemorySink()
        journal.add_sink(self.sink)
        self.configure()

    def configure(self, *processors: Any, **options: Any) -> None:
        options.setdefault("wrapper_class", structlog.make_filtering_bound_logger(logging.DEBUG))
        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, *processors, structlog_fields],
            logger_factory=StructlogFactory(self.journal),
            **options,
        )

    @property
    def records(self) -> list[dict[str, Any]]:
        assert self.journal.flush()
        return self.sink.records

    @property
    def record(self) -> dict[str, Any]:
        (record,) = self.records
        return record

    @property
    def fields(self) -> dict[str, Any]:
        """Of the only record, what it has beside what every record has."""
        known = ("time", "level", "logger", "message", "pid", "thread")
        return {name: value for name, value in self.record.items() if name not in known}


@pytest.fixture
def log() -> Iterator[Log]:
    journal = Journal(Registry())
    set_level("trace", "tests.structlog")
    yield Log(journal)
    set_level(None, "tests.structlog")
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    journal.close()


def test_a_record(log: Log) -> None:
    """The event is the message, all else are fields; the name is the logger."""
    structlog.get_logger("tests.structlog").info("stored", size=4096, nested={"a": [1]})
    record = log.record
    assert (record["message"], record["level"], record["logger"]) == ("stored", "info", "tests.structlog")
    assert log.fields == {"size": 4096, "nested": {"a": [1]}}


@pytest.mark.parametrize(
    ("method", "level"),
    [
        ("debug", "debug"), ("info", "info"), ("warning", "warn"), ("warn", "warn"), ("error", "error"),
        ("critical", "fatal"), ("fatal", "fatal"), ("exception", "error"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrapper", [structlog.make_filtering_bound_logger(10), structlog.BoundLogger])
def test_levels(log: Log, method: str, level: str, wrapper: type) -> None:
    """Each method logs at its level, of either kind of bound logger."""
    log.configure(wrapper_class=wrapper)
    getattr(structlog.get_logger("tests.structlog"), method)("m")
    assert log.record["level"] == level
    assert log.fields == {}


def test_our_threshold(log: Log) -> None:
    """What structlog lets through must pass our level for that name, too."""
    set_level("error", "tests.structlog")
    logger = structlog.get_logger("tests.structlog")
    logger.warning("no")
    logger.error("yes")
    assert log.record["message"] == "yes"


def test_bound_fields_and_context(log: Log) -> None:
    """What was bound, to the logger and to the context, is in the record."""
    structlog.contextvars.bind_contextvars(request=7)
    structlog.get_logger("tests.structlog").bind(user="eve").unbind("user").bind(path="/x").info("m")
    assert log.fields == {"request": 7, "path": "/x"}


def test_what_every_record_says_anyway(log: Log) -> None:
    """The level and the logger's name that processors add are not said twice."""
    log.configure(structlog.processors.add_log_level, structlog.stdlib.add_logger_name)
    for method in ("warn", "exception", "critical", "info"):
        getattr(structlog.get_logger("tests.structlog"), method)("m")
    assert not any("level_" in record or "logger_" in record for record in log.records)
    assert len(log.records) == 4


def test_fields_of_such_names(log: Log) -> None:
    """A level, a logger or a message that the program means as a field gets an underscore."""
    structlog.get_logger("tests.structlog").info("m", level="debug", logger="x", message="y")
    assert log.fields == {"level_": "debug", "logger_": "x", "message_": "y"}


def test_a_formatted_event(log: Log) -> None:
    """Positional arguments are structlog's to format."""
    structlog.get_logger("tests.structlog").info("stored %d", 7)
    assert log.record["message"] == "stored 7"


@pytest.mark.parametrize("event", [None, 7, {"a": 1}, "", b"\xff"])
def test_odd_events(log: Log, event: object) -> None:
    """An event that is no text is logged as what it says."""
    structlog.get_logger("tests.structlog").info(event)
    assert isinstance(log.record["message"], str)


def test_an_exception(log: Log) -> None:
    """exception() and exc_info=True give the field `exception`: type, message and traceback."""
    try:
        raise ValueError("wrong")
    except ValueError as error:
        structlog.get_logger("tests.structlog").exception("m")
        structlog.get_logger("tests.structlog").info("m", exc_info=True)
        structlog.get_logger("tests.structlog").info("m", exc_info=error)
    for record in log.records:
        assert (record["exception"]["type"], record["exception"]["message"]) == ("ValueError", "wrong")
        assert "test_an_exception" in record["exception"]["traceback"]
    assert len(log.records) == 3


@pytest.mark.parametrize("none", [None, False, ()])
def test_no_exception(log: Log, none: object) -> None:
    """An exc_info that is none adds nothing."""
    structlog.get_logger("tests.structlog").info("m", exc_info=none)
    assert log.fields == {}


def test_an_exception_that_was_rendered(log: Log) -> None:
    """What a processor has made of an exception is the field as it is."""
    log.configure(structlog.processors.format_exc_info)
    try:
        raise ValueError("wrong")
    except ValueError:
        structlog.get_logger("tests.structlog").exception("m")
    assert log.fields["exception"].startswith("Traceback")


def test_no_name(log: Log) -> None:
    """Without a name it is the module that asks."""
    structlog.get_logger().info("m")
    assert log.record["logger"] == __name__


def test_a_cached_logger(log: Log) -> None:
    """cache_logger_on_first_use works."""
    log.configure(cache_logger_on_first_use=True)
    logger = structlog.get_logger("tests.structlog")
    logger.info("one")
    logger.info("two")
    assert [record["message"] for record in log.records] == ["one", "two"]


def test_async(log: Log) -> None:
    """The methods for coroutines log, with the context of the task."""

    async def main() -> None:
        structlog.contextvars.bind_contextvars(task=1)
        await structlog.get_logger("tests.structlog").ainfo("m")

    asyncio.run(main())
    assert log.fields == {"task": 1}


def test_a_bound_logger_without_context_keeps_the_dict() -> None:
    """The processor leaves the event dictionary as it was: structlog may use it again."""
    event = {"event": "m", "level": "info", "a": 1}
    assert structlog_fields(None, "info", event) == (("m",), {"a": 1})
    assert event == {"event": "m", "level": "info", "a": 1}


def test_structlog_is_not_needed() -> None:
    """The adapter imports without structlog, and does not import it."""
    code = "import sys; sys.modules['structlog'] = None; import vaultscope.logging"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
