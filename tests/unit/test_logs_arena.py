"""`vaultscope logs` of an arena: the flight recorder, of a vault that lives and of one that was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from log_follower import LogFollower
from peer import Peer

from vaultscope.edge.commands import vaultscope

SETUP = "from vaultscope.logging import *; j = Journal(Registry(arena={!r})); log = j.get_logger('cas')"


def logs(*arguments: str | Path, arena: str = "") -> Result:
    return CliRunner().invoke(
        vaultscope, ["logs", *map(str, arguments)], env={"VAULTSCOPE_ARENA": arena}, prog_name="vaultscope"
    )


def records(*arguments: str | Path) -> list[dict[str, Any]]:
    result = logs("--json", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(each) for each in result.stdout.splitlines()]


def numbers(*arguments: str | Path) -> list[int]:
    return [record["n"] for record in records(*arguments)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.arena"


@pytest.fixture
def vault(path: Path) -> Iterator[Peer]:
    """A process that logs to the arena, by `log`."""
    with Peer(SETUP.format(str(path)), VAULTSCOPE_LOG_BYTES="65536") as peer:
        yield peer


def test_a_live_vault(path: Path, vault: Peer) -> None:
    """What it has logged is shown, without a sink and again and again; fields and all."""
    vault("log.warn('Stored', n=1, nested={'a': [1]})")
    (record,) = records(path)
    assert record["message"] == "Stored" and record["nested"] == {"a": [1]} and record["pid"] == vault.pid
    vault("log.info('Stored', n=2)")
    assert numbers(path) == numbers(path) == [1, 2]
    assert numbers("--level", "warn", path) == [1]
    assert numbers("-n", "1", path) == [2]
    assert " INFO  cas: Stored n=2\n" in logs(path).stdout


def test_a_vault_that_was_killed(path: Path) -> None:
    """After kill -9 in the middle of its work, all that it had logged is shown, in order, and once."""
    program = (
        "import sys\nfrom vaultscope import Registry\nfrom vaultscope.logging import Journal\n"
        "log = Journal(Registry(arena=sys.argv[1])).get_logger('cas')\n"
        "for n in range(10**9):\n    log.info('Stored', n=n)\n    print(n, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while int(child.stdout.readline()) < 2000:
        pass
    child.send_signal(signal.SIGKILL)
    told = [int(each) for each in child.stdout.read().split("\n")[:-1]]
    child.stdout.close()
    child.wait()
    last = told[-1] if told else 2000
    shown = numbers(path)
    assert shown == list(range(len(shown)))
    assert last <= shown[-1] <= last + 1  # one may have been logged, and not told of any more


def test_a_writer_that_stops(path: Path) -> None:
    """A record whose writer is stopped, or killed, in the middle of it is passed over, and stderr says so;
    what others have logged after it is shown."""
    writes = (
        "import sys\nfrom vaultscope import Registry\nfrom vaultscope.logging import Journal\n"
        "log = Journal(Registry(arena=sys.argv[1])).get_logger('large')\nprint(flush=True)\n"
        "fields = {name: name * 7000 for name in 'abcd'}\n"
        "while True: log.info('Stored', n=-1, **fields)\n"
    )
    result = logs(path.parent / "none")
    with Peer(SETUP.format(str(path)), VAULTSCOPE_LOG_BYTES="1048576") as other:
        for attempt in range(200):
            child = subprocess.Popen([sys.executable, "-c", writes, path], stdout=subprocess.PIPE)
            assert child.stdout is not None
            child.stdout.readline()
            child.stdout.close()
            child.send_signal(signal.SIGSTOP if attempt % 2 else signal.SIGKILL)
            if attempt % 2:
                os.waitpid(child.pid, os.WUNTRACED)
            else:
                child.wait()
            other(f"log.info('Stored', n={attempt})")
            result = logs("--json", path)
            child.kill()
            child.wait()
            assert json.loads(result.stdout.splitlines()[-1])["n"] == attempt
            if "passed over" in result.stderr:
                break
    assert "a record is passed over whose writer stopped in the middle of it" in result.stderr


def test_what_was_drained(path: Path, vault: Peer, tmp_path: Path) -> None:
    """Records that a sink has written are still shown, as long as they are in the ring."""
    vault(f"j.add_sink(FileSink({str(tmp_path / 'vault.log')!r})); log.info('Stored', n=1)")
    assert vault("j.flush()") is True
    assert numbers(tmp_path / "vault.log") == numbers(path) == [1]


def test_it_has_no_part_in_the_arena(path: Path, vault: Peer) -> None:
    """Looking changes nothing: the vault is alone in its arena, and drains all that was looked at."""
    vault("log.info('Stored', n=1)")
    with LogFollower(path) as follower:
        assert follower.next_record()["n"] == 1
        assert vault("[p.pid for p in j.registry.processes()]") == [vault.pid]
        vault("m = MemorySink(); j.add_sink(m); j.flush()")
        assert vault("[r['n'] for r in m.records]") == [1]


def test_the_oldest_were_overwritten(path: Path, vault: Peer) -> None:
    """Of more records than the ring holds, the last ones are shown, without a gap."""
    vault("for n in range(5000): log.info('Stored', n=n)")
    shown = numbers(path)
    assert shown[-1] == 4999
    assert shown == list(range(shown[0], 5000))
    assert 100 < len(shown) < 5000


def test_followed(path: Path, vault: Peer) -> None:
    """-f shows what comes as it comes, and goes on with the arena that comes in the file's place."""
    vault("for n in range(30): log.info('Stored', n=n)")
    with LogFollower(path) as follower:
        assert [follower.next_record()["n"] for _ in range(10)] == list(range(20, 30))
        vault("log.info('Stored', n=30)")
        assert follower.next_record()["n"] == 30
        vault("log.info('Stored', n=31)")
        vault.kill()
        assert follower.next_record()["n"] == 31
        path.unlink()
        with Peer(SETUP.format(str(path))) as again:
            again("log.info('Stored', n=1000)")
            assert follower.next_record()["n"] == 1000
        status, out, _ = follower.end()
        assert (status, out) == (0, b"")


