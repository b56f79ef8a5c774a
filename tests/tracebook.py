"""A tracer whose spans a test reads: with a sink that keeps the very dicts it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vaultscope import Registry
from vaultscope.tracing import SpanSink, Tracer

Record = dict[str, Any]


class Kept(SpanSink):
    """Keeps what it is given, as it is given."""

    def __init__(self, name: str = "kept") -> None:
        self.name = name
        self.spans: list[Record] = []
        self.batches: list[int] = []
        self.closed = False

    def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
        self.batches.append(len(spans))
        self.spans.extend(dict(span) for span in spans)

    def close(self) -> None:
        self.closed = True


class Tracebook:
    """A tracer that keeps every trace, unless it is told otherwise, and what it has kept."""

    def __init__(self, **options: Any) -> None:
        self.registry = Registry()
        self.tracer = Tracer(self.registry, **{"rate": 1.0, **options})
        self.sink = Kept()
        self.tracer.add_sink(self.sink)

    @property
    def spans(self) -> list[Record]:
        """All spans so far, in the order in which the sink has them."""
        assert self.tracer.flush(30.0)
        return list(self.sink.spans)

    @property
    def span(self) -> Record:
        """The only one."""
        (span,) = self.spans
        return span

    @property
    def names(self) -> list[str]:
        return [span["name"] for span in self.spans]

    def take(self) -> list[Record]:
        """What is new since the last time."""
        spans = self.spans
        self.sink.spans.clear()
        return spans

    def count(self, name: str, **labels: str) -> int | float:
        """A counter of the tracer's own."""
        return self.registry.snapshot().value(f"vaultscope.trace.{name}", **labels)

    @property
    def decisions(self) -> dict[str, int | float]:
        """What became of the traces."""
        family = self.registry.snapshot()["vaultscope.trace.traces"]
        return {series.labels["decision"]: series.value for series in family if series.value}

    def close(self) -> None:
        self.tracer.close(0.5)
