"""process_*, python_gc_* and python_info: right whatever a process is called, and never a spoilt scrape."""

from __future__ import annotations

import gc
import math
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import prometheus_client
import pytest

from vaultscope import Registry, Snapshot
from vaultscope._native._core import family_name
from vaultscope.core import procfs
from vaultscope.core.collectors import install_default_collectors
from vaultscope.errors import DeclarationConflictError

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PID = 4711
BOOT_TIME = 1_700_000_000

LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max open files            {soft:<20} 1048576              files
"""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")


def stat_line(
    name: bytes = b"vault", *, user: int = 0, system: int = 0, start: int = 0, size: int = 0, pages: int = 0
) -> bytes:
    """A line of /proc/PID/stat; the fields that nobody reads are 7."""
    fields = [b"7"] * 52
    fields[0], fields[1], fields[2] = str(PID).encode(), b"(" + name + b")", b"S"
    for number, value in ((14, user), (15, system), (22, start), (23, size), (24, pages)):
        fields[number - 1] = str(value).encode()
    return b" ".join(fields) + b"\n"


class FakeProc:
    """A directory that looks like /proc with one process in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process = root / str(PID)
        (self.process / "fd").mkdir(parents=True)
        (root / "stat").write_text(f"cpu  1 2 3\nbtime {BOOT_TIME}\nprocesses 9\n")
        self.set_stat(stat_line())
        self.set_limit("1024")
        for fd in range(3):
            self.open(fd)

    def set_stat(self, line: bytes) -> None:
        (self.process / "stat").write_bytes(line)

    def set_limit(self, soft: str) -> None:
        (self.process / "limits").write_text(LIMITS.format(soft=soft))

    def open(self, fd: int) -> None:
        (self.process / "fd" / str(fd)).touch()

    def exit(self) -> None:
        shutil.rmtree(self.process)


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def install(registry: Registry, proc: FakeProc) -> None:
    install_default_collectors(registry, pid=PID, proc=str(proc.root))


def failures(snapshot: Snapshot) -> int:
    name = "vaultscope.collector.errors"
    return sum(int(series.value) for series in snapshot[name]) if name in snapshot else 0


# --- the stat line


@pytest.mark.parametrize(
    "name",
    [
        b"vault",
        b"",
        b"a b",
        b")",
        b"((",
        b"x) R 1 (y",
        b") S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24",
        b"line\nbreak",
        b"tab\tand\0nul",
        b"\xff\xfe",
        b"(sd-pam)",
    ],
)
def test_hostile_names(name: bytes) -> None:
    """A program may call itself anything; the numbers after its name are read all the same."""
    line = stat_line(name, user=10, system=5, start=99, size=4096, pages=3)
    assert procfs.parse_stat(line) == (15, 99, 4096, 3)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"4711 (vault",
        b"4711 (vault)",
        b"4711 (vault) S 1 2 3",
        b" ".join(stat_line().split()[:23]),
        stat_line().replace(b"(", b"").replace(b")", b""),
        stat_line().replace(b" 0", b" zero"),
    ],
)
def test_a_line_that_is_no_stat(line: bytes) -> None:
    """A line that is cut short or holds no numbers is an error, never wrong numbers."""
    with pytest.raises(ValueError):
        procfs.parse_stat(line)


def test_oldest_stat_line() -> None:
    """Kernels have added fields at the end: a line that ends with the last one needed is enough."""
    line = b" ".join(stat_line(pages=3).split()[:24])
    assert procfs.parse_stat(line).resident_pages == 3


# --- values


