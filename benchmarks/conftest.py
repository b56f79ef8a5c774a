"""What all benchmarks share: options, the processor they are pinned to, and the table at the end.

Figures are reported, never asserted, unless --enforce is given: a busy machine must not fail an ordinary run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from race import Race
from table import TABLE, Table

# The order of the table; a benchmark that is not named here comes last.
NOUNS = (
    "counter",
    "histogram",
    "hdr",
    "labels",
    "timer",
    "exemplar",
    "log",
    "trace",
    "soup",
    "render",
    "scrape",
    "memory",
    "import",
    "native",
    "log_native",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vaultscope benchmarks")
    group.addoption("--enforce", action="store_true", help="fail if a bar of the table is not met")
    group.addoption(
        "--short", action="store_true", help="few and small rounds: shows that the benchmarks work"
    )
    group.addoption("--long", action="store_true", help="also the sizes that take minutes to make")
    group.addoption("--no-table", action="store_true", help="do not print the table of the benchmarks")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("python_files", "bench_*.py")
    config.addinivalue_line("python_functions", "bench_*")
    # pytest-benchmark's own table would show seconds a lap; ours shows nanoseconds a call.
    config.option.benchmark_quiet = True
    config.stash[TABLE] = Table(short=_is_short(config))


def _is_short(config: pytest.Config) -> bool:
    return bool(config.getoption("--short") or config.getoption("benchmark_disable"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / f"bench_{noun}.py": place for place, noun in enumerate(NOUNS)}
    items.sort(key=lambda item: places.get(item.path, len(NOUNS)))


@pytest.fixture(scope="session", autouse=True)
def one_processor() -> Iterator[None]:
    """Pins the run to one processor, the last that it may use: the first serves most interrupts."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def short(request: pytest.FixtureRequest) -> bool:
    """Whether this run only shows that the benchmarks work."""
    return _is_short(request.config)


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether this run may take minutes."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Table:
    """The table that is printed at the end of the run."""
    return request.config.stash[TABLE]


@pytest.fixture
def race(benchmark: BenchmarkFixture, short: bool) -> Race:
    return Race(benchmark, short)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if (
        session.config.getoption("--enforce")
        and exitstatus == pytest.ExitCode.OK
        and not session.config.stash[TABLE].met
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[TABLE].rows and not config.getoption("--no-table"):
        terminalreporter.section("speed")
        terminalreporter.write_line(config.stash[TABLE].markdown())
