"""A log file: opened, rotated, compressed, removed, mended, and left to others."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultscope.edge import log_archive, log_file, log_target
from vaultscope.edge.log_file import FileSink, install_sighup
from vaultscope.edge.log_target import LogTarget

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc).timestamp()
LINE = b'{"time":"2026-01-31T12:00:00.000000000Z","level":"info"}\n'


class Clock:
    """Both clocks of a sink; they stand until they are moved."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Pump:
    """Stands for a cursor: writes what it was given to the file, as the native one does."""

    def __init__(self) -> None:
        self.pending: list[bytes] = []
        self.options: dict[str, Any] = {}
        self.failure: OSError | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def pump(self, fd: int, **options: Any) -> str:
        self.options = options
        self.meanwhile()
        if self.failure is not None:
            raise self.failure
        while self.pending:
            os.write(fd, self.pending.pop(0))
            if 0 < options["file_bytes"] <= os.fstat(fd).st_size:
                return "limit"
        return "idle"


class Log:
    """A sink on a file with a cursor of its own, and clocks that the test moves."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.clock = Clock()
        self.cursor = Pump()
        self.sink = FileSink(path, clock=self.clock, ticks=self.clock, **options)

    def write(self, *lines: bytes, seconds: float = 0.0) -> None:
        """Lets so many seconds pass, and writes the lines."""
        self.clock.now += seconds
        self.cursor.pending.extend(lines)
        self.sink.step(self.cursor)  # type: ignore[arg-type]

    def rotated(self) -> list[str]:
        """What the rotated files are called behind the log's name, oldest first."""
        name = self.path.name
        return sorted(each.name[len(name) :] for each in self.path.parent.glob(f"{name}.*"))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Log]]:
    """Makes logs in a folder of the test's, and closes them."""
    made: list[Log] = []

    def make(name: str = "vault.log", **options: Any) -> Log:
        made.append(Log(tmp_path / name, **options))
        return made[-1]

    yield make
    for log in made:
        log.sink.close()


Make = Callable[..., Log]


# -- opening ------------------------------------------------------------------------------------------------


def test_permissions(make: Make) -> None:
    """A file that is made may be read by its owner alone, unless said otherwise."""
    for options, mode in (({}, 0o600), ({"mode": 0o640}, 0o640)):
        log = make(f"{mode:o}.log", **options)
        assert stat.S_IMODE(log.path.stat().st_mode) == mode


def test_existing_file_is_added_to(make: Make, tmp_path: Path) -> None:
    """What is in the file already stays."""
    (tmp_path / "vault.log").write_bytes(LINE)
    make().write(b"{}\n")
    assert (tmp_path / "vault.log").read_bytes() == LINE + b"{}\n"


def test_missing_folder_is_told_at_once(tmp_path: Path) -> None:
    """A folder that does not exist is an error of the call that names it."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FileSink(tmp_path / "nowhere" / "vault.log")
    with pytest.raises(IsADirectoryError):
        FileSink(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "maybe"},
        {"compress": "zip"},
        {"every": "week"},
        {"every": 0.5},
        {"every": float("inf")},
        {"every": float("nan")},
        {"max_bytes": -1},
        {"keep_files": -1},
        {"interval": 0},
    ],
)
def test_nonsense_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    """An option that makes no sense is refused, and no file is made."""
    with pytest.raises(ValueError):
        FileSink(tmp_path / "vault.log", **options)
    assert os.listdir(tmp_path) == []


def test_name_is_the_absolute_path(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is taken once: a change of folder later on does not move the log."""
    monkeypatch.chdir(tmp_path)
    sink = FileSink("vault.log")
    assert sink.name == str(tmp_path / "vault.log")
    sink.close()


def test_no_descriptor_is_left(make: Make, tmp_path: Path) -> None:
    """Closing gives back each descriptor that opening, rotating and failing took."""
    before = os.listdir("/proc/self/fd")
    log = make(max_bytes=1, compress="gzip")
    for _ in range(5):
        log.write(LINE)
    with pytest.raises(FileNotFoundError):
        FileSink(tmp_path / "nowhere" / "vault.log")
    log.sink.close()
    assert os.listdir("/proc/self/fd") == before


