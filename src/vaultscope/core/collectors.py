"""What every Python process can say of itself: process_*, python_gc_* and python_info.

Names and meanings are the ones that Prometheus's client libraries share, so that dashboards made for any of
them work: process.cpu.seconds is exported as process_cpu_seconds_total, process.open.fds as process_open_fds.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from vaultscope.core import procfs

if TYPE_CHECKING:
    from vaultscope.core.registry import Registry

_UNREADABLE = (OSError, ValueError)  # what procfs raises


def install_default_collectors(registry: Registry, *, pid: int | None = None, proc: str = "/proc") -> None:
    """Declares the metrics of the process and its Python, and has them brought up to date at each snapshot.

    What cannot be read at the start is left out: without /proc there is no process_*, and on a Python that
    keeps no statistics of its collections no python_gc_*. What vanishes later reads NaN (a counter stays as
    it was) and is counted in vaultscope.collector.errors.

    Args:
        registry: where to declare.
        pid: another process to report on; None for this one, and after a fork for the child.
        proc: where procfs is mounted.

    Raises:
        DeclarationConflictError: one of the names is taken by another shape.
    """
    directory = f"{proc}/{'self' if pid is None else pid}"
    if _readable(procfs.read_stat, directory):
        registry.add_collector(ProcessCollector(registry, directory, _boot_time(proc)).collect)
    for name, text, read in (
        ("process.open.fds", "Number of open file descriptors.", procfs.count_descriptors),
        ("process.max.fds", "Maximum number of open file descriptors.", procfs.read_descriptor_limit),
    ):
        if _readable(read, directory):
            registry.gauge(name, text, callback=partial(read, directory))
    if hasattr(gc, "get_stats"):
        registry.add_collector(GarbageCollector(registry).collect)
    _declare_python_info(registry)


def _readable(read: Callable[[str], object], directory: str) -> bool:
    try:
        read(directory)
    except _UNREADABLE:
        return False
    return True


def _boot_time(proc: str) -> float:
    """Read once: the kernel derives it from the wall clock, so that it moves when that clock is set."""
    try:
        return procfs.read_boot_time(proc)
    except _UNREADABLE:
        return math.nan


class ProcessCollector:
    """CPU time, memory and start time of a process: four metrics from one read of one line."""

    def __init__(self, registry: Registry, directory: str, boot_time: float) -> None:
        self._directory = directory
        self._boot_time = boot_time
        self._ticks_per_second = os.sysconf("SC_CLK_TCK")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._cpu = registry.counter(
            "process.cpu.seconds", "Total user and system CPU time spent in seconds.", unit="seconds"
        )
        self._resident = registry.gauge(
            "process.resident.memory.bytes", "Resident memory size in bytes.", unit="bytes"
        )
        self._virtual = registry.gauge(
            "process.virtual.memory.bytes", "Virtual memory size in bytes.", unit="bytes"
        )
        self._start = registry.gauge(
            "process.start.time.seconds",
            "Start time of the process since unix epoch in seconds.",
            unit="seconds",
        )

    def collect(self) -> None:
        """Sets them. If the line cannot be read, the gauges are NaN, and OSError or ValueError is raised."""
        try:
            stat = procfs.read_stat(self._directory)
        except _UNREADABLE:
            for gauge in (self._resident, self._virtual, self._start):
                gauge.set(math.nan)
            raise
        self._cpu.mirror(stat.cpu_ticks / self._ticks_per_second)
        self._resident.set(stat.resident_pages * self._page_bytes)
        self._virtual.set(stat.virtual_bytes)
        self._start.set(self._boot_time + stat.start_ticks / self._ticks_per_second)


class GarbageCollector:
    """python.gc.*: mirrors gc.get_stats(), generation by generation."""

    def __init__(self, registry: Registry) -> None:
        families = {
            "collected": registry.counter(
                "python.gc.objects.collected",
                "Objects freed by the garbage collector.",
                labels=("generation",),
            ),
            "uncollectable": registry.counter(
                "python.gc.objects.uncollectable", "Garbage that could not be freed.", labels=("generation",)
            ),
            "collections": registry.counter(
                "python.gc.collections", "Collections of this generation.", labels=("generation",)
            ),
        }
        self._generations = [
            {key: family.labels(generation) for key, family in families.items()}
            for generation in range(len(gc.get_stats()))
        ]

    def collect(self) -> None:
        """Sets the totals."""
        for stats, counters in zip(gc.get_stats(), self._generations, strict=True):
            for key, counter in counters.items():
                counter.mirror(stats[key])


def _declare_python_info(registry: Registry) -> None:
    import platform  # costs milliseconds, which only those pay who want these metrics

    major, minor, patchlevel = platform.python_version_tuple()
    values = {
        "implementation": platform.python_implementation(),
        "major": major,
        "minor": minor,
        "patchlevel": patchlevel,
        "version": platform.python_version(),
    }
    info = registry.gauge("python.info", "The Python that runs this process; always 1.", labels=tuple(values))
    info.labels(**values).set(1)
