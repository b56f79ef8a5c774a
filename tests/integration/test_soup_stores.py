"""What every store of a soup does, whichever database is below it."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soups import NOW_NS, SECOND, Place

from vaultscope import DeclarationError, NotFoundError
from vaultscope.core.soup_query import matches
from vaultscope.errors import StorageError
from vaultscope.soup import DAY, NewObject, Soup, SoupObject, attr

NOWHERE = "sha256:" + "0" * 64


@pytest.fixture
def soup(place: Place) -> Soup:
    """A soup in it."""
    return place.open(index=("trace_id",))


def fill(soup: Soup, count: int, *, type: str = "log", step_ns: int = SECOND, **attributes: Any) -> list[str]:
    """So many objects, a second apart, the last one of now; `n` counts them."""
    start = NOW_NS - (count - 1) * step_ns
    return soup.put_many(
        [
            NewObject(f"{type} {n}".encode(), type, {"n": n, **attributes}, start + n * step_ns)
            for n in range(count)
        ]
    )


def numbers(found: Any) -> list[Any]:
    return [each.attributes["n"] for each in found]


# ---- putting and getting


def test_what_is_put_is_got(soup: Soup) -> None:
    """The address is the hash of the bytes, and the bytes are those that were put."""
    address = soup.put(b"\x00\xff", type="blob")
    assert address == "sha256:" + hashlib.sha256(b"\x00\xff").hexdigest()
    assert soup.get(address) == b"\x00\xff"


@pytest.mark.parametrize(
    "content", [b"", b"x" * 511, b"x" * 512, bytes(range(256)) * 40, b"\x00" * 3_000_000]
)
def test_compression_is_unseen(soup: Soup, content: bytes) -> None:
    """Whatever the length, and however compressible: the same bytes, and the size that they have."""
    address = soup.put(content, type="blob")
    assert soup.get(address) == content
    assert soup.head(address).size == len(content)


def test_objects_become_canonical_json(soup: Soup) -> None:
    """Equal objects have one address, in whatever order their keys are."""
    one = soup.put({"b": 1, "a": [True, None, "é"]}, type="x")
    assert soup.put({"a": (True, None, "é"), "b": 1}, type="x") == one
    assert soup.get(one) == '{"a":[true,null,"é"],"b":1}'.encode()
    assert json.loads(soup.get(soup.put([1, 2], type="x"))) == [1, 2]


def test_what_is_known_of_an_object(soup: Soup) -> None:
    """Type, times, size and attributes come back as they were put."""
    attributes = {
        "text": "é\n'\"\\",
        "i": -(2**63),
        "f": 0.1,
        "yes": True,
        "none": None,
        "list": ["a", 1, None],
    }
    address = soup.put(b"abc", type="log", attributes=attributes, ttl=5, created_ns=NOW_NS)
    wanted = attributes | {"list": ("a", 1, None)}
    assert soup.head(address) == SoupObject(address, "log", NOW_NS, NOW_NS + 5 * SECOND, 3, wanted, False)
    assert list(soup.query()) == [soup.head(address)]


def test_an_object_is_stored_once(soup: Soup) -> None:
    """The same bytes again: the first type, time and attributes stay."""
    first = soup.put(b"x", type="one", attributes={"a": 1}, created_ns=5)
    assert soup.put(b"x", type="two", attributes={"b": 2}, created_ns=7) == first
    assert soup.count() == 1
    known = soup.head(first)
    assert (known.type, known.attributes, known.created_ns) == ("one", {"a": 1}, 5)


@pytest.mark.parametrize(
    ("ttls", "wanted"), [((5, 9), 9), ((9, 5), 9), ((5, math.inf), None), ((math.inf, 5), None)]
)
def test_the_later_expiry_counts(soup: Soup, ttls: tuple[float, float], wanted: float | None) -> None:
    """Who wants an object for longer gets it; never is the longest."""
    for ttl in ttls:
        address = soup.put(b"x", type="x", ttl=ttl)
    expires = soup.head(address).expires_ns
    assert expires == (None if wanted is None else NOW_NS + wanted * SECOND)


def test_the_same_object_twice_in_a_batch(soup: Soup) -> None:
    """It is stored once, and both get its address."""
    one, two, three = soup.put_many([NewObject(b"a", "x"), NewObject(b"b", "x"), NewObject(b"a", "x")])
    assert one == three != two
    assert soup.count() == 2
    assert soup.put_many([]) == []


def test_a_batch_is_stored_whole_or_not(soup: Soup) -> None:
    """One object that is none, and nothing is stored."""
    with pytest.raises(DeclarationError):
        soup.put_many([NewObject(b"a", "x"), NewObject(b"b", "no type!")])
    assert soup.count() == 0


def test_what_is_not_there(soup: Soup) -> None:
    """Asking for it says so; deleting and unpinning it does nothing."""
    for ask in (soup.get, soup.head, lambda address: soup.pin(address, "me")):
        with pytest.raises(NotFoundError, match="0000"):
            ask(NOWHERE)
    assert not soup.delete(NOWHERE)
    soup.unpin(NOWHERE, "me")


@pytest.mark.parametrize(
    "address", ["", "sha256:", "0" * 64, "sha256:" + "A" * 64, "sha512:" + "0" * 64, 5, None]
)
def test_what_is_no_address(soup: Soup, address: Any) -> None:
    """An address that is none is the caller's mistake."""
    for ask in (soup.get, soup.head, soup.delete, lambda address: soup.unpin(address, "me")):
        with pytest.raises(DeclarationError):
            ask(address)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": ""},
        {"type": "a b"},
        {"type": "x" * 65},
        {"type": 5},
        {"ttl": -1},
        {"ttl": math.nan},
        {"ttl": "1d"},
        {"created_ns": -1},
        {"created_ns": 2**63},
        {"created_ns": 1.5},
        {"attributes": {"": 1}},
        {"attributes": {'a"b': 1}},
        {"attributes": {"a\\b": 1}},
        {"attributes": {"a\nb": 1}},
        {"attributes": {5: 1}},
        {"attributes": {"a": math.inf}},
        {"attributes": {"a": 2**63}},
        {"attributes": {"a": {}}},
        {"attributes": {"a": [[]]}},
        {"attributes": {"a": b"x"}},
        {"attributes": {"a": "x" * 5000}},
        {"attributes": {"a": [1] * 300}},
        {"attributes": {str(n): n for n in range(100)}},
    ],
    ids=str,
)
def test_wrong_puts(soup: Soup, wrong: dict[str, Any]) -> None:
    """What no store could keep is refused before anything is done."""
    with pytest.raises(DeclarationError):
        soup.put(b"x", **{"type": "x", **wrong})
    assert soup.count() == 0


