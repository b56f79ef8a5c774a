"""Counters: exact integers, floats beside them, and amounts of every sort that a caller may come with."""

from __future__ import annotations

import copy
import math
import operator
import pickle
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from vaultscope import Counter, DeclarationError, Registry

MAX = 2**63 - 1


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def counter(registry: Registry) -> Counter:
    return registry.counter("a")


class Raises:
    """Every conversion of it raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __index__(self) -> int:
        raise self.error

    def __float__(self) -> float:
        raise self.error

    def __int__(self) -> int:
        raise self.error


class Index:
    def __init__(self, value: object) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value  # type: ignore[return-value]


class Float:
    def __init__(self, value: object) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value  # type: ignore[return-value]


class Both(Index, Float):
    """An index that cannot be had, a float that can."""

    def __index__(self) -> int:
        raise TypeError

    def __float__(self) -> float:
        return 2.5


class Text(str):
    def __float__(self) -> float:
        return 3.0


def test_exact_to_the_end(counter: Counter) -> None:
    """Every integer up to 2^63 is exact, step by step, where a double has lost its units long before."""
    counter.inc(2**53)
    counter.inc()
    assert counter.value == 2**53 + 1
    counter.inc(MAX - 2**53 - 2)
    assert counter.value == MAX - 1
    counter.inc()
    assert counter.value == MAX
    counter.inc()
    assert counter.value == 2**63
    assert isinstance(counter.value, int)


def test_exact_in_a_snapshot(registry: Registry, counter: Counter) -> None:
    """A snapshot has the same integer."""
    counter.inc(MAX)
    value = registry.snapshot().value("a")
    assert value == MAX and isinstance(value, int)


def test_integers_and_floats(counter: Counter) -> None:
    """An int until a part of one came; then a float."""
    counter.inc(2)
    counter.inc(0.0)
    assert (counter.value, type(counter.value)) == (2, int)
    counter.inc(0.5)
    assert (counter.value, type(counter.value)) == (2.5, float)
    counter.inc(2)
    assert counter.value == 4.5


def test_small_floats_add_up(counter: Counter) -> None:
    """Floats beside a huge integer are kept apart from it and do not vanish one by one."""
    counter.inc(2**62)
    for _ in range(4096):
        counter.inc(0.25)
    assert counter.value == 2**62 + 1024.0


def test_zero_is_an_amount(counter: Counter) -> None:
    """Adding nothing, of either sign, is no error."""
    for nothing in (0, 0.0, -0.0, False):
        counter.inc(nothing)
    assert counter.value == 0
    assert counter.losses["invalid"] == 0


def test_forms_of_the_call(counter: Counter) -> None:
    """inc(), inc(2), inc(amount=2) and Counter.inc(counter) are all there."""
    counter.inc()
    counter.inc(2)
    counter.inc(amount=4)
    counter.inc(*[8])
    inc = counter.inc
    inc()
    Counter.inc(counter)
    assert counter.value == 17


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1, 2), {}), ((1,), {"amount": 2}), ((), {"n": 1}), ((), {"amount": 1, "n": 2})],
    ids=str,
)
def test_wrong_calls(counter: Counter, args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    """A call with arguments that there are not is the programmer's mistake, and raises."""
    with pytest.raises(TypeError, match="amount"):
        counter.inc(*args, **kwargs)
    assert counter.value == 0