def test_a_follower_that_is_too_slow(path: Path, vault: Peer) -> None:
    """What was overwritten between two looks is told of on stderr; what is still there is shown."""
    vault("log.info('Stored', n=-1)")
    with LogFollower(path) as follower:
        assert follower.next_record()["n"] == -1
        follower.process.send_signal(signal.SIGSTOP)
        vault("for n in range(5000): log.info('Stored', n=n)")
        follower.process.send_signal(signal.SIGCONT)
        shown = [follower.next_record()["n"]]
        while shown[-1] < 4999:
            shown.append(follower.next_record()["n"])
        assert shown == list(range(shown[0], 5000))
        assert shown[0] > 0
        status, _, errors = follower.end()
        assert status == 0
        assert b"records were overwritten before they could be read" in errors


def test_with_a_file(path: Path, vault: Peer, tmp_path: Path) -> None:
    """An arena and a file are merged by time."""
    vault("log.info('Stored', n=1)")
    old = tmp_path / "old.log"
    old.write_text('{"time":"2020-01-01T00:00:00Z","n":0}\n{"time":"2999-01-01T00:00:00Z","n":2}\n')
    assert numbers(path, old) == numbers(old, path) == [0, 1, 2]


def test_the_environment_names_the_arena(path: Path, vault: Peer) -> None:
    """Without a SOURCE it is the arena that VAULTSCOPE_ARENA names."""
    vault("log.info('Stored', n=1)")
    assert "Stored" in logs(arena=str(path)).stdout


def test_no_log_in_it(path: Path) -> None:
    """An arena in which nobody logs has nothing to show; followed, it is waited for the first who does."""
    with Peer(f"r = Registry(arena={str(path)!r})") as vault:
        result = logs(path)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == f"vaultscope logs: {path} has no log yet\n"
        with LogFollower(path) as follower:
            assert b"has no log yet" in follower.errors.readline()
            vault("from vaultscope.logging import *; Journal(r).get_logger('cas').info('Stored', n=1)")
            assert follower.next_record()["n"] == 1


def test_a_damaged_arena(path: Path) -> None:
    """What begins like an arena and is none: one message that names it, and status 4."""
    path.write_bytes(b"\x89vsa\r\n\x1a\n" + b"?" * 5000)
    result = logs(path)
    assert (result.exit_code, result.stdout) == (4, "")
    assert str(path) in result.stderr and "Traceback" not in result.stderr
