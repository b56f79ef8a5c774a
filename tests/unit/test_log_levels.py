"""Levels: by a logger's name, by the environment, and for a context."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from logbook import Logbook

from vaultscope import DeclarationError
from vaultscope._native import _core
from vaultscope.logging import LEVELS, Logger, configure, get_logger, level, set_level

NAMES = ("", "cas", "cas.gc", "cas.gc.sweep", "case", "soup")


@pytest.fixture(autouse=True)
def unset() -> Iterator[None]:
    """After a test no name has a level of its own."""
    yield
    for name in NAMES:
        set_level(None, name)


def threshold(log: Logger) -> str:
    """The lowest level that passes, or "off"."""
    passing = [level for level in LEVELS if log.enabled(level)]
    assert passing == list(LEVELS[len(LEVELS) - len(passing) :])
    return passing[0] if passing else "off"


def thresholds(*names: str) -> list[str]:
    return [threshold(get_logger(name)) for name in names]


class Unseen:
    """It fails the test if anybody looks at it."""

    looks = 0

    def __getattribute__(self, name: str) -> object:
        Unseen.looks += 1
        return super().__getattribute__(name)

    def __repr__(self) -> str:
        Unseen.looks += 1
        return "seen"

    __str__ = __repr__


def test_the_default_is_info(log: Logger) -> None:
    """Where nothing was set, info and what is above it passes."""
    assert threshold(log) == "info"


def test_levels_are_in_order() -> None:
    """Six levels, from trace to fatal; their numbers are their places, and off is above them."""
    assert LEVELS == ("trace", "debug", "info", "warn", "error", "fatal")
    assert [_core.log_level_number(name) for name in (*LEVELS, "off")] == list(range(7))
    assert [_core.log_level_number(name) for name in ("WARNING", "Critical")] == [3, 5]


@pytest.mark.parametrize("name", ["trace", "debug", "info", "warn", "error", "fatal"])
def test_each_level(name: str, book: Logbook) -> None:
    """At each level, what is below is not logged, and what is not, is."""
    set_level(name, "cas")
    log = book.logger("cas")
    assert threshold(log) == name
    for each in LEVELS:
        getattr(log, each)("m")
        log.log(each, "m")
    assert [r["level"] for r in book.records] == [
        each for each in LEVELS[LEVELS.index(name) :] for _ in range(2)
    ]


def test_off(book: Logbook) -> None:
    """At off nothing is logged, not even what is fatal or of an unknown level."""
    set_level("off", "cas")
    log = book.logger("cas")
    log.fatal("m")
    log.exception("m")
    log.log("nonsense", "m")
    assert (book.records, threshold(log)) == ([], "off")


def test_below_its_level_a_call_costs_no_record(book: Logbook, log: Logger) -> None:
    """What is below the level is neither looked at nor counted, whatever the method."""
    for logger in (log, log.limited(1), log.sampled(2), log.bind(a=1)):
        logger.debug(Unseen(), a=Unseen(), exc_info=Unseen())
        logger.trace(Unseen(), Unseen())
        logger.log("debug", Unseen(), a=Unseen())
        set_level("off", "test")
        logger.exception(Unseen(), a=Unseen())
        logger.log("nonsense", Unseen())
        set_level(None, "test")
    assert Unseen.looks == 0
    assert book.records == []
    for name in LEVELS:
        assert [book.count(what, name) for what in ("records", "dropped", "suppressed")] == [0, 0, 0]


# ---- by name ----


def test_names_follow_what_is_above_them() -> None:
    """A logger has the level of the longest name above it that has one, by dots; the root is above all."""
    set_level("warn")
    assert thresholds("", "cas", "cas.gc", "case") == ["warn"] * 4
    set_level("debug", "cas")
    assert thresholds("", "cas", "cas.gc", "cas.gc.sweep", "case") == ["warn", *["debug"] * 3, "warn"]
    set_level("error", "cas.gc")
    assert thresholds("cas", "cas.gc", "cas.gc.sweep") == ["debug", "error", "error"]
    set_level("trace", "cas")
    assert thresholds("cas", "cas.gc") == ["trace", "error"]


def test_unset() -> None:
    """A name whose level is taken back follows the name above it again; the root goes back to info."""
    set_level("debug", "cas")
    set_level("error", "cas.gc")
    set_level(None, "cas.gc")
    assert thresholds("cas.gc") == ["debug"]
    set_level(None, "cas")
    set_level("fatal")
    assert thresholds("cas", "cas.gc") == ["fatal"] * 2
    set_level(None)
    assert thresholds("", "cas") == ["info"] * 2
    set_level(None, "a name that was never set")


def test_loggers_there_are_follow_at_once(book: Logbook) -> None:
    """A change reaches loggers, bound loggers and bound methods that were made before it."""
    log = book.logger("cas.gc")
    bound, method = log.bind(a=1), log.debug
    method("no")
    set_level("debug", "cas")
    method("m")
    bound.debug("m")
    set_level(None, "cas")
    method("no")
    assert [record["message"] for record in book.records] == ["m", "m"]


def test_a_level_that_is_none() -> None:
    """Where a level is declared, one that is none is refused, and nothing changes."""
    for wrong in ("", "loud", "in fo", " info", "20", "debugg", "inf", "info\0"):
        with pytest.raises(DeclarationError, match="trace, debug, info, warn, error, fatal, off"):
            set_level(wrong, "cas")
        with pytest.raises(DeclarationError):
            level(wrong)
        with pytest.raises(DeclarationError):
            get_logger("cas").enabled(wrong)
    for wrong in (20, b"info", ["info"]):
        with pytest.raises((TypeError, DeclarationError)):
            set_level(wrong, "cas")  # type: ignore[arg-type]
        with pytest.raises((TypeError, DeclarationError)):
            level(wrong)  # type: ignore[arg-type]
    assert thresholds("cas") == ["info"]


def test_several_at_once() -> None:
    """configure() takes several levels in one text, and refuses a part that is none."""
    configure(level=" warn , cas = debug,cas.gc=off,, ")
    assert thresholds("", "cas", "cas.gc", "soup") == ["warn", "debug", "off", "warn"]
    with pytest.raises(DeclarationError, match="no level"):
        configure(level="cas=loud,soup=trace")
    assert thresholds("cas", "soup") == ["debug", "trace"]


# ---- by the environment ----


@pytest.mark.parametrize(
    "settings, seen",
    [
        (None, "info info info info"),
        ("", "info info info info"),
        ("debug", "debug debug debug debug"),
        ("WARNING,cas=debug", "warn debug debug warn"),
        ("cas.gc=trace,cas=fatal,error", "error fatal trace error"),
        ("cas=off", "info off off info"),
        ("loud,=,cas,cas=,=debug,cas=very=trace,soup=warn", "debug debug debug warn"),
        ("\udcff=\udcff,,,,x", "info info info info"),
        ("cas=debug,cas=error", "info error error info"),
    ],
)
def test_the_environment(settings: str | None, seen: str) -> None:
    """VAULTSCOPE_LOG_LEVEL is read at the first use; parts that are none are passed over, never fatal."""
    program = """