@pytest.mark.parametrize(
    ("amount", "total"),
    [
        (True, 1),
        (Decimal("1.5"), 1.5),
        (Fraction(1, 4), 0.25),
        (np.float32(1.5), 1.5),
        (np.float64(2.5), 2.5),
        (np.longdouble(2.5), 2.5),
        (np.int8(5), 5),
        (np.int64(MAX), MAX),
        (np.uint64(2**63 - 1), MAX),
        (np.array(7), 7),
        (np.array(0.5), 0.5),
        (Index(3), 3),
        (Index(True), 1),
        (Float(3.0), 3.0),
        (Both(0), 2.5),
        (type("Int", (int,), {})(6), 6),
        (type("Real", (float,), {})(0.5), 0.5),
        (2**30 - 1, 2**30 - 1),
        (2**30, 2**30),
        (5e-324, 5e-324),
        (1.7976931348623157e308, 1.7976931348623157e308),
    ],
    ids=repr,
)
def test_amounts(registry: Registry, counter: Counter, amount: Any, total: float) -> None:
    """Whatever is a number is added: an int where Python calls it an index, else a float."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # an index that is a bool
        counter.inc(amount)
    assert counter.value == total
    assert type(counter.value) is type(total)
    assert counter.losses["invalid"] == 0


NO_AMOUNTS: list[Any] = [
    -1,
    -(2**63),
    -(2**64),
    2**63,
    2**64,
    10**400,
    -0.5,
    -5e-324,
    math.nan,
    math.inf,
    -math.inf,
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal(-1),
    Fraction(-1, 3),
    np.float32("nan"),
    np.float64("inf"),
    np.int64(-1),
    np.uint64(2**63 + 1),
    np.array([1, 2]),
    np.array([]),
    1j,
    None,
    "3",
    "",
    Text("3"),
    b"3",
    bytearray(b"3"),
    memoryview(b"3"),
    [],
    {},
    (1,),
    object(),
    int,
    Index("x"),
    Index(1.5),
    Index(-1),
    Index(2**63),
    Float("x"),
    Float(1),
    Float(math.nan),
    Float(None),
    Raises(ValueError("no")),
    Raises(ZeroDivisionError()),
    Raises(MemoryError()),
    Raises(RecursionError()),
    Raises(StopIteration()),
    Raises(Warning()),
]


@pytest.mark.parametrize("amount", NO_AMOUNTS, ids=ascii)
def test_what_is_no_amount(registry: Registry, counter: Counter, amount: Any) -> None:
    """Whatever cannot be added to a counter is counted as invalid: nothing is raised, nothing added."""
    counter.inc(5)
    assert counter.inc(amount) is None
    assert counter.inc(amount=amount) is None
    assert counter.value == 5 and isinstance(counter.value, int)
    assert registry.snapshot()["a"].losses["invalid"] == 2


@pytest.mark.parametrize("amount", NO_AMOUNTS, ids=ascii)
def test_pedantic(amount: Any) -> None:
    """In a pedantic registry each of these raises, with the metric's name, and is counted as well."""
    counter = Registry(pedantic=True).counter("a.b", labels=("x",)).labels("1")
    with pytest.raises((ValueError, TypeError), match=r"a\.b: "):
        counter.inc(amount)
    assert counter.value == 0
    assert counter.losses["invalid"] == 1


def test_no_error_lingers(counter: Counter) -> None:
    """An error that was swallowed does not turn up at the next operation."""
    for _ in range(100):
        counter.inc(Raises(KeyError("x")))  # type: ignore[arg-type]
        assert {}.get("y") is None
        assert next(iter([]), 5) == 5
    assert counter.losses["invalid"] == 100


@pytest.mark.parametrize("way", ["__index__", "__float__"])
def test_an_amount_that_writes(counter: Counter, way: str) -> None:
    """An amount that writes to the same counter while it is asked is added after what it wrote."""

    def asked(self: object) -> float:
        counter.inc(10)
        counter.inc()
        return 100 if way == "__index__" else 100.0

    counter.inc(type("Writes", (), {way: asked})())
    assert counter.value == 111


def test_an_amount_that_takes_out(registry: Registry) -> None:
    """An amount that unregisters its own metric is added all the same, to what nobody sees."""
    family = registry.counter("f", labels=("x",))

    class Cuts:
        def __index__(self) -> int:
            family.remove("1")
            registry.unregister("f")
            return 7

    child = family.labels("1")
    child.inc(Cuts())  # type: ignore[arg-type]
    assert child.value == 7
    assert "f" not in registry.snapshot()


# ---- mirror ----


