"""Sinks that fail, hang, or act on their journal: what becomes of the records, and of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import pytest
from logbook import parse
from sinks import DEADLINE, Kept, until, value

from vaultscope import DeclarationError
from vaultscope._native._core import Cursor
from vaultscope.core.log_sink import in_sink_thread
from vaultscope.logging import Journal

# ---- sinks that fail ----


def test_a_sink_that_fails(journal: Journal, kept: Kept) -> None:
    """What a failing sink was given it is given again, until it works: nothing is lost, nothing twice. The
    others are told once that it fails, and once that it works again."""
    failing = Kept("failing")
    failing.error = OSError("disk full")
    journal.add_sink(failing)
    log = journal.get_logger()
    log.info("a")
    until(lambda: len(failing.tries) >= 4)
    log.info("b")
    until(lambda: value(journal.registry, "sink.errors", sink="failing") >= 4)
    assert not journal.flush(0.01)
    assert "b" in kept.messages
    assert all(lines == failing.tries[0] for lines in failing.tries)
    (told,) = kept.own
    assert (told["level"], told["message"]) == ("error", "Log sink failed")
    assert (told["sink"], told["error"]) == ("failing", "OSError: disk full")
    failing.error = None
    until(lambda: failing.messages == ["a", "b"])
    until(lambda: len(kept.own) == 2)
    assert (kept.own[1]["message"], kept.own[1]["sink"]) == ("Log sink works again", "failing")
    assert journal.flush()
    assert [record["message"] for record in failing.own] == ["Log sink failed", "Log sink works again"]
    assert value(journal.registry, "sink.errors", sink="kept") == 0


def test_the_back_off_grows(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing sink is tried again after 50 ms at first, then after twice as long, after 5 s at last."""
    pauses: list[float] = []
    enough = threading.Event()

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread().name == "vaultscope-log failing" and timeout is not None:
                pauses.append(timeout)
                if len(pauses) >= 10:
                    enough.set()
                return super().wait(0.001)
            return super().wait(timeout)

    failing = Kept("failing")
    failing.error = OSError()
    monkeypatch.setattr(threading, "Event", Event)
    journal.get_logger().info("m")
    journal.add_sink(failing)
    assert enough.wait(DEADLINE)
    assert pauses[:10] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_another_failure_is_told(journal: Journal, kept: Kept) -> None:
    """A failing sink that begins to fail in another way is told of once more."""
    failing = Kept("failing")
    failing.error = OSError("one")
    journal.add_sink(failing)
    journal.get_logger().info("m")
    until(lambda: len(kept.own) == 1)
    failing.error = OSError("two")
    until(lambda: len(kept.own) == 2)
    assert [record["error"] for record in kept.own] == ["OSError: one", "OSError: two"]


class Textless(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "error",
    [SystemExit(), KeyboardInterrupt(), GeneratorExit(), MemoryError(), Textless(), Exception("x" * 10**6)],
)
def test_a_sink_that_fails_badly(error: BaseException, journal: Journal, kept: Kept) -> None:
    """Whatever a sink raises, its thread lives, and it gets its records once it works."""
    failing = Kept("failing")
    failing.error = error
    journal.add_sink(failing)
    journal.get_logger().info("m")
    until(lambda: kept.own and len(failing.tries) >= 2)
    assert type(error).__name__ in kept.own[0]["error"]
    failing.error = None
    until(lambda: failing.messages == ["m"])


def test_a_sink_that_fails_at_the_end(journal: Journal, kept: Kept) -> None:
    """close() gives a failing sink up after its time; what it missed is counted, the other has all."""
    failing = Kept("failing")
    failing.error = OSError()
    journal.add_sink(failing)
    log = journal.get_logger()
    for _ in range(10):
        log.warn("m")
    until(lambda: failing.tries)
    began = time.monotonic()
    assert not journal.close(0.2)
    assert time.monotonic() - began < 5
    assert failing.closed == [True] and kept.messages == ["m"] * 10
    assert value(journal.registry, "missed", sink="failing", level="warn") == 10
    assert value(journal.registry, "written", sink="kept", level="warn") == 10


def test_a_sink_whose_close_fails(journal: Journal, kept: Kept) -> None:
    """A close() that raises makes the journal's false; it is counted, and nothing else happens."""

    class Closing(Kept):
        def close(self) -> None:
            raise OSError("at the end")

    sink = Closing("closing")
    journal.add_sink(sink)
    assert not journal.remove_sink(sink)
    assert value(journal.registry, "sink.errors", sink="closing") == 1
    until(lambda: kept.own)
    assert kept.own[0]["error"] == "OSError: at the end"


# ---- sinks that hang ----


