"""What a logger adds to its records: fields that are bound, the current span, and the vault."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Iterator

import pytest
from logbook import Logbook

from vaultscope import DeclarationError
from vaultscope.logging import LEVELS, Logger, SpanContext, current_span, set_vault


@pytest.fixture
def vault() -> Iterator[None]:
    """Records name no vault after the test."""
    yield
    set_vault("")


class Odd:
    """An object whose text is what it is told to be, or raises."""

    def __init__(self, text: object) -> None:
        self.text = text

    def __repr__(self) -> str:
        if isinstance(self.text, BaseException):
            raise self.text
        return self.text  # type: ignore[return-value]


# ---- bind ----


def test_bind(book: Logbook, log: Logger) -> None:
    """Fields that are bound are in each record; those of the call, and those bound later, go before."""
    outer = log.bind(a=1, b=2)
    inner = outer.bind(b=3, c=4)
    inner.info("m", c=5, d=6)
    outer.info("m")
    log.info("m")
    first, second, third = book.records
    assert {name: first[name] for name in "abcd"} == {"a": 1, "b": 3, "c": 5, "d": 6}
    assert {name: second.get(name) for name in "abc"} == {"a": 1, "b": 2, "c": None}
    assert not set("abcd") & set(third)


def test_bind_takes_a_value_once(book: Logbook, log: Logger) -> None:
    """What is bound is as it was then."""
    value: list[int] = [1]
    bound = log.bind(value=value)
    value.append(2)
    bound.info("m")
    assert book.record["value"] == [1]


def test_bind_of_nothing(book: Logbook, log: Logger) -> None:
    """bind() without fields changes nothing."""
    log.bind(a=1).bind().bind().info("m")
    assert book.fields == {"a": 1}


def test_bind_of_odd_values(book: Logbook, log: Logger) -> None:
    """Hostile values may be bound, too; what is no Exception goes through."""
    log.bind(a=Odd(ValueError()), b="\ud800", c=float("nan"), d={1: 2}, e=b"\xff").info("m")
    fields = book.fields
    assert (fields["b"], fields["c"], fields["d"], fields["e"]) == ("\ufffd", "NaN", {"1": 2}, "ff")
    with pytest.raises(KeyboardInterrupt):
        log.bind(a=Odd(KeyboardInterrupt()))


def test_bind_again_and_again(book: Logbook, log: Logger) -> None:
    """A name that is bound over and over takes room once: its last value is there, and so are all others."""
    bound = log.bind(first=1)
    for i in range(20_000):
        bound = bound.bind(turn=i, text="x" * 100)
    bound.info("m", last=2)
    assert book.fields == {"first": 1, "turn": 19_999, "text": "x" * 100, "last": 2}


def test_bind_of_odd_names_again(book: Logbook, log: Logger) -> None:
    """The same goes for names that are not plain."""
    names = ["", "é", "\ud800", "x" * 255, "time", "a b"]
    bound = log
    for i in range(2000):
        bound = bound.bind(**dict.fromkeys(names, i))
    bound.info("m")
    assert set(book.fields.values()) == {1999}


def test_bind_more_than_has_room(book: Logbook, log: Logger) -> None:
    """What has no room among the bound fields is counted in each line; what is bound once more is there."""
    bound = log.bind(**{f"key{i}": "v" * 100 for i in range(1000)})
    bound.info("m", last=1)
    fields = book.fields
    shown = sum(name.startswith("key") for name in fields)
    assert shown > 200
    assert fields["omitted"] == 1000 - shown + ("last" not in fields)
    assert set(fields) - {f"key{i}" for i in range(1000)} <= {"last", "omitted", "truncated"}
    bound.bind(key0=1, key1=2).info("m")
    fields = book.fields
    assert (fields["key0"], fields["key1"]) == (1, 2)


def test_bound_loggers_share_the_name_and_level(log: Logger) -> None:
    """A bound logger has the name, and follows the level, of the one that it came from."""
    bound = log.bind(a=1)
    assert bound.name == log.name
    assert [bound.enabled(level) for level in LEVELS] == [log.enabled(level) for level in LEVELS]


def test_bound_loggers_outlive_the_first(book: Logbook) -> None:
    """A bound logger works after the one that it came from is gone."""
    native = book.journal.native
    bound = native.logger("gone").bind(a=1).bind(b=2)
    limited = bound.limited(10)
    gc.collect()
    others = [native.logger(f"other{i}") for i in range(1000)]
    bound.info("m")
    limited.info("m")
    assert [record["logger"] for record in book.records] == ["gone", "gone"]
    assert len(others) == 1000


# ---- spans and the vault ----


def test_the_current_span(book: Logbook, log: Logger) -> None:
    """Within a span, records carry its ids: 32 and 16 hexadecimal digits."""
    token = current_span.set(SpanContext(0xABC, 0x1))
    log.info("m")
    current_span.reset(token)
    log.info("m")
    inside, outside = book.records
    assert inside["trace_id"] == "00000000000000000000000000000abc"
    assert inside["span_id"] == "0000000000000001"
    assert not {"trace_id", "span_id"} & set(outside)


def test_ids_at_their_limits(book: Logbook, log: Logger) -> None:
    """Ids of 128 and 64 bits are whole; one of 0, which is none, or that is no such number, is refused."""
    for trace, span in ((2**128 - 1, 2**64 - 1), (2**127, 2**63), (1 << 64, 1), (1, 5)):
        context = SpanContext(trace, span)
        assert (context.trace_id, context.span_id) == (trace, span)
        token = current_span.set(context)
        log.info("m")
        current_span.reset(token)
        record = book.record
        assert record["trace_id"] == f"{trace:032x}"
        assert record["span_id"] == f"{span:016x}"
    assert repr(SpanContext(1, 2)) == f"SpanContext(0x{1:032x}, 0x{2:016x})"
    for wrong in (("1", 2), (1, "2"), (1, 2**64), (1, -1), (None, None), (0, 1), (1, 0), (2**128, 1)):
        with pytest.raises(DeclarationError, match="128 bits"):
            SpanContext(*wrong)  # type: ignore[arg-type]


def test_a_span_that_is_none(book: Logbook, log: Logger) -> None:
    """Whatever else lies in the variable is passed over."""
    for value in (None, 5, "span", object(), SpanContext):
        token = current_span.set(value)  # type: ignore[arg-type]
        log.info("m")
        current_span.reset(token)
    assert [record.get("trace_id") for record in book.records] == [None] * 5


def test_spans_of_tasks_and_threads(book: Logbook, log: Logger) -> None:
    """Each task has the span of its own context, and a thread has none unless it is given one."""

    async def task(i: int) -> None:
        current_span.set(SpanContext(i, i))
        for _ in range(3):
            log.info("m", i=i)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*[task(i) for i in range(1, 6)])

    asyncio.run(main())
    records = book.records
    assert len(records) == 15
    assert all(int(record["trace_id"], 16) == record["i"] for record in records)

    current = contextvars.copy_context()
    current.run(current_span.set, SpanContext(7, 8))
    for work in (lambda: log.info("m"), lambda: current.run(log.info, "m")):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert [record.get("span_id") for record in book.records] == [None, f"{8:016x}"]


def test_the_vault(book: Logbook, log: Logger, vault: None) -> None:
    """Once the vault has a name, records say it; "" takes it back; a long one is refused."""
    set_vault("soup-é\n\ud800")
    log.info("m")
    set_vault("")
    log.info("m")
    first, second = book.records
    assert first["vault"] == "soup-é\n\ufffd" and "vault" not in second
    set_vault("x" * 255)
    with pytest.raises(DeclarationError):
        set_vault("x" * 256)
    log.info("m")
    assert book.record["vault"] == "x" * 255