@pytest.mark.parametrize(
    ("total", "kind"),
    [(0, int), (7, int), (MAX, int), (2.5, float), (1e300, float), (True, int), (Decimal(2), float)],
)
def test_mirror(counter: Counter, total: float, kind: type) -> None:
    """mirror() sets the total, up or down, and not a part of the old one stays."""
    counter.mirror(9.75)
    counter.mirror(total)
    assert counter.value == total
    assert type(counter.value) is kind


@pytest.mark.parametrize(
    "total", [-1, 2**63, -0.5, math.nan, math.inf, "3", None, 1j, Raises(KeyError())], ids=ascii
)
def test_what_is_no_total(counter: Counter, total: Any) -> None:
    """mirror() is cold: it raises for what cannot be a total, and the old one stays."""
    counter.mirror(4)
    with pytest.raises(ValueError, match="a: "):
        counter.mirror(total)
    assert counter.value == 4


# ---- the handle ----


def test_value_is_read_only(counter: Counter) -> None:
    """Nothing of a handle can be set."""
    for name in ("value", "name", "help", "unit", "label_names", "extra"):
        with pytest.raises(AttributeError):
            setattr(counter, name, 1)


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram", "hdr_histogram"])
@pytest.mark.parametrize(
    "make",
    [pickle.dumps, copy.copy, copy.deepcopy, lambda h: pickle.dumps({"a": [h]})],
    ids=["pickle", "copy", "deep", "in"],
)
def test_handles_do_not_travel(registry: Registry, kind: str, make: Callable[[object], object]) -> None:
    """A handle is of this process: pickling or copying it says so."""
    handle = getattr(registry, kind)("b", labels=("x",))
    for each in (handle, handle.labels("1")):
        with pytest.raises(TypeError, match="handle into this process"):
            make(each)


def test_repr(registry: Registry, counter: Counter) -> None:
    """A repr tells the kind, the name and the labels, escaped."""
    family = registry.counter("f", labels=("x", "y"))
    assert repr(counter) == "<Counter a>"
    assert repr(family) == "<Counter f family of x,y>"
    assert repr(family.labels("1", 'q"\n')) == '<Counter f{x="1",y="q\\"\\n"}>'


def attributes(cls: type) -> list[str]:
    return [name for name in dir(cls) if not name.startswith("_")]


@pytest.mark.parametrize("kind", ["Counter", "Gauge", "Histogram", "HdrHistogram"])
def test_a_handle_that_was_never_declared(kind: str) -> None:
    """What __new__ alone makes has a repr, and says what it lacks wherever it is touched."""
    import vaultscope

    cls = getattr(vaultscope, kind)
    assert repr(cls.__new__(cls)) == f"<{kind} undeclared>"
    arguments: dict[str, tuple[Any, ...]] = {
        "labels": ("x",),
        "remove": ("x",),
        "mirror": (1,),
        "set": (1.0,),
        "observe": (1.0,),
        "observe_many": ([1],),
        "record_many": ([1],),
        "record": (1,),
        "record_times": (1, 2),
        "record_corrected": (1, 2),
        "timed": (len,),
        "quantile": (0.5,),
        "quantiles": ((0.5,),),
        "count_between": (1, 2),
        "merge": (vaultscope.HdrCounts(),),
    }
    for name in attributes(cls):
        handle = cls.__new__(cls)
        with pytest.raises(DeclarationError):
            operator.methodcaller(name, *arguments.get(name, ()))(handle)  # or its property raises


def test_a_failed_declaration_leaves_an_undeclared_handle(registry: Registry) -> None:
    """A handle whose declaration was refused is no worse than one that was never declared."""
    handle = Counter.__new__(Counter)
    with pytest.raises(DeclarationError):
        handle.__init__("a b", registry=registry)  # type: ignore[misc]
    with pytest.raises(DeclarationError):
        handle.inc()
    handle.__init__("b", registry=registry)  # type: ignore[misc]
    handle.inc()
    assert registry.snapshot().value("b") == 1
