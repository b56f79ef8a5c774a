"""Writes that fail, each in its turn: `soup_errors.py [STEP] [SEED]`.

A process puts objects one by one and in batches, deletes, runs gc, has a background writer put some, and
appends to an audit log, while one of its calls to the system fails: the first, the second ... (each STEP-th:
1), for want of room, by an input or output error, or since it writes half of what it was given; once, or all
from there on, until it goes on with a sound disk. Then

- no call raised but StorageError, from the opening of an audit log OSError or AuditError; none did from the
  writer, nor from `append`;
- what was acknowledged is there, whole; what was not is there whole, or not at all;
- the writer has stored, or counted as dropped, all that it was offered;
- another process finds nothing damaged, and the audit log holds.

The failures come from tests/native/fail_writes.c, which this builds with cc and preloads.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vaultscope import Registry
from vaultscope.core.soup import address_of
from vaultscope.edge.soup_writer import SoupWriter
from vaultscope.errors import AuditError, NotFoundError, StorageError
from vaultscope.soup import NewObject, SqliteSoup

SHIM = Path(__file__).parent.parent / "native" / "fail_writes.c"
WORD = "vault."
HOWS = {"no room": errno.ENOSPC, "error": errno.EIO, "half": 0}
PATIENCE_S = 60
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # there is much to be synced
EXPIRED_NS = 1_000_000_000
VERB = "campaign.append"


# ---- what fails ----


def build(folder: Path) -> Path:
    """Compiles what is preloaded. Raises CalledProcessError."""
    library = folder / "fail_writes.so"
    subprocess.run(
        ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"],
        check=True,
    )
    return library


class Failures:
    """The preloaded library, if it is."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._arm, self._calls, self._failed = (
            getattr(library, name) for name in ("fail_writes", "fail_writes_calls", "fail_writes_failed")
        )
        self._arm.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int)
        self._calls.restype = self._failed.restype = ctypes.c_long

    def arm(self, call: int, how: str, on: bool) -> None:
        self._arm(WORD.encode(), call, HOWS[how], on)

    def end(self) -> int:
        """The disk is sound again. Returns how many calls there were."""
        calls = int(self._calls())
        self._arm(b"", 0, 0, 0)
        return calls

    def failed(self) -> int:
        return int(self._failed())


# ---- what is done meanwhile ----


@dataclass
class Account:
    """What a process has been told. stored: addresses that were acknowledged. offered: to the writer."""

    offered: dict[str, int] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    appended: list[str] = field(default_factory=list)
    refused: int = 0
    dropped: int = 0
    written: int = 0
    taken: int = 0
    calls: int = 0
    failed: int = 0


class Work:
    """A fixed piece of work in a folder."""

    def __init__(self, folder: Path, failures: Failures, *, closes: bool) -> None:
        self._folder, self._failures, self._closes = folder, failures, closes
        self._registry = Registry()
        self._draw = random.Random(1)
        self.account = Account()

    def _try(self, call: Callable[[], Any], *errors: type[Exception]) -> Any:
        """What the call returns; None: it raised what it may."""
        try:
            return call()
        except (StorageError, *errors):
            self.account.refused += 1
            return None

    def _new(self, size: int, ttl: float | None = None, created_ns: int | None = None) -> NewObject:
        content = self._draw.randbytes(size)
        self.account.offered[address_of(content)] = size
        return NewObject(content, "blob", {"size": size}, created_ns, ttl)

    def _open(self) -> SqliteSoup:
        path = self._folder / f"{WORD}soup"
        return SqliteSoup(
            path, max_bytes=1 << 20, durability="power", busy_seconds=5, registry=self._registry
        )

    def _reopened(self) -> SqliteSoup:
        """Opens it; on a sound disk, if it has to be."""
        soup = self._try(self._open)
        if soup is None:
            self._failures.end()
            soup = self._open()
        return soup

    def _put(self, soup: SqliteSoup, *new: NewObject) -> None:
        addresses = self._try(lambda: soup.put_many(new))
        self.account.stored += [] if addresses is None else addresses

    def direct(self) -> None:
        """Calls of the soup itself."""
        soup = self._reopened()
        for size in (10, 300, 5_000):
            self._put(soup, self._new(size))
        self._put(soup, *[self._new(100) for _ in range(20)])
        self._put(soup, *[self._new(3_000, 1.0, EXPIRED_NS) for _ in range(5)])
        expired = self.account.stored[-5:]
        victim = self.account.stored[0] if self.account.stored else address_of(b"")
        self._try(lambda: soup.delete(victim))
        self.account.deleted.append(victim)  # or not, if that has failed
        self._try(lambda: soup.pin(victim, "work"), NotFoundError)
        self._try(lambda: soup.unpin(victim, "work"))
        self._try(soup.gc)
        self._put(soup, self._new(60_000))
        self._failures_end()
        self._put(soup, self._new(200))
        assert self.account.stored, "nothing works after the failure"
        soup.gc()
        self._forget(expired)
        if self._closes:
            soup.close()

    def _forget(self, addresses: list[str]) -> None:
        """These need not be there."""
        gone = {*addresses, *self.account.deleted}
        self.account.stored = [each for each in self.account.stored if each not in gone]

    def background(self) -> None:
        """Puts by a writer, which is flushed while the disk fails, and once more when it does not."""
        soup = self._reopened()
        writer = SoupWriter(
            soup, batch_objects=8, flush_seconds=0.0, gc_seconds=None, registry=self._registry
        )
        addresses = []
        for _ in range(3):
            addresses += [self._write(writer) for _ in range(8)]
            writer.flush(0.02)
        if self._closes:
            self._failures_end()
            assert writer.flush(PATIENCE_S), "it does not go on"
        assert writer.close(0.1) or not self._closes
        self._failures_end()
        self._write(writer)  # is closed
        dropped = self._registry.snapshot()["vaultscope.soup.dropped"]
        self.account.dropped = sum(int(series.value) for series in dropped)
        if self._closes:
            self.account.stored = addresses
            assert self.account.dropped == 1
            soup.close()

    def _write(self, writer: SoupWriter) -> str:
        new = self._new(400)
        self.account.taken += 1
        return writer.put(new.content, type=new.type, attributes=new.attributes)

    def audit(self) -> None:
        """Appends to an audit log."""
        from vaultscope.audit import AuditLog

        def opened() -> AuditLog:
            path = self._folder / f"{WORD}audit"
            return AuditLog(path, batch_seconds=0.0, max_bytes=4_000, registry=self._registry)

        log = self._try(opened, OSError, AuditError)
        if log is None:
            self._failures_end()
            log = opened()
        for number in range(8):
            entry = log.append("work", VERB, str(number), wait=True, timeout=0.01)
            self.account.appended += [] if entry is None else [entry.object]
        self._failures_end()
        assert log.append("work", VERB, "last", wait=True) is not None, "it does not go on"
        self.account.appended.append("last")
        if self._closes:
            assert log.close()

    def _failures_end(self) -> None:
        self.account.failed = self.account.failed or self._failures.failed()
        self.account.calls = self.account.calls or self._failures.end()