def test_a_sink_that_hangs(journal: Journal, kept: Kept) -> None:
    """While a sink hangs the others go on, and flush() and close() return in time, with what is true. When it
    comes back it clears up, and its name is free."""
    hanging = Kept("hanging")
    hanging.gate.clear()
    journal.add_sink(hanging)
    log = journal.get_logger()
    log.info("a")
    assert hanging.waits.wait(DEADLINE)
    log.info("b")
    until(lambda: kept.messages == ["a", "b"])
    began = time.monotonic()
    assert not journal.flush(0.05)
    assert not journal.close(0.05)
    assert time.monotonic() - began < 5
    assert (kept.closed, hanging.closed, journal.sinks) == ([True], [], ())
    (thread,) = hanging.threads
    assert thread.is_alive()
    hanging.gate.set()
    thread.join(DEADLINE)
    assert hanging.closed == [True] and hanging.messages == ["a"]
    assert value(journal.registry, "missed", sink="hanging", level="info") == 1
    again = Kept("hanging")
    journal.add_sink(again)
    log.info("c")
    assert journal.flush()
    assert again.messages[-1] == "c"


def test_removing_a_sink_that_hangs(journal: Journal, kept: Kept) -> None:
    """A sink that hangs may be removed; what it never took holds nobody up afterwards."""
    hanging = Kept("hanging")
    hanging.gate.clear()
    journal.add_sink(hanging)
    log = journal.get_logger()
    log.info("a")
    assert hanging.waits.wait(DEADLINE)
    assert not journal.remove_sink(hanging, 0.01)
    with pytest.raises(DeclarationError):
        journal.remove_sink(hanging)
    hanging.gate.set()
    (thread,) = hanging.threads
    thread.join(DEADLINE)
    log.info("b")
    assert journal.flush()
    assert kept.messages == ["a", "b"]


# ---- sinks that use the journal ----


def test_in_sink_thread(journal: Journal) -> None:
    """A sink can tell that it is at work."""
    seen = []

    class Looks(Kept):
        def write(self, lines: bytes, records: Mapping[str, int]) -> None:
            seen.append(in_sink_thread())

    journal.add_sink(Looks())
    journal.get_logger().info("m")
    assert journal.flush()
    assert set(seen) == {True} and not in_sink_thread()


def test_a_sink_that_logs(journal: Journal) -> None:
    """A sink that logs a record for a record gets it back: it may do so once, and is not held up."""

    class Logs(Kept):
        def write(self, lines: bytes, records: Mapping[str, int]) -> None:
            super().write(lines, records)
            if b'"first"' in lines:
                journal.get_logger().info("second")

    sink = Logs()
    journal.add_sink(sink)
    journal.get_logger().info("first")
    until(lambda: sink.messages == ["first", "second"])


@pytest.mark.parametrize("act", ["remove_sink", "close", "flush", "add_sink"])
def test_a_sink_that_acts_on_its_journal(act: str, journal: Journal) -> None:
    """A sink may remove itself, close, flush and extend its own journal: nothing waits for itself."""
    results: list[object] = []

    class Acts(Kept):
        def write(self, lines: bytes, records: Mapping[str, int]) -> None:
            super().write(lines, records)
            if not results:
                results.append(
                    {
                        "remove_sink": lambda: journal.remove_sink(self, 0.1),
                        "close": lambda: journal.close(0.1),
                        "flush": lambda: journal.flush(0.01),
                        "add_sink": lambda: journal.add_sink(Kept("another")),
                    }[act]()
                )

    sink = Acts("acting")
    journal.add_sink(sink)
    journal.get_logger().info("m")
    until(lambda: results)
    assert results == [None if act == "add_sink" else False]
    if act in ("remove_sink", "close"):
        (thread,) = sink.threads
        thread.join(DEADLINE)
        assert (sink.closed, journal.sinks) == ([True], ())
    assert sink.messages == ["m"]


def test_a_sink_with_a_step_of_its_own(journal: Journal) -> None:
    """A sink may drain as it likes: take in parts, give up, or take again what was not done."""
    seen: list[bytes] = []

    class Steps(Kept):
        def step(self, cursor: Cursor) -> None:
            cursor.wait(0.05)
            batch = cursor.take(1)
            if batch is None:
                return
            again = cursor.take(1)
            assert again is not None and again.lines == batch.lines
            if b"drop" in batch.lines:
                cursor.drop()
            else:
                seen.append(batch.lines)
                cursor.done()

    journal.add_sink(Steps("steps"))
    log = journal.get_logger()
    for message in ("a", "drop", "b"):
        log.info(message)
    assert journal.flush()
    assert [parse(line)["message"] for line in seen][:2] == ["a", "b"]
    journal.close()
    (told,) = (parse(line) for line in seen[2:])
    assert (told["message"], told["missed"]) == ("Log records missed", {"info": 1})
    assert value(journal.registry, "written", sink="steps", level="info") == 2
    assert value(journal.registry, "missed", sink="steps", level="info") == 1


def test_a_sink_that_drops_all(journal: Journal, kept: Kept) -> None:
    """A sink that gives everything up, what is told of that included, is told of once."""

    class Drops(Kept):
        def step(self, cursor: Cursor) -> None:
            cursor.wait(0.05)
            if cursor.take() is not None:
                cursor.drop()

    journal.add_sink(Drops("drops"))
    journal.get_logger().info("m")
    until(lambda: kept.own)
    journal.get_logger().info("n")
    assert journal.close()
    assert len(kept.own) <= 2
