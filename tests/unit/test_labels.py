"""Labels: what they may be called, how children are bound, what becomes of values that are no strings, and
the limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from vaultscope import Counter, DeclarationError, NotFoundError, Registry

KINDS = ["counter", "gauge", "histogram", "hdr_histogram"]
LIMIT_BYTES = 1024  # of a label value


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def family(registry: Registry) -> Counter:
    return registry.counter("cas.put.count", labels=("op", "peer"))


def series_of(registry: Registry, name: str) -> list[dict[str, str]]:
    return [series.labels for series in registry.snapshot()[name]]


# ---- names ----


@pytest.mark.parametrize(
    "labels",
    [("",), ("a-b",), ("1a",), ("a b",), ("é",), ("a.b",), ("a\n",), (None,), (1,), (b"a",), ("a", "b", "a")],
    ids=repr,
)
@pytest.mark.parametrize("kind", KINDS)
def test_illegal_label_names(registry: Registry, kind: str, labels: tuple[Any, ...]) -> None:
    """A label is a word of ASCII letters, digits and underscores, and stands once."""
    with pytest.raises(DeclarationError):
        getattr(registry, kind)("a", labels=labels)
    assert "a" not in registry


@pytest.mark.parametrize("labels", ["op", "", b"op", None, 5], ids=repr)
def test_labels_are_a_sequence(registry: Registry, labels: Any) -> None:
    """A single string is not taken for its letters, and what cannot be walked is refused as well."""
    with pytest.raises(DeclarationError, match="label"):
        registry.counter("a", labels=labels)


@pytest.mark.parametrize("label", ["__name__", "__x", "__"])
def test_double_underscores_are_taken(registry: Registry, label: str) -> None:
    """Names that start with two underscores belong to Prometheus; one is fine, and so are two further in."""
    with pytest.raises(DeclarationError, match="__"):
        registry.counter("a", labels=(label,))
    assert registry.counter("a", labels=("_x", "x__y")).label_names == ("_x", "x__y")


@pytest.mark.parametrize(
    ("kind", "label", "taken"),
    [
        ("counter", "le", False),
        ("gauge", "quantile", False),
        ("histogram", "le", True),
        ("histogram", "quantile", False),
        ("hdr_histogram", "le", True),
        ("hdr_histogram", "quantile", True),
    ],
)
def test_taken_labels(registry: Registry, kind: str, label: str, taken: bool) -> None:
    """`le` and `quantile` are refused where the text format gives them a meaning, and only there."""
    if taken:
        with pytest.raises(DeclarationError, match="own"):
            getattr(registry, kind)("a", labels=(label,))
    else:
        assert getattr(registry, kind)("a", labels=(label,)).label_names == (label,)


def test_number_of_labels(registry: Registry) -> None:
    """A metric has up to 32 labels."""
    names = [f"l{i}" for i in range(33)]
    child = registry.counter("a", labels=names[:32]).labels(*names[:32])
    assert child.label_values == tuple(names[:32])
    with pytest.raises(DeclarationError):
        registry.counter("b", labels=names)


@pytest.mark.parametrize("label", ["self", "name", "values", "amount", "labels", "cls", "key"])
def test_labels_named_like_arguments(registry: Registry, label: str) -> None:
    """A label may have the name of any argument: by-name lookups reach it everywhere."""
    family = registry.counter("a", labels=(label,))
    family.labels(**{label: "x"}).inc(2)
    snapshot = registry.snapshot()
    assert snapshot.value("a", **{label: "x"}) == 2
    assert snapshot["a"].series(**{label: "x"}).value == 2
    family.remove(**{label: "x"})
    assert series_of(registry, "a") == []


# ---- binding ----


def test_every_way_to_bind_is_one_child(family: Counter) -> None:
    """By position, by name and by name in another order: the same object."""
    child = family.labels("put", "b1")
    assert family.labels("put", "b1") is child
    assert family.labels(op="put", peer="b1") is child
    assert family.labels(peer="b1", op="put") is child
    assert family.labels("b1", "put") is not child


@pytest.mark.parametrize(
    ("values", "by_name"),
    [
        ((), {}),
        (("a",), {}),
        (("a", "b", "c"), {}),
        (("a",), {"peer": "b"}),
        (("a", "b"), {"peer": "b"}),
        ((), {"op": "a"}),
        ((), {"op": "a", "peer": "b", "x": "c"}),
        ((), {"op": "a", "Peer": "b"}),
    ],
    ids=str,
)
def test_wrong_labels(
    registry: Registry, family: Counter, values: tuple[str, ...], by_name: dict[str, str]
) -> None:
    """Too few, too many, both ways at once or unknown names: refused, and no series is made."""
    for bind in (family.labels, family.remove):
        with pytest.raises(DeclarationError):
            bind(*values, **by_name)
    assert series_of(registry, family.name) == []


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_what_has_none(registry: Registry, kind: str) -> None:
    """A metric without labels has no children, nor has a child."""
    plain = getattr(registry, kind)("a")
    child = getattr(registry, kind)("b", labels=("x",)).labels("1")
    for args in [(), ("1",)]:
        with pytest.raises(DeclarationError):
            plain.labels(*args)
        with pytest.raises(DeclarationError, match="child"):
            child.labels(*args)
    with pytest.raises(DeclarationError):
        child.labels("other")  # a sibling that is bound, by the fast path


@pytest.mark.parametrize(
    ("kind", "method", "args"),
    [
        ("counter", "inc", ()),
        ("counter", "inc", (1,)),
        ("counter", "inc", (2.5,)),
        ("counter", "inc", (-1,)),
        ("counter", "inc", ("x",)),
        ("counter", "mirror", (1,)),
        ("gauge", "set", (1,)),
        ("gauge", "set", (1.5,)),
        ("gauge", "set", ("x",)),
        ("gauge", "inc", ()),
        ("gauge", "dec", ()),
        ("gauge", "dec", (2,)),
        ("histogram", "observe", (1,)),
        ("histogram", "observe", (1.5,)),
        ("histogram", "observe", (float("nan"),)),
        ("histogram", "observe_many", ([1.0],)),
        ("histogram", "observe_many", (b"ab",)),
        ("histogram", "time", ()),
        ("histogram", "timed", (len,)),
        ("hdr_histogram", "record", (0,)),
        ("hdr_histogram", "record", (1,)),
        ("hdr_histogram", "record", (1.5,)),
        ("hdr_histogram", "record", ("x",)),
        ("hdr_histogram", "record_times", (1, 2)),
        ("hdr_histogram", "record_corrected", (1, 2)),
        ("hdr_histogram", "record_many", ([1],)),
        ("hdr_histogram", "observe_many", (b"ab",)),
        ("hdr_histogram", "time", ()),
        ("hdr_histogram", "snapshot", ()),
        ("hdr_histogram", "quantile", (0.5,)),
        ("hdr_histogram", "encode", ()),
    ],
)
def test_writing_to_a_family(registry: Registry, kind: str, method: str, args: tuple[Any, ...]) -> None:
    """A family has no value of its own: using it as if it had says so, and counts nothing."""
    family = getattr(registry, kind)("a", labels=("x",))
    with pytest.raises(DeclarationError, match=r"call labels\(\)"):
        getattr(family, method)(*args)
    assert sum(family.losses.values()) == 0
    assert series_of(registry, "a") == []


@pytest.mark.parametrize("attribute", ["value", "count", "sum", "counts", "min", "mean", "label_values"])
def test_reading_a_family(registry: Registry, attribute: str) -> None:
    """Nor has it one to read."""
    for kind in KINDS:
        family = getattr(registry, kind)(kind, labels=("x",))
        if hasattr(type(family), attribute):
            with pytest.raises(DeclarationError, match=r"call labels\(\)"):
                getattr(family, attribute)


# ---- values ----


class Shown:
    def __str__(self) -> str:
        return "shown"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (True, "True"),
        (None, "None"),
        (1.0, "1.0"),
        (b"abc", "abc"),
        (b"a\xff", "a\ufffd"),
        (bytearray(b"ba"), "ba"),
        (memoryview(b"mv"), "mv"),
        (Shown(), "shown"),
        ("", ""),
        ('q"\\\n', 'q"\\\n'),
        ("é\U0001f600", "é\U0001f600"),
        ("\ud800a\udfff", "\ufffda\ufffd"),
        ("a\0b", "a\ufffdb"),
        ("x,y={}", "x,y={}"),
        (type("Text", (str,), {})("sub"), "sub"),
    ],
    ids=ascii,
)
def test_values(registry: Registry, value: object, text: str) -> None:
    """Any value is text in the end: what is no string is str()ed, what no line of output could hold is
    U+FFFD."""
    family = registry.counter("a", labels=("x",))
    child = family.labels(value)
    child.inc()
    assert child.label_values == (text,)
    assert series_of(registry, "a") == [{"x": text}]
    assert registry.snapshot().value("a", x=text) == 1
    family.labels(x=text).inc()
    assert child.value == 2


def test_values_that_are_one_text_are_one_series(registry: Registry) -> None:
    """1 and "1" are one child; True is not 1, though Python says they are equal."""
    family = registry.counter("a", labels=("x",))
    assert family.labels(1) is family.labels("1")
    assert family.labels(True) is not family.labels(1)
    assert family.labels(1.0) is not family.labels(1)
    assert family.series_count == 3


def test_a_value_that_cannot_be_told(registry: Registry) -> None:
    """An error of a value's own str() is the caller's, and makes no series."""

    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("mute")

    family = registry.counter("a", labels=("x",))
    with pytest.raises(RuntimeError, match="mute"):
        family.labels(Mute())
    assert family.series_count == 0


@pytest.mark.parametrize("letter", ["a", "é", "€", "\U0001f600"])
@pytest.mark.parametrize("count", [LIMIT_BYTES + 4, 10 << 20])
def test_a_long_value_is_cut(registry: Registry, letter: str, count: int) -> None:
    """A value of more than 1,024 bytes is cut at a whole character; each bind of it is counted."""
    family = registry.counter("a", labels=("x",))
    size = len(letter.encode())
    value = "b" + letter * (count // size)
    kept = "b" + letter * ((LIMIT_BYTES - 1) // size)
    for i in range(1, 4):
        family.labels(value).inc()
        assert family.losses["truncated"] == i
    assert series_of(registry, "a") == [{"x": kept}]
    assert family.labels(kept).value == 3
    assert family.losses["truncated"] == 3


def test_a_value_at_the_limit_is_whole(registry: Registry) -> None:
    """1,024 bytes are not cut."""
    family = registry.counter("a", labels=("x",))
    value = "é" * (LIMIT_BYTES // 2)
    assert family.labels(value).label_values == (value,)
    assert family.losses["truncated"] == 0


# ---- taking out ----


def test_remove(registry: Registry, family: Counter) -> None:
    """A removed series is not seen, its handle counts on unseen, and its labels start anew."""
    child, sibling = family.labels("put", "b1"), family.labels("put", "b2")
    child.inc(5)
    sibling.inc(7)
    family.remove("put", "b1")
    child.inc(5)
    assert child.value == 10
    assert series_of(registry, family.name) == [{"op": "put", "peer": "b2"}]
    again = family.labels("put", "b1")
    assert again is not child
    assert again.value == 0
    assert family.labels("put", "b2").value == 7


def test_remove_by_name_and_by_value_that_is_no_string(registry: Registry) -> None:
    """remove() takes what labels() takes."""
    family = registry.counter("a", labels=("x", "y"))
    family.labels(1, None)
    family.remove(y=None, x=1)
    assert family.series_count == 0


def test_remove_what_is_not_there(registry: Registry, family: Counter) -> None:
    """It is a NotFoundError that tells the values, and a KeyError."""
    family.labels("put", "b1")
    with pytest.raises(NotFoundError, match=r"cas.put.count\['put', 'é'\]: not found"):
        family.remove("put", "é")
    with pytest.raises(KeyError):
        family.remove("put", "é")
    assert family.series_count == 1


def test_remove_of_a_metric_without_labels(registry: Registry) -> None:
    """Its one series goes with the metric alone; clear() has nothing to take."""
    counter = registry.counter("a")
    counter.inc()
    with pytest.raises(DeclarationError):
        counter.remove()
    counter.clear()
    counter.inc()
    assert registry.snapshot().value("a") == 2


def test_clear(registry: Registry, family: Counter) -> None:
    """clear() forgets all series; their handles count on unseen."""
    children = [family.labels("put", str(i)) for i in range(10)]
    family.clear()
    for child in children:
        child.inc()
    assert series_of(registry, family.name) == []
    family.labels("put", "3").inc(4)
    assert registry.snapshot().value(family.name, op="put", peer="3") == 4


def test_many_children(registry: Registry) -> None:
    """More children than are kept at hand are found all the same, each with its own count."""
    family = registry.counter("a", labels=("x",), max_series=0)
    for _ in range(2):
        for i in range(5000):
            family.labels(str(i)).inc(i)
    values = {series.labels["x"]: series.value for series in registry.snapshot()["a"]}
    assert values == {str(i): 2 * i for i in range(5000)}


# ---- the limit ----


def test_overflow(registry: Registry) -> None:
    """Beyond the limit all share one series whose every value is `_overflow`, and each bind is counted."""
    family = registry.counter("a", labels=("x", "y"), max_series=2)
    for i in range(10):
        family.labels("v", str(i)).inc()
    for _ in range(5):
        family.labels("v", "9").inc()
    assert family.losses["overflowed"] == 13
    assert registry.snapshot()["a"].losses["overflowed"] == 13
    assert [(s.labels, s.value) for s in registry.snapshot()["a"]] == [
        ({"x": "v", "y": "0"}, 1),
        ({"x": "v", "y": "1"}, 1),
        ({"x": "_overflow", "y": "_overflow"}, 13),
    ]
    assert family.series_count == 2
    family.labels("v", "1").inc()  # what is in stays in
    assert family.losses["overflowed"] == 13


@pytest.mark.parametrize("kind", KINDS)
def test_overflow_of_every_kind(registry: Registry, kind: str) -> None:
    """Every kind has it."""
    family = getattr(registry, kind)("a", labels=("x",), max_series=1)
    family.labels("1")
    write = {"counter": "inc", "gauge": "set", "histogram": "observe", "hdr_histogram": "record"}[kind]
    getattr(family.labels("2"), write)(4)
    getattr(family.labels("3"), write)(4)
    series = registry.snapshot()["a"].series(x="_overflow")
    assert (series.value if kind in ("counter", "gauge") else series.sum) == (4 if kind == "gauge" else 8)


def test_overflow_by_name(registry: Registry) -> None:
    """The overflow series can be asked for by its name; that is no loss, and it is kept for good."""
    family = registry.counter("a", labels=("x",), max_series=1)
    family.labels("1")
    family.labels("2").inc(3)
    assert family.labels("_overflow").value == 3
    assert family.labels("_overflow").label_values == ("_overflow",)
    assert family.losses["overflowed"] == 1
    with pytest.raises(DeclarationError):
        family.remove("_overflow")
    family.clear()
    assert series_of(registry, "a") == [{"x": "_overflow"}]


def test_room_after_removal(registry: Registry) -> None:
    """A removed series makes room: its place is taken by the next that asks."""
    family = registry.counter("a", labels=("x",), max_series=1)
    family.labels("1")
    family.labels("2").inc()
    family.remove("1")
    family.labels("2").inc(5)
    assert registry.snapshot().value("a", x="2") == 5
    assert registry.snapshot().value("a", x="_overflow") == 1
    assert family.losses["overflowed"] == 1


@pytest.mark.parametrize(
    ("default", "own", "kept"), [(3, None, 3), (3, 5, 5), (3, 0, 50), (0, None, 50), (0, 2, 2)]
)
def test_limits(default: int, own: int | None, kept: int) -> None:
    """A metric's own limit goes before the registry's; 0 is none."""
    registry = Registry(max_series=default)
    family = registry.counter("a", labels=("x",), max_series=own)
    for i in range(50):
        family.labels(str(i)).inc()
    assert family.series_count == kept
    assert family.losses["overflowed"] == 50 - kept
    assert sum(int(series.value) for series in registry.snapshot()["a"]) == 50


def test_the_default_limit() -> None:
    """Without a word it is ten thousand."""
    family = Registry().counter("a", labels=("x",))
    for i in range(10_001):
        family.labels(str(i))
    assert (family.series_count, family.losses["overflowed"]) == (10_000, 1)


def test_the_limit_holds_for_threads(registry: Registry) -> None:
    """Threads that bind at once do not pass the limit together, and no increment is lost."""
    family = registry.counter("a", labels=("x",), max_series=10)

    def work(values: Iterator[int]) -> None:
        for i in values:
            family.labels(str(i)).inc()

    threads = [threading.Thread(target=work, args=(iter(range(k, k + 100)),)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert family.series_count == 10
    assert sum(int(series.value) for series in registry.snapshot()["a"]) == 800
    assert len(series_of(registry, "a")) == 11