# ---- what is left ----


def look(folder: Path, account: Account) -> None:
    """Looks whether what was acknowledged is there, and nothing is damaged. Raises AssertionError."""
    path = folder / f"{WORD}soup"
    if account.offered:
        with closing(SqliteSoup(path, max_bytes=1 << 20, registry=Registry())) as soup:
            there = {each.address: each.size for each in soup.query()}
            lost = [each for each in account.stored if each not in there]
            assert not lost, f"{len(lost)} of {len(account.stored)} are lost"
            assert there.items() <= account.offered.items(), "something is there that nobody put"
            assert list(soup.verify()) == []
            for address in there:
                assert address_of(soup.get(address)) == address
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        silent = account.taken - account.dropped - len(there)
        assert not account.taken or silent <= 0, f"{silent} were neither stored nor dropped"
    if account.appended:
        look_at_audit(folder, account)


def look_at_audit(folder: Path, account: Account) -> None:
    from vaultscope.audit import AuditLog, read_entries, verify

    path = folder / f"{WORD}audit"
    AuditLog(path, registry=Registry()).close()  # after a kill the next one cuts off what is not sealed
    findings = list(verify(path))
    assert findings == [], findings
    names = [entry.object for entry in read_entries(path) if entry.verb == VERB]
    assert len(set(names)) == len(names), "an entry is there twice"
    assert set(account.appended) <= set(names), "an entry is lost"


# ---- all cases ----


def attempt(name: str, call: int, how: str, on: bool, folder: Path, failures: Failures) -> Account:
    """One case in a process of its own. Raises AssertionError."""
    folder.mkdir()
    told = folder / "account.json"
    closes = call % 2 == 0
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(PATIENCE_S)
            work = Work(folder, failures, closes=closes)
            failures.arm(call, how, on)
            getattr(work, name)()
            told.write_text(json.dumps(vars(work.account)))
            os._exit(0)  # nothing is closed that was not closed by the work
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, "it failed"
    account = Account(**json.loads(told.read_text()))
    look(folder, account)
    shutil.rmtree(folder)
    return account


def run(name: str, step: int, seed: int, folder: Path) -> str:
    """All cases of one work; returns what is to be told."""
    failures = Failures()
    calls = attempt(name, 0, "error", False, folder / "none", failures).calls
    cases = refused = dropped = failed = 0
    for how in HOWS:
        for on in (False, True):
            for call in range(1 + seed % step, calls + 1, step):
                try:
                    account = attempt(name, call, how, on, folder / f"{how}-{on}-{call}", failures)
                except AssertionError as error:
                    raise AssertionError(f"{name}, {how}, from call {call}{' on' * on}: {error}") from error
                cases += 1
                failed += account.failed
                refused += account.refused
                dropped += account.dropped
    return (
        f"{name}: {calls} calls to the system; {cases} cases, {failed:,} failures; {refused:,} calls were "
        f"refused, {dropped:,} objects dropped and counted; lost 0, corrupt 0, not accounted for 0"
    )


def main(step: int = 1, seed: int = 0) -> None:
    with tempfile.TemporaryDirectory(prefix="soup-errors-", dir=MEMORY) as folder:
        if "FAIL_WRITES" not in os.environ:  # begin anew, with the library preloaded
            library = build(Path(folder))
            environment = {**os.environ, "LD_PRELOAD": str(library), "FAIL_WRITES": "preloaded"}
            arguments = [sys.executable, __file__, str(step), str(seed)]
            sys.exit(subprocess.run(arguments, env=environment).returncode)
        for name in ("direct", "background", "audit"):
            start = time.monotonic()
            place = Path(folder) / name
            place.mkdir()
            told = run(name, step, seed, place)
            print(f"{told} ({time.monotonic() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
