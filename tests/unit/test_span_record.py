"""A span as plain data: exact where it can be, bounded and strict JSON whatever is in it."""

from __future__ import annotations

import datetime
import enum
import json
import math
import threading
import uuid
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from spans import (
    HOSTILE,
    START_NS,
    BadError,
    Endless,
    Exits,
    Nameless,
    Raises,
    attributes,
    cycle,
    events,
    root,
    span,
)

from vaultscope.core.json_codec import dumps
from vaultscope.edge.log_source import BLOCK_BYTES
from vaultscope.edge.span_record import cut_text, span_record, split_traces


def refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def plain(value: object, **options: Any) -> Any:
    """What becomes of an attribute."""
    return span_record(span(attributes={"key": value}), **options)["attributes"]["key"]


def exception_event(error: BaseException) -> dict[str, Any]:
    """What becomes of the event that `Span.error` makes."""
    event = {"time_ns": START_NS, "name": "exception", "attributes": {"exception": error, "more": 1}}
    given: dict[str, Any] = span_record(span(events=[event]))["events"][0]["attributes"]
    return given


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (-(2**70), -(2**70)),
        (1.5, 1.5),
        (math.nan, None),
        (math.inf, None),
        ("é", "é"),
        ("a\ud800b", "a\ufffdb"),
        (Text("own"), "own"),
        (b"\x01\xff", "01ff"),
        (bytearray(b"\x01"), "01"),
        (memoryview(b"1234")[::2], "3133"),
        (Colour.RED, "red"),
        (Path("a/b"), "a/b"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime.date(2026, 1, 31), "2026-01-31"),
        ((1, [b"\x02"]), [1, ["02"]]),
        (frozenset({3}), [3]),
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "null": "b", "(1, 2)": "c"}),
        (ValueError("bad"), {"type": "ValueError", "message": "bad"}),
    ],
)
def test_values(value: object, expected: object) -> None:
    """An attribute becomes what the JSON codec makes of it."""
    assert plain(value) == expected


def test_exact() -> None:
    """For a format that has words for them, bytes and odd floats stay what they are."""
    assert plain(b"\x01", exact=True) == b"\x01"
    assert plain(memoryview(b"1234")[::2], exact=True) == b"13"
    assert plain(math.inf, exact=True) == math.inf
    assert math.isnan(plain(math.nan, exact=True))


def test_all_else_is_kept() -> None:
    """What a span has besides attributes, events and links comes through as it is, in its order."""
    given = root(parent=7, tracestate="a=1", omitted=3, lost_spans=2, status="error", status_message="E: no")
    assert list(span_record(given).items()) == list(given.items())


def test_an_exception_is_an_event_as_opentelemetry_has_it() -> None:
    """It has type with its module, message and stacktrace, and the event's other attributes stay."""
    try:
        raise json.JSONDecodeError("bad", "doc", 0)
    except ValueError as error:
        given = exception_event(error)
    assert list(given) == ["exception.type", "exception.message", "exception.stacktrace", "more"]
    assert given["exception.type"] == "json.decoder.JSONDecodeError"
    assert given["exception.message"] == "bad: line 1 column 1 (char 0)"
    assert given["exception.stacktrace"].startswith("Traceback (most recent call last):\n")
    assert given["exception.stacktrace"].endswith("JSONDecodeError: bad: line 1 column 1 (char 0)\n")


def test_an_exception_that_was_not_raised_has_no_stacktrace() -> None:
    """There is nothing to say of where it came from; a builtin's name has no module."""
    given = exception_event(KeyError("a"))
    assert given == {"exception.type": "KeyError", "exception.message": "'a'", "more": 1}


def test_an_exception_that_cannot_speak() -> None:
    """One whose message raises has its type and stacktrace all the same."""
    try:
        raise BadError
    except BadError as error:
        given = exception_event(error)
    assert given["exception.type"] == "spans.BadError"
    assert given["exception.message"] == "<a message that cannot be read>"
    assert "raise BadError" in given["exception.stacktrace"]


def test_a_long_stacktrace_keeps_both_ends() -> None:
    """Who called and what went wrong are both there, in 8 KiB and a mark."""
    error: BaseException = ValueError("the end " + "x" * 20_000 + " of it")
    try:
        raise error
    except ValueError:
        stacktrace = exception_event(error)["exception.stacktrace"]
    assert stacktrace.startswith("Traceback")
    assert stacktrace.endswith("of it\n")
    assert "more]" in stacktrace
    assert len(stacktrace) < 8300


def test_texts_are_cut_and_marked() -> None:
    """A text has 8 KiB of UTF-8 at most, is not cut inside a character, and says how much is missing."""
    assert cut_text("x" * 8192) == "x" * 8192
    assert cut_text("x" * 8193) == "x" * 8192 + "…[1 more]"
    assert cut_text("é" * 4096) == "é" * 4096
    assert cut_text("xé" + "é" * 4095) == "x" + "é" * 4095 + "…[1 more]"
    assert cut_text("x" * 10**7).endswith(f"…[{10**7 - 8192} more]")