def test_what_no_database_takes(soup: Soup) -> None:
    """NUL and lone surrogates in attributes become U+FFFD, for those who ask, too."""
    soup.put(b"x", type="x", attributes={"a": "\x00\ud800"})
    assert next(soup.query(attr("a") == "\x00\ud800")).attributes == {"a": "\ufffd\ufffd"}


# ---- queries


def test_types_and_times(soup: Soup) -> None:
    """`since` is part of the range, `until` is not; several types are merged in order."""
    fill(soup, 10)
    fill(soup, 10, type="trace")
    at = [NOW_NS - (9 - n) * SECOND for n in range(10)]
    assert numbers(soup.query(type="log", since=at[3], until=at[6])) == [3, 4, 5]
    assert numbers(soup.query(type=["trace", "log", "log"], since=at[8])) == [8, 8, 9, 9]
    assert numbers(soup.query(type="nothing")) == []
    assert soup.count(type=["log", "trace"], until=at[5]) == 10
    moment = datetime.fromtimestamp(NOW_NS // SECOND - 2, timezone.utc)
    assert numbers(soup.query(type="log", since=moment)) == [7, 8, 9]
    assert numbers(soup.query(type="log", since="2s")) == [7, 8, 9]
    assert numbers(soup.query(type="log", until="2026-01-31T11:59:53")) == [0, 1]


@pytest.mark.parametrize(
    "order", ["created", "-created", "n", "-n", "attr.n", "size", "type", "expires", "address"]
)
def test_orders_and_limits(soup: Soup, order: str) -> None:
    """Each order is one, whole or in parts, and every object comes once."""
    fill(soup, 30)
    fill(soup, 30, type="trace")
    whole = list(soup.query(order=order))
    assert len(whole) == 60
    keys = [key(each, order.removeprefix("-")) for each in whole]
    assert keys == sorted(keys, reverse=order.startswith("-"))
    parts: list[SoupObject] = []
    after = None
    while True:
        results = soup.query(order=order, limit=7, after=after)
        part = list(results)
        if not part:
            break
        parts += part
        after = results.after
    assert parts == whole
    assert list(soup.query(type=["log", "trace"], order=order)) == whole


def key(found: SoupObject, name: str) -> Any:
    if name in ("n", "attr.n"):
        return found.attributes["n"]
    return getattr(found, {"created": "created_ns", "expires": "expires_ns"}.get(name, name))


def test_level_objects_come_as_they_were_put(soup: Soup) -> None:
    """Thousands of one time: each once, in order, through all pages."""
    soup.put_many([NewObject(b"%d" % n, "x", {"n": n, "same": 1}, NOW_NS) for n in range(3000)])
    assert numbers(soup.query()) == list(range(3000))
    assert numbers(soup.query(order="-created", type="x")) == list(range(2999, -1, -1))
    assert numbers(soup.query(order="same")) == list(range(3000))


def test_an_attribute_orders_those_that_have_it(soup: Soup) -> None:
    """Numbers come first, then text; what cannot be compared is left out."""
    values = [3, "b", None, 1.5, True, "a", [1], 2]
    for n, each in enumerate(values):
        soup.put(b"%d" % n, type="x", attributes={"v": each})
    soup.put(b"-", type="x")
    assert [each.attributes["v"] for each in soup.query(order="v")] == [1.5, 2, 3, "a", "b"]
    assert [each.attributes["v"] for each in soup.query(order="-v")] == ["b", "a", 3, 2, 1.5]


def test_a_query_is_lazy(soup: Soup) -> None:
    """What is put while it is read may still come, and nothing is locked meanwhile."""
    fill(soup, 200, step_ns=1)
    results = soup.query()
    first = next(results)
    late = soup.put(b"late", type="log", attributes={"n": "late"}, created_ns=NOW_NS + 1)
    assert soup.delete(first.address)
    assert [first, *results][-1].address == late


def test_a_query_goes_on_later(soup: Soup) -> None:
    """With its last token, what has come meanwhile is found, and only that."""
    fill(soup, 3)
    results = soup.query()
    assert results.after is None
    assert numbers(results) == [0, 1, 2]
    again = soup.query(after=results.after)
    assert list(again) == [] and again.after == results.after
    soup.put(b"new", type="log", attributes={"n": 3}, created_ns=NOW_NS + 1)
    assert numbers(soup.query(after=results.after)) == [3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": "a\nb"},
        {"order": None},
        {"limit": -1},
        {"limit": 1.5},
        {"since": "soon"},
        {"since": 1.5},
        {"until": datetime(2026, 1, 31)},
        {"type": []},
        {"type": ["a"] * 40},
        {"type": "no type!"},
        {"after": "nonsense"},
        {"after": "é"},
        {"where": "level = error"},
        {"where": True},
    ],
    ids=str,
)
def test_wrong_queries(soup: Soup, wrong: dict[str, Any]) -> None:
    """They are refused when they are made, not when they are read."""
    with pytest.raises(DeclarationError):
        soup.query(**wrong)


