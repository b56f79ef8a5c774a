"""Lines of log records beside what Python makes of the same fields: its UTF-8, its JSON, its floats."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from record_bytes import BOOL, BYTES, CUT, F64, I64, JSON, NULL, TEXT, U64, field, record, render

RESERVED = [
    "time",
    "level",
    "logger",
    "message",
    "vault",
    "pid",
    "thread",
    "trace_id",
    "span_id",
    "truncated",
    "omitted",
]

# Text that is likely to be odd: pieces of characters, escapes, what JSON is made of.
PIECES = [
    b"a",
    b'"',
    b"\\",
    b"\n",
    b"\0",
    b"\x1f",
    b"\x7f",
    b"\x80",
    b"\xc3",
    b"\xc3\xa9",
    b"\xe2\x82",
    b"\xf0\x9f",
]
PIECES += [b"\xf0\x9f\x92\xbe", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xf4\x90", b"\xff", b"plain text, eight"]
ODD = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=12).map(b"".join)

TOKENS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\r",
    "\t",
    "0",
    "-",
    "1",
    "12",
    ".",
    "e",
    "E+",
    "null",
    "true",
    '"',
]
TOKENS += [
    '"a"',
    '"b"',
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\ud800",
    "\\n",
    "\\x",
    "NaN",
    "Infinity",
    "1e308",
    "1e309",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NESTED = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


def spoilt(draw_from: bytes, at: int, piece: bytes) -> bytes:
    """The text with a piece put into it."""
    at %= len(draw_from) + 1
    return draw_from[:at] + piece + draw_from[at:]


GOOD_JSON = st.tuples(NESTED, st.sampled_from([None, 1]), st.booleans()).map(
    lambda made: json.dumps(made[0], indent=made[1], ensure_ascii=made[2]).encode("utf-8", "surrogatepass")
)
ANY_JSON = (
    GOOD_JSON
    | st.lists(st.sampled_from(TOKENS), max_size=12).map(lambda tokens: "".join(tokens).encode())
    | st.builds(spoilt, GOOD_JSON, st.integers(0, 1000), st.sampled_from([t.encode() for t in TOKENS]) | ODD)
)

NAMES = st.sampled_from([b"a", b"", *(name.encode() for name in RESERVED), b"level_", b"level__"]) | ODD.map(
    lambda key: key[:255]
)
FIELDS = st.one_of(
    st.tuples(st.just(NULL), st.just(b"")),
    st.tuples(st.just(BOOL), st.binary(min_size=1, max_size=1)),
    st.tuples(st.sampled_from([I64, U64, F64]), st.binary(min_size=8, max_size=8)),
    st.tuples(st.just(F64), st.floats().map(lambda value: struct.pack("=d", value))),
    st.tuples(st.just(TEXT), ODD),
    st.tuples(st.just(BYTES), st.binary(max_size=40)),
    st.tuples(st.just(JSON), ANY_JSON),
)


def refuse(what: str) -> Any:
    raise ValueError(what)


def finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else refuse(text)


def integer(text: str) -> int:
    finite(text)
    return int(text)


def pairs(members: list[tuple[str, Any]]) -> Any:
    """An object as its members, so that none hides another."""
    return ("object", members)


def strict(text: bytes) -> Any:
    """The value of a text that is JSON by the letter; ValueError if it is not, or if others may refuse it."""
    value = json.loads(
        text.decode(),
        parse_constant=refuse,
        parse_float=finite,
        parse_int=integer,
        object_pairs_hook=pairs,
    )
    json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair raises UnicodeEncodeError
    return value


def expected(kind: int, value: bytes, cut: bool) -> Any:
    """What a field's value should be read as."""
    text = value.decode("utf-8", "replace")
    if kind == JSON and not cut:
        try:
            return strict(value)
        except ValueError:
            return text
    if kind in (TEXT, JSON):
        return text + "\N{HORIZONTAL ELLIPSIS}" * cut
    if kind == F64:
        (number,) = struct.unpack("=d", value)
        names = {math.inf: "Infinity", -math.inf: "-Infinity"}
        return "NaN" if math.isnan(number) else names.get(number, number)
    if kind in (I64, U64):
        return struct.unpack("=q" if kind == I64 else "=Q", value)[0]
    return {NULL: None, BOOL: value != b"\0", BYTES: value.hex()}[kind]


def shown(fields: list[tuple[bytes, tuple[int, bytes], bool]]) -> list[tuple[str, Any, bool]]:
    """What a line shows: of each name the last, with underscores where the line has that name itself."""
    last = {key.decode("utf-8", "replace"): n for n, (key, _, _) in enumerate(fields)}
    result = []
    for n, (key, (kind, value), cut) in enumerate(fields):
        name = key.decode("utf-8", "replace")
        if last[name] != n:
            continue
        if name in RESERVED:
            name += "_"
            while name in last:
                name += "_"
        result.append((name, expected(kind, value, cut), cut))
    return result


@settings(max_examples=500)
@given(
    logger=ODD, vault=ODD, message=ODD, fields=st.lists(st.tuples(NAMES, FIELDS, st.booleans()), max_size=8)
)
@example(logger=b"", vault=b"", message=b"", fields=[(b"k", (JSON, b"1.7976931348623157e308"), False)])
@example(logger=b"", vault=b"", message=b"", fields=[(b"k", (JSON, b"9" * 400), False)])
@example(logger=b"", vault=b"", message=b"", fields=[(b"k", (F64, struct.pack("=d", -0.0)), False)])
def test_a_line_says_what_python_says(
    logger: bytes, vault: bytes, message: bytes, fields: list[tuple[bytes, tuple[int, bytes], bool]]
) -> None:
    """Names, their order and values are those that Python reads out of the same bytes."""
    data = record(
        message,
        [field(kind, key, value, CUT * cut) for key, (kind, value), cut in fields],
        logger=logger[:255],
        vault=vault[:255],
    )
    readable, line = render(data)
    assert readable and line.endswith(b"}\n") and line.count(b"\n") == 1
    kind, members = strict(line)
    assert kind == "object"
    truncated = [name for name, _, cut in shown(fields) if cut]
    head = [
        ("time", "1970-01-01T00:00:00.000000001Z"),
        ("level", "info"),
        *([("logger", logger[:255].decode("utf-8", "replace"))] if logger else []),
        ("message", message.decode("utf-8", "replace")),
        *([("vault", vault[:255].decode("utf-8", "replace"))] if vault else []),
        ("pid", 5),
        ("thread", 6),
        ("trace_id", f"{2:016x}{3:016x}"),
        ("span_id", f"{4:016x}"),
    ]
    marks = [("truncated", truncated)] if any(cut for _, _, cut in fields) and truncated else []
    wanted = [*head, *((name, value) for name, value, _ in shown(fields)), *marks]
    assert members == wanted
    assert repr(members) == repr(wanted)  # a float is a float, and -0.0 is not 0.0


@given(st.binary(max_size=300))
def test_any_bytes_become_one_line(data: bytes) -> None:
    """What is no record is a valid line, too."""
    readable, line = render(data)
    assert line.endswith(b"}\n") and line.count(b"\n") == 1
    strict(line)
    assert readable or b'"message":"unreadable record"' in line
