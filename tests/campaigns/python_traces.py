"""Traces by the million: `python_traces.py TRACES SEED`.

Decisions: four threads make traces of several operations. Each that failed, in whatever way, is kept, each
slow one, too, and of the others the share that its rule says, within six standard deviations.

Two processes: each trace goes on in a second one, that is told of it by a traceparent, or by headers that say
nothing of sampling. It decides as the first one did.

Prints one line; raises AssertionError if anything is wrong.
"""

from __future__ import annotations

import math
import multiprocessing
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from vaultscope import Registry
from vaultscope.tracing import Span, SpanSink, Tracer, extract, inject

Spans = Sequence[Mapping[str, Any]]
PATIENCE_S, DEVIATIONS = 900, 6


class ReadError(Exception):
    """What goes wrong in an operation."""


def counters(registry: Registry) -> Counter[str]:
    """What a tracer says that became of its spans, but for what is 0."""
    found: Counter[str] = Counter()
    for metric in registry.snapshot():
        if metric.name.startswith("vaultscope.trace."):
            for series in metric:
                decision = series.labels.get("decision", "")
                name = metric.name.removeprefix("vaultscope.trace.")
                found[f"{name} {decision}".strip()] += int(series.value)
    return +found


def check_share(what: str, kept: int, made: int, rate: float) -> float:
    """Looks whether so many of them may be kept; returns by how many standard deviations it is off."""
    deviation = math.sqrt(made * rate * (1 - rate))
    off = kept - made * rate
    assert abs(off) <= DEVIATIONS * deviation, f"{what}: {kept:,} of {made:,} are kept, at a rate of {rate}"
    return off / deviation if deviation else 0.0


# ---- decisions ----

THREADS, FAILURES, FLUSH_TRACES = 4, 0.01, 2_000
RATE = 0.1
RULES: dict[str, dict[str, float]] = {
    "cas.put": {"rate": 0.01},
    "vault.list": {"rate": 0.5},
    "vault.ping": {"rate": 0.0},
    "vault.join": {"rate": 1.0},
    "gc.sweep": {"rate": 0.0, "slow_ms": 1e-6},  # each takes longer than a nanosecond
}
RATES = {"cas.get": RATE, **{name: rule["rate"] for name, rule in RULES.items()}}
OPERATIONS = tuple(RATES)


def raise_in_root(tracer: Tracer, root: Span) -> None:
    raise ReadError


def raise_below(tracer: Tracer, root: Span) -> None:
    try:
        with tracer.span("disk.read"), tracer.span("disk.seek"):
            raise ReadError
    except ReadError:
        root.ok()


def fail_root(tracer: Tracer, root: Span) -> None:
    root.error("a mistake")


def fail_below(tracer: Tracer, root: Span) -> None:
    with tracer.span("disk.read") as span:
        span.error("a mistake")


def go_well(tracer: Tracer, root: Span) -> None:
    with tracer.span("disk.read"):
        pass


WAYS_TO_FAIL = (raise_in_root, raise_below, fail_root, fail_below)


class Judge(SpanSink):
    """Counts the traces that are kept, by operation and reason, and remembers those that are there for an
    error."""

    name = "judge"

    def __init__(self) -> None:
        self.kept: Counter[tuple[str, str]] = Counter()
        self.failed: set[str] = set()

    def write(self, spans: Spans) -> None:
        for span in spans:
            if span["parent_span_id"] == "":
                self.kept[span["name"], span["reason"]] += 1
                if span["reason"] == "error":
                    self.failed.add(span["trace_id"])


class Made:
    """What a thread has made."""

    def __init__(self) -> None:
        self.well: Counter[str] = Counter()
        self.failed: dict[str, str] = {}


def make_traces(tracer: Tracer, traces: int, seed: int, made: Made) -> None:
    draw = random.Random(seed)
    for number in range(traces):
        name = OPERATIONS[draw.randrange(len(OPERATIONS))]
        act = WAYS_TO_FAIL[draw.randrange(len(WAYS_TO_FAIL))] if draw.random() < FAILURES else go_well
        try:
            with tracer.span(name, number=number) as root:
                act(tracer, root)
        except ReadError:
            pass
        if act is go_well:
            made.well[name] += 1
        else:
            made.failed[root.trace_hex] = name
        if number % FLUSH_TRACES == 0:
            assert tracer.flush(60.0)