def test_cpu_is_user_and_system_time(registry: Registry, proc: FakeProc) -> None:
    """process.cpu.seconds adds both, in seconds."""
    proc.set_stat(stat_line(user=3 * TICKS, system=TICKS // 2))
    install(registry, proc)
    assert registry.snapshot().value("process.cpu.seconds") == 3.5


def test_memory_is_bytes(registry: Registry, proc: FakeProc) -> None:
    """The kernel says pages for the one and bytes for the other."""
    proc.set_stat(stat_line(size=123_456_789, pages=10))
    install(registry, proc)
    snapshot = registry.snapshot()
    assert snapshot.value("process.virtual.memory.bytes") == 123_456_789
    assert snapshot.value("process.resident.memory.bytes") == 10 * PAGE


def test_start_time_is_since_the_epoch(registry: Registry, proc: FakeProc) -> None:
    """The kernel counts from its own start."""
    proc.set_stat(stat_line(start=100 * TICKS))
    install(registry, proc)
    assert registry.snapshot().value("process.start.time.seconds") == BOOT_TIME + 100


def test_start_time_without_boot_time(registry: Registry, proc: FakeProc) -> None:
    """Where the time of boot is not said, the time of start is not known; the rest is."""
    (proc.root / "stat").unlink()
    install(registry, proc)
    snapshot = registry.snapshot()
    assert math.isnan(snapshot.value("process.start.time.seconds"))
    assert snapshot.value("process.cpu.seconds") == 0


def test_values_are_read_at_each_snapshot(registry: Registry, proc: FakeProc) -> None:
    """Nothing is remembered from the start."""
    install(registry, proc)
    proc.set_stat(stat_line(user=TICKS, pages=1))
    proc.open(3)
    proc.set_limit("2048")
    snapshot = registry.snapshot()
    assert snapshot.value("process.cpu.seconds") == 1
    assert snapshot.value("process.resident.memory.bytes") == PAGE
    assert snapshot.value("process.open.fds") == 4
    assert snapshot.value("process.max.fds") == 2048


def test_descriptors_without_limit(registry: Registry, proc: FakeProc) -> None:
    """An unlimited number of descriptors is infinite."""
    proc.set_limit("unlimited")
    install(registry, proc)
    assert registry.snapshot().value("process.max.fds") == math.inf


@linux
def test_own_descriptors_are_exact(registry: Registry) -> None:
    """The descriptor that the listing itself takes is not counted: only those that are open without it."""
    install_default_collectors(registry)
    with open(os.devnull) as file:
        value = registry.snapshot().value("process.open.fds")
        assert value == sum(is_open(fd) for fd in range(max(1024, file.fileno() + 1)))


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@linux
def test_this_process_agrees_with_prometheus_client(registry: Registry) -> None:
    """What does not change from moment to moment is what prometheus_client says of this process."""
    install_default_collectors(registry)
    snapshot = registry.snapshot()
    for name in ("process.start.time.seconds", "process.max.fds"):
        theirs = prometheus_client.REGISTRY.get_sample_value(name.replace(".", "_"))
        assert snapshot.value(name) == pytest.approx(theirs, abs=1)


@linux
def test_child_reports_itself() -> None:
    """After a fork, a child's snapshot is about the child: its own CPU time starts at 0."""
    script = """if True:
        import os
        from vaultscope import Registry
        from vaultscope.core.collectors import install_default_collectors

        registry = Registry()
        install_default_collectors(registry)
        while sum(os.times()[:2]) < 0.2:
            sum(range(10_000))
        assert registry.snapshot().value("process.cpu.seconds") >= 0.2
        child = os.fork()
        if child == 0:
            os._exit(registry.snapshot().value("process.cpu.seconds") >= 0.2)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- what is not there


def test_no_proc(registry: Registry, tmp_path: Path) -> None:
    """On a system without /proc there is no process_*; Python's own are there."""
    install_default_collectors(registry, proc=str(tmp_path / "nowhere"))
    snapshot = registry.snapshot()
    assert not [metric.name for metric in snapshot if metric.name.startswith("process.")]
    assert "python.info" in snapshot


def test_descriptors_of_a_stranger(registry: Registry, proc: FakeProc) -> None:
    """What may not be read is left out, and is not an error at each scrape."""
    shutil.rmtree(proc.process / "fd")
    install(registry, proc)
    snapshot = registry.snapshot()
    assert "process.open.fds" not in snapshot
    assert snapshot.value("process.max.fds") == 1024
    assert failures(snapshot) == 0


def test_vanished_process_reads_nan(registry: Registry, proc: FakeProc) -> None:
    """When the process is gone, its gauges are not known any more: no stale values."""
    proc.set_stat(stat_line(size=1, pages=1))
    install(registry, proc)
    registry.snapshot()
    proc.exit()
    snapshot = registry.snapshot()
    gauges = [metric for metric in snapshot if metric.name.startswith("process.") and metric.kind == "gauge"]
    assert len(gauges) == 5
    assert all(math.isnan(snapshot.value(gauge.name)) for gauge in gauges)


def test_vanished_process_keeps_its_total(registry: Registry, proc: FakeProc) -> None:
    """A counter cannot go back: the CPU time stays what it last was."""
    proc.set_stat(stat_line(user=5 * TICKS))
    install(registry, proc)
    registry.snapshot()
    proc.exit()
    assert registry.snapshot().value("process.cpu.seconds") == 5


def test_vanished_process_spoils_nothing_else(registry: Registry, proc: FakeProc) -> None:
    """The other metrics of the snapshot are there, and the failure is counted."""
    install(registry, proc)
    registry.counter("cas.put.count").inc()
    proc.exit()
    snapshot = registry.snapshot()
    assert snapshot.value("cas.put.count") == 1
    assert failures(snapshot) == 3


def test_stat_cut_short_later(registry: Registry, proc: FakeProc) -> None:
    """Garbage where the numbers were is no worse than a file that is gone."""
    install(registry, proc)
    proc.set_stat(b"4711 (vault) Z")
    snapshot = registry.snapshot()
    assert math.isnan(snapshot.value("process.resident.memory.bytes"))
    assert snapshot.value("process.open.fds") == 3


def test_process_that_comes_back(registry: Registry, proc: FakeProc) -> None:
    """A failure is not remembered: the next reading that works is shown."""
    install(registry, proc)
    (proc.process / "stat").rename(proc.root / "away")
    registry.snapshot()
    (proc.root / "away").rename(proc.process / "stat")
    assert registry.snapshot().value("process.virtual.memory.bytes") == 0


def test_name_taken_by_another_shape(registry: Registry, proc: FakeProc) -> None:
    """A conflict of names is told, and not taken for a file that cannot be read."""
    registry.gauge("process.cpu.seconds", "Something else")
    with pytest.raises(DeclarationConflictError):
        install(registry, proc)


# --- Python


def test_gc_statistics(registry: Registry, tmp_path: Path) -> None:
    """python_gc_* mirror gc.get_stats(), generation by generation."""
    install_default_collectors(registry, proc=str(tmp_path))
    gc.collect()
    gc.disable()
    try:
        snapshot = registry.snapshot()
        for generation, stats in enumerate(gc.get_stats()):
            label = str(generation)
            assert snapshot.value("python.gc.collections", generation=label) == stats["collections"]
            assert snapshot.value("python.gc.objects.collected", generation=label) == stats["collected"]
            lost = snapshot.value("python.gc.objects.uncollectable", generation=label)
            assert lost == stats["uncollectable"]
    finally:
        gc.enable()


def test_python_without_gc_statistics(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python whose collector keeps no statistics has no python_gc_*."""
    monkeypatch.delattr(gc, "get_stats")
    install_default_collectors(registry, proc=str(tmp_path))
    assert not [metric.name for metric in registry.snapshot() if metric.name.startswith("python.gc.")]


def test_python_info(registry: Registry, tmp_path: Path) -> None:
    """python_info is 1, with the running Python in its labels."""
    install_default_collectors(registry, proc=str(tmp_path))
    (series,) = registry.snapshot()["python.info"]
    assert series.value == 1
    assert series.labels == {
        "implementation": platform.python_implementation(),
        "major": str(sys.version_info.major),
        "minor": str(sys.version_info.minor),
        "patchlevel": platform.python_version_tuple()[2],
        "version": platform.python_version(),
    }


# --- names


@linux
def test_exported_families_are_those_of_prometheus_client(registry: Registry) -> None:
    """Same names, same kinds and same labels as prometheus_client's default collectors."""
    install_default_collectors(registry)
    ours = {
        (family_name(metric.kind, metric.name, metric.unit), metric.kind, frozenset(series.labels))
        for metric in registry.snapshot()
        for series in metric
        if metric.name.startswith(("process.", "python."))
    }
    theirs = {
        (family.name, family.type, frozenset(sample.labels))
        for family in prometheus_client.REGISTRY.collect()
        for sample in family.samples
    }
    assert ours == theirs


def test_installing_twice_is_harmless(registry: Registry, proc: FakeProc) -> None:
    """Mirrored totals are set, not added, so that a second installation changes nothing."""
    proc.set_stat(stat_line(user=2 * TICKS))
    install(registry, proc)
    install(registry, proc)
    assert registry.snapshot().value("process.cpu.seconds") == 2
