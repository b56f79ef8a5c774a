"""`vaultscope history`: the chart, the lines for programs, and how it ends."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from historybook import MINUTE, NOON, Clock
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from vaultscope import Registry
from vaultscope.edge.commands import vaultscope
from vaultscope.edge.history_chart import chart, quantity
from vaultscope.history import MetricRecorder
from vaultscope.soup import NewObject, SqliteSoup

RANGE = ("--since", "2026-09-21T12:00:00", "--until", "2026-09-21T12:30:00")
COMMAND = (sys.executable, "-c", "from vaultscope.edge.cli import main; main()", "history")


@pytest.fixture(scope="module")
def soup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour in which a counter grew by 60 a minute more each minute, but for five that were missed."""
    assert time.gmtime(NOON / 1e9)[:4] == (2026, 9, 21, 12)
    path = tmp_path_factory.mktemp("history") / "vault.soup"
    store, clock = SqliteSoup(path, default_retention=math.inf), Clock()
    for part, minutes in enumerate((10, 15)):
        registry = Registry()
        count = registry.counter("cas.put.count", labels=("op",))
        duration = registry.hdr_histogram("cas.put.duration")
        size = registry.gauge("cas.size", unit="bytes")
        recorder = MetricRecorder(
            registry, store, vault="north",
            clock_ns=lambda: clock.wall, monotonic_ns=lambda: clock.monotonic,
        )  # fmt: skip
        recorder.record()
        for minute in range(minutes):
            count.labels("get").inc(60 * (minute + 15 * part))
            count.labels("put").inc(60)
            for each in range(10):
                duration.record(1_000_000 + 100_000 * each)
            size.set(3 << 30)
            clock.pass_()
            recorder.record()
        clock.pass_(5 * MINUTE)
    store.close()
    return path


def run(*arguments: str | Path, **environment: str) -> Result:
    clean = {"COLUMNS": "72", "TERM": "xterm", **environment}
    command = ["history", *map(str, arguments)]
    return CliRunner().invoke(vaultscope, command, env=clean, prog_name="vaultscope")


def lines(*arguments: str | Path) -> list[str]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_a_chart(soup: Path) -> None:
    """A counter's rate: a heading, a rising line with a gap, axes with units and times, and a summary."""
    found = lines("cas.put.count", soup, *RANGE, "--step", "1m", "--label", "op=get", "--height", "5")
    assert found[0] == "cas.put.count op=get  rate, a value each 1 m"
    assert [line[:6] for line in found[1:6]] == ["40/s ┤", "     ┤", "20/s ┤", "     ┤", " 0/s ┤"]
    assert len(found[2]) == 72 and len(found[5]) < 30  # from the bottom left to the right, near the top
    columns = range(6, 72)
    drawn = [any(line.ljust(72)[at] != " " for line in found[1:6]) for at in columns]
    assert not any(drawn[24:32]) and all(drawn[:20]) and all(drawn[34:])
    assert found[6].startswith("     ┼") and "┬" in found[6]
    assert found[7].split() == ["12:00", "12:05", "12:10", "12:15", "12:20", "12:25"]
    assert found[8] == "last 29.0/s, least 0.0/s, most 29.0/s; 5 of 30 steps not known"
    assert all(cell_len(line) <= 72 for line in found)


def test_units(soup: Path) -> None:
    """Nanoseconds and bytes are shown in what fits them."""
    assert lines("cas.put.duration", soup, *RANGE)[-1].startswith("last 1.90 ms, least 1.90 ms")
    assert any(line.startswith("3.0 GiB ┤") for line in lines("cas.size", soup, *RANGE))


