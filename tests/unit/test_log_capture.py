"""Warnings and uncaught exceptions, logged beside what Python does with them anyway."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vaultscope import Registry
from vaultscope.logging import CallableSink, Journal, MemorySink, capture_exceptions, capture_warnings


class Log:
    """A journal, and what came of it."""

    def __init__(self) -> None:
        self.journal = Journal(Registry())
        self.sink = MemorySink()
        self.journal.add_sink(self.sink)

    @property
    def records(self) -> list[dict[str, Any]]:
        assert self.journal.flush()
        return self.sink.records

    @property
    def messages(self) -> list[str]:
        return [record["message"] for record in self.records]


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.journal.close()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the hooks that stood there before are called with, in short."""
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *rest, **more: shown.append(str(message)))
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: shown.append(str(error)))
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(str(args.exc_value)))
    monkeypatch.setattr(sys, "unraisablehook", lambda args: shown.append(str(args.exc_value)))
    return shown


def warn(text: str) -> None:
    with warnings.catch_warnings():
        # This puts the hook back that stands there now, and so do those of the tests.
        hook = warnings.showwarning
        warnings.simplefilter("always")
        warnings.showwarning = hook
        warnings.warn(text)


def fail_in_thread(error: BaseException) -> None:
    def work() -> None:
        raise error

    thread = threading.Thread(target=work, name="worker-7")
    thread.start()
    thread.join()


def test_a_warning(log: Log, shown: list[str]) -> None:
    """It is logged with its category and its place, and shown as before."""
    with capture_warnings(log.journal):
        warn("careful")
    (record,) = log.records
    assert (record["level"], record["logger"], record["message"]) == ("warn", "py.warnings", "careful")
    assert (record["category"], record["file"]) == ("UserWarning", __file__)
    assert record["line"] > 0
    assert shown == ["careful"]


def test_a_warning_for_a_file(log: Log, shown: list[str]) -> None:
    """One that is to be written to a file of its own is not logged."""
    with capture_warnings(log.journal):
        warnings.showwarning("careful", UserWarning, "f", 1, file=sys.stderr)
    assert log.records == []
    assert shown == ["careful"]


def test_a_thread(log: Log, shown: list[str]) -> None:
    """An exception that ends a thread is an error, with the thread's name."""
    with capture_exceptions(log.journal):
        fail_in_thread(ValueError("wrong"))
    (record,) = log.records
    assert (record["level"], record["logger"], record["thread_name"]) == (
        "error",
        "py.exceptions",
        "worker-7",
    )
    assert (record["exception"]["type"], record["exception"]["message"]) == ("ValueError", "wrong")
    assert "in work" in record["exception"]["traceback"]
    assert shown == ["wrong"]


def test_an_exception_that_cannot_be_raised(log: Log, shown: list[str]) -> None:
    """One in __del__ is an error, with what failed."""

    class Fails:
        def __del__(self) -> None:
            raise ValueError("wrong")

    with capture_exceptions(log.journal):
        Fails()
    (record,) = log.records
    assert (record["level"], record["exception"]["type"]) == ("error", "ValueError")
    assert "Fails.__del__" in record["object"]
    assert shown == ["wrong"]


def test_the_end_of_the_process(log: Log, shown: list[str]) -> None:
    """What reaches sys.excepthook is fatal."""
    with capture_exceptions(log.journal):
        try:
            raise ValueError("wrong")
        except ValueError as error:
            sys.excepthook(ValueError, error, error.__traceback__)
    (record,) = log.records
    assert (record["level"], record["exception"]["message"]) == ("fatal", "wrong")
    assert "test_the_end_of_the_process" in record["exception"]["traceback"]
    assert shown == ["wrong"]


def test_what_is_no_failure(log: Log, shown: list[str]) -> None:
    """Ctrl-C, and a thread that leaves by SystemExit, are passed on and not logged."""
    with capture_exceptions(log.journal):
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt("c"), None)
        fail_in_thread(SystemExit("s"))
    assert log.records == []
    assert shown == ["c", "s"]


def test_an_object_without_a_repr(log: Log, shown: list[str]) -> None:
    """An object whose repr fails is logged as what can be said of it."""

    class Mute:
        def __repr__(self) -> str:
            raise ValueError

    unraisable = SimpleNamespace(
        exc_type=ValueError,
        exc_value=None,
        exc_traceback=None,
        err_msg="Ignored on it",
        object=Mute(),
    )
    with capture_exceptions(log.journal):
        sys.unraisablehook(unraisable)  # type: ignore[arg-type]
    (record,) = log.records
    assert (record["message"], record["object"]) == ("Ignored on it", "<Mute>")


CAPTURES: list[tuple[Callable[[Journal], Any], Callable[[str], None]]] = [
    (capture_warnings, warn),
    (capture_exceptions, lambda text: sys.excepthook(ValueError, ValueError(text), None)),
    (capture_exceptions, lambda text: fail_in_thread(ValueError(text))),
]