def test_a_token_is_of_its_order(soup: Soup) -> None:
    """One of another order would skip objects: it is refused."""
    fill(soup, 3)
    results = soup.query(order="n")
    next(results)
    for order in ("created", "-n", "attr.size", "size"):
        with pytest.raises(DeclarationError):
            soup.query(order=order, after=results.after)


# ---- conditions: what the database finds is what the meaning in Python says

TEXTS = st.sampled_from(
    ["", "a", "A", "ab", "a%b", "a_b", "[a]", "*", "?", "a*b", "\\", "é", "z\U0001f600", "1", "'", '"']
)
TEXTS = TEXTS | st.text(alphabet="ab%_*?[]^-\\é'\"\x01\U0001f600", max_size=5)
NUMBERS = st.sampled_from(
    [0, 1, -1, 1.0, 0.1, -0.0, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, -(2**63), 1e300, 5e-324]
)
NUMBERS = NUMBERS | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = TEXTS | NUMBERS | st.booleans() | st.none()
NAMES = st.sampled_from(["a", "b", "a.b", "é'", "size", "trace_id"])
ATTRIBUTES = st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=3), max_size=4)
ANY_NAME = NAMES.map(lambda name: "attr.size" if name == "size" else name) | st.sampled_from(
    ["type", "created", "expires", "size", "address"]
)


