"""`vaultscope logs --follow`: what comes is shown, whatever becomes of the file meanwhile."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
from pathlib import Path

import pytest
from log_follower import DEADLINE, LogFollower

NOON = "2026-01-31T12:00:00.000000000Z"


def line(message: str, level: str = "info", at: str = NOON) -> bytes:
    record = {"time": at, "level": level, "logger": "cas", "message": message, "pid": 7, "thread": 8}
    return json.dumps(record).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log that holds one line."""
    path = tmp_path / "vault.log"
    path.write_bytes(line("first"))
    return path


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_what_is_appended(path: Path) -> None:
    """Lines are shown as they come, and half a line when it is whole; the end is quiet, with status 0."""
    with LogFollower(path) as log:
        assert log.next() == "first"
        append(path, line("second"))
        assert log.next() == "second"
        append(path, line("third") + line("fourth")[:30])
        assert log.next() == "third"
        append(path, line("fourth")[30:])
        assert log.next() == "fourth"
        assert log.end() == (0, b"", b"")


def test_interrupted(path: Path) -> None:
    """Ctrl-C is how it ends: status 0, and not a word."""
    with LogFollower(path) as log:
        assert log.next() == "first"
        assert log.end(signal.SIGINT) == (0, b"", b"")


def test_it_begins_near_the_end(path: Path) -> None:
    """Of what is there it shows the last ten lines, or as many as -n says, or all from --since on."""
    path.write_bytes(b"".join(line(str(n)) for n in range(30)))
    for options, first in (((), "20"), (("-n", "2"), "28"), (("--since", NOON), "0")):
        with LogFollower(*options, path) as log:
            assert log.next() == first


def test_only_what_is_wanted(path: Path) -> None:
    """Filters hold for what comes, too."""
    with LogFollower("--level", "error", path) as log:
        append(path, line("no") + line("yes", level="error") + line("no") + line("too", level="fatal"))
        assert [log.next(), log.next()] == ["yes", "too"]


def test_rotated(path: Path) -> None:
    """Of a file that is renamed the rest is read, then the one that took its place, from its beginning."""
    with LogFollower(path) as log:
        assert log.next() == "first"
        append(path, line("rest") + line("half")[:-1])
        path.rename(path.with_suffix(".1"))
        path.write_bytes(line("new") + line("newer"))
        assert [log.next() for _ in range(4)] == ["rest", "half", "new", "newer"]
        path.rename(path.with_suffix(".2"))
        path.write_bytes(line("newest"))
        assert log.next() == "newest"
        assert log.end() == (0, b"", b"")


def test_the_writer_takes_its_time(path: Path) -> None:
    """After the rename somebody may still write to the old file: it is read until the new one is in use."""
    with LogFollower(path) as log:
        assert log.next() == "first"
        old = path.with_suffix(".1")
        path.rename(old)
        append(old, line("nobody there"))
        assert log.next() == "nobody there"
        path.touch()
        append(old, line("still here"))
        assert log.next() == "still here"
        append(old, line("last"))
        append(path, line("new"))
        assert [log.next(), log.next()] == ["last", "new"]


def test_removed(path: Path) -> None:
    """A file that is removed is waited for."""
    with LogFollower(path) as log:
        assert log.next() == "first"
        path.unlink()
        path.write_bytes(line("again"))
        assert log.next() == "again"


def test_cut(path: Path) -> None:
    """A file that is cut is read from its beginning, and stderr says so."""
    with LogFollower(path) as log:
        assert log.next() == "first"
        append(path, line("a long line to cut" * 10))
        assert log.next().startswith("a long line")
        path.write_bytes(line("short"))
        assert log.next() == "short"
        assert b"vault.log was cut" in log.end()[2]


def test_several(path: Path, tmp_path: Path) -> None:
    """Several files are followed at once; what is there already comes in the order of time."""
    other = tmp_path / "other.log"
    other.write_bytes(line("earlier", at="2026-01-31T11:59:59.000000000Z"))
    with LogFollower(path, other) as log:
        assert [log.next(), log.next()] == ["earlier", "first"]
        append(other, line("other"))
        assert log.next() == "other"
        append(path, line("path"))
        assert log.next() == "path"


def test_a_pipe_that_ends(path: Path) -> None:
    """Standard input is shown as it comes, from its beginning; when all sources have ended, so does it."""
    with LogFollower("-", stdin=subprocess.PIPE) as log:
        assert log.process.stdin is not None
        for n in range(20):
            log.process.stdin.write(line(str(n)))
            log.process.stdin.flush()
            assert log.next() == str(n)
        log.process.stdin.write(line("half")[:-1])
        log.process.stdin.close()
        assert log.next() == "half"
        assert log.process.wait(DEADLINE) == 0


def test_a_pipe_beside_a_file(path: Path) -> None:
    """A silent pipe does not hold up a file; one that has ended is no end."""
    with LogFollower("-", path, stdin=subprocess.PIPE) as log:
        assert log.process.stdin is not None
        assert log.next() == "first"
        append(path, line("second"))
        assert log.next() == "second"
        log.process.stdin.close()
        log.process.stdin = None
        append(path, line("third"))
        assert log.next() == "third"
        assert log.end() == (0, b"", b"")


def test_what_cannot_grow(tmp_path: Path) -> None:
    """A compressed file is shown once, in whole; then there is nothing to wait for."""
    path = tmp_path / "vault.log.gz"
    path.write_bytes(gzip.compress(line("a") + line("b")))
    with LogFollower("--since", NOON, path) as log:
        assert [log.next(), log.next()] == ["a", "b"]
        assert log.process.wait(DEADLINE) == 0


def test_nobody_reads_on(path: Path) -> None:
    """It ends when its reader does, though nothing comes that it could fail to write."""
    with LogFollower(path) as log:
        assert log.next() == "first"
        log.out.close()
        assert log.process.wait(DEADLINE) == 0
        assert log.errors.read() == b""