def decide(traces: int, seed: int) -> str:
    registry, judge = Registry(), Judge()
    tracer = Tracer(registry, rate=RATE, rules=RULES)
    tracer.add_sink(judge)
    all_made = [Made() for _ in range(THREADS)]
    threads = [
        threading.Thread(target=make_traces, args=(tracer, traces // THREADS, seed + number, made))
        for number, made in enumerate(all_made)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracer.close(60.0)

    failed = {trace: name for made in all_made for trace, name in made.failed.items()}
    well = sum((made.well for made in all_made), Counter[str]())
    assert len(failed) + well.total() == traces // THREADS * THREADS, "a trace's id came twice"
    assert judge.failed == set(failed), "an error was thrown away, or something was kept for none"
    offs = []
    for name, rate in RATES.items():
        assert judge.kept[name, "error"] == list(failed.values()).count(name)
        slow = well[name] if "slow_ms" in RULES.get(name, {}) else 0
        assert judge.kept[name, "slow"] == slow
        offs.append(check_share(name, judge.kept[name, "sampled"], well[name], rate))
    told, kept = counters(registry), judge.kept.total()
    assert told["missed"] == told["lost"] == told["evicted"] == told["abandoned"] == 0, told
    assert told["traces dropped"] == len(failed) + well.total() - kept
    furthest = max(map(abs, offs))
    return f"{len(failed):,} of {len(failed):,} errors kept; the shares are off by {furthest:.1f} deviations"


# ---- two processes ----

BATCH, OTHER_RATE = 5_000, 0.5


class Vault(SpanSink):
    """Traces in one vault, and the ids of those that it has kept."""

    name = "vault"

    def __init__(self, rate: float) -> None:
        self.tracer = Tracer(Registry(), rate=rate)
        self.tracer.add_sink(self)
        self._ids: set[str] = set()

    def write(self, spans: Spans) -> None:
        self._ids.update(span["trace_id"] for span in spans)

    def go_on(self, headers: Mapping[str, str]) -> None:
        """Serves a request."""
        with self.tracer.span("cas.get", kind="server", parent=extract(headers)):
            pass

    def take(self) -> set[str]:
        """What was kept since the last time."""
        assert self.tracer.flush(60.0)
        ids, self._ids = self._ids, set()
        return ids


Request = tuple[dict[str, str], dict[str, str]]


def serve(connection: Connection) -> None:
    """The second process. It is three vaults: one is told what was decided, and two are not, of which one has
    the caller's rate and the other a higher one."""
    told, alike, generous = vaults = Vault(OTHER_RATE), Vault(RATE), Vault(OTHER_RATE)
    while requests := connection.recv():
        for decided, deferred in requests:
            told.go_on(decided)
            alike.go_on(deferred)
            generous.go_on(deferred)
        connection.send([vault.take() for vault in vaults])


def call(caller: Vault, number: int) -> Request:
    """Begins a trace; returns the headers of its two requests."""
    decided: dict[str, str] = {}
    deferred: dict[str, str] = {}
    with caller.tracer.span("vault.get") as span:
        inject(decided, formats=("w3c",))
        if number % 2 == 0:
            inject(deferred, formats=("memo",))
        else:
            deferred["b3"] = f"{span.trace_hex}-{span.span_hex}"
    return decided, deferred


def agree(traces: int) -> str:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    there.close()  # if it dies, recv() says so
    caller, kept, generously = Vault(RATE), 0, 0
    for first in range(0, traces, BATCH):
        here.send([call(caller, number) for number in range(first, min(first + BATCH, traces))])
        mine = caller.take()
        told, alike, generous = here.recv()
        assert told == mine, "the sampled flag was not followed"
        assert alike == mine, "of the same trace another vault decides otherwise"
        assert generous >= mine, "a higher rate throws away what a lower one keeps"
        kept, generously = kept + len(mine), generously + len(generous)
    here.send([])
    process.join(60)
    assert process.exitcode == 0
    check_share("the caller", kept, traces, RATE)
    check_share("a vault with a higher rate", generously, traces, OTHER_RATE)
    return f"two processes agree on {traces:,} traces: {kept:,} kept"


def main(traces: int, seed: int) -> None:
    signal.alarm(PATIENCE_S)  # a deadlock ends the process
    print(f"{decide(traces, seed)}; {agree(traces)}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
