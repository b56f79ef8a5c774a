"""The table of measured speed: what was measured, what stands beside it, and whether the bar is met.

    python benchmarks/table.py [--json] [--enforce] [--short]

runs every benchmark and prints the table as Markdown or JSON. `pytest benchmarks/` prints it at its end.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from race import Sample, Times

PEERS = ("prometheus_client", "hdrhistogram", "structlog", "orjson", "picologging", "opentelemetry-sdk")
SCALES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (0.0, "ns"))


def duration(sample: Sample) -> str:
    """A time given in nanoseconds, with its quartiles: `7.2 ns (7.1-7.4)`."""
    scale, unit = next((scale or 1.0, unit) for scale, unit in SCALES if abs(sample.median) >= scale)
    figures = [
        f"{value / scale:,.{1 if abs(value / scale) < 100 else 0}f}" for value in asdict(sample).values()
    ]
    return f"{figures[0]} {unit} ({figures[1]}–{figures[2]})"


@dataclass(frozen=True)
class Bar:
    """One promise: `measured` is at most, or at least, `limit`, in the words of `text`."""

    text: str
    measured: float
    limit: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{self.measured:,.{1 if self.measured < 100 else 0}f} {self.text} ({sign} {self.limit:,g})"


def against_no_op(times: Times, limit: float) -> Bar:
    """Our time as a multiple of a C method that does nothing."""
    return Bar("× no-op", times.ours.median / times.no_op.median, limit)


def against_peer(times: Times, peer: str, limit: float) -> Bar:
    """How many times faster than the peer's call ours is."""
    return Bar(f"× faster than {peer}", times.rivals[peer].median / times.ours.median, limit, at_most=False)


@dataclass(frozen=True)
class Row:
    """A line of the table. `beside`: what else was measured. `figures`: all of it, for machines. Without bars
    it is only to be known."""

    what: str
    ours: str
    beside: dict[str, str]
    bars: tuple[Bar, ...]
    figures: dict[str, object]

    @classmethod
    def of_times(cls, what: str, times: Times, *bars: Bar) -> Row:
        samples = {"no-op C method": times.no_op, **times.rivals}
        return cls(
            what,
            duration(times.ours),
            {name: duration(one) for name, one in samples.items()},
            bars,
            asdict(times),
        )

    @property
    def met(self) -> bool:
        return all(bar.met for bar in self.bars)

    def markdown(self) -> str:
        beside = "; ".join(f"{name} {text}" for name, text in self.beside.items())
        verdict = "" if not self.bars else "met" if self.met else "**not met**"
        return f"| {self.what} | {self.ours} | {beside} | {'; '.join(map(str, self.bars))} | {verdict} |"


@dataclass
class Table:
    """The rows of one run and the machine that made them."""

    short: bool = False
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)

    @property
    def met(self) -> bool:
        return all(row.met for row in self.rows)

    def markdown(self) -> str:
        lines = [
            f"Measured on {machine()}.",
            "Each time is the median a call, processor time, with its quartiles, the empty loop taken off;",
            "ours, the no-op C method (`float.conjugate`) and the peers take turns in every round.",
            "",
            "| what | vaultscope | beside it, in the same run | against the bar | |",
            "| --- | --- | --- | --- | --- |",
            *(row.markdown() for row in self.rows),
        ]
        if self.short:
            lines[:0] = ["**A short run: it shows that the benchmarks work, not how fast anything is.**", ""]
        return "\n".join(lines)

    def json(self) -> str:
        rows = [{**asdict(row), "met": row.met} for row in self.rows]
        return json.dumps(
            {"machine": machine(), "short": self.short, "met": self.met, "rows": rows}, indent=2
        )


def machine() -> str:
    """Processor, CPUs, system, Python and the peers' versions, in one line."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    versions = ", ".join(map(version, PEERS))
    pinned = ", one of them used" if hasattr(os, "sched_setaffinity") else ""
    return (
        f"{model} ({os.cpu_count()} CPUs{pinned}), {platform.system()} {platform.machine()}, "
        f"{platform.python_implementation()} {platform.python_version()}, {versions}"
    )


def version(peer: str) -> str:
    """A peer with its version. There is no picologging for some Pythons: its bars are left out there."""
    try:
        return f"{peer} {importlib.metadata.version(peer)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {peer} for this Python"


TABLE = pytest.StashKey[Table]()


class _Keeper:
    """A pytest plugin that keeps the run's table."""

    table: Table

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.table = session.config.stash[TABLE]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the benchmarks and print their table.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument("--enforce", action="store_true", help="exit with 1 if a bar is not met")
    parser.add_argument(
        "--short", action="store_true", help="a quick run that only shows that everything works"
    )
    options = parser.parse_args(arguments)
    flags = [f"--{name}" for name in ("enforce", "short") if getattr(options, name)]
    keeper = _Keeper()
    with contextlib.redirect_stdout(sys.stderr):
        status = pytest.main([str(Path(__file__).parent), "--no-table", "-q", *flags], plugins=[keeper])
    print(keeper.table.json() if options.json else keeper.table.markdown())
    return int(status)


if __name__ == "__main__":
    import table  # by the name that the benchmarks import: a second copy would have another key

    sys.exit(table.main())