@st.composite
def leaves(draw: Any) -> Any:
    """A condition on one name."""
    text = draw(ANY_NAME)
    name = attr(text)
    comparable = (
        NUMBERS | st.just(NOW_NS) if text in ("created", "expires") else TEXTS | NUMBERS | st.just("x")
    )
    kind = draw(
        st.sampled_from(["compare", "compare", "equal", "between", "like", "contains", "exists", "missing"])
    )
    if kind == "compare":
        return name.compare(draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="])), draw(comparable))
    if kind == "equal":
        return name.compare(draw(st.sampled_from(["=", "!="])), draw(st.booleans() | st.none() | comparable))
    if kind == "between":
        return name.between(draw(comparable), draw(comparable))
    if kind == "like":
        return name.like(draw(TEXTS))
    if kind == "contains":
        return name.contains(draw(SCALARS))
    return getattr(name, kind)()


CONDITIONS = st.recursive(
    leaves(),
    lambda inner: (
        st.tuples(inner, inner).map(lambda two: two[0] & two[1])
        | st.tuples(inner, inner).map(lambda two: two[0] | two[1])
        | inner.map(lambda one: ~one)
    ),
    max_leaves=6,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    objects=st.lists(ATTRIBUTES, min_size=1, max_size=5),
    conditions=st.lists(CONDITIONS, min_size=1, max_size=4),
)
def test_conditions_mean_what_they_say(
    soup: Soup, objects: list[dict[str, Any]], conditions: list[Any]
) -> None:
    """Whatever the attributes and the conditions are, the database and Python agree, and count alike."""
    for known in list(soup.query()):
        soup.delete(known.address)
    soup.put_many(
        [
            NewObject(b"%d" % n * n, "x", attributes, NOW_NS + n, None if n % 2 else math.inf)
            for n, attributes in enumerate(objects)
        ]
    )
    everything = list(soup.query())
    assert len(everything) == len(objects)
    for condition in conditions:
        wanted = [each for each in everything if matches(condition, each)]
        assert list(soup.query(condition)) == wanted, condition
        assert list(soup.query(condition, type="x", order="-created")) == wanted[::-1], condition
        assert soup.count(condition) == len(wanted)


# ---- keeping house


def test_retention_is_by_type(place: Place) -> None:
    """A type has its own, others the default; what has expired is there until a gc."""
    soup = place.open(retention={"log": 10, "audit": math.inf}, default_retention=2 * DAY)
    logs = [soup.put(b"l", type="log"), soup.put(b"a", type="audit"), soup.put(b"o", type="other")]
    assert [soup.head(each).expires_ns for each in logs] == [
        NOW_NS + 10 * SECOND,
        None,
        NOW_NS + 2 * 86400 * SECOND,
    ]
    place.clock.pass_by(10)
    assert soup.count() == 3
    report = soup.gc()
    assert (report.expired, report.evicted, report.complete) == (1, 0, True)
    assert {each.type for each in soup.query()} == {"audit", "other"}
    place.clock.pass_by(2 * DAY)
    assert soup.gc().expired == 1


def test_the_default_is_thirty_days(soup: Soup, place: Place) -> None:
    """As the memo has it."""
    address = soup.put(b"x", type="x")
    assert soup.head(address).expires_ns == NOW_NS + 30 * 86400 * SECOND


def test_pins_outlive_retention(soup: Soup, place: Place) -> None:
    """An object stays as long as anybody has it pinned; twice by the same one is once."""
    address = soup.put(b"x", type="x", ttl=1)
    for by in ("me", "me", "you"):
        soup.pin(address, by)
    place.clock.pass_by(5)
    assert soup.head(address).pinned and soup.stats().pinned == 1
    soup.unpin(address, "me")
    assert soup.gc().expired == 0
    soup.unpin(address, "you")
    assert not soup.head(address).pinned
    assert soup.gc().expired == 1 and soup.count() == 0


@pytest.mark.parametrize("by", ["", "a\nb", "x" * 300, None])
def test_who_pins_has_a_name(soup: Soup, by: Any) -> None:
    """Nobody in particular cannot pin."""
    address = soup.put(b"x", type="x")
    with pytest.raises(DeclarationError):
        soup.pin(address, by)


def test_deleting(soup: Soup) -> None:
    """An object goes with its pins: put again, it has none."""
    address = soup.put(b"x", type="x")
    soup.pin(address, "me")
    assert soup.delete(address) and not soup.delete(address)
    assert soup.put(b"x", type="x") == address
    assert not soup.head(address).pinned


def test_statistics(soup: Soup) -> None:
    """Objects and bytes by type, as they were put, and from when to when."""
    empty = soup.stats()
    assert (empty.objects, empty.oldest_ns, empty.newest_ns, empty.by_type) == (0, None, None, {})
    fill(soup, 3)
    soup.put(b"x" * 10_000, type="blob", created_ns=7)
    stats = soup.stats()
    assert (stats.objects, stats.content_bytes, stats.pinned) == (4, 10_000 + 3 * 5, 0)
    assert {name: (one.objects, one.content_bytes) for name, one in stats.by_type.items()} == {
        "blob": (1, 10_000),
        "log": (3, 15),
    }
    assert (stats.oldest_ns, stats.newest_ns) == (7, NOW_NS)
    assert stats.bytes > 0


def test_verifying_what_is_whole(soup: Soup) -> None:
    """Nothing is damaged."""
    fill(soup, 50)
    soup.put(b"x" * 10_000, type="blob")
    assert list(soup.verify()) == []


# ---- several at once


def test_two_that_share_it(place: Place) -> None:
    """What one has put, the other finds."""
    one, two = place.open(), place.open()
    address = one.put(b"x", type="x")
    assert two.get(address) == b"x"
    assert two.put(b"x", type="y") == address
    assert one.delete(address) and two.count() == 0


def test_threads(soup: Soup) -> None:
    """Many put, find and delete at once: nothing is lost, and nothing fails."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(me: int) -> None:
        try:
            barrier.wait(30)
            for n in range(50):
                address = soup.put(f"{me} {n}".encode(), type="x", attributes={"me": me, "n": n})
                assert soup.get(address) == f"{me} {n}".encode()
                soup.put(b"shared %d" % n, type="y")
                assert soup.count(attr("me") == me) == n + 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert soup.count(type="x") == 200 and soup.count(type="y") == 50


def test_after_close(soup: Soup) -> None:
    """Nothing works, and it says why; closing again does nothing."""
    soup.put(b"x", type="x")
    results = soup.query()
    soup.close()
    soup.close()
    for use in (lambda: soup.put(b"y", type="x"), lambda: soup.count(), lambda: next(results)):
        with pytest.raises(StorageError, match="closed"):
            use()
