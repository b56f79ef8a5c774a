"""The handler for the standard library's logging: levels, names, fields, and that the host never notices."""

from __future__ import annotations

import logging
import logging.config
import os
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from vaultscope import Registry
from vaultscope.logging import CallableSink, Handler, Journal, MemorySink, level, set_level


class Log:
    """A logger of the standard library whose only handler is ours, and what came of it."""

    def __init__(self, journal: Journal, name: str) -> None:
        self.journal = journal
        self.sink = MemorySink()
        journal.add_sink(self.sink)
        self.logger = logging.Logger(name, 1)  # none that pytest listens to

    def handle(self, **options: Any) -> Handler:
        handler = Handler(journal=self.journal, **options)
        self.logger.handlers = [handler]
        return handler

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
    log = Log(journal, "tests.handler")
    log.handle()
    set_level("trace", "tests.handler")
    yield log
    set_level(None, "tests.handler")
    journal.close()


def test_a_record(log: Log) -> None:
    """Message, logger, process and thread are those of the call."""
    log.logger.info("stored %s in %d ms", "x", 7)
    record = log.record
    assert record["message"] == "stored x in 7 ms"
    assert record["logger"] == "tests.handler"
    assert record["pid"] == os.getpid()
    assert record["thread"] == threading.get_native_id()
    assert log.fields == {}


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "trace"), (5, "trace"), (9, "trace"), (10, "debug"), (19, "debug"), (20, "info"), (25, "info"),
        (30, "warn"), (39, "warn"), (40, "error"), (49, "error"), (50, "fatal"), (1000, "fatal"),
    ],
)  # fmt: skip
def test_levels(log: Log, number: int, name: str) -> None:
    """Levels go by tens, whatever they are called."""
    log.logger.handle(logging.makeLogRecord({"name": "tests.handler", "levelno": number, "msg": "m"}))
    assert log.record["level"] == name


def test_our_threshold(log: Log) -> None:
    """What logging lets through must pass our level for that name, too; it is not even formatted else."""

    class Loud:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    set_level("error", "tests.handler")
    log.logger.warning(Loud())
    log.logger.error("e")
    assert log.record["message"] == "e"


def test_the_level_of_a_context(log: Log) -> None:
    """Our level of a context holds for what comes from logging, too."""
    set_level("error", "tests.handler")
    log.logger.debug("no")
    with level("debug"):
        log.logger.debug("yes")
    log.logger.debug("no")
    assert log.record["message"] == "yes"


def test_their_threshold(log: Log) -> None:
    """The level and the filters of logging, its loggers and the handler, come first."""
    handler = log.handle(level="WARNING")
    log.logger.info("no")
    log.logger.warning("yes")
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    log.logger.error("secret")
    assert log.record["message"] == "yes"


def test_a_filter_that_changes_the_record(log: Log) -> None:
    """What a filter adds to a record is a field."""

    def add(record: logging.LogRecord) -> bool:
        record.request = 7
        return True

    log.logger.handlers[0].addFilter(add)
    log.logger.info("m")
    assert log.fields == {"request": 7}


