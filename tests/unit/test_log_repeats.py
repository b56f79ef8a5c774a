"""What is repeated: limited() and sampled(), and what they hold back."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from logbook import Logbook

from vaultscope import DeclarationError
from vaultscope.logging import Logger, set_level

LONG = 1e9  # seconds: no period ends while a test runs
MESSAGES_MAX = 1024  # that are told apart


def suppressed(book: Logbook) -> list[Any]:
    """Of each record since it was last asked, what it says of those before it."""
    return [record.get("suppressed") for record in book.records]


# ---- limited ----


@pytest.mark.parametrize("count", [1, 3, 100, 2**32 - 1])
def test_limited(count: int, book: Logbook, log: Logger) -> None:
    """So many of a message pass within the period, and the others are counted."""
    calls = 250
    limited = log.limited(count, LONG)
    for _ in range(calls):
        limited.info("m")
    passed = min(count, calls)
    assert suppressed(book) == [None] * passed
    assert book.count("suppressed") == calls - passed
    assert book.count("records") == passed


def test_the_next_period(book: Logbook, log: Logger) -> None:
    """With each period messages pass again, and the first says how many did not: none is forgotten."""
    limited = log.limited(2, 1e-6)
    calls = 20_000
    for _ in range(calls):
        limited.info("m")
    told = suppressed(book)
    total = book.count("suppressed")
    assert len(told) + total == calls
    left = total - sum(n or 0 for n in told)
    assert left >= 0
    limited = log.limited(1, 1e-6)
    for _ in range(calls):
        limited.info("m")
    assert len(suppressed(book)) + book.count("suppressed") - total == calls


def test_messages_are_told_apart(book: Logbook, log: Logger) -> None:
    """Each message has a count of its own, whatever its fields and its level."""
    limited = log.limited(2, LONG)
    for i in range(10):
        limited.info("a", turn=i)
        limited.error("b", turn=i)
        limited.warn("a", turn=i)
    records = book.records
    assert [(r["message"], r["level"], r["turn"]) for r in records] == [
        ("a", "info", 0),
        ("b", "error", 0),
        ("a", "warn", 0),
        ("b", "error", 1),
    ]
    assert [book.count("suppressed", level) for level in ("info", "warn", "error")] == [9, 9, 8]


def test_equal_messages_are_one(book: Logbook, log: Logger) -> None:
    """Messages are told apart by their text, not by their identity."""
    limited = log.limited(1, LONG)
    for i in range(5):
        limited.info("".join(["m", str(i % 2)]))
    assert [record["message"] for record in book.records] == ["m0", "m1"]


def test_what_is_below_the_level_does_not_count(book: Logbook, log: Logger) -> None:
    """A call below the level uses nothing up."""
    limited = log.limited(1, LONG)
    for _ in range(5):
        limited.debug("m")
    limited.info("m")
    assert suppressed(book) == [None]
    assert book.count("suppressed", "debug") == 0


def test_more_messages_than_are_told_apart(book: Logbook, log: Logger) -> None:
    """After a thousand and twenty-four messages, those that come new share one count."""
    limited = log.limited(1, LONG)
    for turn in range(2):
        for i in range(MESSAGES_MAX + 500):
            limited.info(f"m{i}")
        messages = [record["message"] for record in book.records]
        assert messages == ([f"m{i}" for i in range(MESSAGES_MAX + 1)] if turn == 0 else [])
    assert book.count("suppressed") == 499 + MESSAGES_MAX + 500


class Hashless:
    """A message whose hash, or whose comparison, raises."""

    def __init__(self, error: BaseException | None = None, equal: BaseException | None = None) -> None:
        self.error, self.equal = error, equal

    def __hash__(self) -> int:
        if self.error is not None:
            raise self.error
        return 7

    def __eq__(self, other: object) -> bool:
        if self.equal is not None:
            raise self.equal
        return self is other

    def __str__(self) -> str:
        return "odd"


def test_messages_without_a_hash(book: Logbook, log: Logger) -> None:
    """Messages that cannot be looked up share one count; none is lost unseen."""
    limited = log.limited(2, LONG)
    odd = [[1], {}, Hashless(ValueError()), Hashless(RecursionError()), None]
    for message in odd:
        limited.info(message)
    limited.info(Hashless(equal=ValueError()))
    limited.info(Hashless(equal=ValueError()))
    records = book.records
    assert [record["message"] for record in records] == ["[1]", "{}", "odd"]
    assert (book.count("suppressed"), book.count("dropped")) == (4, 0)
    with pytest.raises(KeyboardInterrupt):
        limited.info(Hashless(KeyboardInterrupt()))


def test_any_message_may_be_limited(book: Logbook, log: Logger) -> None:
    """Texts beyond ASCII, bytes, numbers and no message at all are messages, too."""
    limited = log.limited(1, LONG)
    for _ in range(3):
        for message in ("é", "\ud800", b"b", 5, (1, 2)):
            limited.info(message)
        limited.info()  # type: ignore[call-arg]
    assert [record["message"] for record in book.records] == ["é", "\ufffd", "b", "5", "(1, 2)", ""]


def test_each_limited_logger_counts_for_itself(book: Logbook, log: Logger) -> None:
    """Two limited loggers do not share counts; those bound from one do."""
    one, other = log.limited(1, LONG), log.limited(1, LONG)
    bound = one.bind(a=1)
    for logger in (one, bound, other, log, log):
        logger.info("m")
    assert len(book.records) == 4


def test_the_last_limit_holds(book: Logbook, log: Logger) -> None:
    """A limit on a limited logger takes the place of the first."""
    limited = log.limited(1, LONG).limited(3, LONG)
    sampled = log.limited(1, LONG).sampled(2)
    for _ in range(6):
        limited.info("a")
        sampled.info("b")
    assert [record["message"] for record in book.records] == ["a", "b", "a", "a", "b", "b"]


def test_limits_hold_for_every_method(book: Logbook, log: Logger) -> None:
    """log(), exception() and the aliases are limited, too; an unknown level is no way around it."""
    limited = log.limited(1, LONG)
    for _ in range(3):
        limited.log("warn", "a")
        limited.exception("b")
        limited.critical("c")
        limited.log("nonsense", "d")
    assert [record["message"] for record in book.records] == ["a", "b", "c", "d"]


def test_a_field_of_that_name(book: Logbook, log: Logger) -> None:
    """What is said of those held back goes before a field of the caller's of the same name."""
    sampled = log.sampled(3)
    for _ in range(4):
        sampled.info("m", suppressed="mine")
    assert suppressed(book) == ["mine", 2]


