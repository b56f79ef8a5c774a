"""Exceptions in records: as a field, by exc_info, and the one at hand."""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

import pytest
from logbook import Logbook

from vaultscope.core import log_fields
from vaultscope.logging import Logger

VALUE_MAX = 8192


class SilentError(Exception):
    """Its text is what it is told to be, or raises."""

    def __init__(self, text: object = None) -> None:
        super().__init__()
        self.text = text

    def __str__(self) -> str:
        if isinstance(self.text, BaseException):
            raise self.text
        return self.text  # type: ignore[return-value]


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The same error, with a traceback."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def deep(levels: int, error: BaseException) -> None:
    if levels:
        deep(levels - 1, error)
    raise error


# ---- the forms of exc_info ----


def test_exc_info_true(book: Logbook, log: Logger) -> None:
    """exc_info=True, or 1, is the exception that is being handled; the field is called `exception`."""
    for truth in (True, 1, 5):
        try:
            raise ValueError("lost")
        except ValueError:
            log.warn("m", exc_info=truth, after=1)
        fields = book.fields
        exception = fields.pop("exception")
        assert fields == {"after": 1}
        assert (exception["type"], exception["message"]) == ("ValueError", "lost")
        assert exception["traceback"].startswith("Traceback (most recent call last):\n  File ")
        assert exception["traceback"].endswith("\nValueError: lost\n")
        assert "in test_exc_info_true" in exception["traceback"]


def test_exc_info_of_an_exception(book: Logbook, log: Logger) -> None:
    """An exception, or the triple of sys.exc_info, is shown as it is, also outside of its handler."""
    error = raised(KeyError("a"))
    log.error("m", exc_info=error)
    log.error("m", exc_info=(type(error), error, error.__traceback__))
    log.error("m", exception=error)
    first, second, third = (record["exception"] for record in book.records)
    assert first == second == third
    assert (first["type"], first["message"]) == ("KeyError", "'a'")


@pytest.mark.parametrize("nothing", [None, False, 0, True, 1, (None, None, None)])
def test_exc_info_of_nothing(nothing: object, book: Logbook, log: Logger) -> None:
    """Where there is no exception, there is no field."""
    log.error("m", exc_info=nothing, after=1)
    assert book.fields == {"after": 1}


@pytest.mark.parametrize("odd", ["text", (1, 2), (1, 2, 3), [], 1.5, ValueError])
def test_exc_info_of_something_else(odd: object, book: Logbook, log: Logger) -> None:
    """What is no form of exc_info is shown as any field is."""
    log.error("m", exc_info=odd, after=1)
    fields = book.fields
    assert fields["after"] == 1 and fields["exception"] is not None


def test_the_method_exception(book: Logbook, log: Logger) -> None:
    """exception() adds what is being handled, at level error; where nothing is, it is as error()."""
    try:
        raise ValueError("lost")
    except ValueError:
        log.exception("m", x=1)
        log.bind(y=2).exception("m")
        log.limited(1).exception("m")
    log.exception("m")
    *with_it, without = book.records
    assert {record["level"] for record in (*with_it, without)} == {"error"}
    assert [record["exception"]["message"] for record in with_it] == ["lost"] * 3
    assert (with_it[0]["x"], with_it[1]["y"]) == (1, 2)
    assert "exception" not in without


def test_what_is_said_goes_before_what_is_at_hand(book: Logbook, log: Logger) -> None:
    """An exception that the call names replaces the one that is being handled."""
    try:
        raise ValueError("lost")
    except ValueError:
        log.exception("m", exc_info=KeyError("mine"))
        log.exception("m", exception="mine")
        log.exception("m", exc_info=False)
    first, second, third = (record["exception"] for record in book.records)
    assert first["type"] == "KeyError"
    assert second == "mine"
    assert third["type"] == "ValueError"


def test_within_a_handler_that_is_over(book: Logbook, log: Logger) -> None:
    """After its handler an exception is at hand no more; in an inner function it is."""

    def inner() -> None:
        log.exception("inner")

    try:
        raise ValueError("lost")
    except ValueError:
        inner()
    log.exception("after")
    first, second = book.records
    assert first["exception"]["message"] == "lost" and "exception" not in second


def test_it_keeps_nothing_alive(book: Logbook, log: Logger) -> None:
    """The exception is not held by the log, nor is its traceback."""
    error = raised(ValueError("lost"))
    before = sys.getrefcount(error)
    log.error("m", exc_info=error, x=error)
    log.error("m", exc_info=(type(error), error, error.__traceback__))
    assert sys.getrefcount(error) == before


# ---- exceptions as values ----


def test_an_exception_that_was_never_raised(book: Logbook, log: Logger) -> None:
    """Without a traceback there is none to be shown."""
    log.info("m", x=ValueError("never"))
    assert book.fields["x"] == {"type": "ValueError", "message": "never", "traceback": ""}