def test_closing_waits_for_a_step(make: Make) -> None:
    """The file is not closed while it is written to: its descriptor could be another file's by then."""
    log = make()
    log.cursor.meanwhile = log.sink.close
    log.write(LINE)
    assert log.path.read_bytes() == LINE
    log.cursor.meanwhile = lambda: None
    with pytest.raises(ValueError, match="closed"):
        log.write(LINE)


@pytest.mark.parametrize("what", ["/dev/null", "pipe"])
def test_devices(make: Make, tmp_path: Path, what: str) -> None:
    """A link to a device or a pipe, as /dev/stdout is one, is written to and neither rotated nor replaced.

    The links are the test's own. A fault that has the real ones rotated would, run by root, take them away.
    """
    reader, writer = os.pipe()
    target = f"/proc/self/fd/{writer}" if what == "pipe" else what
    (tmp_path / "vault.log").symlink_to(target)
    log = make(max_bytes=1, every="day", compress="gzip", durability="batch")
    log.write(LINE, LINE, seconds=90_000)
    log.sink.flush()
    assert os.listdir(tmp_path) == ["vault.log"]
    assert os.readlink(log.path) == target
    os.close(writer)
    log.sink.close()
    with open(reader, "rb") as file:
        assert file.read() == (LINE * 2 if what == "pipe" else b"")


def test_a_pipe_is_not_rotated(make: Make, tmp_path: Path) -> None:
    """A pipe keeps its name, whatever was written to it."""
    os.mkfifo(tmp_path / "vault.log")
    reader = os.open(tmp_path / "vault.log", os.O_RDONLY | os.O_NONBLOCK)
    log = make(max_bytes=1, every="day")
    log.write(LINE, LINE, seconds=90_000)
    assert os.listdir(tmp_path) == ["vault.log"]
    assert os.read(reader, 1000) == LINE * 2
    os.close(reader)


def test_a_link_is_followed_and_not_rotated(make: Make, tmp_path: Path) -> None:
    """A symbolic link leads to its file, and neither of the two is renamed."""
    (tmp_path / "vault.log").symlink_to(tmp_path / "real.log")
    log = make(max_bytes=1)
    log.write(LINE)
    log.write(LINE)
    assert (tmp_path / "real.log").read_bytes() == LINE * 2
    assert sorted(os.listdir(tmp_path)) == ["real.log", "vault.log"]