@pytest.mark.parametrize(("capture", "happen"), CAPTURES)
def test_undone(
    log: Log, shown: list[str], capture: Callable[[Journal], Any], happen: Callable[[str], None]
) -> None:
    """Undone, also twice, the hooks are those of before, and nothing is logged; it can be asked for again."""
    before = (warnings.showwarning, sys.excepthook, threading.excepthook, sys.unraisablehook)
    captured = capture(log.journal)
    captured.undo()
    captured.undo()
    assert (warnings.showwarning, sys.excepthook, threading.excepthook, sys.unraisablehook) == before
    happen("one")
    assert log.records == []
    with capture(log.journal):
        happen("two")
    assert len(log.records) == 1
    assert shown == ["one", "two"]


@pytest.mark.parametrize(("capture", "happen"), CAPTURES)
def test_asked_for_twice(
    log: Log, shown: list[str], capture: Callable[[Journal], Any], happen: Callable[[str], None]
) -> None:
    """Asked for again it logs once; undone once it has ended."""
    first = capture(log.journal)
    second = capture(log.journal)
    happen("one")
    first.undo()
    happen("two")
    second.undo()
    assert len(log.records) == 1
    assert shown == ["one", "two"]


def test_somebody_comes_between(log: Log, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that another put before ours stays when ours is undone; asked for again, it logs once."""
    first = capture_exceptions(log.journal)
    ours = sys.excepthook
    seen = []

    def theirs(kind: Any, error: Any, traceback: Any) -> None:
        seen.append(str(error))
        ours(kind, error, traceback)

    monkeypatch.setattr(sys, "excepthook", theirs)
    happen = CAPTURES[1][1]
    happen("a")
    assert len(log.records) == 1
    second = capture_exceptions(log.journal)
    happen("b")
    assert len(log.records) == 2
    second.undo()
    assert sys.excepthook is theirs
    first.undo()
    happen("c")
    assert len(log.records) == 2
    assert seen == shown == ["a", "b", "c"]


def test_two_journals(log: Log, shown: list[str]) -> None:
    """Each journal captures for itself; undone in either order."""
    other = Log()
    first, second = capture_exceptions(log.journal), capture_exceptions(other.journal)
    happen = CAPTURES[1][1]
    happen("both")
    first.undo()
    happen("second")
    second.undo()
    happen("none")
    assert (len(log.records), len(other.records)) == (1, 2)
    assert shown == ["both", "second", "none"]
    other.journal.close()


def test_a_sink_that_warns(log: Log, shown: list[str]) -> None:
    """What a sink's own thread warns of does not come back to it."""
    log.journal.add_sink(
        CallableSink(lambda record: warnings.showwarning("w", UserWarning, "f", 1), name="warns")
    )
    with capture_warnings(log.journal):
        log.journal.get_logger("x").info("m")
        assert log.messages == ["m"]
        assert log.journal.flush()
        assert log.messages == ["m"]
    assert shown == ["w"]


@pytest.mark.parametrize("arguments", [(), (None, None, None), (1, 2, 3, 4, 5)])
def test_called_in_another_way(log: Log, monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...]) -> None:
    """A hook that is called in a way that Python never does calls the one before it all the same."""
    called = []
    monkeypatch.setattr(sys, "excepthook", lambda *args: called.append(args))
    with capture_exceptions(log.journal):
        sys.excepthook(*arguments)
    assert called == [arguments]


@pytest.mark.parametrize("statement", ["1/0", "raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_a_process(tmp_path: Path, statement: str) -> None:
    """What ends a process is in its log file, and on stderr and in its status as it would have been."""
    path = tmp_path / "vault.log"
    setup = (
        "import sys, threading, warnings\n"
        "from vaultscope.logging import *\n"
        "configure(FileSink(sys.argv[1])); capture_warnings(); capture_exceptions()\n"
    )
    rest = (
        "warnings.warn('careful')\n"
        "t = threading.Thread(target=int, args=('x',)); t.start(); t.join()\n"
        f"{statement}\n"
    )
    with_log, without = (
        subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=False, timeout=60
        )
        for code in (setup + rest, "import threading, warnings\n\n\n" + rest)
    )
    assert with_log.returncode == without.returncode
    for words in ("UserWarning: careful", "Exception in thread Thread-", "invalid literal for int()"):
        assert with_log.stderr.count(words) == without.stderr.count(words) == 1
    assert with_log.stderr.splitlines()[-1] == without.stderr.splitlines()[-1]
    found = [json.loads(line) for line in path.read_text().splitlines()]
    expected = ["careful", "Uncaught exception in a thread"]
    assert [record["message"] for record in found] == expected + ["Uncaught exception"] * (statement == "1/0")
