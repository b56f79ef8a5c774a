"""How a demo looks in a terminal: a live table on one that is wide enough, lines of text anywhere else.

Both are drawn from snapshots. A file's name is shown as printable text and never read as markup: it may hold
anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vaultscope.core.rates import SlidingWindow
from vaultscope.core.snapshot import Snapshot
from vaultscope.edge.demo_files import printable
from vaultscope.edge.demo_report import Activity, Outcome, Phase, Progress, Report

WIDE_COLUMNS = 76  # from here on there is room for the table
PROBLEMS_SHOWN = 10
LINE_SECONDS = {Activity.INGEST: 1.0, Activity.READ_BACK: 1.0, Activity.READ_ON: 10.0}  # between two lines
RATE_WINDOW_NS = 5_000_000_000
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


@dataclass(frozen=True)
class Figures:
    """A row of the table. Rates are per second, latencies nanoseconds; NaN is shown as a dash."""

    operation: str
    count: int
    rate: float
    bytes_rate: float
    latencies: tuple[float, ...]


class TerminalView:
    """Shows a run on a console; the View of demo_report.py. A context manager, which gives the terminal back.

    Args:
        console: Where to.
        url: Where the metrics are served.
        live: Redraw in place, if the console is a terminal of WIDE_COLUMNS or more.
    """

    def __init__(self, console: Console, url: str, *, live: bool = True) -> None:
        self._console = console
        self._url = url
        self._redraw = live and console.is_terminal and not console.is_dumb_terminal and self._wide
        self._live: Live | None = None
        self._activity: Activity | None = None
        self._next_line = 0.0  # when it is due, in the run's seconds
        self._windows: dict[str, SlidingWindow] = {}

    def __enter__(self) -> TerminalView:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    @property
    def _wide(self) -> bool:
        return self._console.width >= WIDE_COLUMNS

    def opening(self, directory: str, store: str) -> None:
        """Says what is about to happen, and where the metrics are."""
        self._say(f"ingesting {printable(directory)}")
        self._say(f"store     {printable(store)}")
        self._say(f"metrics   {self._url}")

    def recorded(self, soup: str, audit: str) -> None:
        """Says what was left, and how to ask it."""
        self._say("")
        for ask in ("history cas.put.duration", "query", "trace --last"):
            self._say(f"vaultscope {ask} {printable(soup)}")
        self._say(f"vaultscope audit verify {printable(audit)}")

    def progress(self, progress: Progress) -> None:
        """Redraws, or says a line if the last one is old enough or was about something else."""
        if progress.activity is not self._activity:
            self._activity = progress.activity
            self._next_line = progress.elapsed
            self._windows = {name: SlidingWindow(RATE_WINDOW_NS) for name in _TOTALS}
        for name, window in self._windows.items():
            window.add(round(progress.elapsed * 1e9), progress.snapshot.value(name))
        if self._redraw:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(self._picture(progress), refresh=True)
        elif progress.elapsed >= self._next_line:
            self._next_line = progress.elapsed + LINE_SECONDS[progress.activity]
            self._say(self._line(progress))

    def summary(self, report: Report) -> None:
        """Says what was done, in the order: files, objects, speed, what went wrong."""
        self._stop()
        self._say("")
        if report.interrupted:
            self._say("stopped before the work was done", "bold yellow")
        for line in _accounts(report):
            self._say(line)
        if report.snapshot is not None:
            rows = [
                _figures("put", report.snapshot, _rates(report.ingested)),
                _figures("get", report.snapshot, _rates(report.read_back)),
            ]
            if self._wide:
                self._console.print(_table(rows))
            else:
                for row in rows:
                    self._say(_prose(row))
            self._say(f"errors {_errors(report.snapshot)}")
        self._problems(report)
        self._say(f"metrics served at {self._url}")

    # -- parts ----------------------------------------------------------------------------------------------

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style), soft_wrap=True, highlight=False)

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _line(self, progress: Progress) -> str:
        put, get = self._rows(progress.snapshot)
        row = put if progress.activity is Activity.INGEST else get
        return f"{progress.activity.value:<10}{_of(progress):>16}  {_speed(row)}"

    def _rows(self, snapshot: Snapshot) -> list[Figures]:
        rows = []
        for operation in ("put", "get"):
            count, size = (self._windows[f"cas.{operation}.{what}"] for what in ("count", "bytes"))
            rows.append(_figures(operation, snapshot, (count.rate(), size.rate())))
        return rows

    def _picture(self, progress: Progress) -> RenderableType:
        snapshot = progress.snapshot
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(width=10)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", min_width=16)
        bar.add_row(
            progress.activity.value,
            ProgressBar(
                progress.total, progress.done, pulse=progress.total is None, animation_time=progress.elapsed
            ),
            _of(progress),
        )
        storage = (
            f"storage {snapshot.value('storage.objects.count'):,.0f} objects, "
            f"{_bytes(snapshot.value('storage.used.bytes'))} used, "
            f"{_bytes(snapshot.value('storage.available.bytes'))} available"
        )
        return Group(bar, _table(self._rows(snapshot)), Text(storage), Text(f"errors  {_errors(snapshot)}"))

    def _problems(self, report: Report) -> None:
        for path, reason in report.problems[:PROBLEMS_SHOWN]:
            self._say(f"{printable(path)}: {reason}", "red")
        more = report.problems_total - min(len(report.problems), PROBLEMS_SHOWN)
        if more:
            self._say(f"and {more:,} more", "red")


_TOTALS = ("cas.put.count", "cas.put.bytes", "cas.get.count", "cas.get.bytes")


def _accounts(report: Report) -> list[str]:
    """The arithmetic: what was seen, and what became of it, one line each."""
    if not report.seen:
        return ["no files there: nothing to do"]
    lines = [f"{'files seen':<14}{report.seen:>10,}"]
    for outcome in Outcome:
        count = report.outcomes[outcome]
        if count or outcome not in (Outcome.FAILED, Outcome.INTERRUPTED):
            lines.append(f"  {outcome.value:<12}{count:>10,}")
    lines += [f"    {reason:<10}{count:>10,}" for reason, count in sorted(report.skips.items())]
    if report.read_back is not None:
        ingested = report.outcomes[Outcome.STORED] + report.outcomes[Outcome.DEDUPLICATED]
        lines.append(f"{'read back':<14}{report.verified:>10,} of {ingested:,} verified")
    if report.read_on:
        lines.append(f"{'reading on':<14}{report.read_on:>10,} verified")
    if report.snapshot is not None:
        objects, used = (report.snapshot.value(f"storage.{name}") for name in ("objects.count", "used.bytes"))
        lines.append(f"{'objects':<14}{objects:>10,.0f} in the store, {_bytes(used)}")
    return lines


def _figures(operation: str, snapshot: Snapshot, rates: tuple[float, float]) -> Figures:
    duration = snapshot[f"cas.{operation}.duration"].series()
    latencies = [duration.quantile(q) for _, q in QUANTILES]
    latencies.append(duration.hdr.max if duration.count else math.nan)
    return Figures(operation, int(snapshot.value(f"cas.{operation}.count")), *rates, tuple(latencies))


def _rates(phase: Phase | None) -> tuple[float, float]:
    if phase is None or phase.seconds <= 0:
        return math.nan, math.nan
    return phase.operations / phase.seconds, phase.bytes / phase.seconds


def _table(rows: list[Figures]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", style="bold", min_width=3)
    for heading in ("count", "per s", "bytes per s", *(name for name, _ in QUANTILES), "max"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=7)
    for row in rows:
        latencies = map(_duration, row.latencies)
        table.add_row(row.operation, f"{row.count:,}", _number(row.rate), _bytes(row.bytes_rate), *latencies)
    return table


def _prose(row: Figures) -> str:
    """A row for a narrow terminal: three short lines."""
    p50, p90, p99, highest = map(_duration, row.latencies)
    return f"{row.operation} {row.count:,}: {_speed(row)}\n  p50 {p50}  p90 {p90}\n  p99 {p99}  max {highest}"


def _speed(row: Figures) -> str:
    return f"{_number(row.rate)}/s, {_bytes(row.bytes_rate)}/s"


def _errors(snapshot: Snapshot) -> str:
    counts = {series.labels["type"]: series.value for series in snapshot["errors.total"]}
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()) if count) or "none"


def _of(progress: Progress) -> str:
    return f"{progress.done:,}" if progress.total is None else f"{progress.done:,} / {progress.total:,}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}"


def _bytes(count: float) -> str:
    """A number of bytes in three digits: 512 B, 1.23 MB, 45.6 GB."""
    return "-" if math.isnan(count) else _scaled(count, ("B", "kB", "MB", "GB", "TB", "PB"))


def _duration(nanoseconds: float) -> str:
    """A latency in three digits: 850 ns, 12.3 us, 1.23 ms, 45.6 s."""
    return "-" if math.isnan(nanoseconds) else _scaled(nanoseconds, ("ns", "us", "ms", "s"))


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Three digits and the unit, of units a thousand apart, that leaves 1 to 999 before the point."""
    for unit in units:
        if value < 999.5 or unit == units[-1]:
            break
        value /= 1000
    digits = 0 if value >= 99.95 or unit == units[0] else 1 if value >= 9.995 else 2
    return f"{value:,.{digits}f} {unit}"