def test_bytes_are_cut_and_marked() -> None:
    """Bytes have 4 KiB at most, exact or not."""
    assert plain(bytes(4096)) == "00" * 4096
    for exact in (False, True):
        assert plain(bytes(4097), exact=exact) == "00" * 4096 + "…[1 more]"
    assert plain(bytes(4096), exact=True) == bytes(4096)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Raises, "<Raises that cannot be read>"),
        (Exits, "<Exits that cannot be read>"),
        (Nameless, "<object that cannot be read>"),
    ],
    ids=["raises", "exits", "nameless"],
)
def test_what_cannot_be_read_is_named(kind: type, expected: str) -> None:
    """An object whose methods raise, even SystemExit, is named by its type."""
    assert plain(kind()) == expected


def test_a_number_that_is_too_long() -> None:
    """An integer that the interpreter would not write out is written in hexadecimal digits."""
    assert plain(10**5000) == hex(10**5000)


def test_cycles_end() -> None:
    """What lies in itself ends in dots, in little time and room."""
    assert len(dumps(plain(cycle()))) < 200_000
    assert '"..."' in dumps(plain(cycle())).decode()


def test_room_is_shared_by_the_attributes() -> None:
    """Past 40 KiB attributes are left out, and counted with those that had no room in the span."""
    given = span_record(span(attributes={str(n): "x" * 8000 for n in range(20)}, omitted=5))
    assert len(given["attributes"]) == 6
    assert given["omitted"] == 5 + 14


def test_what_never_ends_is_cut() -> None:
    """A mapping or a sequence without an end takes what room there is, and is counted as incomplete."""
    for endless in (Endless(), range(10**12)):
        given = span_record(span(attributes={"key": endless}))
        assert 0 < len(given["attributes"]["key"]) < 2000
        assert given["omitted"] > 0


def test_the_last_events_are_kept() -> None:
    """When there are more than have room it is the first that are missing: the error comes last."""
    given = [{"time_ns": n, "name": str(n), "attributes": {"text": "x" * 8000}} for n in range(100)]
    record = span_record(span(events=given))
    assert [event["time_ns"] for event in record["events"]] == list(range(100))[-len(record["events"]) :]
    assert len(record["events"]) + record["omitted"] == 100
    assert len(record["events"]) >= 5


def test_attributes_do_not_take_the_room_of_the_error() -> None:
    """However much there is of attributes and links, an exception is there."""
    event = {"time_ns": 1, "name": "exception", "attributes": {"exception": ValueError("why")}}
    link = {"trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "1", "attributes": {"a": "x" * 9000}}
    evil = {str(n): "x" * 9000 for n in range(100)}
    record = span_record(span(attributes=evil, links=[link] * 100, events=[event]))
    assert record["events"][0]["attributes"]["exception.message"] == "why"


def test_a_value_that_another_thread_changes() -> None:
    """A dict and a list that change all the while are read without harm."""
    shared: dict[str, int] = {}
    numbers: list[int] = []
    stop = threading.Event()

    def change() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            shared[str(n % 1000)] = n
            if n % 7 == 0:
                shared.clear()
            numbers.append(n)
            if n % 100 == 0:
                del numbers[:]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            assert isinstance(plain(shared), (dict, str))
            assert isinstance(plain(numbers), (list, str))
    finally:
        stop.set()
        thread.join()


@given(attributes, events)
def test_anything_is_strict_json_of_bounded_length(attributes: dict[Any, Any], events: list[Any]) -> None:
    """Whatever is put in, one line of strict JSON comes out that readers of lines take as one."""
    line = dumps(span_record(span(attributes=attributes, events=events)))
    again = json.loads(line, parse_constant=refuse)
    assert again["span_id"] == f"{1:016x}"
    assert b"\n" not in line and len(line) < BLOCK_BYTES


def test_the_longest_line() -> None:
    """A span full of characters that JSON makes six bytes of, in each place, is one line for readers."""
    nul = "\x00" * 9000
    evil = {f"{n}{nul}": nul for n in range(128)}
    event = {"time_ns": 1, "name": nul, "attributes": evil}
    link = {"trace_id": "0" * 32, "span_id": "0" * 16, "attributes": evil}
    texts = {"name": nul, "status_message": nul, "tracestate": nul}
    whole = span(attributes=evil, events=[event] * 128, links=[link] * 128, **texts)
    assert BLOCK_BYTES // 2 < len(dumps(span_record(whole))) < BLOCK_BYTES


def test_one_hostile_object_spoils_no_other() -> None:
    """What cannot be read costs its own place, not the others'."""
    given = plain([1, *HOSTILE[:6], 2])
    assert given[0] == 1
    assert given[1:3] == ["<Raises that cannot be read>", "<Exits that cannot be read>"]


def test_traces_are_split_at_their_local_roots() -> None:
    """Each trace begins with its local root, though two of them be parts of one trace."""
    given = [root(1), span(2), root(3), root(4, trace=2), span(5, trace=2), span(6, trace=3)]
    ids = [[int(each["span_id"], 16) for each in trace] for trace in split_traces(given)]
    assert ids == [[1, 2], [3], [4, 5], [6]]
    assert split_traces([]) == []
