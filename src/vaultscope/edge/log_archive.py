"""Rotated log files: their names, compressing them, and removing the oldest.

    vault.log                             written to
    vault.log.20260131T235959.123Z        rotated at that time, UTC; the names sort as the times do
    vault.log.20260130T000000.004Z.gz     compressed
    vault.log.20260130T000000.004Z.gz.part   being compressed

A compressed file is written beside its place, synced, and renamed into it before what it was made of is
removed. So a crash leaves nothing half under a final name, and the next tidying up, at the next start at the
latest, finishes what was begun. A file whose name is none of these is never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import BinaryIO, Literal, NamedTuple

from vaultscope.edge.log_target import LogTarget, exclusively

__all__ = ["LogArchive"]

_STAMP = r"\d{8}T\d{6}\.\d{3}Z"
_PACKED, _PART = ".gz", ".gz.part"
_CHUNK_BYTES = 256 << 10
_GZIP_LEVEL = 6
_RETRY_SECONDS = 5.0
_AGAIN_SECONDS = 600.0
_DAY_SECONDS = 86_400.0
_NICENESS = 10


class _Rotated(NamedTuple):
    """A rotated file; with `packed` and `plain` both set, a crash came between the two."""

    stamp: str
    plain: bool
    packed: bool
    part: bool


class LogArchive:
    """The rotated files of one log.

    Args:
        path: The log's.
        keep_files: How many rotated files are kept at most; 0: any number.
        keep_bytes: How many bytes they may have together; 0: any number.
        keep_days: How many days after its rotation a file is removed; 0: never.
        compress: "gzip", or None.
        clock: Seconds since 1970.
        ticks: Seconds that never go back.
    """

    last_error: OSError | None
    """What went wrong when files were last tidied up; it is tried again after five seconds."""

    def __init__(
        self,
        path: str,
        *,
        keep_files: int = 0,
        keep_bytes: int = 0,
        keep_days: float = 0.0,
        compress: Literal["gzip"] | None = None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.keep_files = keep_files
        self.keep_bytes = keep_bytes
        self.keep_days = keep_days
        self.compress = compress
        self.last_error = None
        self._clock = clock
        self._ticks = ticks
        self._folder, base = os.path.split(path)
        self._pattern = re.compile(
            rf"{re.escape(base)}\.({_STAMP})({re.escape(_PACKED)}|{re.escape(_PART)})?", re.ASCII
        )
        self._due = 0.0  # when to tidy up, in ticks; the first time at once
        self._stopping = False
        self._thread: threading.Thread | None = None

    # -- rotation -------------------------------------------------------------------------------------------

    def rotate(self, target: LogTarget, *, sync: bool) -> bool:
        """Renames the log, unless another process has done so. False: one is about to. Raises OSError.

        The folder is locked meanwhile, so that of two processes that find the file full one renames it and
        the other does not rename the one that came after it.
        """
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                pass  # no locks here; see `exclusively`
            if target.is_current():
                os.rename(self.path, self._free_name())
                if sync:
                    os.fsync(folder)
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_UN)
            os.close(folder)
        self._due = self._ticks()
        return True

    def _free_name(self) -> str:
        moment = datetime.fromtimestamp(self._clock(), timezone.utc)
        while True:
            name = f"{self.path}.{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03}Z"
            if not os.path.lexists(name) and not os.path.lexists(name + _PACKED):
                return name
            moment += timedelta(milliseconds=1)

    # -- tidying up -----------------------------------------------------------------------------------------

    def tidy_soon(self) -> None:
        """Tidies up in the background, if that is due. Cheap to ask; does not wait, nor raise."""
        if self._ticks() < self._due or (self._thread is not None and self._thread.is_alive()):
            return
        self._due = float("inf")
        self._thread = threading.Thread(target=self._tidy_quietly, name="vaultscope log archive", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads
            self._thread = None
            self._due = self._ticks() + _RETRY_SECONDS

    def close(self, timeout: float = 1.0) -> None:
        """Waits so many seconds for what is being done, then stops it; the next start goes on with it."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(timeout)
            self._stopping = True
            thread.join(timeout)

    def after_fork(self) -> None:
        """In a forked child: nothing runs here."""
        self._thread = None
        self._due = 0.0

    def _tidy_quietly(self) -> None:
        with contextlib.suppress(OSError):  # of this thread alone: the vault's own work comes first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while not self._stopping:
            try:
                is_done, self.last_error = self.tidy(), None
            except OSError as error:
                is_done, self.last_error = False, error
            # Again after a while in any case: files grow too old. At once if one was rotated meanwhile.
            self._due = min(self._due, self._ticks() + (_AGAIN_SECONDS if is_done else _RETRY_SECONDS))
            if self._due > self._ticks():
                return
            self._due = float("inf")

    def tidy(self) -> bool:
        """Removes files that are too many or too old, then compresses the others. False: one is in use, and
        is left for later.

        Raises:
            OSError: A file could not be removed or compressed. The others were.
        """
        failure = None
        is_done = True
        kept, surplus = self._divided()
        kept.sort(key=lambda each: not (each.plain and each.packed))  # first what a crash left twice
        work_of = [*((each, self._remove) for each in surplus), *((each, self._pack) for each in kept)]
        for rotated, work in work_of:
            if self._stopping:
                return False
            try:
                is_done = work(rotated) and is_done
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure
        return is_done

    def _rotated(self) -> list[_Rotated]:
        """What there is, newest first."""
        found: dict[str, set[str]] = {}
        for name in os.listdir(self._folder):
            match = self._pattern.fullmatch(name)
            if match:
                found.setdefault(match[1], set()).add(match[2] or "")
        return [
            _Rotated(stamp, "" in suffixes, _PACKED in suffixes, _PART in suffixes)
            for stamp, suffixes in sorted(found.items(), reverse=True)
        ]

    def _divided(self) -> tuple[list[_Rotated], list[_Rotated]]:
        """What is to be kept, newest first, and what is not, oldest first."""
        rotated = self._rotated()
        oldest = datetime.fromtimestamp(self._clock(), timezone.utc)
        oldest -= timedelta(seconds=min(self.keep_days * _DAY_SECONDS, oldest.timestamp()))
        oldest_stamp = f"{oldest:%Y%m%dT%H%M%S}" if self.keep_days else ""
        size = 0
        for count, each in enumerate(rotated):
            size += self._size(each)
            if (
                (self.keep_files and count >= self.keep_files)
                or (self.keep_bytes and size > self.keep_bytes)
                or each.stamp < oldest_stamp
            ):
                return rotated[:count], rotated[count:][::-1]
        return rotated, []

    def _size(self, rotated: _Rotated) -> int:
        name = self._name(rotated, _PACKED if rotated.packed else "")
        try:
            return os.stat(name, follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    def _name(self, rotated: _Rotated, suffix: str = "") -> str:
        return f"{self.path}.{rotated.stamp}{suffix}"

    def _remove(self, rotated: _Rotated) -> bool:
        if rotated.plain:
            with exclusively(self._name(rotated)) as fd:
                if fd is None:
                    return not os.path.lexists(self._name(rotated))
                _unlink(self._name(rotated))
        if rotated.packed:
            _unlink(self._name(rotated, _PACKED))
        if rotated.part:
            _unlink(self._name(rotated, _PART))
        return True

    def _pack(self, rotated: _Rotated) -> bool:
        plain, part = self._name(rotated), self._name(rotated, _PART)
        if not rotated.plain:
            if rotated.part:  # whoever writes one has the plain file, which he removes last
                _unlink(part)
            return True
        if self.compress is None and not rotated.part and not rotated.packed:
            return True
        with exclusively(plain) as fd:
            if fd is None:
                return not os.path.lexists(plain)
            if rotated.packed:  # under its final name it is whole
                _unlink(plain)
            elif self.compress is not None:
                return self._compress(fd, plain, part)
            _unlink(part)
        return True

    def _compress(self, fd: int, plain: str, part: str) -> bool:
        import gzip  # 3 ms that most programs need not spend

        status = os.fstat(fd)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with (
                open(fd, "rb", buffering=0, closefd=False) as source,
                open(os.open(part, flags, 0o600), "wb") as file,
            ):
                with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, status.st_mtime) as packed:
                    while chunk := source.read(_CHUNK_BYTES):
                        if self._stopping:
                            return False
                        packed.write(chunk)
                _dress(file, status)
            os.rename(part, plain + _PACKED)
        finally:
            _unlink(part)  # if it is still there, it will not be finished
        _sync_folder(self._folder)
        _unlink(plain)
        return True


def _dress(file: BinaryIO, status: os.stat_result) -> None:
    """Gives a file the owner, the permissions and the time of another, and brings it to the disk."""
    file.flush()
    with contextlib.suppress(OSError):
        os.fchown(file.fileno(), status.st_uid, status.st_gid)
    os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
    os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
    os.fsync(file.fileno())


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
