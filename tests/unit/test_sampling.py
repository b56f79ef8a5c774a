"""Which traces are kept: all with an error, all slow ones, and of the others exactly the share that their
ids say."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracebook import Tracebook

from vaultscope.errors import DeclarationError
from vaultscope.tracing import Span, SpanContext, Tracer, current_span

WIDTHS = 5.0  # standard deviations: once in 1.7 million runs


def is_share(hits: int, trials: int, rate: float) -> bool:
    """Whether so many hits are what a coin of that rate gives."""
    return abs(hits - trials * rate) <= WIDTHS * math.sqrt(trials * rate * (1.0 - rate)) + 0.5


@pytest.fixture
def books() -> Iterator[Any]:
    """Makes tracers, and closes them."""
    made: list[Tracebook] = []

    def make(**options: Any) -> Tracebook:
        made.append(Tracebook(**options))
        return made[-1]

    yield make
    for book in made:
        book.close()


def traces(tracer: Tracer, count: int, *, failing: int = 0) -> None:
    """So many traces; each `failing`th fails, in an inner span."""
    for number in range(count):
        with tracer.span("a"), suppress(ValueError), tracer.span("b"):
            if failing and number % failing == 0:
                raise ValueError


# ---- the share ----


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.99])
def test_rate(books: Any, rate: float) -> None:
    """Of 50,000 traces the share is kept that was asked for, and the rest is counted as thrown away."""
    book = books(rate=rate)
    traces(book.tracer, 50_000)
    kept = book.decisions.get("sampled", 0)
    assert is_share(kept, 50_000, rate)
    assert book.decisions["dropped"] == 50_000 - kept


@pytest.mark.parametrize(("rate", "kept"), [(0.0, 0), (0, 0), (1.0, 1000), (1, 1000)])
def test_none_and_all(books: Any, rate: float, kept: int) -> None:
    """0 is none at all, and 1 is all."""
    book = books(rate=rate)
    traces(book.tracer, 1000)
    assert len(book.spans) == 2 * kept


def test_errors_are_all_kept(books: Any) -> None:
    """Whatever the rate: each trace with an error in an inner span, that its parent caught; of the others
    the share."""
    book = books(rate=0.1)
    traces(book.tracer, 20_000, failing=4)
    assert book.decisions["error"] == 5_000
    assert is_share(book.decisions["sampled"], 15_000, 0.1)
    assert sum(book.decisions.values()) == 20_000


def test_an_error_keeps_the_whole_trace(books: Any) -> None:
    """What ended before the error, and what ends after it, is kept with it; and the local root says why."""
    book = books(rate=0.0)
    with book.tracer.span("root"):
        with book.tracer.span("before"):
            pass
        with suppress(KeyError), book.tracer.span("wrong"):
            raise KeyError
        with book.tracer.span("after"):
            pass
    assert book.names == ["root", "before", "wrong", "after"]
    assert [span.get("reason") for span in book.spans] == ["error", None, None, None]
    assert [span["status"] for span in book.spans] == ["ok", "ok", "error", "ok"]


def test_slow_ones_are_all_kept(books: Any) -> None:
    """A local root that took as long as slow_ms, whatever the rate; one that took less is not; inner spans
    do not count."""
    book = books(rate=0.0, slow_ms=30.0)
    with book.tracer.span("slow") as slow, book.tracer.span("inner"):
        while slow.duration_ns < 30_000_000:
            pass
    traces(book.tracer, 10)
    assert book.names == ["slow", "inner"]
    assert book.spans[0]["reason"] == "slow" and book.decisions["slow"] == 1


def test_the_shortest_limit_keeps_all(books: Any) -> None:
    """A limit below a nanosecond is not "never"."""
    book = books(rate=0.0, slow_ms=1e-9)
    traces(book.tracer, 10)
    assert book.decisions == {"slow": 10}


def test_an_error_goes_before_slow_and_slow_before_sampled(books: Any) -> None:
    book = books(rate=1.0, slow_ms=1e-9)
    traces(book.tracer, 2, failing=2)
    assert book.decisions == {"error": 1, "slow": 1}


# ---- alike everywhere ----

DECIDE = """
import json, sys
from vaultscope import Registry
from vaultscope.tracing import SpanContext, Tracer

