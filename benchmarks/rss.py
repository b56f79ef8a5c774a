"""Resident memory of one process that makes many counter series and holds no handle: `rss.py LIBRARY SERIES`.

Prints the bytes that the series added to the process: one of its own, so that nothing else is in the figure.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make_vaultscope(series: int) -> object:
    from vaultscope import Registry

    registry = Registry(max_series=0)
    family = registry.counter("objects.read", labels=("object",))
    family.labels("first").inc()
    before = resident_bytes()
    for number in range(series):
        family.labels(f"object-{number:08d}").inc()
    print(resident_bytes() - before)
    return registry


def make_prometheus_client(series: int) -> object:
    import prometheus_client

    registry = prometheus_client.CollectorRegistry()
    family = prometheus_client.Counter("objects_read", "Reads", ["object"], registry=registry)
    family.labels("first").inc()
    before = resident_bytes()
    for number in range(series):
        family.labels(f"object-{number:08d}").inc()
    print(resident_bytes() - before)
    return registry


if __name__ == "__main__":
    makers = {"vaultscope": make_vaultscope, "prometheus_client": make_prometheus_client}
    makers[sys.argv[1]](int(sys.argv[2]))
