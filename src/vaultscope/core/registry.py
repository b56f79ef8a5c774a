"""The registry: metrics by name, callbacks and collectors, snapshots.

Declaring is cold and checked; the handles that it gives are hot and never raise. A registry is isolated:
nothing is in it that you did not declare. The default registry, made at first use, also carries the
process's and the interpreter's own figures.
"""

from __future__ import annotations

import math
import os
import threading
import time
from weakref import WeakSet

from vaultscope._native import _core
from vaultscope._native._core import Counter, Gauge, HdrHistogram, Histogram, NativeRegistry
from vaultscope.core.arena import ArenaProcess, arena_path, arena_processes
from vaultscope.core.labels import check_labels, check_name
from vaultscope.core.metrics import DEFAULT_BUCKETS_MS, DEFAULT_QUANTILES
from vaultscope.core.snapshot import MetricSnapshot, Snapshot
from vaultscope.errors import DeclarationError, NotFoundError

__all__ = ["AnyMetric", "Registry", "default_registry"]

AnyMetric = Counter | Gauge | Histogram | HdrHistogram

TYPE_CHECKING = False  # typing alone costs more at import than all of vaultscope
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    M = TypeVar("M", Counter, Gauge, Histogram, HdrHistogram)

_ERRORS = "vaultscope.collector.errors"


