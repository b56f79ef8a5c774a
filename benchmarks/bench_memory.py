"""Memory that a counter series takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from table import Bar, Row, Table


def bytes_per_series(library: str, series: int) -> float:
    """What a fresh process grew by, for each series that it made, wrote from one thread, and let go of."""
    command = [sys.executable, str(Path(__file__).with_name("rss.py")), library, str(series)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / series


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident size from /proc")
def bench_series(table: Table, short: bool) -> None:
    """Resident bytes a counter series with one label, no Python handle held."""
    many, more = (1_000, 10_000) if short else (100_000, 1_000_000)
    ours = {series: bytes_per_series("vaultscope", series) for series in (many, more)}
    peer = bytes_per_series("prometheus_client", many)
    bars = tuple(Bar(f"bytes at {series:,}", each, 400) for series, each in ours.items())
    beside = {"prometheus_client": f"{peer:,.0f} bytes at {many:,}"}
    figures: dict[str, object] = {"vaultscope": ours, "prometheus_client": {many: peer}}
    table.add(
        Row("memory per counter series, no handle held", f"{ours[more]:,.0f} bytes", beside, bars, figures)
    )
