"""The hot operations in C, as a program outside is built: -O2, the installed headers, the shared library.

native/bench_native.c says how it is timed; its figures are wall time, the loop included.
"""

from __future__ import annotations

import statistics
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from race import ROUNDS, Sample
from table import TABLE, Bar, Row, Table

import vaultscope

LAP_OPERATIONS = 200_000
PEERS = {"volatile": "`volatile` increment", "fetch_add": "`atomic_fetch_add`", "mutex": "`pthread` mutex"}


@dataclass(frozen=True)
class Times:
    """Nanoseconds an operation, by entrant and number of threads: a figure a round, all of one run."""

    rounds: dict[tuple[str, int], list[float]]

    def __getitem__(self, entrant: tuple[str, int]) -> Sample:
        return Sample.of(self.rounds[entrant])

    def ratio(self, above: tuple[str, int], below: tuple[str, int]) -> float:
        """The median of the rounds' own ratios: what slows the machine for a while slows both."""
        pairs = zip(self.rounds[above], self.rounds[below], strict=True)
        return statistics.median(one / other for one, other in pairs)


def nanoseconds(sample: Sample) -> str:
    """A time with its quartiles; a hundredth of a nanosecond counts here."""
    return f"{sample.median:.2f} ns ({sample.low:.2f}–{sample.high:.2f})"


def compiled(name: str, folder: Path) -> Path:
    """The program of that name, built in the folder as a user would."""
    program, source = folder / name, Path(__file__).parent / "native" / f"{name}.c"
    (library,) = vaultscope.get_library_dirs()
    flags = ["-std=gnu11", "-O2", f"-I{vaultscope.get_include()}", f"-L{library}", f"-Wl,-rpath,{library}"]
    subprocess.run(["cc", source, *flags, "-lvaultscope", "-pthread", "-o", program], check=True)
    return program


@pytest.fixture(scope="module")
def times(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Times:
    """What bench_native measured."""
    short = request.config.stash[TABLE].short
    program = compiled("bench_native", tmp_path_factory.mktemp("native"))
    size = ("3", "2000") if short else (str(ROUNDS), str(LAP_OPERATIONS))
    printed = subprocess.run([program, *size], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in printed.splitlines())
    return Times({(name, int(threads)): [float(each) for each in ns] for name, threads, *ns in rows})


def row(what: str, ours: Sample, beside: dict[str, Sample], *bars: Bar) -> Row:
    figures = {name: asdict(sample) for name, sample in {"ours": ours, **beside}.items()}
    return Row(
        what, nanoseconds(ours), {name: nanoseconds(one) for name, one in beside.items()}, bars, dict(figures)
    )


def bench_counter(times: Times, table: Table) -> None:
    """An increment on the thread's own stripe."""
    ours = times["counter", 1]
    beside = {text: times[name, 1] for name, text in PEERS.items()}
    beside["ours, the handle read from memory each time"] = times["counter_reloaded", 1]
    table.add(
        row(
            "C: `vs_counter_inc`",
            ours,
            beside,
            Bar("× volatile", times.ratio(("counter", 1), ("volatile", 1)), 3),
            Bar("× faster than fetch_add", times.ratio(("fetch_add", 1), ("counter", 1)), 6, at_most=False),
        )
    )


def bench_two_threads(times: Times, table: Table) -> None:
    """Two threads on two processors increment the same counter."""
    if ("counter", 2) not in times.rounds:
        pytest.skip("this machine lets us use one processor")
    beside = {PEERS[name]: times[name, 2] for name in ("fetch_add", "mutex")}
    more = Bar(
        "× the throughput of one thread", 2 * times.ratio(("counter", 1), ("counter", 2)), 1.9, at_most=False
    )
    table.add(row("C: `vs_counter_inc` on each of 2 threads, one counter", times["counter", 2], beside, more))


@pytest.mark.parametrize(
    ("name", "what"),
    [("observe", "C: `vs_histogram_observe`, 12 bounds"), ("record", "C: `vs_hdr_record`, 3 digits")],
)
def bench_distribution(name: str, what: str, times: Times, table: Table) -> None:
    """One value into a distribution whose snapshots are whole; values spread over its range."""
    ours, fetch_add = times[f"{name}_any", 1], times["fetch_add", 1]
    beside = {"the same value each time": times[f"{name}_one", 1], PEERS["fetch_add"]: fetch_add}
    if (f"{name}_any", 2) in times.rounds:
        beside["on each of 2 threads"] = times[f"{name}_any", 2]
    table.add(
        row(what, ours, beside, Bar("× fetch_add", times.ratio((f"{name}_any", 1), ("fetch_add", 1)), 1))
    )
