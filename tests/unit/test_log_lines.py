"""The property of all lines: whatever is logged, it is one line of strict JSON that says what was logged."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from logbook import HEAD, Logbook

from vaultscope.logging import LEVELS, SpanContext, current_span

RESERVED = {*HEAD, "truncated", "omitted"}
BOOK = Logbook()
LOG = BOOK.logger("lines")


class Says:
    """Its text is this."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class Fails:
    """Whatever is asked of it, it raises this."""

    def __init__(self, error: Exception) -> None:
        object.__setattr__(self, "error", error)

    def __getattribute__(self, name: str) -> Any:
        raise object.__getattribute__(self, "error")

    def __repr__(self) -> str:
        raise object.__getattribute__(self, "error")

    __str__ = __repr__
    __hash__ = None  # type: ignore[assignment]


class Raises(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError


# By name, and made when they are logged: hypothesis shows what it draws, and some of these cannot be shown.
ODD: dict[str, Callable[[], object]] = {
    "error without text": Raises,
    "error without arguments": KeyError,
    "system error": lambda: OSError(2, "\ud800"),
    "fails": lambda: Fails(ValueError()),
    "fails without memory": lambda: Fails(MemoryError()),
    "fails as if too deep": lambda: Fails(RecursionError()),
    "object": object,
    "type": lambda: int,
    "ellipsis": lambda: ...,
    "large": lambda: 10**400,
    "too large": lambda: -(10**5000),
    "long text": lambda: "x" * 9000,
    "long zeros": lambda: "\0" * 9000,
    "long bytes": lambda: b"x" * 9000,
    "endless": lambda: range(10**12),
}


class Later(str):
    """The name of an odd value."""


def made(value: Any) -> Any:
    """A value with the odd ones in it."""
    if isinstance(value, Later):
        return ODD[value]()
    if isinstance(value, dict):
        return {key: made(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(made(each) for each in value)
    return value


def shown(text: str) -> str:
    """A text as a line has it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# All characters, and often those that mean something to JSON, UTF-8 or a terminal.
letters = st.one_of(
    st.characters(exclude_categories=()), st.sampled_from('"\\\n\r\t\0\x1b\x7f\x85\u2028\ud800\udfff\ufffe😀')
)
texts = st.text(letters, max_size=40) | st.sampled_from(["", "null", "}{", "]", '","', "\ud83d\ude00"])
simple = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**64), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40)
)
hostile = st.one_of(
    texts,
    st.floats(),
    st.binary(max_size=40),
    st.binary(max_size=20).map(memoryview),
    st.decimals(),
    st.datetimes(timezones=st.none() | st.just(dt.timezone.utc)),
    st.timedeltas(),
    st.uuids(),
    st.complex_numbers(),
    st.frozensets(st.integers(), max_size=3),
    texts.map(Says),
    texts.map(ValueError),
    st.sampled_from(sorted(ODD)).map(Later),
)
keys = st.one_of(
    texts, st.integers(), st.floats(), st.none(), st.booleans(), st.binary(max_size=4), texts.map(Says)
)
values = st.recursive(
    simple | hostile,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4) | st.tuples(inner, inner)
    ),
    max_leaves=12,
)
names = texts | st.sampled_from(
    [*sorted(RESERVED), "time_", "exc_info", "exception", "self", "x" * 300, "é" * 200]
)
messages = texts | values


def logged(call: Callable[[], object]) -> dict[str, Any]:
    """What the one line of a call says, checked by every parser there is."""
    call()
    record = BOOK.record
    head = [name for name in record if name in RESERVED]
    order = [*HEAD, "truncated", "omitted"]
    assert head == sorted(head, key=order.index)
    assert isinstance(record["message"], str) and record["level"] in LEVELS
    assert BOOK.count("dropped", record["level"]) == 0
    return record


@settings(max_examples=200)
@given(message=messages, fields=st.dictionaries(names, values, max_size=6), level=st.sampled_from(LEVELS[2:]))
def test_a_line_is_strict_json(message: object, fields: dict[str, Any], level: str) -> None:
    """Any message with any fields, at any level, is exactly one line that strict parsers take; all fields are
    in it, or it says how many are not."""
    record = logged(lambda: getattr(LOG, level)(made(message), **made(fields)))
    assert record["level"] == level
    if type(message) is str:
        assert record["message"] == shown(message) or "message" in record["truncated"]
    own = {shown(name) for name in fields if len(name.encode("utf-8", "replace")) < 250} - {"exc_info"}
    there = set(record) | {name.rstrip("_") for name in record}
    assert len(own - there) <= record.get("omitted", 0)


@given(fields=st.dictionaries(st.text(max_size=60), simple, max_size=12), message=st.text(max_size=200))
def test_simple_values_come_back(fields: dict[str, Any], message: str) -> None:
    """The message, and values that JSON has, come back the same and of the same type, in their order."""
    fields = {
        name: value for name, value in fields.items() if name.rstrip("_") not in RESERVED | {"exc_info"}
    }
    record = logged(lambda: LOG.info(message, **fields))
    assert record.pop("message") == message
    own = {name: value for name, value in record.items() if name not in RESERVED}
    assert list(own) == list(fields)
    for name, value in fields.items():
        if isinstance(value, int) and abs(value) >= 2**1023:
            assert int(own[name]) == value
        else:
            assert own[name] == value and type(own[name]) is type(value)
            assert not isinstance(value, float) or math.copysign(1, value) == math.copysign(1, own[name])


@given(
    value=st.recursive(
        simple,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    )
)
def test_nested_values_come_back(value: Any) -> None:
    """So do lists and dicts of them."""
    record = logged(lambda: LOG.info("m", x=value))
    assert record["x"] == value


@given(layers=st.lists(st.dictionaries(st.sampled_from("abcd"), simple, max_size=4), max_size=5))
def test_the_last_layer_holds(layers: list[dict[str, Any]]) -> None:
    """Of the fields that loggers bind one upon the other, the last of each name is shown."""
    bound, expected = LOG, dict[str, Any]()
    for layer in layers:
        bound = bound.bind(**layer)
        expected |= layer
    record = logged(lambda: bound.info("m"))
    assert {name: record[name] for name in record if name in "abcd"} == expected


@given(bound=st.dictionaries(names, values, max_size=4), fields=st.dictionaries(names, values, max_size=4))
def test_bound_lines_are_strict_json(bound: dict[str, Any], fields: dict[str, Any]) -> None:
    """The same goes for what is bound."""
    logged(lambda: LOG.bind(**made(bound)).info("m", **made(fields)))


@given(
    pairs=st.lists(st.tuples(names, st.integers(0, 9)), min_size=1, max_size=8),
    trace=st.integers(1, 2**128 - 1),
    span=st.integers(1, 2**64 - 1),
)
def test_names_are_told_apart(pairs: list[tuple[str, int]], trace: int, span: int) -> None:
    """Names that are reserved, long or odd hide nothing of the line's own: the ids of the span are there."""
    token = current_span.set(SpanContext(trace, span))
    try:
        record = logged(lambda: LOG.info("m", **dict(pairs)))
    finally:
        current_span.reset(token)
    assert (record["message"], record["logger"], record["level"]) == ("m", "lines", "info")
    assert int(record.get("trace_id", "0"), 16) == trace
    assert int(record.get("span_id", "0"), 16) == span


@given(st.lists(st.tuples(texts, values), max_size=8))
def test_a_line_for_each_call(calls: list[tuple[str, Any]]) -> None:
    """So many calls, so many lines, in their order."""
    for i, (message, value) in enumerate(calls):
        LOG.info(message, value=made(value), turn=i)
    assert [record["turn"] for record in BOOK.records] == list(range(len(calls)))


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_are_exact(value: Decimal) -> None:
    """A decimal is a text with all of its digits."""
    record = logged(lambda: LOG.info("m", x=value, y=[value]))
    assert Decimal(record["x"]) == value and Decimal(record["y"][0]) == value


@given(st.binary(max_size=200))
def test_bytes_are_hexadecimal(value: bytes) -> None:
    """Bytes come back from their digits."""
    record = logged(lambda: LOG.info("m", x=value, y=bytearray(value), z=[value]))
    assert [bytes.fromhex(text) for text in (record["x"], record["y"], *record["z"])] == [value] * 3
