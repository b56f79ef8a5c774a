"""Fields: what becomes of values and names of every sort."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import enum
import sys
import threading
import types
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pytest
from logbook import Logbook

from vaultscope.logging import Logger

VALUE_MAX = 8192


class Colour(enum.Enum):
    RED = "red"


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: int
    y: object


@dataclasses.dataclass
class Secret:
    name: str
    password: str = dataclasses.field(repr=False)


class Shown:
    """Its repr is what it is told to be; an exception is raised."""

    def __init__(self, text: object = "shown") -> None:
        self.text = text

    def __repr__(self) -> str:
        if isinstance(self.text, BaseException):
            raise self.text
        return self.text  # type: ignore[return-value]


class Integer(int):
    def __index__(self) -> int:
        raise ValueError

    __int__ = __str__ = __repr__ = __index__  # type: ignore[assignment]


class Float(float):
    def __repr__(self) -> str:
        raise ValueError

    __str__ = __repr__


class Liar:
    """It claims to be of a class that it is not, or that it cannot tell."""

    def __init__(self, claim: object) -> None:
        object.__setattr__(self, "claim", claim)

    @property
    def __class__(self) -> Any:
        if isinstance(object.__getattribute__(self, "claim"), BaseException):
            raise object.__getattribute__(self, "claim")
        return object.__getattribute__(self, "claim")

    @__class__.setter
    def __class__(self, value: object) -> None: ...

    def __repr__(self) -> str:
        return "a liar"


class Endless(Sequence[int]):
    """It has always one more."""

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: Any) -> Any:
        return 7


class Broken(Mapping[str, int]):
    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        raise OSError

    def __getitem__(self, key: str) -> int:
        raise OSError

    def __repr__(self) -> str:
        return "broken"


def released() -> memoryview:
    view = memoryview(b"released")
    view.release()
    return view


def nested(depth: int, of: type = list) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if of is list else {"a": value}
    return value


# ---- values that JSON knows ----


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**31,
        2**62,
        -(2**62),
        2**63 - 1,
        -(2**63),
        2**63,
        2**64 - 1,
        2**64,
        -(2**63) - 1,
        10**30,
        -(10**300),
        0.0,
        -0.0,
        1.5,
        1e-320,
        1.7976931348623157e308,
        0.1 + 0.2,
        1e22,
        "",
        "text",
        "Grüße 世界 😀",
        'a\0\n"\\\x1f\x7f\u2028',
        [],
        {},
        [1, "a", None, [True, {"b": 1.5}]],
        {"a": {"b": {"c": [1, 2]}}, "": "empty", "é": 1},
        [2**64 - 1, -(2**63)],
        [10**30, {"a": 10**40}],
    ],
    ids=repr,
)
def test_values_that_json_knows(value: object, book: Logbook, log: Logger) -> None:
    """A value that JSON has comes back the same, of the same type."""
    log.info("m", x=value, after=1)
    fields = book.fields
    assert fields == {"x": value, "after": 1}
    assert type(fields["x"]) is type(value)
    assert str(fields["x"]) == str(value)  # the sign of zero, too


@pytest.mark.parametrize(
    "value, shown",
    [
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        ([float("nan"), float("inf"), 1.5], [None, None, 1.5]),
        (b"\x00\xffab", "00ff6162"),
        (b"", ""),
        (bytearray(b"ab"), "6162"),
        (memoryview(b"abc"), "616263"),
        (memoryview(b"abcdef")[::2], "616365"),
        (memoryview(array.array("i", [1, -1])), "01000000ffffffff"),
        (memoryview(array.array("d", [1.0])).cast("B").cast("B", (2, 4)), "000000000000f03f"),
        (memoryview(b""), ""),
        (np.arange(3, dtype=np.uint8).data, "000102"),
        ("\ud800", "\ufffd"),
        ("a\udc00b\ud83d", "a\ufffdb\ufffd"),
        (["\ud800", {"\udfff": "\ud800"}], ["\ufffd", {"\ufffd": "\ufffd"}]),
        ((1, 2), [1, 2]),
        (Point(1, "a"), [1, "a"]),
        (frozenset({3}), [3]),
        (collections.deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.ChainMap({"a": 1}), {"a": 1}),
        ({1: "a", None: "b", 1.5: "c", False: "d"}, {"1": "a", "null": "b", "1.5": "c", "false": "d"}),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        ({"1": "a", 1: "b"}, {"1": "b"}),
        (dict(zip(["\ud800", "\ud801"], [1, 2], strict=True)), {"\ufffd": 2}),
        ({b"\xff": 1}, {"ff": 1}),
        ({Colour.RED: 1}, {"red": 1}),
        (Colour.RED, "red"),
        (Flags.A | Flags.B, 3),
        ([Colour.RED], ["red"]),
        (Decimal("1.10"), "1.10"),
        (Decimal("NaN"), "NaN"),
        ([Decimal("1e999")], ["1E+999"]),
        (Fraction(1, 4), 0.25),
        (1 + 2j, "(1+2j)"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a/é"), "/a/é"),
        ([Path("/a")], ["/a"]),
        (dt.datetime(2026, 1, 31, 23, 59, 59, 123456), "2026-01-31T23:59:59.123456"),
        (dt.datetime(2026, 1, 31, tzinfo=dt.timezone.utc), "2026-01-31T00:00:00+00:00"),
        (dt.date(2026, 1, 31), "2026-01-31"),
        (dt.time(1, 2, 3), "01:02:03"),
        (dt.timedelta(seconds=1), "datetime.timedelta(seconds=1)"),
        (Secret("me", "hidden"), "Secret(name='me')"),
        ([Secret("me", "hidden")], ["Secret(name='me')"]),
        (types.SimpleNamespace(a=1), "namespace(a=1)"),
        (Shown(), "shown"),
        ([Shown()], ["shown"]),
        (Shown("\ud800"), "\ufffd"),
        (int, "<class 'int'>"),
        (..., "Ellipsis"),
        (Broken(), "broken"),
        (True + 0, 1),
        (Integer(5), 5),
        (Float(1.5), 1.5),
        ([Float(1.5)], [1.5]),
        (np.int64(-5), -5),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        ([np.int8(3), {"a": np.float64(0.25)}], [3, {"a": 0.25}]),
        (np.float64("nan"), None),
        (np.str_("text"), "text"),
        (np.bytes_(b"ab"), "6162"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values(value: object, shown: object, book: Logbook, log: Logger) -> None:
    """What JSON has no word for is said in one that it has, whether it stands alone or in a list."""
    log.info("m", x=value, after=1)
    fields = book.fields
    assert fields == {"x": shown, "after": 1}
    assert type(fields["x"]) is type(shown)


HOSTILE: dict[str, Callable[[], object]] = {
    "raises": lambda: Shown(ValueError()),
    "no text": lambda: Shown(5),
    "recursion": lambda: Shown(RecursionError()),
    "memory": lambda: Shown(MemoryError()),
    "object": object,
    "generator": lambda: (i for i in ()),
    "iterator": lambda: iter([]),
    "function": lambda: nested,
    "module": lambda: sys,
    "lock": threading.Lock,
    "array": lambda: np.arange(5),
    "scalar array": lambda: np.array(5),
    "complex array": lambda: np.zeros((2, 2), dtype=complex),
    "date of numpy": lambda: np.datetime64("2026-01-31"),
    "released view": released,
    **{
        f"claims {getattr(claim, '__name__', claim)}": partial(Liar, claim)
        for claim in (str, bytes, dict, list, int, float, Exception, enum.Enum, dt.datetime, memoryview)
    },
    "no class": lambda: Liar(ValueError()),
    "no attribute of class": lambda: Liar(AttributeError()),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_values_without_a_word(make: Callable[[], object], book: Logbook, log: Logger) -> None:
    """Whatever an object is or does, the record is there, and so are the fields behind it."""
    value = make()
    log.info("m", alone=value, within=[value], under={"a": value}, after=1)
    fields = book.fields
    assert list(fields) == ["alone", "within", "under", "after"]
    assert None not in fields.values()
    assert book.count("dropped") == 0


def test_an_iterator_is_not_used_up(book: Logbook, log: Logger) -> None:
    """To log a generator takes nothing out of it."""
    numbers = (i for i in range(3))
    log.info("m", x=numbers, y=[numbers])
    assert list(numbers) == [0, 1, 2]


# ---- values that are too much ----


@pytest.mark.parametrize("letter", ["a", "é", "世", "😀", "\0", '"'])
def test_long_texts(letter: str, book: Logbook, log: Logger) -> None:
    """A text of 8 KiB is whole; a longer one is cut at a character, has an ellipsis, and is named."""
    whole = VALUE_MAX // len(letter.encode())
    for count in (whole, whole // 2):
        log.info("m", x=letter * count, after=1)
        assert book.fields == {"x": letter * count, "after": 1}
    for count in (whole + 1, 10 << 20):
        log.info("m", before=0, x=letter * count, after=1)
        assert book.fields == {"before": 0, "x": letter * whole + "…", "after": 1, "truncated": ["x"]}


def test_long_bytes(book: Logbook, log: Logger) -> None:
    """Of bytes 8 KiB are shown, and what is more is marked; whatever sort of bytes they are."""
    for kind in (bytes, bytearray, memoryview, np.array):
        for size in (VALUE_MAX, VALUE_MAX + 1, 10 << 20):
            data = b"\xab" * size
            value = np.frombuffer(data, np.uint8).data if kind is np.array else kind(data)
            log.info("m", x=value, after=1)
            fields = book.fields
            assert fields.pop("truncated", None) == (None if size == VALUE_MAX else ["x"])
            assert fields == {"x": "ab" * VALUE_MAX, "after": 1}


@pytest.mark.parametrize(
    "value",
    [
        list(range(100_000)),
        {str(i): i for i in range(100_000)},
        ["a" * (10 << 20)],
        ["é" * (10 << 20)],
        [b"a" * (10 << 20)],
        set(range(100_000)),
        Shown("a" * (10 << 20)),
        range(10**12),
        Endless(),
        np.arange(2000).tolist(),
        {Shown("k" * 20_000): 1},
        ["\ud800" * 10_000],
    ],
    ids=lambda value: type(value).__name__,
)
def test_large_values(value: object, book: Logbook, log: Logger) -> None:
    """Of JSON beyond 8 KiB the beginning is shown, as text, and marked; also of what would never end."""
    log.info("m", x=value, after=1)
    fields = book.fields
    text = fields["x"]
    assert VALUE_MAX - 4 <= len(text.encode()) - len("…".encode()) <= VALUE_MAX
    assert text.endswith("…") and text[0] in '"[{'
    assert (fields["after"], fields["truncated"]) == (1, ["x"])


@pytest.mark.parametrize("of", [list, dict], ids=["list", "dict"])
@pytest.mark.parametrize("depth", [10, 90, 99, 100, 101, 250, 300, 900, 10_000, 100_000])
def test_deep_values(depth: int, of: type, book: Logbook, log: Logger) -> None:
    """Deep nesting is shown as deep as can be, down to a hundred at least, and ends in dots."""
    log.info("m", x=nested(depth, of), after=1)
    fields = book.fields
    assert fields["after"] == 1
    if depth < 100:
        assert fields["x"] == nested(depth, of)
        return
    value, levels = fields["x"], 0
    while isinstance(value, (list, dict)):
        value, levels = value[0 if of is list else "a"], levels + 1
    assert levels >= 100
    assert (value == 1) == (levels == depth)
    assert value in (1, "...")


def test_cycles(book: Logbook, log: Logger) -> None:
    """What contains itself says so with dots, and the rest of it is there."""
    row: list[Any] = [1]
    row += [row, 2]
    table: dict[str, Any] = {"a": 1}
    table["self"] = table
    table["row"] = [table, row]
    log.info("m", x=row, y=table, z={"twice": [[1], [1]]})
    fields = book.fields
    assert fields["x"] == [1, "...", 2]
    assert fields["y"] == {"a": 1, "self": "...", "row": ["...", [1, "...", 2]]}
    assert fields["z"] == {"twice": [[1], [1]]}


@pytest.mark.parametrize("digits", [20, 300, 309, 310, 4300, 4301, 8000])
def test_long_integers(digits: int, book: Logbook, log: Logger) -> None:
    """An integer is one as long as a double could hold it, as strict parsers ask; then it is a text."""
    value = 10 ** (digits - 1)
    for signed in (value, -value, [value]):
        log.info("m", x=signed, after=1)
        fields = book.fields
        assert fields["after"] == 1
        if digits <= 309:
            assert fields["x"] == signed
        elif digits <= 4300:  # as long as the interpreter writes it out
            plain = signed[0] if isinstance(signed, list) else signed
            assert str(plain) in str(fields["x"])
        else:
            text = fields["x"][0] if isinstance(signed, list) else fields["x"]
            assert int(text, 16) == (signed[0] if isinstance(signed, list) else signed)


def test_an_integer_of_a_hundred_thousand_digits(book: Logbook, log: Logger) -> None:
    """One that is too long for a value is cut, and marked."""
    log.info("m", x=10**100_000, y=[-(10**100_000)])
    fields = book.fields
    assert fields["x"].startswith('"0x') and fields["x"].endswith("…")
    assert fields["truncated"] == ["x", "y"]


def test_many_fields(book: Logbook, log: Logger) -> None:
    """A thousand small fields are all there; of more than there is room for, the rest is counted."""
    log.info("m", **{f"key{i}": i for i in range(1000)})
    assert book.fields == {f"key{i}": i for i in range(1000)}
    for count, value in ((10_000, 1), (1000, "v" * 100), (300, ["v" * 100]), (100, 1.5), (70_000, None)):
        log.info("m", **{f"key{i}": value for i in range(count)})
        fields = book.fields
        shown = sum(name.startswith("key") for name in fields)
        assert fields.get("omitted", 0) == min(count - shown, 65535)
        assert shown > 200 or shown == count


def test_large_values_leave_room(book: Logbook, log: Logger) -> None:
    """However large a message and fields are, all have a part of the record, and small ones are whole."""
    log.info("m" * 10_000, **{f"key{i}": "v" * 10_000 for i in range(4)}, small=1, text="small")
    fields = book.fields
    assert (fields["small"], fields["text"]) == (1, "small")
    assert fields["truncated"] == ["message", *[f"key{i}" for i in range(4)]]
    assert all(len(fields[f"key{i}"]) > 1000 for i in range(4))


def test_a_small_ring_has_small_records() -> None:
    """Of the smallest ring a record takes a sixteenth; what has no room is cut there, too."""
    book = Logbook(ring_bytes=1 << 16)
    log = book.logger()
    log.info("m" * 10_000, x=1)
    log.info("m", x="v" * 10_000, y=list(range(5000)), z=b"b" * 10_000, after=1)
    first, second = book.records
    assert 3000 < len(first["message"]) < 4096 and first["truncated"] == ["message"]
    assert second["truncated"] == ["x", "y", "z"] and second["after"] == 1