from vaultscope.logging import LEVELS, get_logger
for name in ("", "cas", "cas.gc", "soup"):
    print(([level for level in LEVELS if get_logger(name).enabled(level)] or ["off"])[0], end=" ")
"""
    environment = {} if settings is None else {"VAULTSCOPE_LOG_LEVEL": settings}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (seen, "")


def test_the_program_goes_before_the_environment() -> None:
    """What the program sets before the first logger is not undone by the environment."""
    program = """
from vaultscope.logging import get_logger, set_level
set_level("debug", "cas")
print(get_logger("cas").enabled("debug"), get_logger("soup").enabled("debug"))
"""
    environment = {"VAULTSCOPE_LOG_LEVEL": "fatal,cas=error"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True False\n", "")


# ---- for a context ----


def test_a_context(log: Logger) -> None:
    """Within the block its level goes before that of the logger, whichever is lower; then it is undone."""
    with level("debug"):
        assert threshold(log) == "debug"
        with level("error"):
            assert threshold(log) == "error"
            with level("off"):
                assert threshold(log) == "off"
        assert threshold(log) == "debug"
    assert threshold(log) == "info"


def test_a_context_that_raises(log: Logger) -> None:
    """An exception leaves the block as it came, and the level is undone."""
    with pytest.raises(ZeroDivisionError), level("debug"):
        raise ZeroDivisionError
    assert threshold(log) == "info"


def test_one_block_again(log: Logger) -> None:
    """One object may be entered again, and within itself."""
    block = level("debug")
    with block, level("error"), block:
        assert threshold(log) == "debug"
    with block:
        assert threshold(log) == "debug"
    assert threshold(log) == "info"


def test_set_level_within_a_context(log: Logger) -> None:
    """What is set meanwhile holds once the block is over."""
    with level("debug"):
        set_level("fatal")
        assert threshold(log) == "debug"
    assert threshold(log) == "fatal"


def test_other_threads_have_their_own(log: Logger) -> None:
    """A thread is not in the block of another, unless it runs in its context."""
    with level("debug"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(threshold, log).result() == "info"
        context = contextvars.copy_context()
        assert pool.submit(context.run, threshold, log).result() == "debug"
    assert context.run(threshold, log) == "debug"  # a copy stays as it was


def test_threads_that_share_a_block(log: Logger) -> None:
    """One object may be used by many threads at once, in any order: each gets its own level back."""
    block = level("debug")
    inside, outside = threading.Barrier(2), threading.Barrier(2)
    seen: list[str] = []

    def first() -> None:
        with block:
            inside.wait()
        seen.append(threshold(log))
        outside.wait()

    def second() -> None:
        with block:
            inside.wait()
            outside.wait()
        seen.append(threshold(log))

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["info", "info"]


def test_tasks(log: Logger) -> None:
    """A task takes over the level of who starts it; its own blocks are its own, though they overlap."""
    shared = level("trace")

    async def task(name: str, turns: int) -> list[str]:
        seen = [threshold(log)]
        with level(name) if name else shared:
            for _ in range(turns):
                await asyncio.sleep(0)
            seen.append(threshold(log))
        return [*seen, threshold(log)]

    async def main() -> list[list[str]]:
        with level("debug"):
            tasks = [
                asyncio.create_task(task(name, turns))
                for name, turns in (("error", 3), ("warn", 1), ("", 4), ("", 2))
            ]
        assert threshold(log) == "info"
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [
        ["debug", "error", "debug"],
        ["debug", "warn", "debug"],
        ["debug", "trace", "debug"],
        ["debug", "trace", "debug"],
    ]


def generator(name: str) -> Iterator[None]:
    with level(name):
        yield


def test_generators_that_end_in_another_order(log: Logger) -> None:
    """Blocks of generators overlap as they like: what is left is what is still open."""
    first, second = generator("debug"), generator("error")
    next(first)
    next(second)
    assert threshold(log) == "error"
    next(first, None)
    assert threshold(log) == "error"
    next(second, None)
    assert threshold(log) == "info"


def test_a_generator_closed_elsewhere(log: Logger) -> None:
    """A block that ends in another context, or thread, than it began in undoes nothing there, and raises
    nothing."""
    began = contextvars.copy_context()
    one = generator("debug")
    began.run(next, one)
    with level("error"):
        one.close()
        assert threshold(log) == "error"
    other = generator("debug")
    began.run(next, other)
    thread = threading.Thread(target=other.close)
    thread.start()
    thread.join()
    assert threshold(log) == "info"


def test_an_asynchronous_generator(log: Logger) -> None:
    """An asynchronous generator that is closed by the event loop does no harm to the level of others."""

    async def numbers() -> AsyncIterator[int]:
        with level("debug"):
            for i in range(3):
                yield i

    async def main() -> str:
        async for _ in numbers():
            break
        return threshold(log)

    assert asyncio.run(main()) in ("debug", "info")
    assert threshold(log) == "info"


def test_exit_without_enter(log: Logger) -> None:
    """A block that was never entered has nothing to undo."""
    with level("debug"):
        level("error").__exit__(None, None, None)
        assert threshold(log) == "debug"
    level("error").__exit__(None, None, None)
    assert threshold(log) == "info"