def test_ascii(soup: Path) -> None:
    """With --ascii, and on a terminal that has no other signs, nothing but ASCII is written."""
    for found in (
        run("cas.put.count", soup, *RANGE, "--ascii"),
        run("cas.put.count", soup, *RANGE, TERM="dumb"),
    ):
        assert found.stdout.isascii() and "*" in found.stdout
    done = subprocess.run(
        [*COMMAND, "cas.put.count", soup, *RANGE],
        capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.stdout.isascii() and b"*" in done.stdout and b"\\u" not in done.stdout


def test_by(soup: Path) -> None:
    """--by makes a chart for each value of a label."""
    found = lines("cas.put.count", soup, *RANGE, "--by", "op")
    assert [line for line in found if line.startswith("cas")] == [
        "cas.put.count op=get  rate, a value each 1 m",
        "cas.put.count op=put  rate, a value each 1 m",
    ]


def test_json(soup: Path) -> None:
    """--json writes an object for each step; what is not known is null."""
    found = [json.loads(line) for line in lines("cas.put.count", soup, *RANGE, "--step", "5m", "--json")]
    assert found[0] == {"time": "2026-09-21T12:00:00Z", "value": 3.0}
    assert [each["value"] for each in found] == [3.0, 8.0, None, 18.0, 23.0, 28.0]
    by = [
        json.loads(line)
        for line in lines("cas.put.count", soup, *RANGE, "--step", "30m", "--json", "--by", "op")
    ]
    assert [each["labels"] for each in by] == [{"op": "get"}, {"op": "put"}]


def test_csv(soup: Path) -> None:
    """--csv writes a table with a heading; what is not known is empty."""
    found = list(csv.reader(lines("cas.put.duration", soup, *RANGE, "--step", "10m", "-q", "mean", "--csv")))
    assert found[0] == ["time", "mean (ns)"]
    assert [row[0] for row in found[1:]] == [f"2026-09-21T12:{minute}:00Z" for minute in ("00", "10", "20")]
    assert [float(row[1]) for row in found[1:]] == [1_450_000.0] * 3
    gap = list(csv.reader(lines("cas.put.count", soup, *RANGE, "--step", "5m", "--csv", "--by", "op")))
    assert gap[0] == ["time", "op", "rate (1/s)"] and gap[3] == ["2026-09-21T12:10:00Z", "get", ""]


@pytest.mark.parametrize("width", [20, 40, 133, 1000])
def test_width(soup: Path, width: int) -> None:
    """The chart is as wide as it is told, whatever the terminal."""
    found = lines("cas.put.duration", soup, *RANGE, "--width", str(width), "--height", "3")
    assert len(found[4]) == width and all(len(line) <= width for line in found[1:6])


def test_a_step_that_fits(soup: Path) -> None:
    """Without --step, no two values share a column of dots."""
    assert lines("cas.size", soup, *RANGE)[0].endswith("each 1 m")
    assert lines("cas.size", soup, "--since", "2026-09-14", "--until", "2026-09-22")[0].endswith("each 2 h")


@pytest.mark.parametrize(
    "arguments, status, told",
    [
        (("none", "SOUP", *RANGE), 1, "nothing was recorded of a metric 'none'"),
        (("cas.size", "SOUP", *RANGE, "--vault", "south"), 1, "nothing was recorded"),
        (("cas.put.count", "SOUP", *RANGE, "-q", "0.9"), 2, "is a counter, and has no quantiles"),
        (("cas.put.count", "SOUP", *RANGE, "-q", "median"), 2, "no 'median'"),
        (("cas.put.count", "SOUP", *RANGE, "--label", "op"), 2, "NAME=VALUE"),
        (("cas.put.count", "SOUP", *RANGE, "--label", "ip=1"), 2, "no label 'ip': it has op"),
        (("cas.put.count", "SOUP", "--last", "soon"), 2, "soon"),
        (("cas.put.count", "SOUP", "--last", "2h", "--since", "1h"), 2, "not both"),
        (("cas.put.count", "SOUP", "--step", "0s"), 2, "no span"),
        (("cas.put.count", "no.such.soup"), 2, "no.such.soup cannot be read"),
        (("cas.put.count", "."), 2, "cannot be read"),
        (("cas.put.count", __file__), 4, "no soup"),
        ((), 2, "Missing argument"),
    ],
)
def test_how_it_ends(soup: Path, arguments: tuple[str, ...], status: int, told: str) -> None:
    """What cannot be shown is said in a line, with a status of its own."""
    result = run(*(soup if each == "SOUP" else each for each in arguments))
    assert (result.exit_code, result.stdout) == (status, "") and told in result.stderr


def test_named_by_the_environment(soup: Path) -> None:
    """The soup may be left out if VAULTSCOPE_SOUP names it."""
    assert run("cas.size", *RANGE, VAULTSCOPE_SOUP=str(soup)).exit_code == 0


def test_damage(tmp_path: Path) -> None:
    """An object that has the type of an interval and is none: status 4."""
    store = SqliteSoup(tmp_path / "a.soup", default_retention=math.inf)
    store.put_many([NewObject(b"{}", "metrics", {}, NOON + MINUTE)])
    store.close()
    assert run("a", tmp_path / "a.soup", *RANGE).exit_code == 4


def test_without_numpy(soup: Path) -> None:
    """Without numpy it says what to install."""
    program = "import sys; sys.modules['numpy'] = None; from vaultscope.edge.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "history", "cas.size", soup, *RANGE], capture_output=True, text=True
    )
    assert done.returncode == 2 and "pip install 'vaultscope[history]'" in done.stderr


