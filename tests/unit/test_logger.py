"""Loggers: what each method writes, messages of every sort, and how loggers live and end."""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import pickle
import re
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
from logbook import Logbook

from vaultscope import DeclarationError, Registry
from vaultscope.logging import Journal, Logger, set_level

MESSAGE_MAX = 8192


class Odd:
    """An object whose text is what it is told to be, or raises."""

    def __init__(self, text: object) -> None:
        self.text = text

    def __repr__(self) -> str:
        if isinstance(self.text, BaseException):
            raise self.text
        return self.text  # type: ignore[return-value]


class OddType(type):
    """A type that has no name to be had."""

    def __getattribute__(cls, name: str) -> Any:
        if name in ("__qualname__", "__name__", "__module__"):
            raise RuntimeError
        return super().__getattribute__(name)


# ---- methods ----


@pytest.mark.parametrize(
    "method, level",
    [
        ("trace", "trace"),
        ("debug", "debug"),
        ("info", "info"),
        ("warn", "warn"),
        ("warning", "warn"),
        ("error", "error"),
        ("fatal", "fatal"),
        ("critical", "fatal"),
        ("exception", "error"),
    ],
)
def test_methods(method: str, level: str, book: Logbook) -> None:
    """Each method logs once at the level of its name; an alias at that of the other."""
    log = book.logger("methods")
    set_level("trace", "methods")
    before = book.count("records", level)
    assert getattr(log, method)("Object stored", size=5) is None
    record = book.record
    assert (record["level"], record["message"], record["size"]) == (level, "Object stored", 5)
    assert book.count("records", level) == before + 1


@pytest.mark.parametrize("name", ["info", "INFO", "warning", "critical", "Fatal"])
def test_log_by_name(name: str, book: Logbook, log: Logger) -> None:
    """log() takes the level's name in either case, with its aliases."""
    log.log(name, "m", x=1)
    record = book.record
    assert record["level"] == {"warning": "warn", "critical": "fatal"}.get(name.lower(), name.lower())
    assert record["x"] == 1


@pytest.mark.parametrize("level", ["", "loud", "inf", 20, None, b"info", ["info"], "\ud800", "in\0fo"])
def test_an_unknown_level(level: Any, book: Logbook, log: Logger) -> None:
    """A level that is none is an error, and the record says which one was meant."""
    log.log(level, "m", x=1)
    record = book.record
    assert (record["level"], record["message"], record["x"]) == ("error", "m", 1)
    assert "unknown_level" in record


def test_a_level_that_raises(book: Logbook, log: Logger) -> None:
    """Nor does a level that has no text raise into the host."""
    log.log(Odd(ValueError()), "m")  # type: ignore[arg-type]
    assert book.record["level"] == "error"


def test_log_at_off(book: Logbook, log: Logger) -> None:
    """What is logged at "off" is not logged."""
    log.log("off", "m")
    assert book.records == []


def test_no_message(book: Logbook, log: Logger) -> None:
    """A call without a message, or without a level, is logged all the same."""
    log.info()  # type: ignore[call-arg]
    log.log()  # type: ignore[call-arg]
    log.log("warn")  # type: ignore[call-arg]
    log.info(a=1)  # type: ignore[call-arg]
    log.exception()  # type: ignore[call-arg]
    records = book.records
    assert [r["message"] for r in records] == [""] * 5
    assert [r["level"] for r in records] == ["info", "error", "warn", "info", "error"]
    assert records[3]["a"] == 1


def test_more_than_a_message(book: Logbook, log: Logger) -> None:
    """Arguments beside the message, as printf's, are kept in one field."""
    log.info("Stored %s of %d", "x", 5, size=1)
    record = book.record
    assert (record["message"], record["args"], record["size"]) == ("Stored %s of %d", ["x", 5], 1)


def test_fields_named_as_parameters(book: Logbook, log: Logger) -> None:
    """No name of a field collides with a parameter of a method."""
    log.log("info", "m", self=1, exc=2, args=3, logger_=4, kwargs=5, n=6)
    log.bind(self=1, name=2).info("m", self=3)
    first, second = book.records
    assert [first[name] for name in ("self", "exc", "args", "logger_", "kwargs", "n")] == [1, 2, 3, 4, 5, 6]
    assert (second["self"], second["name"]) == (3, 2)


def test_methods_return_nothing_but_none(log: Logger) -> None:
    """A call gives None, logged or not."""
    assert log.info("m") is None
    assert log.trace("m") is None
    assert log.log("trace", "m") is None
    assert log.limited(1, 1e6).info("m") is None


def test_a_method_that_is_kept(book: Logbook) -> None:
    """A bound method keeps its logger alive, and the logger its journal."""
    info = Logbook().logger("gone").info
    gc.collect()
    for _ in range(1000):
        info("m")
    kept = book.logger("kept").info
    kept("m")
    assert book.record["logger"] == "kept"


