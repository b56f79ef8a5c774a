"""JSON of anything: strict, never raising, and the same with orjson and without it."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import uuid
from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultscope.core import json_codec
from vaultscope.core.json_codec import canonical, dumps, loads

Pair = namedtuple("Pair", "left right")


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass
class Login:
    user: str
    password: str = dataclasses.field(repr=False)


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr either")


class BrokenList(deque):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("not iterable after all")

    def __repr__(self) -> str:
        return "broken"


class BrokenDict(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise RuntimeError("not today")

    def __repr__(self) -> str:
        return "broken"


def strict(data: bytes) -> Any:
    """Parsed by the strictest reading: UTF-8 without surrogates, no NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(data.decode("utf-8"), parse_constant=refuse)


@pytest.fixture(params=["orjson", "json"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each fact holds with orjson and without it."""
    if request.param == "json":
        monkeypatch.setattr(json_codec, "_orjson", lambda: None)
    return str(request.param)


@pytest.mark.usefixtures("codec")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, None, True, "é"]}, {"a": [1, 2.5, None, True, "é"]}),
        (
            {1: 2, None: 3, False: 4, 1.5: 5, Colour.RED: 6},
            {"1": 2, "null": 3, "false": 4, "1.5": 5, "red": 6},
        ),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        ({b"\x01": 3}, {"01": 3}),
        (math.nan, None),
        ([math.inf, -math.inf], [None, None]),
        (2**70, 2**70),
        (-(2**63) - 1, -(2**63) - 1),
        ("\ud800|\udfff", "\ufffd|\ufffd"),
        ({"\udcff": 1}, {"\ufffd": 1}),
        ("\x00\x1b\x7f", "\x00\x1b\x7f"),
        (b"\x00\xff", "00ff"),
        (bytearray(b"\x01"), "01"),
        (memoryview(b"\x01\x02"), "0102"),
        (datetime(2026, 1, 31, 23, 59, 59, 5, timezone.utc), "2026-01-31T23:59:59.000005+00:00"),
        (date(2026, 1, 31), "2026-01-31"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        (PurePosixPath("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Pair(1, b"\x02"), [1, "02"]),
        ({7}, [7]),
        (deque([1]), [1]),
        (UserDict(a=1), {"a": 1}),
        (OrderedDict(b=1), {"b": 1}),
        (ValueError("bad"), {"type": "ValueError", "message": "bad"}),
        (Login("u", "secret"), "Login(user='u')"),
        (Broken(), "<Broken without a repr>"),
        ([BrokenList([1])], ["broken"]),
        (BrokenDict(a=2**70), "broken"),
    ],
)
def test_value(value: object, expected: object) -> None:
    """Each kind of object has its JSON, the same from either library."""
    assert strict(dumps(value)) == expected


@pytest.mark.usefixtures("codec")
def test_cycles_end() -> None:
    """A list that holds itself, and a dict that does so twice, are cut where they begin anew."""
    ring: list[Any] = [1]
    ring.append(ring)
    assert strict(dumps(ring)) == [1, "..."]
    twice: dict[str, Any] = {}
    twice.update(a=twice, b=[twice])
    assert strict(dumps(twice)) == {"a": "...", "b": ["..."]}


@pytest.mark.usefixtures("codec")
def test_bottomless() -> None:
    """What is nested a hundred thousand deep is written, without an exception."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    strict(dumps(deep))


@pytest.mark.usefixtures("codec")
def test_a_number_too_long_to_be_written_out() -> None:
    """An integer beyond the interpreter's own limit of digits is shown in hexadecimal."""
    assert strict(dumps({"n": 1 << 40_000})) == {"n": hex(1 << 40_000)}


@pytest.mark.usefixtures("codec")
def test_a_shared_object_is_no_cycle() -> None:
    """An object that stands in two places is written in both."""
    shared = {"n": 2**70}
    assert strict(dumps([shared, shared])) == [shared, shared]


@pytest.mark.usefixtures("codec")
@pytest.mark.parametrize(
    "number", [10**19 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, -(10**19) + 1, -(2**64), 10**30]
)
def test_whole_numbers_are_exact(number: int) -> None:
    """An integer wider than 64 bits comes back as it was written."""
    assert loads(b'{"n":%d}' % number) == {"n": number}


@pytest.mark.usefixtures("codec")
def test_loads_takes_what_the_grammar_takes() -> None:
    """A lone surrogate's escape is JSON; half an object is not."""
    assert loads(b'"\\ud800"') == "\ud800"
    with pytest.raises(ValueError):
        loads(b'{"a":')
    with pytest.raises(ValueError):
        loads(b'"\xff"')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_round_trip(value: object) -> None:
    """What is JSON already comes back the same."""
    assert loads(dumps(value)) == value


@given(JSON)
def test_canonical_is_the_same_for_equal_objects(value: object) -> None:
    """The order in which a dict was filled does not show, and nothing is lost."""

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(each) for key, each in reversed(value.items())}
        return [turned(each) for each in value] if isinstance(value, list) else value

    assert canonical(turned(value)) == canonical(value)
    assert strict(canonical(value)) == value


def test_canonical_bytes() -> None:
    """Sorted keys, no spaces, UTF-8: the form that is hashed is fixed."""
    assert canonical({"b": [1, 1e16, None], "a": "é"}) == '{"a":"é","b":[1,1e+16,null]}'.encode()


ANYTHING = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.datetimes(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner) | st.dictionaries(st.integers() | st.binary() | st.text(), inner)
    ),
    max_leaves=10,
)


@given(ANYTHING)
def test_both_libraries_say_the_same(value: object) -> None:
    """The JSON of any object means the same with orjson and without it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_codec, "_orjson", lambda: None)
        slow = dumps(value)
    assert strict(slow) == strict(dumps(value))


def test_nothing_is_loaded_before_it_is_needed() -> None:
    """Importing the module loads neither JSON library."""
    program = "import sys, vaultscope.core.json_codec; print({'json', 'orjson'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