def test_pipe(tmp_path: Path) -> None:
    """A pipe without a reader is an error; a reader gets the lines, and the next one the next ones."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError) as raised:
        FileSink(tmp_path / "pipe")
    assert raised.value.errno == errno.ENXIO
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    log = Log(tmp_path / "pipe")
    log.write(LINE)
    assert os.read(reader, 1000) == LINE
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        log.write(LINE)
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    log.write(LINE)
    assert os.read(reader, 1000) == LINE
    os.close(reader)
    log.sink.close()


# -- a torn end ---------------------------------------------------------------------------------------------


@given(st.integers(0, len(LINE) - 1), st.integers(0, 3))
def test_torn_line_is_cut_off(tmp_path_factory: pytest.TempPathFactory, size: int, whole: int) -> None:
    """Wherever a killed process stopped in a line, the whole lines before it are all that is left."""
    path = tmp_path_factory.mktemp("torn") / "vault.log"
    path.write_bytes(LINE * whole + LINE[:size])
    FileSink(path).close()
    assert path.read_bytes() == LINE * whole


@pytest.mark.parametrize(
    ("data", "mended"),
    [
        (b"", b""),
        (LINE, LINE),
        (b"somebody's notes", b"somebody's notes\n"),
        (LINE + b"\0" * 5000, LINE),
        (LINE + b'{"time": 1}', LINE + b'{"time": 1}\n'),
        (b"x" * 3_000_000, b"x" * 3_000_000 + b"\n"),
        (b"\n" + b'{"time":"' + b"x" * 2_000_000, b"\n" + b'{"time":"' + b"x" * 2_000_000 + b"\n"),
        (b"{", b""),
    ],
    ids=["empty", "whole", "notes", "zeros", "another's", "no newline", "too long", "one byte"],
)
def test_mending(tmp_path: Path, data: bytes, mended: bytes) -> None:
    """Only what is the beginning of one of our lines, or what a power cut left, is cut; the rest is ended."""
    path = tmp_path / "vault.log"
    path.write_bytes(data)
    FileSink(path).close()
    assert path.read_bytes() == mended


def test_no_mending_while_another_writes(make: Make, tmp_path: Path) -> None:
    """Half a line is left alone while somebody has the file open who may be writing the rest."""
    log = make()
    log.write(LINE[:20])
    FileSink(log.path).close()
    log.write(LINE[20:])
    assert log.path.read_bytes() == LINE


def test_somebody_elses_lock_is_not_waited_for(tmp_path: Path) -> None:
    """A command that keeps the log locked holds up nothing."""
    path = tmp_path / "vault.log"
    path.write_bytes(LINE)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        log = Log(path)
        log.write(LINE)
    assert path.read_bytes() == LINE * 2
    log.sink.close()


# -- rotation by size ---------------------------------------------------------------------------------------


def test_rotation_by_size(make: Make) -> None:
    """A file that has reached its size is renamed to the time, in UTC, and begun anew."""
    log = make(max_bytes=2 * len(LINE))
    log.write(LINE)
    assert log.rotated() == []
    log.write(LINE)
    assert log.rotated() == [".20260131T120000.000Z"]
    assert log.path.read_bytes() == b""
    log.write(b"{}\n")
    assert log.path.read_bytes() == b"{}\n"


def test_names_do_not_collide(make: Make) -> None:
    """Rotations within one millisecond get names of their own, in their order."""
    log = make(max_bytes=1, keep_files=0)
    for number in range(5):
        log.write(b'{"n":%d}\n' % number)
    assert log.rotated() == [f".20260131T120000.00{number}Z" for number in range(5)]
    texts = [log.path.with_name(log.path.name + name).read_bytes() for name in log.rotated()]
    assert texts == [b'{"n":%d}\n' % number for number in range(5)]


def test_owner_and_permissions_are_handed_on(make: Make) -> None:
    """The file that is begun anew is as open to others as the one before."""
    log = make(max_bytes=1)
    log.path.chmod(0o644)
    log.write(LINE)
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o644


def test_a_large_file_is_pumped_before_it_is_rotated(make: Make, tmp_path: Path) -> None:
    """A file that is too large at the start still gets what its cursor has to put right in it."""
    (tmp_path / "vault.log").write_bytes(LINE * 10)
    log = make(max_bytes=1)
    log.write(LINE)
    (name,) = log.rotated()
    assert log.path.with_name(log.path.name + name).read_bytes() == LINE * 11


def test_a_failed_write_does_not_rotate(make: Make) -> None:
    """While a batch could not be written, it is not moved to another file."""
    log = make(max_bytes=1)
    log.path.write_bytes(LINE)
    log.cursor.failure = OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="full"):
        log.write()
    assert log.rotated() == []


def test_a_rotation_that_fails_holds_up_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file cannot be renamed, that is raised once a second, and meanwhile the file grows."""
    log = make(max_bytes=1)

    def refuse(*paths: object) -> None:
        raise PermissionError("not in this folder")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(PermissionError):
            log.write(LINE)
        log.write(LINE)
        assert log.cursor.options["file_bytes"] == 0  # else the pump would return at each batch
        with pytest.raises(PermissionError):
            log.write(LINE, seconds=1)
    assert log.path.read_bytes() == LINE * 3
    log.write(LINE, seconds=1)
    assert len(log.rotated()) == 1 and log.path.read_bytes() == b""