# ---- the record ----


def test_the_head(book: Logbook, log: Logger) -> None:
    """A line begins with the time in UTC, then level, logger, message, process and thread."""
    before = time.time_ns()
    log.info("m", last=1)
    after = time.time_ns()
    (line,) = book.lines
    assert re.fullmatch(
        rb'{"time":"[0-9-]{10}T[0-9:]{8}\.[0-9]{9}Z","level":"info","logger":"test","message":"m",'
        rb'"pid":%d,"thread":%d,"last":1}\n' % (os.getpid(), threading.get_native_id()),
        line,
    )
    text = line[9:38].decode()
    seconds = datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc).timestamp()
    assert before <= int(seconds) * 10**9 + int(text[20:29]) <= after


def test_the_root_logger(book: Logbook) -> None:
    """A logger without a name is not named in its lines."""
    book.logger("").info("m")
    assert "logger" not in book.record


def test_threads_have_their_number(book: Logbook, log: Logger) -> None:
    """Each record names the thread that logged it, by the system's number."""

    def work() -> int:
        log.info("m")
        return threading.get_native_id()

    numbers = []
    for _ in range(3):  # one after the other: the system may give a number again
        with ThreadPoolExecutor(1) as pool:
            numbers.append(pool.submit(work).result())
    assert [record["thread"] for record in book.records] == numbers
    assert threading.get_native_id() not in numbers


def test_names(book: Logbook) -> None:
    """A name may have 255 bytes, and any character; one that is longer, or no text, is refused."""
    for name in ("x" * 255, "é" * 127, "a b", "a\nb", "\0", "a..b", "😀"):
        log = book.logger(name)
        assert log.name == name
        log.info("m")
        assert book.record["logger"] == name
    assert book.logger("\ud800").name == "\ufffd"
    for name in ("x" * 256, "é" * 128):
        with pytest.raises(DeclarationError):
            book.logger(name)
    for wrong in (None, 5, b"x"):
        with pytest.raises(TypeError):
            book.logger(wrong)  # type: ignore[arg-type]


def test_one_logger_for_a_name(book: Logbook) -> None:
    """The same name gives the same logger."""
    assert book.logger("a") is book.logger("a")
    assert book.logger("a") is not book.logger("b")
    assert repr(book.logger("a")) == "<vaultscope Logger 'a'>"


def test_loggers_come_from_a_journal(log: Logger) -> None:
    """A logger is neither made, copied, pickled nor subclassed."""
    with pytest.raises(TypeError):
        Logger()
    with pytest.raises(TypeError):
        copy.copy(log)
    with pytest.raises(TypeError):
        pickle.dumps(log)
    with pytest.raises(TypeError):
        type("Mine", (Logger,), {})
    with pytest.raises(AttributeError):
        log.x = 1  # type: ignore[attr-defined]


# ---- messages ----