def test_an_exception_in_a_list(book: Logbook, log: Logger) -> None:
    """Within another value it is its type and message."""
    log.info("m", x=[raised(ValueError("inner"))], y={"a": KeyError(1)})
    assert book.fields == {
        "x": [{"type": "ValueError", "message": "inner"}],
        "y": {"a": {"type": "KeyError", "message": "1"}},
    }


def test_names_of_types(book: Logbook, log: Logger) -> None:
    """A type that is not built in is named with its module."""

    class LocalError(Exception):
        pass

    log.info("m", a=LocalError(), b=OSError(2, "no"), c=UnicodeError(), d=SilentError("s"))
    fields = book.fields
    assert fields["a"]["type"] == f"{__name__}.test_names_of_types.<locals>.LocalError"
    assert (fields["b"]["type"], fields["b"]["message"]) == ("FileNotFoundError", "[Errno 2] no")
    assert (fields["c"]["type"], fields["d"]["type"]) == ("UnicodeError", f"{__name__}.SilentError")


def test_causes(book: Logbook, log: Logger) -> None:
    """The traceback tells of causes and contexts."""
    cause = raised(KeyError("first"))
    log.info("m", x=raised(ValueError("second"), cause))
    try:
        try:
            raise KeyError("one")
        except KeyError:
            raise ValueError("two") from None
    except ValueError as caught:
        log.info("m", x=caught)
    log.info("m", x=raised(OSError("never raised"), KeyError("nor this")))
    first, second, third = (record["x"]["traceback"] for record in book.records)
    assert first.index("KeyError: 'first'") < first.index("direct cause") < first.index("ValueError: second")
    assert "KeyError" not in second
    assert "nor this" in third


if sys.version_info >= (3, 11):

    def test_groups(book: Logbook, log: Logger) -> None:
        """A group shows its members."""
        group = vars(builtins)["ExceptionGroup"]
        inner = [raised(ValueError("a")), group("inner", [KeyError("b")])]
        log.error("m", exc_info=raised(group("outer", inner)))
        exception = book.fields["exception"]
        assert (exception["type"], exception["message"]) == ("ExceptionGroup", "outer (2 sub-exceptions)")
        assert all(text in exception["traceback"] for text in ("ValueError: a", "KeyError: 'b'", "inner"))


def test_notes(book: Logbook, log: Logger) -> None:
    """Notes that were added are in the traceback, whatever they are."""
    error = raised(ValueError("lost"))
    error.__notes__ = ["a note", 5, SilentError(ValueError())]  # type: ignore[attr-defined]
    log.error("m", exc_info=error, after=1)
    fields = book.fields
    assert fields["after"] == 1 and fields["exception"]["message"] == "lost"


def test_a_syntax_error(book: Logbook, log: Logger) -> None:
    """A syntax error shows its line, and one that was made up by hand, with nonsense in it, is shown, too."""
    try:
        compile("a = = 1", "vault.py", "exec")
    except SyntaxError as error:
        log.error("m", exc_info=error)
    assert "a = = 1" in book.fields["exception"]["traceback"]
    for details in (("f", 1, 2, "text"), ("f", -5, 10**9, None), (None, None, None, None)):
        error = SyntaxError("made up", details)
        error.lineno = "nonsense"  # type: ignore[assignment]
        log.error("m", exc_info=raised(error), after=1)
        fields = book.fields
        assert fields["after"] == 1 and fields["exception"]["type"] == "SyntaxError"


def test_an_exit(book: Logbook, log: Logger) -> None:
    """Exceptions that are no Exception are values like any other."""
    for error in (KeyboardInterrupt("stop"), SystemExit(3), GeneratorExit()):
        log.error("m", exc_info=raised(error))
        assert book.fields["exception"]["type"] == type(error).__name__


# ---- hostile exceptions ----


@pytest.mark.parametrize(
    "error",
    [
        SilentError(ValueError()),
        SilentError(None),
        SilentError(5),
        SilentError(MemoryError()),
        SilentError(RecursionError()),
    ],
    ids=["raises", "none", "number", "memory", "recursion"],
)
def test_an_exception_without_a_text(error: Exception, book: Logbook, log: Logger) -> None:
    """One whose text cannot be had has its type and its traceback all the same."""
    for value in (error, raised(error)):
        log.error("m", exc_info=value, x=[value], after=1)
        fields = book.fields
        assert fields["after"] == 1
        exception = fields["exception"]
        assert exception["type"] == f"{__name__}.SilentError"
        assert exception["message"] == "<a message that cannot be shown>"
        assert bool(exception["traceback"]) == (value.__traceback__ is not None)


def test_a_text_that_stops_the_host(book: Logbook, log: Logger) -> None:
    """What is raised while a text is made, and is no Exception, is the host's."""
    for error in (SilentError(KeyboardInterrupt()), raised(SilentError(SystemExit()))):
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            log.error("m", exc_info=error)
    assert book.records == []


