"""A file system that is full: `soup_disk.py [KIB ...]` (96 and 1024).

On a file system in memory, on which others leave so many KiB, a soup and a background writer put until there
is no more room, and go on offering. Then the others give back as much again; and once more, when that is
full, too, a gc takes what has expired. Told is what was stored, refused and dropped; how soon it went on; and
that nothing was lost that had been acknowledged, nothing raised but StorageError.

In 96 KiB SQLite has room for its own files, three of some pages each, and for no object beside what a gc
would need: all is refused, and counted, until there is more.

The file system is a tmpfs in a mount namespace of this process: for root, or where users may have namespaces
of their own.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from vaultscope import Registry
from vaultscope.edge.soup_writer import SoupWriter
from vaultscope.errors import StorageError
from vaultscope.soup import SqliteSoup

NAMESPACE_OF_MOUNTS, NAMESPACE_OF_USERS = 0x00020000, 0x10000000
PRIVATE = 1 << 18 | 1 << 14  # MS_PRIVATE | MS_REC
DETACH = 2
SECOND = 1_000_000_000
OBJECT_BYTES, TTL_S, OFFERED = 1_000, 3_600, 200
PATIENCE_S = 120
ROOM_KIB = 256  # in which there is some for objects


def _call(name: str, *arguments: object) -> None:
    """Calls libc. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def may_mount() -> None:
    """Gives this process mounts of its own. Raises OSError."""
    if os.geteuid() == 0:
        _call("unshare", NAMESPACE_OF_MOUNTS)
    else:
        user, group = os.geteuid(), os.getegid()
        _call("unshare", NAMESPACE_OF_MOUNTS | NAMESPACE_OF_USERS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _call("mount", b"none", b"/", None, ctypes.c_ulong(PRIVATE), None)


def mount(folder: Path, kib: int) -> None:
    """Raises OSError."""
    _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), b"size=%dk" % kib)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_ns = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now_ns


class Disk:
    """A soup on a small file system."""

    def __init__(self, folder: Path, kib: int) -> None:
        self.kib = kib
        self._ballast = folder / "ballast"
        self._ballast.write_bytes(bytes(kib << 10))
        self.clock, self.registry = Clock(), Registry()
        self.path = folder / "vault.soup"
        self.soup = self._open()
        self._draw = random.Random(kib)
        self.stored: list[str] = []

    def _open(self) -> SqliteSoup:
        return SqliteSoup(
            self.path, default_retention=TTL_S, busy_seconds=5, registry=self.registry, clock=self.clock
        )

    def counted(self, name: str) -> int:
        """What a metric of the soup says, over all of its series."""
        return sum(int(series.value) for series in self.registry.snapshot()[f"vaultscope.soup.{name}"])

    def fill(self) -> tuple[int, int]:
        """Puts until nothing is taken, and ten times more. Returns how many were stored, and refused."""
        stored = refused = 0
        while refused < 10:
            try:
                self.stored.append(self.soup.put(self._draw.randbytes(OBJECT_BYTES), type="blob"))
                stored += 1
            except StorageError:
                refused += 1
        return stored, refused

    def free(self) -> None:
        """Others give back what they had."""
        self._ballast.unlink()

    def write(self) -> tuple[SoupWriter, list[str]]:
        """Offers more than a queue takes; nothing may be raised, and nothing waits."""
        writer = SoupWriter(self.soup, queue_bytes=16 << 10, gc_seconds=None, registry=self.registry)
        return writer, [writer.put(self._draw.randbytes(100), type="blob", ttl=1e9) for _ in range(OFFERED)]

    def expire(self) -> float:
        """Has gc take what has expired, and puts again. Returns after how many seconds one was stored."""
        self.clock.now_ns += 2 * TTL_S * SECOND
        start = time.monotonic()
        while True:
            try:
                self.soup.gc()
                self.soup.put(self._draw.randbytes(OBJECT_BYTES), type="blob")
            except StorageError:
                assert time.monotonic() < start + PATIENCE_S, "there is no room, whatever expires"
                time.sleep(0.01)
            else:
                return time.monotonic() - start

    def look(self) -> None:
        """All that was acknowledged is there, whole, also for one who opens it anew."""
        for soup in (self.soup, self._open()):
            for address in self.stored:
                soup.get(address)
            assert list(soup.verify()) == []
        soup.close()


def run(folder: Path, kib: int) -> str:
    """Fills a file system; returns what is to be told. Raises AssertionError."""
    disk = Disk(folder, kib)
    with closing(disk.soup):
        first, refused = disk.fill()
        failures = disk.counted("errors")
        assert failures >= refused, "a failure was not counted"
        assert first > 0 or kib < ROOM_KIB, "nothing was stored"
        writer, offered = disk.write()
        taken = [address for address in offered if address]
        dropped = disk.counted("dropped")
        assert dropped == OFFERED - len(taken) > 0, "what was dropped is not what was counted"
        assert not writer.flush(0.2), "the disk is not full"
        disk.look()
        disk.free()
        start = time.monotonic()
        assert writer.flush(PATIENCE_S), "it does not go on"
        resumed = time.monotonic() - start
        disk.stored += taken
        second, _ = disk.fill()
        disk.look()
        seconds = disk.expire()
        disk.stored = list(taken)
        third, _ = disk.fill()
        disk.look()
        assert writer.close()
    return (
        f"{kib} KiB free: {first} objects stored, {refused} refused; of {OFFERED} offered to a writer "
        f"{dropped} dropped and counted; with as much again {resumed:.3f} s until the {len(taken)} in its "
        f"queue were stored, and {second} more; by a gc {seconds:.3f} s until the next, and {third} more; "
        "lost 0, corrupt 0"
    )


def main(*sizes: int) -> int:
    signal.alarm(PATIENCE_S * 4)
    try:
        may_mount()
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES):
            raise
        print(f"no file system can be mounted here: {error}")
        return 77
    for kib in sizes or (96, 1024):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "mount"
            place.mkdir()
            mount(place, 2 * kib)
            try:
                print(run(place, kib), flush=True)
            finally:
                _call("umount2", os.fsencode(place), DETACH)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