@pytest.mark.parametrize(
    "message, shown",
    [
        ("", ""),
        ("plain", "plain"),
        ("Grüße, 世界 😀", "Grüße, 世界 😀"),
        ("latin\xff", "latin\xff"),
        ("a\0b\x1b[31m\n\r\t\"\\/'", "a\0b\x1b[31m\n\r\t\"\\/'"),
        ("\u2028\u2029\x7f\x85", "\u2028\u2029\x7f\x85"),
        ("\ud800 alone", "\ufffd alone"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud83d\ude00", "😀"),  # two halves that are a pair
        (b"bytes", "bytes"),
        (b"\xff\x00", "\ufffd\0"),
        (bytearray(b"array"), "array"),
        (None, "None"),
        (5, "5"),
        (10**25, str(10**25)),
        (1.5, "1.5"),
        (True, "True"),
        (("a", 1), "('a', 1)"),
        (ValueError("an error's text"), "an error's text"),
        (Odd("as it says"), "as it says"),
    ],
)
def test_messages(message: object, shown: str, book: Logbook, log: Logger) -> None:
    """A message is the text of whatever it is; what a text cannot hold is U+FFFD."""
    log.info(message, after=1)
    record = book.record
    assert (record["message"], record["after"]) == (shown, 1)
    assert "truncated" not in record


class Text(str):
    """A string that claims to be another."""

    def __str__(self) -> str:
        raise ValueError

    def encode(self, *how: Any) -> bytes:
        raise ValueError


@pytest.mark.parametrize(
    "message",
    [
        Odd(ValueError("no")),
        Odd(5),
        Odd(RecursionError()),
        Odd(MemoryError()),
        OddType("Odder", (Odd,), {})(ValueError()),
        10**5000,
    ],
    ids=["raises", "no text", "recursion", "memory", "nameless", "digits"],
)
def test_messages_without_a_text(message: object, book: Logbook, log: Logger) -> None:
    """A message that has no text is named as object() would name it."""
    log.info(message)
    assert re.fullmatch(r"<.+ object at 0x[0-9a-f]+>", book.record["message"])


def test_a_message_of_a_subclass_of_str(book: Logbook, log: Logger) -> None:
    """Of a subclass of str its characters are taken, whatever its methods do."""
    log.info(Text("text"), x=Text("field"))
    record = book.record
    assert (record["message"], record["x"]) == ("text", "field")


def test_what_is_no_exception_is_the_hosts(book: Logbook, log: Logger) -> None:
    """KeyboardInterrupt, SystemExit and their kin go through, and nothing is logged."""
    for error in (KeyboardInterrupt(), SystemExit(3), GeneratorExit(), BaseException()):
        for call in (log.info, log.exception, log.limited(5).info):
            with pytest.raises(type(error)):
                call(Odd(error))
            with pytest.raises(type(error)):
                call("m", x=Odd(error))
    with pytest.raises(KeyboardInterrupt):
        log.log(Odd(KeyboardInterrupt()), "m")  # type: ignore[arg-type]
    assert book.records == []


@pytest.mark.parametrize(
    "of, letter", [*[(of, letter) for of in (str, bytes, Odd) for letter in "aé世😀\0"], (str, "\ud800")]
)
def test_long_messages(of: Any, letter: str, book: Logbook, log: Logger) -> None:
    """Up to 8 KiB a message is whole; a longer one is cut at a character, has an ellipsis and is marked."""
    size = len(letter.encode("utf-8", "replace" if letter != "\ud800" else "surrogatepass"))

    def make(count: int) -> Any:
        text = letter * count
        return text.encode("utf-8", "surrogatepass") if of is bytes else of(text)

    whole = MESSAGE_MAX // size
    shown = "\ufffd" if letter == "\ud800" else letter
    for count in (whole // 5, whole // 2, whole - 1, whole):
        log.info(make(count), x=1)
        record = book.record
        assert record["message"] == shown * count
        assert record["x"] == 1 and "truncated" not in record
    for count in (whole + 1, 3 * whole, 10 << 20):
        log.info(make(count), x=1)
        record = book.record
        assert record["message"] == shown * whole + "…"
        assert (record["truncated"], record["x"]) == (["message"], 1)


# ---- life ----


def test_a_logger_lets_go() -> None:
    """Journals, loggers and what they bound are freed; a call leaves no reference behind."""
    book = Logbook()
    value, message = Odd("value"), Odd("message")
    log = book.logger("life").bind(a=value).limited(3)
    for _ in range(50):
        log.info(message, x=value, y=[value])
        log.exception(message, x=value)
    counts = [sys.getrefcount(object_) for object_ in (value, message, log)]
    for _ in range(50):
        log.info(message, x=value, y=[value], exc_info=ValueError())
        log.log("nonsense", message, x=value)
        log.bind(b=value).info("m")
    assert [sys.getrefcount(object_) for object_ in (value, message, log)] == counts
    journal = weakref.ref(book.journal)
    del book, log
    gc.collect()
    assert journal() is None


def test_journals_come_and_go() -> None:
    """A thousand journals with their loggers and cursors leave no memory behind: 1 MiB each would show."""
    registry = Registry()

    def kilobytes() -> int:
        with open("/proc/self/status") as status:
            (line,) = (line for line in status if line.startswith("VmSize"))
        return int(line.split()[1])

    def use(name: str) -> None:
        journal = Journal(registry, ring_bytes=1 << 20)
        for _ in range(10):
            journal.get_logger(name).info("x" * 1000)
        assert journal.native.cursor("c").take() is not None

    use("name0")
    before = kilobytes()
    for i in range(1000):
        use(f"name{i % 10}")
    assert kilobytes() - before < 100 << 10
    assert registry.snapshot().value("vaultscope.log.records", level="info") == 10_010


def test_garbage_in_a_cycle() -> None:
    """A cursor and a logger that are garbage together with their journal end before it."""
    for _ in range(20):
        journal = Journal(Registry(), ring_bytes=1 << 16)
        cycle: list[Any] = [journal.native, journal.get_logger("a").limited(1), journal.native.cursor("c")]
        cycle[1].info(Odd("m"))
        cycle.append(cycle)
        cycle.reverse()
        del journal, cycle
        gc.collect()


def test_the_capsule(book: Logbook) -> None:
    """A logger's capsule is named vs_logger, leads to its C struct, and keeps it alive."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    log = book.journal.native.logger("from.c")
    capsule = log.capsule()
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        get(capsule, b"vs_counter")
    before = sys.getrefcount(log)
    more = [log.bind(a=1).capsule(), log.capsule()]
    assert sys.getrefcount(log) == before + 2  # the one that is bound keeps it, too
    assert get(more[0], b"vs_logger") == get(capsule, b"vs_logger")
    del log, more
    gc.collect()
    pointer = get(capsule, b"vs_logger")
    assert b"from.c" in ctypes.string_at(pointer, 64)
