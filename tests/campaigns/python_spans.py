"""Spans by the million: `python_spans.py SPANS SEED`.

They are thrown away, kept for a sink that stalls, never ended, begun while too many traces are open, more
than their trace has room for. The process stays as large as it was after a tenth of them, and each span is
accounted for. Nothing is drawn: SEED is there because all campaigns have one.

Prints one line; raises AssertionError if anything is wrong.
"""

from __future__ import annotations

import contextvars
import gc
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from python_traces import PATIENCE_S, counters

from vaultscope import Registry
from vaultscope.tracing import SpanSink, Tracer

TURNS, TURNS_SHUT, GROWTH_MAX = 100, 75, 1 << 20
CROWD, ROOM = 64, 8


class StallingSink(SpanSink):
    """Counts the spans that it is given, and takes none while the gate is shut."""

    name = "stalling"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.spans = 0

    def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
        self.gate.wait(60)
        self.spans += len(spans)


def throw_away(tracer: Tracer) -> None:
    with tracer.span("thrown.away", hash="9f86d081", size=4096) as root:
        root.event("cache miss", at="memory")
        for _ in range(3):
            with tracer.span("disk.read", size=512) as span:
                span.link(root)
    with tracer.span("thrown.away"):
        pass


def keep(tracer: Tracer) -> None:
    with tracer.span("kept", hash="9f86d081") as root:
        late = tracer.start("late")
        for _ in range(ROOM + 2):  # two more than there is room for
            with tracer.span("disk.read", size=512):
                pass
        root.event("cache miss", at="memory")
    late.end()  # when its trace was kept: it is kept, too, on its own


def abandon(tracer: Tracer) -> None:
    tracer.start("kept")
    looped = tracer.start("kept")
    looped.set(itself=looped)
    with tracer.span("disk.read", parent=looped):
        pass
    contextvars.copy_context().run(tracer.span("kept").__enter__)


def crowd(tracer: Tracer) -> None:
    """For a tracer that has as many open traces as it may."""
    with tracer.span("kept"), tracer.span("disk.read"):
        pass
    with tracer.span("kept") as root, tracer.span("disk.read"):
        root.error("a mistake")


# What becomes of what each of them makes; `queued` are spans that are for the sink.
EACH: dict[Callable[[Tracer], None], Counter[str]] = {
    throw_away: Counter({"spans": 5, "traces dropped": 2}),
    keep: Counter({"spans": ROOM + 4, "traces sampled": 1, "spans.lost": 2, "queued": ROOM + 2}),
    abandon: Counter({"spans": 1, "abandoned": 3}),
    crowd: Counter({"spans": 4, "evicted": 2, "traces dropped": 1, "traces error": 1, "queued": 1}),
}
SPANS_A_TURN = sum(each["spans"] + each["abandoned"] for each in EACH.values())


class Place:
    """A tracer, what is done with it, and whether the right thing became of it."""

    def __init__(self, *acts: Callable[[Tracer], None], max_traces: int, queue_spans: int) -> None:
        self.registry, self.sink = Registry(), StallingSink()
        self.tracer = Tracer(
            self.registry,
            rate=0.0,
            rules={"kept": {"rate": 1.0}},
            max_traces=max_traces,
            max_spans=ROOM,
            queue_spans=queue_spans,
        )
        self.tracer.add_sink(self.sink)
        self.acts = acts

    def round(self) -> None:
        """Turns: most of them while the sink stalls, the rest when it does not."""
        self.sink.gate.clear()
        for turn in range(TURNS):
            if turn == TURNS_SHUT:
                self.sink.gate.set()
                assert self.tracer.flush(60.0)
            for act in self.acts:
                act(self.tracer)
        assert self.tracer.flush(60.0)

    def check(self, turns: int) -> Counter[str]:
        """Looks whether all is accounted for, `turns` having been made; returns what became of it."""
        expected: Counter[str] = Counter()
        for act in self.acts:
            expected.update({what: n * turns for what, n in EACH[act].items()})
        told = counters(self.registry)
        assert expected.pop("queued") == self.sink.spans + told["missed"], (self.sink.spans, told)
        assert {what: n for what, n in told.items() if what != "missed"} == expected, (told, expected)
        return told


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(spans: int) -> None:
    signal.alarm(PATIENCE_S)  # a deadlock ends the process
    roomy = Place(throw_away, keep, abandon, max_traces=10_000, queue_spans=500)
    crowded = Place(crowd, max_traces=CROWD, queue_spans=50)
    held = [crowded.tracer.start("held") for _ in range(CROWD)]
    rounds = max(2, spans // (SPANS_A_TURN * TURNS))
    before = 0
    for number in range(rounds):
        if number == max(1, rounds // 10):
            before = resident()
        for place in roomy, crowded:
            place.round()
    growth = resident() - before
    told = [place.check(rounds * TURNS) for place in (roomy, crowded)]
    assert roomy.tracer.open_traces == 0 and crowded.tracer.open_traces == CROWD
    for span in held:
        span.end()
    assert crowded.tracer.open_traces == 0
    assert growth <= GROWTH_MAX, f"{growth:,} bytes more than after a tenth of it"
    missed, written = sum(each["missed"] for each in told), roomy.sink.spans + crowded.sink.spans
    assert min(each["missed"] for each in told) > 0 and written > 0, "a queue was never full, or always"
    print(
        f"{rounds * TURNS * SPANS_A_TURN:,} spans: {written:,} written, {missed:,} missed, "
        f"{told[0]['abandoned']:,} abandoned, {told[1]['evicted']:,} evicted; {growth / 1024:+,.0f} KiB"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