def test_a_filter_that_replaces_the_record(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record that a filter gives in place of another one is logged, as it is since Python 3.12."""
    other = logging.makeLogRecord({"name": "tests.handler", "levelno": 40, "msg": "other"})
    monkeypatch.setattr(log.logger.handlers[0], "filter", lambda record: other)
    log.logger.info("m")
    assert (log.record["message"], log.record["level"]) == ("other", "error")


def test_extra(log: Log) -> None:
    """What `extra` adds are fields; those whose names we use get an underscore."""
    extra = {"size": 4096, "nested": {"a": [1, None]}, "self": 1, "level": "mine", "time": 2, "fields": 3}
    log.logger.info("m", extra=extra)
    assert log.fields == {
        "size": 4096, "nested": {"a": [1, None]}, "self": 1, "level_": "mine", "time_": 2, "fields": 3,
    }  # fmt: skip


def test_what_others_add_is_no_extra(log: Log) -> None:
    """The message, the time and the exception's text that another handler's formatter adds are no fields."""
    records = []

    class Formats(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(logging.Formatter("%(asctime)s %(message)s").format(record))

    log.logger.handlers.insert(0, Formats())
    try:
        raise ValueError("v")
    except ValueError:
        log.logger.exception("m")
    assert len(records) == 1
    assert list(log.fields) == ["exception"]


def test_an_exception(log: Log) -> None:
    """exc_info is the field `exception`: type, message and traceback."""
    try:
        raise ValueError("wrong")
    except ValueError as error:
        log.logger.exception("m")
        expected = "".join(traceback.format_exception(error))
    found = log.fields["exception"]
    assert (found["type"], found["message"]) == ("ValueError", "wrong")
    assert found["traceback"].rstrip() == expected.rstrip()
    assert log.record["level"] == "error"


def test_no_exception(log: Log) -> None:
    """exc_info=True where there is none adds nothing."""
    log.logger.error("m", exc_info=True)
    assert log.fields == {}


def test_an_exception_that_has_travelled(log: Log) -> None:
    """A record from another process has the exception as text, which is kept."""
    log.logger.handle(
        logging.makeLogRecord({"name": "tests.handler", "levelno": 40, "msg": "m", "exc_text": "Traceback"})
    )
    assert log.fields == {"exception": {"traceback": "Traceback"}}


def test_the_stack(log: Log) -> None:
    """stack_info is the field `stack`."""
    log.logger.info("m", stack_info=True)
    assert "test_the_stack" in log.fields["stack"]


def test_the_source(log: Log) -> None:
    """source=True adds where the call stands."""
    log.handle(source=True)
    log.logger.info("m")
    fields = log.fields
    assert fields.pop("line") > 0
    assert fields == {"file": __file__, "function": "test_the_source"}


@pytest.mark.parametrize("arguments", [("x",), (1, 2), ({"a": 1},)])
def test_a_message_that_cannot_be_formatted(
    log: Log, arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The template is logged as it is, with its arguments; nothing is printed."""
    log.logger.info("%d and %(b)s", *arguments)
    assert log.record["message"] == "%d and %(b)s"
    expected = arguments[0] if isinstance(arguments[0], dict) else list(arguments)
    assert log.fields == {"args": expected}
    assert capsys.readouterr().err == ""


def test_a_message_without_words(log: Log) -> None:
    """A message whose __str__ fails is logged as what can be said of it."""

    class Mute:
        def __str__(self) -> str:
            raise ValueError

        __repr__ = __str__

    log.logger.info(Mute())
    log.logger.info("%s", Mute())
    assert "Mute" in log.records[0]["message"]
    assert log.records[1]["message"] == "%s"


@pytest.mark.parametrize("name", ["x" * 1000, "ä" * 200, "\ud800", "", None])
def test_odd_names(log: Log, name: Any) -> None:
    """A name that is too long is cut at a character; any other is made one. The record is logged."""
    log.handle().handle(logging.makeLogRecord({"name": name, "levelno": 40, "msg": "m"}))
    assert log.record["message"] == "m"
    assert (name or "").startswith(log.record.get("logger", "")[:100].replace("?", "\ud800"))


def test_odd_attributes(log: Log) -> None:
    """Attributes whose names are no text are fields of that text."""
    record = logging.makeLogRecord({"name": "tests.handler", "levelno": 40, "msg": "m"})
    record.__dict__[7] = "seven"  # type: ignore[index]
    log.logger.handle(record)
    assert log.fields == {"7": "seven"}


def test_a_level_that_is_no_number(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be a record is reported as handlers do, and not raised."""
    reported = []
    monkeypatch.setattr(Handler, "handleError", lambda self, record: reported.append(record))
    record = logging.makeLogRecord({"levelno": "high"})
    log.handle().emit(record)
    assert reported == [record]


def test_many_names(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names come along, few are remembered, and all are logged."""
    monkeypatch.setattr("vaultscope.edge.log_handler.KNOWN_MAX", 3)
    handler = log.handle()
    for n in range(10):
        handler.emit(logging.makeLogRecord({"name": f"n{n}", "levelno": 40, "msg": "m"}))
        assert len(handler._known) <= 3
    assert [record["logger"] for record in log.records] == [f"n{n}" for n in range(10)]


def test_it_takes_no_lock(log: Log) -> None:
    """A record passes while another thread stands in the middle of one: a handler's lock would hold it."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        def __str__(self) -> str:
            inside.set()
            assert go_on.wait(60)
            return "slow"

    thread = threading.Thread(target=log.logger.info, args=(Slow(),))
    thread.start()
    assert inside.wait(60)
    log.logger.info("fast")
    assert log.record["message"] == "fast"
    go_on.set()
    thread.join()
    assert [record["message"] for record in log.records] == ["fast", "slow"]


def test_flush(log: Log) -> None:
    """flush() waits until the sinks have it; logging.shutdown calls it."""
    log.logger.info("m")
    log.logger.handlers[0].flush()
    assert len(log.sink.records) == 1


def test_dict_config(log: Log) -> None:
    """logging.config makes one by its class path, with its options."""
    options = {"class": "vaultscope.logging.Handler", "level": "INFO", "source": True, "journal": log.journal}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"ring": options},
            "loggers": {"tests.handler": {"handlers": ["ring"], "propagate": False, "level": "DEBUG"}},
        }
    )
    logger = logging.getLogger("tests.handler")
    logger.debug("no")
    logger.info("yes")
    logger.handlers = []
    assert log.record["message"] == "yes"
    assert log.fields["function"] == "test_dict_config"


def test_a_sink_that_logs(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    """What a sink's own thread logs does not come back to it; warnings go to stderr."""
    calls = []

    def sends(record: dict[str, Any]) -> None:
        calls.append(record["message"])
        log.logger.info("sending")
        log.logger.warning("slow")

    log.journal.add_sink(CallableSink(sends, name="sends"))
    log.logger.info("m")
    assert log.journal.flush()
    log.logger.info("n")
    assert log.journal.flush()
    assert calls == ["m", "n"]
    assert capsys.readouterr().err == "slow\nslow\n"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork(log: Log) -> None:
    """A child of fork logs on, though another thread was logging at that moment."""
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            log.logger.info("busy")

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(20):
            if (child := os.fork()) == 0:
                log.logger.info("child")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


def test_from_many_threads(log: Log) -> None:
    """Nothing is lost or mixed up when many threads log at once."""

    def work(n: int) -> None:
        for i in range(200):
            log.logger.info("%d %d", n, i, extra={"n": n, "i": i})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    found = log.records
    assert all(record["message"] == f"{record['n']} {record['i']}" for record in found)
    for n in range(8):
        assert [record["i"] for record in found if record["n"] == n] == list(range(200))