request = json.load(sys.stdin)
tracer = Tracer(Registry(), **request["options"])
for trace_id in request["ids"]:
    parent = SpanContext(int(trace_id, 16), 1, sampled=request["sampled"], remote=True)
    with tracer.span("op", parent=parent) as span:
        print(int(span.sampled))
"""


def elsewhere(ids: list[str], options: dict[str, Any], sampled: bool | None) -> list[bool]:
    """What another process decides about traces of those ids."""
    request = json.dumps({"ids": ids, "options": options, "sampled": sampled})
    done = subprocess.run(
        [sys.executable, "-c", DECIDE], input=request, capture_output=True, text=True, check=True
    )
    return [line == "1" for line in done.stdout.split()]


@pytest.fixture(scope="module")
def decided() -> list[tuple[str, bool]]:
    """Traces of a vault with rate 0.3: their ids, and whether they are sampled."""
    tracer = Tracebook(rate=0.3).tracer
    spans = []
    for _ in range(5_000):
        with tracer.span("op") as span:
            spans.append((span.trace_hex, span.sampled))
    return spans


def test_two_processes_agree_by_id(decided: list[tuple[str, bool]]) -> None:
    """Another process with the same rate that is told the ids alone decides each trace alike."""
    ids = [trace_id for trace_id, _ in decided]
    assert elsewhere(ids, {"rate": 0.3}, None) == [sampled for _, sampled in decided]
    assert is_share(sum(sampled for _, sampled in decided), len(decided), 0.3)


@pytest.mark.parametrize("flag", [True, False])
def test_the_parents_flag_goes_before_rates_and_rules(decided: list[tuple[str, bool]], flag: bool) -> None:
    """Another process with another rate and rules does as its parent's flag says, for every trace."""
    ids = [trace_id for trace_id, _ in decided]
    options = {"rate": 0.0 if flag else 1.0, "rules": {"op": {"rate": 0.0 if flag else 1.0}}}
    assert set(elsewhere(ids, options, flag)) == {flag}


def test_a_lower_rate_keeps_a_part_of_what_a_higher_one_keeps(decided: list[tuple[str, bool]]) -> None:
    """Vaults with different rates keep nested sets: no trace is kept by a low rate that a higher one
    drops."""
    ids = [trace_id for trace_id, _ in decided]
    lower, higher = elsewhere(ids, {"rate": 0.1}, None), elsewhere(ids, {"rate": 0.5}, None)
    assert all(sampled for low, (_, sampled) in zip(lower, decided, strict=True) for _ in [0] if low)
    assert all(high for high, (_, sampled) in zip(higher, decided, strict=True) if sampled)


@given(low=st.integers(0, 2**64 - 1), rate=st.floats(0.0, 1.0))
def test_the_lowest_56_bits_decide(low: int, rate: float) -> None:
    """As the recommendation of consistent sampling has it: those ids are kept that are at or above (1 -
    rate) x 2^56."""
    tracer = Tracer(Tracebook(rate=0.0).registry, rate=rate)
    with tracer.span("a", parent=SpanContext(1 << 64 | low, 1, sampled=None)) as span:
        assert span.sampled == ((low & (2**56 - 1)) >= int((1.0 - rate) * 2.0**56))


def test_a_flag_that_is_set_is_kept_and_handed_on(books: Any) -> None:
    """What comes sampled is kept here though the rate is 0, and its children are sampled, too."""
    book = books(rate=0.0)
    with book.tracer.span("a", parent=SpanContext(1, 2, sampled=True)), book.tracer.span("b") as b:
        assert b.sampled and b.context.sampled
    assert book.names == ["a", "b"]


# ---- rules ----


def test_rules(books: Any) -> None:
    """An operation's own rule applies to traces whose local root it is; what it does not say is as for the
    others."""
    rules = {
        "always": {"rate": 1.0},
        "never": {"rate": 0.0},
        "slow": {"slow_ms": 1e-9},
        "patient": {"slow_ms": None},
    }
    book = books(rate=0.0, slow_ms=60_000.0, rules=rules)
    for name in ("always", "never", "slow", "patient", "other"):
        with book.tracer.span(name), book.tracer.span("always"):
            pass
    assert [span["name"] for span in book.spans if "reason" in span] == ["always", "slow"]
    assert book.decisions == {"sampled": 1, "slow": 1, "dropped": 3}


