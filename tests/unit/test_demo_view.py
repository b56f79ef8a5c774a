"""The demo's view: a table where there is room, lines where there is not, and figures that read well."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from vaultscope import Registry
from vaultscope.core.catalogue import Catalogue
from vaultscope.edge.demo_report import Activity, Outcome, Phase, Progress, Report
from vaultscope.edge.demo_view import PROBLEMS_SHOWN, TerminalView, _bytes, _duration

URL = "http://127.0.0.1:9464/metrics"


class Screen:
    """A console that is a terminal, or not, and what was written to it."""

    def __init__(self, width: int = 80, terminal: bool = False) -> None:
        self.registry = Registry()
        self.vault = Catalogue(self.registry)
        self.written = io.StringIO()
        environment = {"TERM": "xterm", "COLUMNS": str(width)}
        self.console = Console(
            file=self.written,
            width=width,
            force_terminal=terminal,
            _environ=environment,
            legacy_windows=False,
        )

    def view(self, **options: bool) -> TerminalView:
        return TerminalView(self.console, URL, **options)

    def moment(self, activity: Activity, elapsed: float, done: int = 1, total: int | None = None) -> Progress:
        return Progress(activity, done, total, elapsed, self.registry.snapshot())

    @property
    def text(self) -> str:
        return self.written.getvalue()


@pytest.mark.parametrize(
    ("width", "terminal", "live", "redrawn"),
    [
        (80, True, True, True),
        (76, True, True, True),
        (75, True, True, False),
        (80, False, True, False),
        (80, True, False, False),
    ],
)
def test_where_it_redraws(width: int, terminal: bool, live: bool, redrawn: bool) -> None:
    """It redraws a table on a terminal of 76 columns or more, unless told not to; else it writes lines."""
    screen = Screen(width, terminal)
    with screen.view(live=live) as view:
        view.progress(screen.moment(Activity.INGEST, 0.0))
    assert ("p99" in screen.text) is redrawn
    assert ("\x1b[?25l" in screen.text) is redrawn


def test_the_terminal_is_given_back() -> None:
    """The cursor is shown again, also when the run ends by an error."""
    screen = Screen(terminal=True)
    view = screen.view()
    view.progress(screen.moment(Activity.INGEST, 0.0))
    with pytest.raises(ZeroDivisionError), view:
        raise ZeroDivisionError
    assert screen.text.rindex("\x1b[?25h") > screen.text.rindex("\x1b[?25l")


def test_the_live_table_fits() -> None:
    """On 76 columns the widest figures still fit in one line each, and nothing is cut off."""
    screen = Screen(76, terminal=True)
    screen.vault.cas_put_duration.record_times(999_000_000, 9_999_999)
    screen.vault.cas_put_count.inc(9_999_999)
    with screen.view() as view:
        view.progress(screen.moment(Activity.INGEST, 0.0, 9_999_999, 99_999_999))
        screen.vault.cas_put_count.inc(99_999)
        screen.vault.cas_put_bytes.inc(999_000_000)
        view.progress(screen.moment(Activity.INGEST, 1.0, 9_999_999, 99_999_999))
    for figure in ("10,099,998", "99,999", "999 MB", "999 ms", "9,999,999 / 99,999,999"):
        assert figure in screen.text
    assert "…" not in screen.text


def test_lines_keep_their_distance() -> None:
    """Lines come a second apart, ten seconds apart when reading on, and at once with a new activity."""
    screen = Screen()
    view = screen.view()
    for elapsed in (0.0, 0.5, 0.9, 1.0, 1.5, 2.0):
        view.progress(screen.moment(Activity.INGEST, elapsed))
    assert screen.text.count("ingest ") == 3
    for elapsed in (2.1, 3.1, 12.0, 12.1):
        view.progress(screen.moment(Activity.READ_ON, elapsed))
    assert screen.text.count("reading on") == 2


def test_rates_are_of_the_activity() -> None:
    """A rate is the growth of the store's counters since the activity began, over five seconds at most."""
    screen = Screen()
    view = screen.view()
    view.progress(screen.moment(Activity.INGEST, 0.0))
    screen.vault.cas_put_count.inc(20)
    screen.vault.cas_put_bytes.inc(3000)
    view.progress(screen.moment(Activity.INGEST, 2.0))
    assert screen.text.splitlines()[-1].endswith("  10/s, 1.50 kB/s")
    view.progress(screen.moment(Activity.READ_BACK, 2.0))
    assert screen.text.splitlines()[-1].endswith("  -/s, -/s")


def test_problems_are_listed_up_to_a_number() -> None:
    """The first problems are named, the others counted; markup in a name is shown as it is."""
    screen = Screen()
    report = Report("/files", "/store", snapshot=screen.registry.snapshot())
    for i in range(PROBLEMS_SHOWN + 3):
        report.problem(f"/files/[b]{i}[/b]", PermissionError(13, "Permission denied"))
    screen.view().summary(report)
    assert screen.text.count("Permission denied") == PROBLEMS_SHOWN
    assert "/files/[b]0[/b]: Permission denied" in screen.text
    assert "and 3 more" in screen.text


def test_a_long_path_is_not_cut() -> None:
    """A path longer than the terminal is wide is written whole, for copying."""
    screen = Screen(50)
    report = Report("/files", "/store", snapshot=screen.registry.snapshot())
    path = "/" + "long/" * 30 + "name"
    report.problem(path, OSError(5, "Input/output error"))
    screen.view().summary(report)
    assert f"{path}: Input/output error\n" in screen.text


def test_an_interrupted_summary() -> None:
    """A run that was stopped says so first, and shows a dash where there is no figure."""
    screen = Screen()
    report = Report("/files", "/store", seen=3, interrupted=True, snapshot=screen.registry.snapshot())
    report.outcomes.update({Outcome.STORED: 2, Outcome.INTERRUPTED: 1})
    report.ingested = Phase(seconds=0.5, operations=2, bytes=100)
    screen.view().summary(report)
    assert screen.text.lstrip().startswith("stopped before")
    assert "interrupted" in screen.text
    assert "read back" not in screen.text
    (gets,) = [line for line in screen.text.splitlines() if line.startswith("get ")]
    assert gets.split() == ["get", "0", "-", "-", "-", "-", "-", "-"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (9_994, "9.99 kB"), (9_995, "10.0 kB"),
        (99_949, "99.9 kB"), (99_950, "100 kB"), (999_499, "999 kB"), (999_500, "1.00 MB"),
        (1.5e18, "1,500 PB"), (math.nan, "-"),
    ],
)  # fmt: skip
def test_bytes(count: float, text: str) -> None:
    """Three digits and a decimal unit; the unit changes where the digits would become four."""
    assert _bytes(count) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (850, "850 ns"),
        (12_345, "12.3 us"),
        (1_234_567, "1.23 ms"),
        (75e9, "75.0 s"),
        (math.nan, "-"),
    ],
)
def test_durations(nanoseconds: float, text: str) -> None:
    """A latency shows in the unit that leaves three digits."""
    assert _duration(nanoseconds) == text
