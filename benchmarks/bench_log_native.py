"""Logging in C, as a program outside is built: the call, the drain, and both at once on two processors.

native/bench_log.c says how each is measured.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pytest
from bench_native import compiled, nanoseconds
from race import ROUNDS, Sample
from table import Bar, Row, Table

LAP_CALLS = 12_000  # the ring holds some 14,000 such records
RATE = 1_050_000  # a second: a little more than the bar, which is held to the end of the drain

Program = Callable[..., str]


class Sustained(NamedTuple):
    """What became of a run's records, and how long it took: by the clock, and of the processor."""

    produced: int
    in_ring: int
    dropped: int
    lines: int
    size: int
    wall_ns: int
    caller_ns: int
    drain_ns: int

    @property
    def rate(self) -> float:
        """Records a second that are in the file."""
        return self.lines / self.wall_ns * 1e9

    @property
    def unaccounted(self) -> int:
        return abs(self.produced - self.lines - self.dropped) + abs(self.in_ring - self.lines)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Runs bench_log with the arguments, and returns what it prints."""
    path = compiled("bench_log", tmp_path_factory.mktemp("native"))

    def run(*arguments: object) -> str:
        command = [str(path), *map(str, arguments)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout

    return run


def figures(printed: str) -> dict[str, list[float]]:
    """Lines of a name and numbers."""
    return {name: [float(each) for each in rest] for name, *rest in map(str.split, printed.splitlines())}


def bench_call(program: Program, table: Table, short: bool) -> None:
    """A call with a text of 64 bytes and two numbers, while another thread drains."""
    rounds = figures(program("call", *((3, 500) if short else (ROUNDS, LAP_CALLS))))
    times = {name: Sample.of(values) for name, values in rounds.items()}
    pairs = zip(rounds["log"], rounds["memcpy_and_clock"], strict=True)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    beside = {
        "copying 100 bytes and `clock_gettime`": times["memcpy_and_clock"],
        "`clock_gettime`": times["clock"],
        "the copy to where the caches are cold": times["memcpy_far_and_clock"],
        "ours, while nobody drains": times["log_undisturbed"],
        "ours, below the level": times["below_level"],
    }
    table.add(
        Row(
            "C: `vs_log` with 3 fields",
            nanoseconds(times["log"]),
            {what: nanoseconds(sample) for what, sample in beside.items()},
            (Bar("× copy and clock", ratio, 2),),
            {name: asdict(sample) for name, sample in times.items()},
        )
    )


def bench_drain(program: Program, table: Table, short: bool, tmp_path: Path) -> None:
    """What a record costs the thread that drains."""
    rounds = figures(program("drain", 3 if short else ROUNDS, tmp_path / "log"))
    (line_bytes,) = rounds.pop("bytes")
    times = {name: Sample.of(values) for name, values in rounds.items()}
    both = times["format_and_write"]
    table.add(
        Row(
            f"the drain of a record: a line of {line_bytes:,.0f} bytes, formatted and written",
            nanoseconds(both),
            {
                "formatting alone": nanoseconds(times["format"]),
                "that is": f"{line_bytes / both.median * 1e3:,.0f} MB a second",
            },
            (),
            {name: asdict(sample) for name, sample in times.items()} | {"line_bytes": line_bytes},
        )
    )


def bench_sustained(program: Program, table: Table, short: bool, tmp_path: Path) -> None:
    """A million records a second for some seconds, in a file by the end of it; then as many as go."""
    log = tmp_path / "log"
    steady = Sustained(*map(int, program("sustained", log, 0.1 if short else 4, RATE).split()))
    most = Sustained(*map(int, program("sustained", log, 0.05 if short else 1.5, 0).split()))
    log.unlink()
    table.add(
        Row(
            f"C: {RATE:,} records a second with 3 fields, drained to a file on the other processor",
            f"{steady.rate:,.0f} records a second, {steady.size / steady.wall_ns * 1e3:,.0f} MB a second",
            {
                "processor time of the drain": f"{steady.drain_ns / steady.wall_ns:.0%} of the time",
                "as many as go (policy block)": f"{most.rate:,.0f} records a second",
                "dropped there": f"{most.dropped:,} of {most.produced:,}",
            },
            (
                Bar("million records a second", steady.rate / 1e6, 1, at_most=False),
                Bar("dropped", steady.dropped, 0),
                Bar("unaccounted", steady.unaccounted + most.unaccounted, 0),
            ),
            {"steady": steady._asdict(), "most": most._asdict()},
        )
    )
