"""A user's program, read by mypy and never run: what the public names promise to a type checker."""

from __future__ import annotations

import array
from collections.abc import Mapping

from typing_extensions import assert_type

from vaultscope import (
    Counter,
    Gauge,
    HdrCounts,
    HdrHistogram,
    Histogram,
    Registry,
    Snapshot,
    default_registry,
)
from vaultscope.logging import (
    CallableSink,
    Journal,
    Logger,
    MemorySink,
    Sink,
    SpanContext,
    add_sink,
    configure,
    current_span,
    flush,
    get_logger,
    level,
    remove_sink,
    set_level,
)

registry = Registry(max_series=100, pedantic=True, clock_ns=lambda: 0)
assert_type(default_registry(), Registry)

counter = registry.counter("cas.put.count", "Objects stored.", labels=("op",))
assert_type(counter, Counter)
assert_type(counter.labels("put"), Counter)
assert_type(counter.labels(op="put"), Counter)
counter.inc()
counter.inc(2)
counter.inc(0.5)
assert_type(counter.value, int | float)

gauge = registry.gauge("cas.size", unit="bytes")
assert_type(gauge, Gauge)
gauge.set(1)
assert_type(gauge.value, float)

histogram = registry.histogram("cas.put.latency", buckets=(1, 2.5, 5))
assert_type(histogram, Histogram)
histogram.observe(1)
histogram.observe_many(array.array("d", [1.0]))
with histogram.time():
    pass


@histogram.timed
def put(content: bytes) -> str:
    return content.hex()


@histogram.timed
async def get(digest: str) -> bytes:
    return bytes.fromhex(digest)


assert_type(put(b""), str)

hdr = registry.hdr_histogram("cas.get.latency", digits=2)
assert_type(hdr, HdrHistogram)
assert_type(hdr.snapshot(), HdrCounts)
assert_type(hdr.quantile(0.99), int)

snapshot = registry.snapshot()
assert_type(snapshot, Snapshot)
assert_type(snapshot.value("cas.put.count", op="put"), int | float)

log = get_logger("cas")
assert_type(log, Logger)
log.info("Object stored", hash=b"", size=5, took=1.5, tags={"a": [1]}, exc_info=True)
log.log("warn", ValueError("any object is a message"))
log.exception(b"lost")
assert_type(log.bind(vault="main"), Logger)
assert_type(log.limited(5, 60).sampled(10), Logger)
assert_type(log.enabled("debug"), bool)
current_span.set(SpanContext(trace_id=1, span_id=2))
with level("debug") as block:
    assert_type(block, level)


class Mine(Sink):
    name = "mine"

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        print(lines.decode(), records["info"])


journal = Journal(registry, policy="block", block_ms=50)
journal.add_sink(Mine())
assert_type(journal.sinks, tuple[Sink, ...])
assert_type(journal.flush(1), bool)
configure(MemorySink(), CallableSink(print), level="info,cas=debug")
add_sink(Mine())
assert_type(remove_sink(Mine()), bool)
assert_type(flush(), bool)
set_level(None, "cas")

# Wrong uses.
counter.inc("1")  # type: ignore[arg-type]
gauge.set(None)  # type: ignore[arg-type]
put("text")  # type: ignore[arg-type]
registry.counter("cas.put.count", buckets=(1,))  # type: ignore[call-arg]
counter.observe(1)  # type: ignore[attr-defined]
log.info()  # type: ignore[call-arg]
log.info("%s", 5)  # type: ignore[call-arg]
log.log(20, "m")  # type: ignore[arg-type]
log.loud("m")  # type: ignore[attr-defined]
Logger()  # type: ignore[call-arg]
add_sink(print)  # type: ignore[arg-type]
level(10)  # type: ignore[arg-type]