def test_a_reader_that_goes(soup: Path) -> None:
    """When nobody reads the output any more, it ends without a complaint."""
    process = subprocess.Popen(
        [*COMMAND, "cas.size", soup, "--since", "2026-09-01", *RANGE[2:], "--step", "1m", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)
    process.stderr.close()


# ---- the chart ----

VALUES = st.lists(st.floats(), min_size=1, max_size=50)


@given(
    VALUES, st.sampled_from(["", "ns", "bytes", "1/s", "bytes/s", "things"]),
    st.integers(40, 120), st.integers(1, 20), st.booleans(),
)  # fmt: skip
def test_any_values(values: list[float], unit: str, width: int, height: int, ascii_only: bool) -> None:
    """Whatever the values are, a chart has its height and no more than its width."""
    times = [NOON / 1e9 + 300 * each for each in range(len(values))]
    found = chart(times, values, unit=unit, width=width, height=height, ascii_only=ascii_only)
    assert len(found) == height + 2 and all(len(line) <= width for line in found)
    assert not ascii_only or all(line.isascii() for line in found) or unit == "ns"


@given(st.lists(st.floats(0.001, 1e9), min_size=2, max_size=30))
def test_higher_values_are_drawn_higher(values: list[float]) -> None:
    """Of a chart with a column for each value, the highest star is in the column of the highest value."""
    values = [value for value in values for _ in range(2)]  # so that no line crosses its column
    found = chart([60.0 * at for at in range(len(values))], values, width=200, height=10, ascii_only=True)
    rows = [line.partition("|")[2] for line in found[:10]]
    top = next(index for index, row in enumerate(rows) if "*" in row)
    columns = len(found[10].partition("+")[2])
    at = values.index(max(values)) * (columns - 1) // (len(values) - 1)
    assert rows[top].ljust(columns)[at] == "*"


@pytest.mark.parametrize(
    "value, unit, wanted",
    [
        (1.5e6, "ns", "1.50 ms"),
        (0, "ns", "0 ns"),
        (59.95e9, "ns", "60.0 s"),
        (2048, "bytes", "2.00 KiB"),
        (3e6, "bytes/s", "2.86 MiB/s"),
        (12_345, "", "12.3k"),
        (0.25, "1/s", "0.250/s"),
        (7, "things", "7.00 things"),
        (math.nan, "ns", "?"),
    ],
)
def test_quantities(value: float, unit: str, wanted: str) -> None:
    """A value is shown to three digits, in the unit that fits it."""
    assert quantity([value], unit) == [wanted]