def test_held_back_records_look_at_nothing(book: Logbook, log: Logger) -> None:
    """The fields of what is held back are not looked at."""
    looks = 0

    class Looked:
        def __repr__(self) -> str:
            nonlocal looks
            looks += 1
            return "seen"

    limited = log.limited(2, LONG)
    for _ in range(10):
        limited.info("m", x=Looked())
    assert looks == len(book.records) == 2


@pytest.mark.parametrize(
    "count, seconds",
    [(0, 1), (-1, 1), (2**32, 1), (1.5, 1), ("1", 1), (None, 1), (1, 0), (1, -1), (1, 1e-7), (1, 1e10)],
)
def test_limits_that_are_none(count: Any, seconds: float, log: Logger) -> None:
    """A count below one, or a period that is none, is refused."""
    with pytest.raises(DeclarationError):
        log.limited(count, seconds)
    with pytest.raises((DeclarationError, TypeError)):
        log.limited(1, "1")  # type: ignore[arg-type]
    with pytest.raises(DeclarationError):
        log.limited(1, float("nan"))


# ---- sampled ----


@pytest.mark.parametrize("every", [1, 2, 10, 1000])
def test_sampled(every: int, book: Logbook, log: Logger) -> None:
    """The first of each message passes, and each so-manyth after it, with how many did not."""
    sampled = log.sampled(every)
    for i in range(2500):
        sampled.info("a", turn=i)
        sampled.info("b")
    records = [record for record in book.records if record["message"] == "a"]
    assert [record["turn"] for record in records] == list(range(0, 2500, every))
    assert [record.get("suppressed") for record in records] == [
        None,
        *[every - 1 if every > 1 else None] * (len(records) - 1),
    ]
    assert book.count("suppressed") == 2 * (2500 - len(records))


@pytest.mark.parametrize("every", [0, -1, 2**32, 1.5, "1", None])
def test_samples_that_are_none(every: Any, log: Logger) -> None:
    """A sampling of less than one is refused."""
    with pytest.raises(DeclarationError):
        log.sampled(every)


# ---- threads, and life ----


def test_threads_share_a_limit(book: Logbook, log: Logger) -> None:
    """However many threads log, exactly so many records pass, and all others are counted."""
    limited, sampled = log.limited(7, LONG), log.sampled(10)
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for i in range(1000):
            limited.info(f"limited {i % 3}")
            sampled.info("sampled")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = book.records
    assert sum(record["message"] == "sampled" for record in records) == 800
    assert sum(record.get("suppressed", 0) for record in records) == 799 * 9
    assert len(records) == 800 + 3 * 7
    assert book.count("suppressed") + len(records) == 16_000


def test_a_limit_does_not_keep_a_cycle_alive(book: Logbook) -> None:
    """A message that leads back to its logger is freed with it."""

    class Message:
        logger: Logger

    message = Message()
    message.logger = book.logger("cycle").limited(1, LONG)
    message.logger.info(message)
    gone = weakref.ref(message)
    del message
    gc.collect()
    assert gone() is None


def test_levels_are_looked_at_first(book: Logbook) -> None:
    """A limited logger follows its name's level as any other."""
    limited = book.logger("repeats").limited(1, LONG)
    set_level("off", "repeats")
    limited.fatal("m")
    set_level(None, "repeats")
    limited.fatal("m")
    assert suppressed(book) == [None]
