"""The headers of a trace against slow parsers that follow the specifications word by word."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vaultscope._native._core import SpanContext
from vaultscope.signals.propagation import extract, inject

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"

# ---- the slow parsers ----


def traceparent_says(value: str) -> tuple[int, int, bool, bool] | None:
    """Trace, span, sampled, random. Source: W3C Trace Context level 2, 3.2."""
    if len(value) > 1024:  # our limit: "disallow prohibitively large headers"
        return None
    value = value.strip(" \t")  # RFC 9110, 5.5: white space around a field's value is not part of it
    fields, rest = value[:55].split("-"), value[55:]
    if [len(field) for field in fields] != [2, 32, 16, 2]:
        return None
    if any(digit not in "0123456789abcdef" for field in fields for digit in field):
        return None
    version, trace, span, flags = (int(field, 16) for field in fields)
    if version == 255 or trace == 0 or span == 0:
        return None
    if rest and (version == 0 or rest[0] != "-"):
        return None
    return trace, span, flags % 2 == 1, flags // 2 % 2 == 1


def tracestate_says(value: str) -> str:
    """What is passed on. Source: W3C Trace Context level 2, 3.3."""
    members = [member.strip(" \t") for member in value.split(",")]
    if len(members) > 32:
        return ""
    for member in filter(None, members):
        key, equals, text = member.partition("=")
        if not (equals and 1 <= len(key) <= 256 and 1 <= len(text) <= 256):
            return ""
        if key[0] not in "abcdefghijklmnopqrstuvwxyz0123456789":
            return ""
        if any(char not in "abcdefghijklmnopqrstuvwxyz0123456789_-*/@" for char in key):
            return ""
        if any(not " " <= char <= "~" or char in ",=" for char in text):
            return ""
    if len(value.strip(" \t")) <= 512:
        return value.strip(" \t")
    members = [member for member in members if member]
    while len(",".join(members)) > 512:
        long = [i for i, member in enumerate(members) if len(member) > 128]
        del members[long[-1] if long else -1]
    return ",".join(members)


def b3_says(value: str) -> tuple[int, int, bool | None] | None:
    """Trace, span, and whether it is sampled; None: deferred. Source: the B3 specification, Single Header."""
    hexadecimal = "[0-9a-fA-F]"
    match = re.fullmatch(
        f"({hexadecimal}{{16}}|{hexadecimal}{{32}})-({hexadecimal}{{16}})(-[01dD](-{hexadecimal}{{16}})?)?",
        value.strip(" \t"),
    )
    if match is None or int(match[1], 16) == 0 or int(match[2], 16) == 0:
        return None
    if match[4] and int(match[4][1:], 16) == 0:
        return None
    state = match[3][1].lower() if match[3] else ""
    return int(match[1], 16), int(match[2], 16), {"": None, "0": False, "1": True, "d": True}[state]


# ---- what they are given ----


@st.composite
def edited(draw: st.DrawFn, values: st.SearchStrategy[str], characters: str) -> str:
    """A value with a few characters inserted, deleted or replaced."""
    value = list(draw(values))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(value)))
        value[at : at + draw(st.integers(0, 2))] = draw(st.text(characters, max_size=2))
    return "".join(value)


def digits(size: int) -> st.SearchStrategy[str]:
    return st.one_of(st.text("0123456789abcdef", min_size=size, max_size=size), st.just("0" * size))


versions = st.one_of(st.just("00"), st.just("ff"), digits(2))
traceparents = st.builds(
    "{}-{}-{}-{}{}".format,
    versions,
    digits(32),
    digits(16),
    digits(2),
    st.sampled_from(["", "-", "-00", ".", "0"]),
)
keys = st.text("abz09_-*/@", min_size=1, max_size=5) | st.sampled_from(["z" * 256, "z" * 257, "a" * 120])
texts = st.text(" !~+-<>b", min_size=1, max_size=5) | st.sampled_from(
    ["v" * 256, "v" * 257, "v" * 60, "v" * 130]
)
members = st.one_of(st.builds("{}={}".format, keys, texts), st.sampled_from(["", " ", "\t"]))
tracestates = st.builds(",".join, st.lists(members, max_size=34))
b3s = st.builds(
    "{}-{}{}{}".format,
    digits(16) | digits(32),
    digits(16),
    st.sampled_from(["", "-0", "-1", "-d", "-D", "-", "-2"]),
    st.just("") | st.builds("-{}".format, digits(16)),
)


# ---- and that the fast ones say the same ----


@given(edited(traceparents, "0123456789abcdefABF-._ \t\n\x00é０") | st.text())
@example(VALID)
@example(VALID + " ")
@example("\t" + VALID)
@example(VALID + "\n")
@example(VALID.upper())
@example(f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like")
@example(f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like")
@example(f"cc-{TRACE}-{SPAN}-01" + "-" * 970)
@example(f"0-{TRACE}-{SPAN}-01")
@example(f"00-{TRACE}-{SPAN}-0x")
@example(f"00-{TRACE[:-1]}_-{SPAN}-01")
@example(f"00-{TRACE}-{SPAN}-fe")
def test_traceparent(value: str) -> None:
    """A traceparent says what the recommendation says it does, or nothing; as text and as bytes."""
    expected = traceparent_says(value)
    carriers: list[dict[str, object]] = [{"traceparent": value}]
    if all(ord(char) < 256 for char in value):
        carriers.append({"traceparent": value.encode("latin-1")})
    for carrier in carriers:
        for formats in (("w3c", "b3", "memo"), ("w3c",)):
            context = extract(carrier, formats=formats)
            assert expected == (
                context and (context.trace_id, context.span_id, context.sampled, context.random)
            )
            assert context is None or (context.remote and not context.deferred and context.tracestate == "")


@given(edited(tracestates, "ab=, \t@A\n\x7fé"))
@example("foo=1,bar=2")
@example("foo=1 \t , \t bar=2, \t baz=3")
@example("foo= leading")
@example("foo =1")
@example("foo=bar=baz")
@example("foo=,bar=3")
@example("tenant@system=1,foo@=1,foo@bar@baz=2")
@example("@foo=1,bar=2")
@example("0foo=1")
@example("_foo=1")
@example(",".join(f"bar{i:02}={i:02}" for i in range(32)))
@example(",".join(f"bar{i:02}={i:02}" for i in range(33)))
@example("," * 31)
@example("," * 32)
@example("z" * 256 + "=" + "v" * 256 + ",a=1")
@example("a=1," + "z" * 240 + "=" + "v" * 256)
@example("a=" + "v" * 200 + ",b=" + "v" * 200 + ",c=" + "v" * 125 + ",d=" + "v" * 126 + ",e=1")
@example(",".join(f"{i:03}=" + "v" * 100 for i in range(9)))
@example("a=" + "v" * 126 + "," + "b=" + "v" * 127 + "," + "c=" + "v" * 253 + ",d")
def test_tracestate(value: str) -> None:
    """A tracestate is passed on as it came, without whole members if it is long, or not at all if it is
    malformed; and the traceparent stands in any case."""
    context = extract({"traceparent": VALID, "tracestate": value})
    assert context is not None
    assert context.span_hex == SPAN
    assert context.tracestate == tracestate_says(value)
    headers: dict[str, str] = {}
    inject(headers, context)
    assert headers.get("tracestate", "") == context.tracestate
    assert len(context.tracestate) <= 512


@given(edited(b3s, "0123456789abcdefABF-. \t") | st.text("01d-"))
@example(f"{TRACE}-{SPAN}-1-{SPAN}")
@example(f"{TRACE}-{SPAN}-")
@example(f"{TRACE}-{SPAN}--{SPAN}")
@example(f"{TRACE[:15]} -{SPAN}")
@example("0")
@example("d")
@example("")
def test_b3(value: str) -> None:
    """A b3 header says what its specification says, or nothing."""
    context = extract({"b3": value})
    assert b3_says(value) == (
        context and (context.trace_id, context.span_id, None if context.deferred else context.sampled)
    )


@given(
    st.text("0123456789abcdefABCDEF", max_size=34), st.none() | st.text("0123456789abcdefABCDEF", max_size=18)
)
def test_memo(trace: str, span: str | None) -> None:
    """X-Trace-Id has up to 32 digits and X-Span-Id up to 16, in any case; without the second there is no
    parent. None of them is 0."""
    context = extract({"X-Trace-Id": trace} | ({} if span is None else {"X-Span-Id": span}))
    right = 1 <= len(trace) <= 32 and int(trace, 16) != 0
    right = right and (span is None or (1 <= len(span) <= 16 and int(span, 16) != 0))
    assert (context is not None) == right
    if context is not None:
        assert (context.trace_id, context.span_id) == (int(trace, 16), int(span or "0", 16))
        assert context.deferred and not context.sampled


UUID = re.compile(r"[ \t]*([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})[ \t]*", re.I)
UUIDS = st.uuids().map(str)


@given(edited(UUIDS, "0123456789abcdefABF-. \t") | UUIDS.map(str.upper))
@example(f"{TRACE[:8]}-{TRACE[8:12]}-{TRACE[12:16]}-{TRACE[16:20]}-{TRACE[20:]}")
@example("00000000-0000-0000-0000-000000000000")
@example(f"{TRACE[:4]}-{TRACE[4:12]}-{TRACE[12:16]}-{TRACE[16:20]}-{TRACE[20:]}")
@example("-" * 36)
@example(f"{'0' * 36}")
def test_memo_with_a_uuid(trace: str) -> None:
    """X-Trace-Id may be a UUID of 8-4-4-4-12 digits, in any case, that is not 0; no other hyphens."""
    found = UUID.fullmatch(trace) or re.fullmatch(r"[ \t]*([0-9a-fA-F]{1,32})[ \t]*", trace)
    expected = int("".join(found.groups()), 16) if found else 0
    context = extract({"X-Trace-Id": trace, "X-Span-Id": SPAN})
    assert (context.trace_id if context is not None else 0) == expected


@given(
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.none() | st.booleans(),
    st.booleans(),
    st.sampled_from(["", "a=1", "foo@bar=x,baz= y"]),
)
def test_round_trip(trace: int, span: int, sampled: bool | None, random: bool, tracestate: str) -> None:
    """Each format brings over what it can say."""
    context = SpanContext(trace, span, sampled=sampled, random=random, tracestate=tracestate)
    for written, read in (("w3c", "w3c"), ("memo", "memo"), ("b3", "b3"), ("b3multi", "b3")):
        headers: dict[str, str] = {}
        inject(headers, context, formats=[written])
        found = extract(headers, formats=[read])
        assert found == context
        assert found is not None
        if written == "w3c":
            assert (found.sampled, found.random, found.tracestate) == (bool(sampled), random, tracestate)
        elif written != "memo":
            assert (found.sampled, found.deferred) == (bool(sampled), sampled is None)


@given(st.binary() | st.text() | st.none() | st.integers() | st.lists(st.text() | st.binary() | st.none()))
def test_any_value(value: object) -> None:
    """Whatever a header holds, reading it raises nothing."""
    for name in (
        "traceparent",
        "b3",
        "X-Trace-Id",
        "X-B3-TraceId",
        "tracestate",
        "X-B3-Sampled",
        "X-B3-Flags",
    ):
        others = {"traceparent": VALID} if name == "tracestate" else {"x-b3-spanid": SPAN, "x-span-id": SPAN}
        extract({name: value} | others)
        extract([(name, value), *others.items()])


@pytest.mark.parametrize("flags", range(256))
def test_flags(flags: int) -> None:
    """Of the flags two are read, and only these are ever written."""
    context = extract({"traceparent": f"00-{TRACE}-{SPAN}-{flags:02x}"})
    headers: dict[str, str] = {}
    inject(headers, context)
    assert headers["traceparent"] == f"00-{TRACE}-{SPAN}-{flags & 3:02x}"
