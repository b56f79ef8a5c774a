"""demo_files: everything is found once, and nothing that lies in a tree can hang or mislead the reader."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from vaultscope.edge.demo_files import Entry, SkippedError, StoppedError, printable, read, walk

LIMIT = 1000


def found(top: Path, **options: object) -> list[tuple[str, str | None]]:
    entries = walk(str(top), **options)  # type: ignore[arg-type]
    return [(os.path.relpath(entry.path, top), entry.skip) for entry in entries]


def test_every_file_once_in_order(tmp_path: Path) -> None:
    """A tree's files come once each, a directory's own before those below it, both in order of name."""
    for name in ("b", "a", "d/y", "d/x", "c/z", "d/e/f"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [name for name, _ in found(tmp_path)] == ["a", "b", "c/z", "d/x", "d/y", "d/e/f"]


def test_empty(tmp_path: Path) -> None:
    """Directories alone are nothing to read."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert found(tmp_path) == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link is passed over, whether it leads to a file, to nothing, or round in a circle."""
    (tmp_path / "file").touch()
    for name, target in (("to_file", "file"), ("to_nothing", "gone"), ("up", ".."), ("self", "self")):
        (tmp_path / name).symlink_to(target)
    assert found(tmp_path) == [
        ("file", None),
        ("self", "symbolic link"),
        ("to_file", "symbolic link"),
        ("to_nothing", "symbolic link"),
        ("up", "symbolic link"),
    ]


def test_special_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe and a socket are found, and passed over."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert found(tmp_path) == [("pipe", "special file"), ("socket", "special file")]


def test_prune(tmp_path: Path) -> None:
    """A directory that is left out is not entered; a file of that path is not concerned."""
    for name in ("in/file", "out/file"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert found(tmp_path, prune=lambda path: path.endswith("/out")) == [("in/file", None)]


def test_a_directory_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one entry, with the error; the others are found all the same."""
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    real = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    closed, opened = walk(str(tmp_path))
    assert isinstance(closed.error, PermissionError)
    assert opened.error is None
    with pytest.raises(PermissionError):
        read(closed, LIMIT)


def test_a_deep_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path longer than the system takes is an error of that one entry, not of the walk."""
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    (entry,) = walk(str(tmp_path))
    assert entry.error is not None and entry.error.strerror == "File name too long"


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
def test_read(tmp_path: Path, size: int) -> None:
    """A file up to the limit is read whole."""
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert read(Entry(str(tmp_path / "file")), LIMIT) == content


def test_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads that give less than asked for are put together."""
    content = os.urandom(LIMIT)
    (tmp_path / "file").write_bytes(content)
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, _: real(descriptor, 7))
    assert read(Entry(str(tmp_path / "file")), LIMIT) == content


def test_too_large(tmp_path: Path) -> None:
    """A file of one byte more than the limit is passed over."""
    (tmp_path / "file").write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(SkippedError, match="too large"):
        read(Entry(str(tmp_path / "file")), LIMIT)


def test_a_file_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What claims to be short and never ends, as some files of /proc do, is given up at the limit."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "read", lambda *_: b"x" * 100)
    with pytest.raises(SkippedError, match="too large"):
        read(Entry(str(tmp_path / "file")), LIMIT)


def test_a_growing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is appended between the look at its size and the read is read too."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        path.write_bytes(b"old and new")
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    assert read(Entry(str(path)), LIMIT) == b"old and new"


def test_vanished(tmp_path: Path) -> None:
    """A file that is gone by the time it is opened is passed over."""
    with pytest.raises(SkippedError, match="vanished"):
        read(Entry(str(tmp_path / "gone")), LIMIT)


def test_turned_into_a_pipe(tmp_path: Path) -> None:
    """A pipe where a file was listed neither blocks, though nobody writes to it, nor is read."""
    os.mkfifo(tmp_path / "file")
    with pytest.raises(SkippedError, match="special file"):
        read(Entry(str(tmp_path / "file")), LIMIT)


def test_turned_into_a_link(tmp_path: Path) -> None:
    """A link where a file was listed is not followed."""
    (tmp_path / "target").write_bytes(b"secret")
    (tmp_path / "file").symlink_to("target")
    with pytest.raises(SkippedError, match="special file"):
        read(Entry(str(tmp_path / "file")), LIMIT)


@pytest.mark.parametrize("target", ["/dev/null", "/dev/zero"])
def test_devices_are_not_read(target: str) -> None:
    """A device is no file, even if it was taken for one."""
    with pytest.raises(SkippedError, match="special file"):
        read(Entry(target), LIMIT)


def test_descriptors_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of a read, its descriptor is closed."""
    (tmp_path / "file").write_bytes(b"x" * (LIMIT + 1))
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir("/proc/self/fd")
    for name in ("file", "pipe"):
        with pytest.raises(SkippedError):
            read(Entry(str(tmp_path / name)), LIMIT)
    assert os.listdir("/proc/self/fd") == before


def test_stopped(tmp_path: Path) -> None:
    """A reader that is told to stop gives the file up."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StoppedError):
        read(Entry(str(tmp_path / "file")), LIMIT, lambda: True)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/plain/näme", "/plain/näme"),
        ("line\nbreak", "line\\nbreak"),
        ("\x1b[31mred", "\\x1b[31mred"),
        (os.fsdecode(b"not utf-8: \xff"), "not utf-8: \\xff"),
        ("right\u202eleft", "right\\u202eleft"),
    ],
)
def test_printable(path: str, shown: str) -> None:
    """A name cannot move the cursor, colour the text, or fail to be encoded."""
    assert printable(path) == shown
