"""What a soup says of itself: in a registry, as vaultscope.soup.* by the label `soup`, and in the trail."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakMethod

from vaultscope.core.audit_trail import testify
from vaultscope.core.metrics import Counter, Gauge
from vaultscope.core.registry import Registry, default_registry
from vaultscope.errors import NotFoundError

__all__ = ["SoupMetrics"]


class SoupMetrics:
    """Counters of what a soup does, and gauges of its size.

    registry: None: the default one.
    name: the value of the label.
    size: how many objects and bytes there are, asked at each snapshot; a method of the soup, which is held
        weakly. If it raises, the gauges stay as they were, and the registry counts it.
    """

    def __init__(self, registry: Registry | None, name: str, size: Callable[[], tuple[int, int]]) -> None:
        self._registry = default_registry() if registry is None else registry
        self._name = name
        self._size = WeakMethod(size)
        self._gone: deque[tuple[str, int]] = deque()  # what the trail has not been told
        self._puts = self._counter("puts", "Objects put into a soup").labels(name)
        self._evictions = self._counter("evictions", "Objects that a soup has deleted", "reason")
        self._errors = self._counter("errors", "Failures of a soup's store", "operation")
        self._objects = self._gauge("objects", "Objects in a soup")
        self._bytes = self._gauge("bytes", "Bytes that a soup takes")
        self._registry.add_collector(self._collect)

    def put(self, count: int) -> None:
        """So many objects were put."""
        self._puts.inc(count)
        if self._gone:  # to make room for these
            self.collected()

    def evicted(self, reason: str, count: int) -> None:
        """So many were deleted: "expired" or "budget"."""
        self._evictions.labels(self._name, reason).inc(count)
        self._gone.append((reason, count))

    def collected(self) -> None:
        """That is all for now: one entry of the trail says what was deleted."""
        gone: dict[str, int] = {}
        with suppress(IndexError):
            while True:
                reason, count = self._gone.popleft()
                gone[reason] = gone.get(reason, 0) + count
        if gone:
            testify("soup.collected", self._name, gone)

    def error(self, operation: str) -> None:
        """Something failed: "read", "write", "budget" or "damaged"."""
        self._errors.labels(self._name, operation).inc()

    def close(self) -> None:
        """Asks no more."""
        with suppress(NotFoundError):
            self._registry.remove_collector(self._collect)

    def _collect(self) -> None:
        size = self._size()
        if size is None:
            self.close()
            return
        objects, count = size()
        self._objects.labels(self._name).set(objects)
        self._bytes.labels(self._name).set(count)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return self._registry._declare(
            Counter, "counter", f"vaultscope.soup.{name}", help, ("soup", *labels), "", 1000, internal=True
        )

    def _gauge(self, name: str, help: str) -> Gauge:
        return self._registry._declare(
            Gauge, "gauge", f"vaultscope.soup.{name}", help, ("soup",), "", 1000, internal=True
        )