def test_rules_do_not_change_behind_the_tracer(books: Any) -> None:
    """The mapping is read once."""
    rules = {"a": {"rate": 1.0}}
    book = books(rate=0.0, rules=rules)
    rules["a"]["rate"] = 0.0
    rules.clear()
    with book.tracer.span("a"):
        pass
    assert book.names == ["a"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": -0.1},
        {"rate": 1.1},
        {"rate": math.nan},
        {"rate": "0.5"},
        {"rate": None},
        {"rate": True},
        {"slow_ms": True},
        {"slow_ms": 0},
        {"slow_ms": -1},
        {"slow_ms": math.nan},
        {"slow_ms": math.inf},
        {"slow_ms": "5"},
        {"rules": {"a": {"rate": 2}}},
        {"rules": {"a": {"speed": 2}}},
        {"rules": {"a": {5: 2}}},
    ],
    ids=repr,
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    """What is no rate or no time is an error when the tracer is made, which names it."""
    with pytest.raises(DeclarationError, match=next(iter(wrong)) if "rules" not in wrong else "rule of 'a'"):
        Tracer(Tracebook().registry, **wrong)


@pytest.mark.parametrize(
    "rules",
    [[{"rate": 1}], [("a", {"rate": 1})], 5, "a", {"a": 5}, {"a": [("rate", 1)]}, {5: {"rate": 1}}],
    ids=repr,
)
def test_rules_that_are_none(rules: Any) -> None:
    """What is no mapping of names to mappings is refused."""
    with pytest.raises(DeclarationError, match="rule"):
        Tracer(Tracebook().registry, rules=rules)


# ---- late spans ----


def end_late(book: Tracebook, *, fails: bool) -> Span:
    """A span below a local root that has ended before it."""
    with book.tracer.span("root", x=1) as root:
        late = book.tracer.start("late")
    assert root.status == "ok" and late.parent_id == root.span_id
    if fails:
        late.error("too late")
    late.end()
    return late


def test_a_late_span_follows_its_trace(books: Any) -> None:
    """It goes where its local root went, for the same reason."""
    book = books(rate=1.0)
    end_late(book, fails=False)
    assert [(span["name"], span["reason"]) for span in book.spans] == [
        ("root", "sampled"),
        ("late", "sampled"),
    ]
    assert len({span["trace_id"] for span in book.spans}) == 1


def test_a_late_span_of_a_trace_that_is_gone(books: Any) -> None:
    """It is gone as well; if it failed, it is kept alone, and counts as no trace."""
    book = books(rate=0.0)
    end_late(book, fails=False)
    assert book.spans == []
    late = end_late(book, fails=True)
    assert [(span["name"], span["reason"]) for span in book.spans] == [("late", "error")]
    assert book.span["span_id"] == late.span_hex
    assert book.decisions == {"dropped": 2}


def test_a_child_of_a_late_span(books: Any) -> None:
    """What begins below a local root that has ended belongs to its trace."""
    book = books(rate=1.0)
    with book.tracer.span("root") as root:
        pass
    with book.tracer.span("child", parent=root) as child, book.tracer.span("grandchild") as grandchild:
        pass
    assert child.trace_id == grandchild.trace_id == root.trace_id
    assert book.names == ["root", "grandchild", "child"]
    assert (book.tracer.open_traces, book.decisions) == (0, {"sampled": 1})


def test_late_spans_of_threads(books: Any) -> None:
    """Eight threads end spans while their local root ends: each is kept once, before it or after."""
    book = books(rate=1.0)
    for _ in range(50):
        start, root = threading.Barrier(9), book.tracer.start("root")

        def work(start: threading.Barrier, root: Any) -> None:
            spans = [book.tracer.start("inner", parent=root) for _ in range(20)]
            start.wait()
            for span in spans:
                span.end()

        threads = [threading.Thread(target=work, args=(start, root)) for _ in range(8)]
        for thread in threads:
            thread.start()
        start.wait()
        root.end()
        for thread in threads:
            thread.join()
    spans = book.spans
    assert len({span["span_id"] for span in spans}) == len(spans) == 50 * 161
    assert current_span.get(None) is None