def test_a_type_without_a_name(book: Logbook, log: Logger) -> None:
    """A type that hides its names, or has strange ones, does no harm."""

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            if name in ("__qualname__", "__module__", "__name__"):
                raise ValueError
            return super().__getattribute__(name)

    class NamelessError(Exception, metaclass=Meta):
        pass

    class StrangeError(Exception):
        pass

    StrangeError.__module__ = None  # type: ignore[assignment]
    StrangeError.__qualname__ = "\ud800" + "x" * 20_000
    for error in (
        NamelessError("n"),
        raised(NamelessError("n")),
        StrangeError("s"),
        raised(StrangeError("s")),
    ):
        log.error("m", exc_info=error, after=1)
        fields = book.fields
        assert fields["after"] == 1 and fields["exception"]


@pytest.mark.parametrize("letter", ["a", "é", "😀", '"', "\\", "\n", "\0", "\ud800"])
def test_a_long_message(letter: str, book: Logbook, log: Logger) -> None:
    """However long its message, an exception is an object with a type, a message and a traceback, each of
    which shows its beginning and its end."""
    for size in (100, 1000, 8000, 100_000, 1 << 20):
        error = raised(ValueError(f"begin{letter * size}end"))
        log.error("m", exc_info=error, after=1)
        fields = book.fields
        exception = fields["exception"]
        assert fields["after"] == 1 and list(exception) == ["type", "message", "traceback"]
        assert exception["message"].startswith("begin") and exception["message"].endswith("end")
        assert exception["traceback"].startswith("Traceback") and exception["traceback"].endswith("end\n")
        assert size > 100 or letter * 100 in exception["message"].replace("\ufffd", letter)


def test_a_long_traceback(book: Logbook, log: Logger) -> None:
    """Of a traceback that is too long both ends are shown: what was called, and what went wrong."""
    error: BaseException = ValueError("lost")
    for i in range(60):
        namespace: dict[str, Any] = {}
        exec(
            compile(f"def level_{i}(error):\n    raise error", f"file_{i}_{'x' * 100}.py", "exec"), namespace
        )
        try:
            namespace[f"level_{i}"](error)
        except ValueError as caught:
            error = caught
    log.error("m", exc_info=error)
    exception = book.fields["exception"]
    assert "level_59" in exception["traceback"] and "\n  ...\n" in exception["traceback"]
    assert exception["traceback"].endswith("ValueError: lost\n")
    _, data, _ = log_fields.encode(error)
    assert 6000 < len(data) <= VALUE_MAX


def test_deep_recursion(book: Logbook, log: Logger) -> None:
    """The traceback of a recursion that went too far is shown."""
    try:
        deep(10**6, ValueError())
    except RecursionError as error:
        log.error("m", exc_info=error)
        log.exception("m")
    for record in book.records:
        assert record["exception"]["type"] == "RecursionError"
        assert "deep" in record["exception"]["traceback"]


def test_at_the_limit_of_recursion(book: Logbook, log: Logger) -> None:
    """A log call where no further call is possible is logged, or counted, and raises nothing."""
    calls = 0

    def fall() -> None:
        nonlocal calls
        try:
            fall()
        finally:
            log.error("m", x=[object()], exc_info=True)
            calls += 1

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        with pytest.raises(RecursionError):
            fall()
    finally:
        sys.setrecursionlimit(limit)
    assert len(book.records) + book.count("dropped", "error") == calls > 50


@pytest.mark.parametrize("length", [10, 500, 20_000])
def test_a_long_chain(length: int, book: Logbook, log: Logger) -> None:
    """A chain of causes of any length is shown, or the last link of it."""
    error: BaseException = raised(ValueError("first"))
    for i in range(length):
        following = ValueError(i)
        following.__context__ = error
        error = following
    log.error("m", exc_info=error, after=1)
    fields = book.fields
    assert fields["after"] == 1
    assert (fields["exception"]["type"], fields["exception"]["message"]) == ("ValueError", str(length - 1))
    while error.__context__ is not None:  # freed one by one: the interpreter's own way is a recursion
        following = error.__context__
        error.__context__ = None
        error = following


def test_a_chain_that_is_a_ring(book: Logbook, log: Logger) -> None:
    """Exceptions that are each other's cause are shown once."""
    one, two = raised(ValueError("one")), raised(KeyError("two"))
    one.__cause__, two.__cause__ = two, one
    log.error("m", exc_info=one)
    text = book.fields["exception"]["traceback"]
    one.__cause__ = None
    assert text.count("KeyError: 'two'") == 1


def test_a_module_without_a_file(book: Logbook, log: Logger) -> None:
    """Frames whose source is nowhere, or whose loader raises, are shown without it."""

    class Loader:
        def get_source(self, name: str) -> str:
            raise OSError("no source")

    module = types.ModuleType("ghost")
    module.__dict__.update(__loader__=Loader(), __name__="ghost")
    exec(compile("def vanish():\n    raise ValueError('gone')", "<ghost>", "exec"), module.__dict__)
    try:
        module.vanish()
    except ValueError:
        log.exception("m")
    assert "in vanish" in book.fields["exception"]["traceback"]
