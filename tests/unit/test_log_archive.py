"""Rotated log files: which are kept, how they are compressed, and what a crash leaves."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from vaultscope.edge import log_archive
from vaultscope.edge.log_archive import LogArchive

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc).timestamp()
LINE = b'{"time":"2026-01-31T12:00:00.000000000Z","level":"info"}\n'


def stamped(path: Path, day: int, suffix: str = "") -> Path:
    """A rotated file's path: of that day of January 2026."""
    return path.with_name(f"{path.name}.202601{day:02}T000000.000Z{suffix}")


@pytest.fixture
def archive(tmp_path: Path) -> LogArchive:
    """An archive with a rotated file of 1,000 bytes for each of five days."""
    path = tmp_path / "vault.log"
    for day in range(1, 6):
        stamped(path, day).write_bytes(LINE * 10 + b" " * (999 - len(LINE) * 10) + b"\n")
    return LogArchive(str(path), clock=lambda: NOON, ticks=lambda: NOON)


def days(archive: LogArchive) -> list[int]:
    """The days of which there is a rotated file."""
    base = os.path.basename(archive.path)
    names = sorted(
        name for name in os.listdir(os.path.dirname(archive.path)) if name.startswith(base + ".2026")
    )
    return [int(name[len(base) + 7 : len(base) + 9]) for name in names]


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"keep_files": 2}, [4, 5]),
        ({"keep_files": 5}, [1, 2, 3, 4, 5]),
        ({"keep_bytes": 3000}, [3, 4, 5]),
        ({"keep_bytes": 2999}, [4, 5]),
        ({"keep_bytes": 1}, []),
        ({"keep_days": 28.5}, [3, 4, 5]),  # now is noon of the 31st
        ({"keep_days": 28.6}, [3, 4, 5]),
        ({"keep_days": 1}, []),
        ({"keep_days": 1e9}, [1, 2, 3, 4, 5]),
        ({"keep_files": 4, "keep_bytes": 3000, "keep_days": 27.0}, [5]),
    ],
)
def test_keep(archive: LogArchive, limits: dict[str, Any], left: list[int]) -> None:
    """The oldest files go, by count, by bytes and by age; the strictest limit holds."""
    for name, value in limits.items():
        setattr(archive, name, value)
    assert archive.tidy() is True
    assert days(archive) == left


def test_only_its_own_files(tmp_path: Path) -> None:
    """Files of other names are never removed nor compressed, be they ever so like."""
    others = [
        "vault.log.1",
        "vault.log.20260101T000000Z",
        "vault.log.20260101T000000.000Z.bak",
        "vault.log.20260101T000000.000Z.gz.old",
        "vault.logs.20260101T000000.000Z",
        "xvault.log.20260101T000000.000Z",
        "vaultxlog.20260101T000000.000Z",
        "vault.log.20260101T000000.000z",
        "vault.log.٢0260101T000000.000Z",
        "vault.log.20260101T000000.000Z\n",
    ]
    for name in others:
        (tmp_path / name).write_bytes(LINE)
    (tmp_path / "vault.log.20260102T000000.000Z").mkdir()
    archive = LogArchive(str(tmp_path / "vault.log"), keep_days=0.1, keep_files=1, compress="gzip")
    with pytest.raises(IsADirectoryError):
        archive.tidy()
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "vault.log.20260102T000000.000Z"])


def test_a_link_in_place_of_a_rotated_file(tmp_path: Path) -> None:
    """A link is neither followed nor compressed."""
    (tmp_path / "precious").write_bytes(LINE)
    stamped(tmp_path / "vault.log", 1).symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        LogArchive(str(tmp_path / "vault.log"), compress="gzip").tidy()
    assert (tmp_path / "precious").read_bytes() == LINE


# -- compression --------------------------------------------------------------------------------------------


def test_compression(archive: LogArchive) -> None:
    """A compressed file has the content, the permissions and the time of the one it takes the place of."""
    archive.compress = "gzip"
    plain = stamped(Path(archive.path), 1)
    plain.chmod(0o640)
    os.utime(plain, ns=(1, 1_234_567_890_123_456_789))
    data = plain.read_bytes()
    assert archive.tidy() is True
    packed = stamped(Path(archive.path), 1, ".gz")
    assert gzip.decompress(packed.read_bytes()) == data
    assert stat.S_IMODE(packed.stat().st_mode) == 0o640
    assert packed.stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert not plain.exists()


def test_what_a_crash_left(archive: LogArchive) -> None:
    """Half a compressed file is thrown away, and one that is whole makes the plain one needless."""
    archive.compress = "gzip"
    path = Path(archive.path)
    plain = stamped(path, 1).read_bytes()
    stamped(path, 1, ".gz.part").write_bytes(b"half")  # killed while it was written
    stamped(path, 2, ".gz").write_bytes(gzip.compress(plain))  # killed before the plain one was removed
    stamped(path, 6, ".gz.part").write_bytes(b"of nothing")
    assert archive.tidy() is True
    names = sorted(os.listdir(path.parent))
    assert names == [stamped(path, day, ".gz").name for day in range(1, 6)]
    assert all(gzip.decompress((path.parent / name).read_bytes()) == plain for name in names)


def test_what_a_crash_left_without_compression(archive: LogArchive) -> None:
    """Who no longer compresses tidies up all the same, and leaves whole files as they are."""
    path = Path(archive.path)
    stamped(path, 1, ".gz.part").write_bytes(b"half")
    stamped(path, 2, ".gz").write_bytes(gzip.compress(LINE))
    assert archive.tidy() is True
    expected = [
        stamped(path, 1).name,
        stamped(path, 2, ".gz").name,
        *(stamped(path, day).name for day in (3, 4, 5)),
    ]
    assert sorted(os.listdir(path.parent)) == expected


def test_a_part_that_is_being_written_is_left(archive: LogArchive) -> None:
    """What another process is compressing is not touched."""
    path = Path(archive.path)
    stamped(path, 1, ".gz.part").write_bytes(b"half")
    with open(stamped(path, 1), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert archive.tidy() is False
    assert stamped(path, 1, ".gz.part").exists()


def test_a_full_disk_while_compressing(archive: LogArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room to compress, the plain file stays, no half of another does, and the others are done."""
    archive.compress = "gzip"
    dress, failures = log_archive._dress, [OSError(errno.ENOSPC, "full")]

    def fail_once(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        dress(*arguments)

    monkeypatch.setattr(log_archive, "_dress", fail_once)
    with pytest.raises(OSError, match="full"):
        archive.tidy()
    path = Path(archive.path)
    expected = [*(stamped(path, day, ".gz").name for day in range(1, 5)), stamped(path, 5).name]
    assert sorted(os.listdir(path.parent)) == expected
    assert archive.tidy() is True
    assert stamped(path, 5, ".gz").exists()


def test_stopped_in_the_middle(archive: LogArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressing stops when the sink is closed, and the next one begins it anew."""
    archive.compress = "gzip"
    monkeypatch.setattr(log_archive, "_CHUNK_BYTES", 1)
    archive._stopping = True
    before = sorted(os.listdir(os.path.dirname(archive.path)))
    assert archive.tidy() is False
    assert sorted(os.listdir(os.path.dirname(archive.path))) == before