def test_new_file_cannot_be_opened(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the file is renamed and no new one can be made, it is tried again, and nothing is lost."""
    log = make(max_bytes=1)

    def refuse(*arguments: object) -> LogTarget:
        raise OSError(errno.ENOSPC, "no inode")

    with monkeypatch.context() as patch:
        patch.setattr(log_file, "LogTarget", refuse)
        for _ in range(2):
            with pytest.raises(OSError, match="no inode"):
                log.write(LINE)
    log.write()
    kept = b"".join(each.read_bytes() for each in log.path.parent.glob("vault.log*"))
    assert kept == LINE * 2


# -- rotation by time ---------------------------------------------------------------------------------------


def test_rotation_by_day(make: Make) -> None:
    """The file is rotated at midnight UTC, each day; not in between, and not when it is empty."""
    log = make(every="day", keep_files=0)
    log.write(LINE, seconds=12 * 3600 - 1)
    assert log.rotated() == []
    log.write(LINE, seconds=1)
    assert log.rotated() == [".20260201T000000.000Z"]
    log.write(seconds=86_400)
    assert len(log.rotated()) == 1
    log.write(LINE, seconds=3600)
    assert len(log.rotated()) == 1
    log.write(seconds=86_400 - 3600)
    assert log.rotated()[1:] == [".20260203T000000.000Z"]


@pytest.mark.parametrize(("every", "seconds"), [("hour", 3600), (90, 90), (86_400, 43_200)])
def test_rotation_by_seconds(make: Make, every: Any, seconds: int) -> None:
    """Boundaries are multiples of the period since 1970."""
    log = make(every=every)
    log.write(LINE, seconds=seconds - 1 - NOON % seconds)
    assert log.rotated() == []
    log.write(LINE, seconds=1)
    assert len(log.rotated()) == 1


def test_the_pump_returns_at_the_boundary(make: Make) -> None:
    """The last run before midnight ends at midnight, so that the day's file has the day's records."""
    log = make(every="day")
    log.write(seconds=12 * 3600 - 0.125)
    assert log.cursor.options["run"] == pytest.approx(0.125)
    log.write(seconds=-100)
    assert log.cursor.options["run"] == 0.25


def test_yesterdays_file_is_rotated_at_the_start(make: Make, tmp_path: Path) -> None:
    """A file last written to before midnight is rotated by who starts after it; today's is not."""
    path = tmp_path / "vault.log"
    for age, count in ((12 * 3600 - 1, 0), (12 * 3600 + 1, 1)):
        path.write_bytes(LINE)
        os.utime(path, (NOON - age, NOON - age))
        log = make(every="day")
        log.write()
        assert len(log.rotated()) == count
        log.sink.close()


def test_a_file_of_the_future(make: Make, tmp_path: Path) -> None:
    """A file whose time lies ahead, since the clock was wrong, is rotated at the next boundary, too."""
    path = tmp_path / "vault.log"
    path.write_bytes(LINE)
    os.utime(path, (NOON * 2, NOON * 2))
    log = make(every="day")
    log.write(seconds=12 * 3600)
    assert len(log.rotated()) == 1


# -- others rotate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["renamed", "removed", "replaced"])
def test_another_file_of_the_name(make: Make, how: str) -> None:
    """A file that was renamed, removed or replaced is opened anew after a second at the latest."""
    log = make()
    log.write(LINE)
    if how == "removed":
        log.path.unlink()
    else:
        log.path.rename(log.path.with_name("moved"))
    if how == "replaced":
        log.path.write_bytes(b"")
    log.write(b"{}\n", seconds=1)
    assert log.path.read_bytes() == b"{}\n"


def test_the_name_is_looked_at_once_a_second(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the file still has its name is asked once a second, however often it is written to."""
    log = make()
    log.write(LINE)
    looks = []
    is_current = LogTarget.is_current
    monkeypatch.setattr(LogTarget, "is_current", lambda target: looks.append(1) or is_current(target))
    for _ in range(40):
        log.write(LINE, seconds=0.125)
    assert len(looks) == 5


def test_who_takes_over_looks_at_once(make: Make) -> None:
    """A new cursor's first batch goes to the file that has the name: who drained before may have rotated."""
    log = make()
    log.write(LINE)
    log.path.rename(log.path.with_name("rotated"))
    log.cursor = Pump()
    log.write(b"{}\n")
    assert log.path.read_bytes() == b"{}\n"


def test_truncated_in_place(make: Make) -> None:
    """A file that was copied and truncated goes on at its beginning, without a hole."""
    log = make()
    log.write(LINE)
    os.truncate(log.path, 0)
    log.write(b"{}\n")
    assert log.path.read_bytes() == b"{}\n"


def test_reopen(make: Make) -> None:
    """After `reopen` the next batch goes to the file that has the name then."""
    log = make()
    log.path.rename(log.path.with_name("moved"))
    log.sink.reopen()
    log.write(LINE)
    assert log.path.read_bytes() == LINE


def test_vanished_folder(make: Make, tmp_path: Path) -> None:
    """While the folder is away nothing is written anywhere; when it is back, it goes on."""
    (tmp_path / "logs").mkdir()
    log = make("logs/vault.log")
    (tmp_path / "logs").rename(tmp_path / "away")
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            log.write(LINE, seconds=1)
    (tmp_path / "logs").mkdir()
    log.write()
    assert log.path.read_bytes() == LINE * 3
    assert (tmp_path / "away" / "vault.log").read_bytes() == b""


def test_a_reopen_that_fails_is_not_forgotten(make: Make, tmp_path: Path) -> None:
    """When the file cannot be opened anew, that is tried before each batch, and the old one gets nothing."""
    (tmp_path / "logs").mkdir()
    log = make("logs/vault.log")
    (tmp_path / "logs").rename(tmp_path / "away")
    log.sink.reopen()
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            log.write(LINE)
    assert (tmp_path / "away" / "vault.log").read_bytes() == b""


def test_sighup(make: Make) -> None:
    """SIGHUP has the sinks reopen their files, calls the handler that was there, and can be undone."""
    log = make()
    calls: list[int] = []
    first = signal.signal(signal.SIGHUP, lambda number, frame: calls.append(number))

    class TheJournal:
        sinks = (log.sink,)

    try:
        undo = install_sighup(TheJournal())  # type: ignore[arg-type]
        log.path.rename(log.path.with_name("moved"))
        signal.raise_signal(signal.SIGHUP)
        log.write(LINE)
        assert calls == [signal.SIGHUP]
        assert log.path.read_bytes() == LINE
        undo()
        signal.raise_signal(signal.SIGHUP)
        assert calls == [signal.SIGHUP] * 2
    finally:
        signal.signal(signal.SIGHUP, first)


def test_sighup_belongs_to_the_main_thread() -> None:
    """In another thread the signal cannot be taken, and that is said."""
    raised: list[ValueError] = []

    def install() -> None:
        try:
            install_sighup(None)  # type: ignore[arg-type]
        except ValueError as error:
            raised.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    thread.join()
    assert len(raised) == 1


# -- two at one file ----------------------------------------------------------------------------------------


def test_two_sinks_rotate_once(make: Make) -> None:
    """Of two that find the file full one renames it; the other notices, and none of its lines is lost."""
    one, two = make(max_bytes=len(LINE)), make(max_bytes=len(LINE))
    two.write()
    one.write(LINE)
    assert len(one.rotated()) == 1
    two.write(b"{}\n")  # to the renamed file: it has not looked yet
    assert len(one.rotated()) == 1
    two.write(b"[]\n")
    assert [each.read_bytes() for each in sorted(one.path.parent.glob("vault.log*"))] == [
        b"[]\n",
        LINE + b"{}\n",
    ]


def test_rotation_waits_for_another_ones(make: Make, tmp_path: Path) -> None:
    """While another process is renaming, nobody else does."""
    log = make(max_bytes=1)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    log.write(LINE)
    assert log.rotated() == []
    os.close(folder)
    log.write(LINE, seconds=1)
    assert len(log.rotated()) == 1


def test_what_another_still_writes_to_is_not_compressed(make: Make) -> None:
    """A rotated file is compressed, or removed, when nobody has it open any more."""
    one = make(max_bytes=1, compress="gzip")
    two = make(max_bytes=10_000)
    two.write()
    one.write(LINE)
    assert one.sink.archive._thread is not None
    one.sink.archive._thread.join()
    assert one.sink.archive.tidy() is False
    two.write(LINE)  # it does not know yet
    one.sink.archive.keep_files = 1
    two.write(LINE, seconds=1)
    assert one.sink.archive.tidy() is True
    (name,) = one.rotated()
    assert gzip.decompress(one.path.with_name(one.path.name + name).read_bytes()) == LINE * 2
    assert two.path.read_bytes() == LINE


def test_a_file_system_without_locks(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files cannot be locked, a log is written, rotated and compressed all the same."""

    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    log = make(max_bytes=1, compress="gzip")
    log.write(LINE)
    log.sink.close()
    assert log.rotated() == [".20260131T120000.000Z.gz"]


# -- compression --------------------------------------------------------------------------------------------


def test_in_the_background(make: Make) -> None:
    """A sink compresses what it rotates without being asked, in another thread, and closing waits for it."""
    log = make(max_bytes=1, compress="gzip")
    log.write(LINE)
    log.sink.close()
    assert log.rotated() == [".20260131T120000.000Z.gz"]


def test_a_failure_in_the_background_is_told_and_tried_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong in the background is `last_error`, until it goes right five seconds later."""
    log = make(max_bytes=1, compress="gzip")

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(log_archive, "_dress", fail)
        log.write(LINE)
        assert log.sink.archive._thread is not None
        log.sink.archive._thread.join()
        assert "full" in str(log.sink.archive.last_error)
    log.write(seconds=4)
    assert log.rotated() == [".20260131T120000.000Z"]
    log.write(seconds=1)
    log.sink.archive._thread.join()
    assert log.sink.archive.last_error is None
    assert log.rotated() == [".20260131T120000.000Z.gz"]


# -- durability ---------------------------------------------------------------------------------------------


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors that were synced."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    return synced


def test_durability_none(make: Make, syncs: list[int]) -> None:
    """Nothing is synced, not by flush either."""
    log = make()
    log.write(LINE, seconds=10)
    log.sink.flush()
    assert syncs == [] and log.cursor.options["sync"] is False


def test_durability_batch(make: Make) -> None:
    """The pump is told to sync each batch."""
    log = make(durability="batch")
    log.write(LINE)
    assert log.cursor.options["sync"] is True


def test_durability_interval(make: Make, syncs: list[int]) -> None:
    """It is synced once in each interval in which something was written, and by flush."""
    log = make(durability="interval", interval=5)
    log.write(LINE)
    assert len(syncs) == 1
    log.write(LINE, seconds=4.9)
    assert len(syncs) == 1
    log.write(seconds=0.1)
    assert len(syncs) == 2
    log.write(seconds=5)
    assert len(syncs) == 2
    log.write(LINE, seconds=1)
    log.sink.flush()
    assert len(syncs) == 3


def test_a_short_interval_shortens_the_run(make: Make) -> None:
    """The pump returns in time for the next sync."""
    log = make(durability="interval", interval=0.05)
    log.write(LINE)
    assert (log.cursor.options["run"], log.cursor.options["wait"]) == (0.05, 0.05)


def test_what_is_left_behind_is_synced(make: Make, syncs: list[int]) -> None:
    """A file that is rotated away is synced before it is closed."""
    log = make(durability="interval", interval=1000, max_bytes=2 * len(LINE))
    log.write(LINE)
    log.write(LINE)
    assert len(syncs) == 2


# -- fork ---------------------------------------------------------------------------------------------------


def test_a_child_opens_the_file_itself(make: Make) -> None:
    """A forked child has none of its parent's files open, and opens its own when it writes."""
    log = make()
    log.write(LINE)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            log.sink.after_fork()
            here = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
            status = 2 if str(log.path) in here else 3
            log.write(LINE)
            status = 0 if status == 3 else status
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    log.write(LINE)
    assert log.path.read_bytes() == LINE * 3


def test_a_child_does_not_keep_the_lock(make: Make) -> None:
    """A rotated file is compressed although a child, forked before, lives on."""
    log = make(max_bytes=1, compress="gzip")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        log.sink.after_fork()
        os.close(writer)
        os.read(reader, 1)  # until the parent closes its end
        os._exit(0)
    os.close(reader)
    log.write(LINE)
    log.sink.close()
    assert log.rotated() == [".20260131T120000.000Z.gz"]
    os.close(writer)
    os.waitpid(child, 0)


def test_the_parents_lock_survives_a_child(make: Make) -> None:
    """A child's end does not unlock its parent's file."""
    log = make()
    child = os.fork()
    if child == 0:
        log.sink.after_fork()
        os._exit(0)
    os.waitpid(child, 0)
    with log_target.exclusively(str(log.path)) as fd:
        assert fd is None


def test_a_copy_of_the_descriptor_does_not_keep_the_lock(make: Make) -> None:
    """A closed file is nobody's, even if a child that was forked from C has a copy of it open."""
    log = make()
    copy = os.dup(log.sink._target.fd)
    log.sink.close()
    with log_target.exclusively(str(log.path)) as fd:
        assert fd is not None
    os.close(copy)
