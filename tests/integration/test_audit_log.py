"""An audit log in earnest: kills, torn ends, forks, several processes, full disks."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from audits import (
    DEADLINE,
    entries,
    files,
    findings,
    kinds,
    lines,
    objects,
    open_log,
    say,
    value,
    verbs,
    write_log,
)
from sinks import until

from vaultscope import Registry
from vaultscope.audit import AuditLog
from vaultscope.errors import AuditError, BusyError

HEAD = "import os, sys, threading\nfrom vaultscope.audit import AuditLog\nlog = AuditLog(sys.argv[1])\n"
KILLS = 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.audit"


def start(program: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HEAD + program, str(path), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    told, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == code
    return told


# ---- kills

WORK = """
n = 0
while True:
    entry = log.append(sys.argv[2], "v", str(n), {"text": "é" * (n % 500)}, wait=True)
    if entry is not None:
        print(n, flush=True)
        n += 1
"""


def test_kills(path: Path) -> None:
    """`kill -9` at any moment, of one of two processes: what was acknowledged is there once, in order; the
    log goes on, and is whole."""
    draw = random.Random(7)
    acknowledged: dict[str, list[int]] = {}
    names = iter(range(1000))

    def begin() -> tuple[str, subprocess.Popen[str]]:
        name = f"p{next(names)}"
        return name, start(WORK, path, name)

    def kill(name: str, process: subprocess.Popen[str], after: int) -> None:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(after)]
        moment = time.monotonic() + draw.random() * 0.004
        while time.monotonic() < moment:
            os.sched_yield()
        process.kill()
        told += process.stdout.readlines()  # `communicate` would leave out what is read ahead
        ended(process, -signal.SIGKILL)
        acknowledged[name] = [int(line) for line in told if line.endswith("\n")]

    running = [begin(), begin()]
    for _ in range(KILLS):
        kill(*running.pop(0), after=draw.randrange(12))
        running.append(begin())
    for each in running:
        kill(*each, after=1)
    write_log(path, "end")
    assert findings(path) == []
    assert len(os.listdir(path.parent)) <= 6  # what is half written has one name
    assert sum(map(len, acknowledged.values())) > KILLS
    found = entries(path)
    for name, numbers in acknowledged.items():
        there = [int(entry.object) for entry in found if entry.actor == name]
        assert there == list(range(len(there)))
        assert len(numbers) <= len(there) <= len(numbers) + 1


STAGES = {
    "nothing written": ("audit_file._write_at", 1, "0"),
    "half written": ("audit_file._write_at", 1, "half"),
    "not cut": ("os.ftruncate", 1, "0"),
    "not synced": ("os.fsync", 1, "0"),
    "not anchored": ("log._file._anchor_store.write", 1, "0"),
    "anchor not renamed": ("os.replace", 1, "0"),
    "not told": ("log._testify", 1, "0"),
}

DIE = """
from vaultscope.edge import audit_file
write_at = audit_file._write_at
def die(*arguments, **options):
    if sys.argv[2] == "half":
        fd, data, offset = arguments
        write_at(fd, data[:len(data) // 2], offset)
    os._exit(9)
%s = die
log.append("ada", "v", "unfinished", wait=True)
"""


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_each_step(path: Path, stage: str) -> None:
    """Wherever a batch ends, it is there as a whole or not at all, and the next one goes on."""
    write_log(path, "a")
    target, _, half = STAGES[stage]
    ended(start(DIE % target, path, half), 9)
    write_log(path, "b")
    assert findings(path) == []
    is_whole = stage not in ("nothing written", "half written")
    assert objects(path) == (["a", "unfinished", "b"] if is_whole else ["a", "b"])
    assert ("audit.recovered" in verbs(path)) == (stage == "half written")


@pytest.mark.parametrize("stage", ["log", "anchor", "key"])
def test_killed_at_the_beginning(path: Path, stage: str) -> None:
    """A log whose first process dies before it has begun is begun by the next one."""
    steps = {
        "key": "from vaultscope.edge import audit_keys; audit_keys.write_public = die",
        "anchor": "from vaultscope.edge import audit_reader; audit_reader.FileAnchor.write = die",
        "log": "from vaultscope.edge import audit_file; audit_file._write_at = die",
    }
    program = f"import os, sys\ndie = lambda *_: os._exit(9)\n{steps[stage]}\n{HEAD}"
    assert subprocess.run([sys.executable, "-c", program, path], timeout=DEADLINE).returncode == 9
    write_log(path, "a")
    assert findings(path) == []


@pytest.mark.parametrize("kept", [1, 50, 400, -1, -300, -800])
def test_a_torn_batch(path: Path, kept: int) -> None:
    """What is left of a batch is a finding until the log is opened again; then it is gone, and an entry says
    how much it was, and its hash."""
    write_log(path, "a")
    whole, anchor = path.read_bytes(), Path(f"{path}.anchor").read_bytes()
    with open_log(path, batch_seconds=DEADLINE) as log:
        log.append("ada", "v", "b")
        log.append("ada", "v", "c")
    torn = path.read_bytes()[len(whole) :][:kept]
    path.write_bytes(whole + torn)
    Path(f"{path}.anchor").write_bytes(anchor)
    assert set(kinds(path)) & {"torn", "unsealed"}
    write_log(path, "d")
    assert findings(path) == []
    (recovered,) = (entry for entry in entries(path) if entry.verb == "audit.recovered")
    size, hashed = len(torn), hashlib.sha512(torn).hexdigest()
    assert recovered.parameters == {"bytes": size, "lines": torn.count(b"\n"), "sha512": hashed}
    assert objects(path) == ["a", "d"]


def test_what_somebody_appended(path: Path) -> None:
    """Entries that fit, without a seal of the key, are not sealed by the next one: they go, which is said."""
    write_log(path, "a")
    whole = path.read_bytes()
    other = path.with_name("other")
    other.mkdir()
    for name in ("vault.audit", "vault.audit.anchor", "vault.audit.key"):
        shutil.copy(path.with_name(name), other / name)
    write_log(other / "vault.audit", "forged")
    path.write_bytes(whole + (other / "vault.audit").read_bytes()[len(whole) :].split(b"\n")[0] + b"\n")
    assert kinds(path) == ["unsealed"]
    write_log(path, "b")
    assert objects(path) == ["a", "b"]
    assert findings(path) == []
    (recovered,) = (entry for entry in entries(path) if entry.verb == "audit.recovered")
    assert recovered.parameters["lines"] == 1


def test_changed_behind_an_anchor_that_was_put_back(path: Path) -> None:
    """Who puts only the anchor back, and changes what came after it, does not have it taken for torn: there
    are later seals."""
    write_log(path, "a")
    anchor = Path(f"{path}.anchor").read_bytes()
    write_log(path, "b", "c", "d")
    path.write_bytes(path.read_bytes().replace(b'"object":"b"', b'"object":"B"'))
    Path(f"{path}.anchor").write_bytes(anchor)
    before = path.read_bytes()
    with pytest.raises(AuditError, match="changed behind its anchor"):
        open_log(path)
    assert path.read_bytes() == before


def test_a_late_anchor(path: Path) -> None:
    """An anchor that is behind by some batches, unchanged, is brought up to date."""
    write_log(path, "a")
    anchor = Path(f"{path}.anchor").read_bytes()
    write_log(path, "b", "c")
    late = Path(f"{path}.anchor").read_bytes()
    Path(f"{path}.anchor").write_bytes(anchor)
    with open_log(path):
        assert Path(f"{path}.anchor").read_bytes() == late
    assert findings(path) == []


def test_torn_at_the_beginning_of_a_file(path: Path) -> None:
    """A batch that is torn in a file that it was to begin is replaced there."""
    write_log(path, "a", max_bytes=1)
    names = list(files(path))
    Path(f"{path}.{len(names):06}").write_bytes(b'{"action":')
    Path(f"{path}.{len(names) + 1:06}").write_bytes(b"junk")
    assert "torn" in kinds(path)
    write_log(path, "b", max_bytes=1)
    assert findings(path) == []
    recovered = next(entry for entry in entries(path) if entry.verb == "audit.recovered")
    assert recovered.parameters["bytes"] == 14
    assert objects(path) == ["a", "b"]


# ---- several processes


def test_several_processes(path: Path) -> None:
    """Four processes append at once, over several files: each entry is there once, in its process's order."""
    program = """
for n in range(60):
    log.append(sys.argv[2], "v", str(n), wait=n % 10 == 9)
sys.exit(not log.close())
"""
    write_log(path, "a", max_bytes=20_000)
    processes = [start(program, path, f"p{number}") for number in range(4)]
    for process in processes:
        ended(process)
    assert findings(path) == []
    found = entries(path)
    for number in range(4):
        assert [e.object for e in found if e.actor == f"p{number}"] == list(map(str, range(60)))
    assert [entry.sequence for entry in found] == list(range(1, len(found) + 1))


def test_two_logs_in_one_process(path: Path) -> None:
    """Two objects of one file take turns, over its files."""
    with open_log(path, max_bytes=3_000) as one, open_log(path, max_bytes=3_000) as two:
        for number in range(10):
            say(one if number % 2 else two, str(number))
    assert objects(path) == list(map(str, range(10)))
    assert findings(path) == []


def test_verified_while_it_is_written(path: Path) -> None:
    """Nothing is found in a log that others append to, however often one looks."""
    process = start(WORK, path, "p")
    try:
        until(path.exists)
        until(lambda: Path(f"{path}.key.pub").exists() and path.stat().st_size > 0)
        for _ in range(30):
            assert findings(path) == []
    finally:
        process.kill()
        process.communicate()


def test_a_held_lock(path: Path) -> None:
    """Who cannot have the lock in time is told; a log that is open tries again."""
    with open_log(path, lock_seconds=0.05) as log:
        with open(f"{path}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(BusyError):
                open_log(path, lock_seconds=0.05)
            log.append("ada", "v", "a")
            until(lambda: "BusyError" in log.trouble)
        until(lambda: not log.trouble)
    assert objects(path) == ["a"]


def test_a_removed_lock(path: Path) -> None:
    """That the lock's file is removed lets nobody in twice: the next one makes it anew."""
    with open_log(path) as log:
        say(log, "a")
        Path(f"{path}.lock").unlink()
        say(log, "b")
    assert objects(path) == ["a", "b"]
    assert findings(path) == []


# ---- forks


def test_a_forked_child(path: Path) -> None:
    """A child goes on with the log: what was queued is the parent's to write, once."""
    with open_log(path, batch_seconds=0.5) as log:
        log.append("parent", "v", "queued")
        pid = os.fork()
        if pid == 0:
            entry = log.append("child", "v", "0", wait=True, timeout=DEADLINE)
            log.append("child", "v", "1")
            os._exit(0 if entry is not None and log.close() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        say(log, "parent again")
    assert sorted(objects(path)) == ["0", "1", "parent again", "queued"]
    assert findings(path) == []


def test_forks_while_it_is_written(path: Path) -> None:
    """Children that are forked at any moment of the parent's writing neither keep its lock nor tear it."""
    with open_log(path) as log:
        for number in range(20):
            log.append("parent", "v", str(number))
            pid = os.fork()
            if pid == 0:
                os._exit(0 if log.append("child", "v", str(number), wait=True, timeout=DEADLINE) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    found = entries(path)
    for name in ("parent", "child"):
        assert [e.object for e in found if e.actor == name] == list(map(str, range(20)))
    assert findings(path) == []


def test_a_child_that_lives_does_not_keep_the_lock(path: Path) -> None:
    """A child that is forked while its parent has the lock, and that outlives it, holds up nobody."""
    program = """
import signal
from vaultscope.edge import audit_file
def fork_and_die(*_):
    if os.fork() == 0:
        print("forked", flush=True)
        signal.pause()
    os._exit(9)
audit_file._write_at = fork_and_die
print(os.getpid(), flush=True)
os.setsid()
log.append("ada", "v", "o", wait=True)
"""
    process = start(program, path)
    assert process.stdout is not None
    group = int(process.stdout.readline())
    try:
        assert process.stdout.readline() == "forked\n"
        assert process.wait(DEADLINE) == 9
        write_log(path, "a", lock_seconds=5.0)
    finally:
        os.killpg(group, signal.SIGKILL)
        process.stdout.close()
    assert objects(path) == ["a"]


def _child(path: str) -> None:
    AuditLog(path, registry=Registry(), batch_seconds=5.0).append("child", "v", "o")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_end_of_a_program(path: Path, method: Any) -> None:
    """What is queued when a program ends is written, also in a child of multiprocessing."""
    process = multiprocessing.get_context(method).Process(target=_child, args=(str(path),))
    process.start()
    process.join(DEADLINE)
    assert process.exitcode == 0
    ended(start("log.append('script', 'v', 'p')", path))
    assert objects(path) == ["o", "p"]


# ---- full disks


def test_a_file_that_may_not_grow(path: Path) -> None:
    """At a limit of the file's size nothing of a batch stays; the host sees no exception; and when there is
    room again what was queued is written."""
    program = """
import resource, signal
from vaultscope import Registry
from vaultscope.core.registry import default_registry
log.append("ada", "v", "before", wait=True)
size = os.stat(sys.argv[1]).st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 700, resource.RLIM_INFINITY))
assert log.append("ada", "v", "during", wait=True, timeout=0.5) is None
assert "File too large" in log.trouble, log.trouble
assert os.stat(sys.argv[1]).st_size == size
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert log.append("ada", "v", "after", wait=True) is not None
assert not log.trouble
assert default_registry().snapshot().value("vaultscope.audit.errors", kind="write") > 0
"""
    ended(start(program, path))
    assert objects(path) == ["before", "during", "after"]
    assert "audit.recovered" not in verbs(path)
    assert findings(path) == []


CALLS = ("os.open", "os.pwrite", "os.ftruncate", "os.fsync", "os.replace", "os.stat")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("call", CALLS)
def test_each_call_fails_in_turn(path: Path, call: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, the second, ... of each kind of call fails: no exception, nothing lost, nothing twice."""
    module, name = os, call.partition(".")[2]
    true = getattr(module, name)
    countdown = [-1]
    writer: list[threading.Thread] = []

    def failing(*arguments: Any, **options: Any) -> Any:
        if threading.current_thread() in writer:
            countdown[0] -= 1
            if countdown[0] == 0:
                raise OSError(number, os.strerror(number))
        return true(*arguments, **options)

    registry = Registry()
    with open_log(path, registry=registry, max_bytes=3_000) as log:
        say(log, "first")
        assert log._thread is not None
        writer.append(log._thread)
        monkeypatch.setattr(module, name, failing)
        turn, failed = 0, True
        while failed:
            turn += 1
            countdown[0] = turn
            say(log, f"turn {turn}")
            failed = countdown[0] <= 0
        monkeypatch.undo()
    assert turn > 1
    assert objects(path) == ["first", *[f"turn {number}" for number in range(1, turn + 1)]]
    assert findings(path) == []


def test_an_undo_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is written, but not synced, and cannot be taken back, is not written twice."""
    true, broken = (os.fsync, os.ftruncate), [True]

    def fail(fd: int) -> None:
        if broken[0] and os.readlink(f"/proc/self/fd/{fd}") == str(path):
            broken[0] = False
            monkeypatch.setattr(os, "ftruncate", stuck)
            raise OSError(errno.EIO, "sync")
        true[0](fd)

    def stuck(fd: int, size: int) -> None:
        monkeypatch.setattr(os, "ftruncate", true[1])
        raise OSError(errno.EIO, "truncate")

    with open_log(path) as log:
        say(log, "a")
        monkeypatch.setattr(os, "fsync", fail)
        say(log, "b", "c")
    assert not broken[0]
    assert objects(path) == ["a", "b", "c"]
    assert findings(path) == []


@pytest.mark.parametrize("place", ["log", "anchor"])
def test_a_full_disk(tmp_path: Path, place: str) -> None:
    """A file system of 96 KiB fills up: what is dropped is counted; when there is room it goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    try:
        ballast = disk / "ballast"
        path = (disk if place == "log" else tmp_path) / "vault.audit"
        registry = Registry()
        options = {
            "anchor": disk / "anchor",
            "key": tmp_path / "key",
            "queue_entries": 10,
            "registry": registry,
        }
        with open_log(path, **options) as log:
            say(log, "before")
            with suppress(OSError), open(ballast, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1024))
            said = 0
            while value(registry, "dropped", reason="full") < 5:
                log.append("ada", "v", str(said), {"text": "x" * 3000})
                said += 1
            until(lambda: "No space left" in log.trouble)
            ballast.unlink()
            assert log.append("ada", "v", "after", wait=True, timeout=DEADLINE) or log.flush(DEADLINE)
            say(log, "last")
            dropped = value(registry, "dropped", reason="full")
        found = findings(path, anchor=disk / "anchor", public_key=tmp_path / "key.pub")
        assert found == []
        kept = [each for each in objects(path) if each.isdigit()]
        assert kept == sorted(kept, key=int)
        assert len(objects(path)) - 2 + dropped in (said, said + 1)
        assert lines(path)[-1].startswith(b'{"seal":')
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_closing_a_log_that_cannot_be_written(path: Path) -> None:
    """It ends in time, says so, and counts what is lost."""
    registry = Registry()
    log = open_log(path, registry=registry)
    Path(f"{path}.anchor").rename(path.with_name("away"))
    log.append("ada", "v", "a")
    log.append("ada", "v", "b")
    start_s = time.monotonic()
    assert not log.close(0.2)
    assert time.monotonic() - start_s < 5
    until(lambda: value(registry, "dropped", reason="closed") == 2)
    path.with_name("away").rename(f"{path}.anchor")
    assert verbs(path) == ["audit.began"]
