"""What several of the tracing tests want: spans as sinks get them, and objects nobody would wish for."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

START_NS = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z


def span(
    number: int = 1, *, trace: int = 1, parent: int = 0, at_ms: float = 0.0, ms: float = 1.0, **more: Any
) -> dict[str, Any]:
    """A span as `Span.as_dict` makes it."""
    return {
        "trace_id": f"{trace:032x}",
        "span_id": f"{number:016x}",
        "parent_span_id": f"{parent:016x}" if parent else "",
        "name": "cas.get",
        "kind": "internal",
        "start_ns": START_NS + int(at_ms * 1e6),
        "duration_ns": int(ms * 1e6),
        "status": "ok",
    } | more


def root(number: int = 1, **more: Any) -> dict[str, Any]:
    """A local root that was kept."""
    return span(number, **{"reason": "sampled", **more})


class Raises:
    """Raises whatever is asked of it."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("no")

    __repr__ = __str__ = __iter__ = __len__ = __bool__ = __format__ = __eq__ = _raise
    __hash__ = object.__hash__

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no")


class Exits:
    """Ends the thread that looks at it, if nobody holds it up."""

    def __repr__(self) -> str:
        raise SystemExit


class Endless(dict[str, int]):
    """A mapping that never ends."""

    def items(self) -> Any:
        number = 0
        while True:
            yield str(number), number
            number += 1


class BadMeta(type):
    """A class that has no name."""

    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            raise RuntimeError("no")
        return super().__getattribute__(name)


class Nameless(metaclass=BadMeta):
    def __repr__(self) -> str:
        raise RuntimeError("no")


class BadError(Exception):
    """An error that cannot say what went wrong."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def cycle() -> list[Any]:
    """A list that lies in itself, twice."""
    inner: list[Any] = []
    inner += [inner, inner, {"again": inner}]
    return inner


HOSTILE = [
    Raises(), Exits(), Endless(), Nameless(), BadError(), cycle(), float("nan"), float("-inf"), 10**5000,
    -(2**63) - 1, "\ud800", "\x00" * 100_000, b"\xff" * 100_000, memoryview(b"12345678")[::2], range(10**12),
    {None: 1, (1, 2): 2}, {1.5, 2}, [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]], object, print, 1j, "é" * 8192,
]  # fmt: skip

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
keys = st.text(max_size=20) | st.integers() | st.none() | st.binary() | st.floats() | st.tuples(st.integers())
hostile = st.integers(0, len(HOSTILE) - 1).map(lambda at: HOSTILE[at])
values = st.recursive(
    plain | hostile | st.datetimes() | st.uuids() | st.decimals(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
attributes = st.dictionaries(keys, values, max_size=6)
events = st.lists(
    st.fixed_dictionaries({"time_ns": st.just(START_NS), "name": st.text(), "attributes": attributes}),
    max_size=3,
)