class Registry:
    """Metrics by name.

    arena: a file that this process shares with others, by the names of metrics and their labels; it is made
        if it is not there, and outlives the processes. None: the process's own arena, which is the file that
        VAULTSCOPE_ARENA names, or memory.
    max_series: series a metric may have unless its declaration says otherwise; beyond it `labels()` answers
        with one overflow series and counts the loss. 0: no limit but memory.
    pedantic: invalid values on hot calls raise instead of being counted. For tests.
    clock_ns: wall clock in nanoseconds since 1970, for snapshots.

    Thread-safe. Raises ArenaError, DeclarationError or LimitError if the arena cannot be had.
    Source: memo, Metric Collection.
    """

    def __init__(
        self,
        *,
        arena: str | bytes | os.PathLike[str] | None = None,
        max_series: int = 10_000,
        pedantic: bool = False,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._native = NativeRegistry(None if arena is None else os.fsencode(arena))
        if arena is not None:
            self._native.keep()  # it stays mapped, and its cells taken, whatever becomes of the handles
        self._max_series = _limit("a registry", max_series)
        self._pedantic = pedantic
        self._clock_ns = clock_ns
        self._metrics: dict[str, AnyMetric] = {}
        self._callbacks: dict[str, tuple[Gauge, Callable[[], float]]] = {}
        self._collectors: list[Callable[[], None]] = []
        # Declaring: guards the three above. Collecting: one round at a time, so that no older total is
        # mirrored after a newer one, which would look like a restart. Both are re-entrant: a callback may
        # declare, and read.
        self._declaring = threading.RLock()
        self._collecting = threading.RLock()
        self._in_round = False
        _open_registries.add(self)

    @property
    def arena(self) -> str | None:
        """The path of the arena's file; None if it is in memory."""
        return arena_path(self._native)

    def processes(self) -> tuple[ArenaProcess, ...]:
        """Who shares the arena and is not known to be dead: this process alone, if it is in memory."""
        return arena_processes(self._native)

    # ---- declaring ----

    def counter(
        self,
        name: str,
        help: str = "",
        *,
        labels: Sequence[str] = (),
        unit: str = "",
        max_series: int | None = None,
    ) -> Counter:
        """Declares a counter, or returns the one that is declared with the same shape.
        Raises DeclarationConflictError for another shape, DeclarationError for a name or label that is not
        legal."""
        return self._declare(Counter, "counter", name, help, labels, unit, max_series)

    def gauge(
        self,
        name: str,
        help: str = "",
        *,
        labels: Sequence[str] = (),
        unit: str = "",
        callback: Callable[[], float] | None = None,
        mode: str = "last",
        max_series: int | None = None,
    ) -> Gauge:
        """Declares a gauge. With `callback`, its value is what that returns at each snapshot; NaN, and
        counted in vaultscope.collector.errors, if it raises.

        `mode` is what is shown where several processes share the arena: "last", what was written last by
        whomever; the "sum", "min" or "max" over the processes that live and have written; "all", a series
        for each of them with the label `pid`. In those four a process's value goes when it dies. A callback
        runs in the process that takes the snapshot.

        Raises as counter() does."""
        if mode not in _core.MODES:
            raise DeclarationError(f"{name}: mode is one of {', '.join(_core.MODES)}, not {mode!r}")
        if mode == "all" and "pid" in labels:
            raise DeclarationError(f"{name}: mode 'all' adds the label 'pid' itself")
        if callback is not None and labels:
            raise DeclarationError(
                f"{name}: a gauge with a callback has no labels; set its children from a collector"
            )
        with self._declaring:
            gauge = self._declare(Gauge, "gauge", name, help, labels, unit, max_series, mode=mode)
            if callback is not None:
                self._callbacks[name] = (gauge, callback)
            return gauge

    def histogram(
        self,
        name: str,
        help: str = "",
        *,
        labels: Sequence[str] = (),
        unit: str = "ms",
        buckets: Sequence[float] | None = None,
        max_series: int | None = None,
    ) -> Histogram:
        """Declares a histogram with fixed upper bounds (in the declared unit, ascending, finite).
        Raises as counter() does."""
        bounds = _bounds(name, DEFAULT_BUCKETS_MS if buckets is None else buckets)
        if not bounds:
            raise DeclarationError(f"{name}: a histogram wants at least one bucket")
        return self._declare(Histogram, "histogram", name, help, labels, unit, max_series, bounds=bounds)

    def hdr_histogram(
        self,
        name: str,
        help: str = "",
        *,
        labels: Sequence[str] = (),
        unit: str = "ns",
        lowest: int = 1,
        highest: int = 3_600_000_000_000,
        digits: int = 3,
        quantiles: Sequence[float] = DEFAULT_QUANTILES,
        buckets: Sequence[float] = (),
        max_series: int | None = None,
    ) -> HdrHistogram:
        """Declares an HDR histogram over 0..highest that keeps `digits` significant digits; `lowest` is the
        smallest value that is told from 0. Exported as a summary with `quantiles`, or as classic `buckets`
        (declared unit) if given. Raises as counter() does."""
        wanted = _numbers(name, "quantiles", quantiles)
        if any(not 0.0 <= q <= 1.0 for q in wanted) or list(wanted) != sorted(set(wanted)):
            raise DeclarationError(f"{name}: quantiles ascend within 0..1, got {wanted}")
        return self._declare(
            HdrHistogram,
            "hdr",
            name,
            help,
            labels,
            unit,
            max_series,
            bounds=_bounds(name, buckets),
            quantiles=wanted,
            hdr_range=(lowest, highest, digits),
        )

    def _declare(
        self,
        cls: type[M],
        kind: str,
        name: str,
        help: str,
        labels: Sequence[str],
        unit: str,
        max_series: int | None,
        *,
        bounds: tuple[float, ...] = (),
        quantiles: tuple[float, ...] = (),
        hdr_range: tuple[int, int, int] | tuple[()] = (),
        mode: str = "last",
        internal: bool = False,
    ) -> M:
        check_name(name, internal=internal)
        label_names = check_labels(name, kind, labels)
        if not isinstance(help, str) or not isinstance(unit, str):
            raise DeclarationError(f"{name}: help and unit are strings, got {help!r} and {unit!r}")
        if not all(isinstance(number, int) for number in hdr_range):
            raise DeclarationError(f"{name}: lowest, highest and digits are integers, got {hdr_range}")
        limit = self._max_series if max_series is None else _limit(name, max_series)
        with self._declaring:
            known = self._metrics.get(name)
            handle = self._native.declare(
                kind, name, help, unit, label_names, bounds, quantiles, hdr_range, limit, self._pedantic,
                mode, known,
            )  # fmt: skip
            assert isinstance(handle, cls)  # the native registry has refused another kind
            self._metrics[name] = handle
            return handle

    # ---- looking up and taking out ----

    def get(self, name: str) -> AnyMetric | None:
        """The metric of that name, as it was declared, or None."""
        return self._metrics.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._metrics

    def unregister(self, name: str) -> None:
        """Takes a metric out, for all who share the arena: it is scraped no more and its name is free.
        Handles stay valid and unseen. Raises NotFoundError, also if another process was first."""
        with self._declaring:
            if name not in self._metrics:
                raise NotFoundError(f"no metric {name!r}")
            try:
                self._native.unregister(name)
            except NotFoundError:
                self._forget(name)
                raise
            self._forget(name)

    def _forget(self, name: str) -> None:
        del self._metrics[name]
        self._callbacks.pop(name, None)

    # ---- collecting ----

    def add_collector(self, collector: Callable[[], None]) -> None:
        """Has `collector` called before each snapshot, before the callbacks of gauges, and one call at a
        time; it may declare, set gauges and mirror counters. If it raises, that is counted in
        vaultscope.collector.errors and the snapshot goes on."""
        with self._declaring:
            if collector not in self._collectors:
                self._collectors.append(collector)

    def remove_collector(self, collector: Callable[[], None]) -> None:
        """Raises NotFoundError if it is not there."""
        with self._declaring:
            if collector not in self._collectors:
                raise NotFoundError(f"no such collector: {collector!r}")
            self._collectors.remove(collector)

    def _collect(self) -> None:
        with self._declaring:
            callbacks = list(self._callbacks.items())
            collectors = list(self._collectors)
        for collector in collectors:
            try:
                collector()
            except Exception:
                self._count_error(getattr(collector, "__qualname__", type(collector).__qualname__))
        for name, (gauge, callback) in callbacks:
            try:
                gauge.set(float(callback()))
            except Exception:
                gauge.set(math.nan)
                self._count_error(name)

    def _count_error(self, collector: str) -> None:
        errors = self._declare(
            Counter,
            "counter",
            _ERRORS,
            "Collectors and callbacks that raised",
            ("collector",),
            "",
            100,
            internal=True,
        )
        errors.labels(collector).inc()

    def snapshot(self) -> Snapshot:
        """Runs the collectors, then the callbacks, then copies all values, with the GIL released. One at a
        time: a second thread waits."""
        with self._collecting:
            if not self._in_round:  # a collector that asks for a snapshot gets one as it stands
                self._in_round = True
                try:
                    self._collect()
                finally:
                    self._in_round = False
            return Snapshot(self._native.snapshot(), self._clock_ns())

    def read(self, name: str) -> MetricSnapshot:
        """One metric as it stands, without running collectors: for one that derives from it. Raises
        NotFoundError."""
        return Snapshot(self._native.snapshot(name), self._clock_ns())[name]

    def _renew_locks(self) -> None:
        self._declaring = threading.RLock()
        self._collecting = threading.RLock()
        self._in_round = False


def _limit(what: str, max_series: int) -> int:
    if not isinstance(max_series, int) or not 0 <= max_series < 2**63:
        raise DeclarationError(f"{what}: max_series is an integer that is not negative, got {max_series!r}")
    return max_series


def _numbers(name: str, what: str, items: Sequence[float]) -> tuple[float, ...]:
    try:
        if isinstance(items, (str, bytes)):
            raise TypeError
        return tuple(float(item) for item in items)
    except (TypeError, ValueError, OverflowError):
        raise DeclarationError(f"{name}: {what} are numbers, got {items!r}") from None


def _bounds(name: str, buckets: Sequence[float]) -> tuple[float, ...]:
    bounds = _numbers(name, "buckets", buckets)
    if bounds and bounds[-1] == math.inf:
        bounds = bounds[:-1]  # the last bucket is there anyhow; prometheus_client's users write it
    if not all(map(math.isfinite, bounds)) or list(bounds) != sorted(set(bounds)):
        raise DeclarationError(f"{name}: buckets are finite and ascend, got {bounds}")
    return bounds


_open_registries: WeakSet[Registry] = WeakSet()
_default: Registry | None = None
_default_lock = threading.Lock()


def default_registry() -> Registry:
    """The registry of metrics that name none. Made at first use, with the process's and the interpreter's
    figures; without them if VAULTSCOPE_ARENA names a file, since they would be one process's among many."""
    global _default
    if _default is None:
        from vaultscope.core.collectors import install_default_collectors

        with _default_lock:
            if _default is None:
                registry = Registry()
                registry._native.keep()
                if registry.arena is None:
                    install_default_collectors(registry)
                _default = registry
    return _default


def _renew_locks() -> None:
    """In the child of a fork: a thread that is gone may have held them."""
    global _default_lock
    _default_lock = threading.Lock()
    for registry in list(_open_registries):
        registry._renew_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
_core.set_default_registry(default_registry)
