"""Log files in operation: rotated, shared, on a full disk, and written to by processes that are killed.

Each record carries a number, and each test counts: none lost, none twice, no line torn.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vaultscope import Registry
from vaultscope.edge.log_file import FileSink, install_sighup
from vaultscope.signals.log import Journal

DEADLINE = 60.0  # seconds, for what is waited for

HEAD = """
import os, resource, signal, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads: that is what we test
from vaultscope import Registry
from vaultscope.edge.log_file import FileSink
from vaultscope.edge.log_stream import StreamSink
from vaultscope.signals.log import Journal
path = sys.argv[1]
"""


def start(program: str, path: Path, **options: Any) -> subprocess.Popen[bytes]:
    """A Python process that is told the log's path, with pipes to it and from it."""
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(program), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **options,
    )


def finish(process: subprocess.Popen[bytes]) -> str:
    """Waits for a process to end well; returns what it printed."""
    out, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    return out.decode()


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a log and of its rotated files, oldest first; each is whole."""
    for each in sorted(path.parent.glob(f"{path.name}*"), key=lambda each: (each == path, each.name)):
        data = each.read_bytes()
        data = gzip.decompress(data) if each.suffix == ".gz" else data
        assert data == b"" or data.endswith(b"\n"), f"{each.name} ends in half a line"
        yield from data.splitlines()


def numbers(path: Path) -> list[Any]:
    """The numbers of all records that are in the log's files, in the order of the files."""
    records = [json.loads(line) for line in lines(path)]
    return [record["n"] for record in records if "n" in record]


def failures(registry: Registry) -> int:
    """How often sinks have failed."""
    families = [each for each in registry.snapshot() if each.name == "vaultscope.log.sink.errors"]
    return sum(int(series.value) for family in families for series in family)


def wait_until(happened: Callable[[], object]) -> None:
    """Polls; fails when it takes too long."""
    deadline = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


@pytest.fixture
def journal() -> Iterator[Journal]:
    """A journal in memory; its sinks are closed at the end."""
    journal = Journal(Registry())
    yield journal
    journal.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "vault.log"


# -- rotation -----------------------------------------------------------------------------------------------


def test_rotation_under_load(journal: Journal, path: Path) -> None:
    """Through dozens of rotations, with compression, each record is in one file, once, in its order."""
    sink = FileSink(path, max_bytes=300_000, keep_files=0, compress="gzip")
    journal.add_sink(sink)
    logger = journal.get_logger("cas")
    for n in range(50_000):
        logger.info("Object stored", n=n)
        if n % 2000 == 0:
            assert journal.flush(DEADLINE)
    assert journal.close(DEADLINE)
    assert numbers(path) == list(range(50_000))
    assert len(list(path.parent.glob("*Z*"))) >= 8
    assert path.stat().st_size < 300_000


def test_rotation_keeps_its_limit(journal: Journal, path: Path) -> None:
    """Of many rotated files those are left that are to be kept, and they are the last."""
    journal.add_sink(FileSink(path, max_bytes=1, keep_files=3))
    for n in range(20):
        journal.get_logger().info("x", n=n)
        assert journal.flush(DEADLINE)
        wait_until(lambda: path.stat().st_size == 0)  # rotated after it was acknowledged
    assert journal.close(DEADLINE)
    assert numbers(path) == [17, 18, 19]


def test_logrotate_create(journal: Journal, path: Path) -> None:
    """The file is renamed under the sink, and SIGHUP is sent: nothing is lost on the way to the new file."""
    journal.add_sink(FileSink(path))
    undo = install_sighup(journal)
    try:
        logger = journal.get_logger()
        for turn in range(5):
            for n in range(100):
                logger.info("x", n=turn * 100 + n)
            path.rename(path.with_name(f"vault.log.{turn}"))
            signal.raise_signal(signal.SIGHUP)
            wait_until(path.exists)
        assert journal.flush(DEADLINE)
    finally:
        undo()
    assert numbers(path) == list(range(500))


def test_logrotate_without_a_signal(journal: Journal, path: Path) -> None:
    """A file that was moved away is noticed within a second or so, nobody needs to say it."""
    journal.add_sink(FileSink(path))
    logger = journal.get_logger()
    logger.info("x", n=0)
    assert journal.flush(DEADLINE)
    path.rename(path.with_name("vault.log.1"))
    wait_until(path.exists)
    logger.info("x", n=1)
    assert journal.flush(DEADLINE)
    assert numbers(path) == [0, 1] or numbers(path) == [1, 0]
    assert len(path.read_bytes().splitlines()) == 1


def test_logrotate_copytruncate(journal: Journal, path: Path) -> None:
    """The file is copied and truncated under the sink: it goes on at the beginning, without a hole."""
    journal.add_sink(FileSink(path))
    logger = journal.get_logger()
    for turn in range(5):
        for n in range(100):
            logger.info("x", n=turn * 100 + n)
        assert journal.flush(DEADLINE)
        path.with_name(f"vault.log.{turn}").write_bytes(path.read_bytes())
        os.truncate(path, 0)
    assert journal.flush(DEADLINE)
    assert sorted(numbers(path)) == list(range(500))
    assert b"\0" not in b"".join(lines(path))


# -- faults -------------------------------------------------------------------------------------------------


def test_full_disk(path: Path) -> None:
    """When a file may not grow, be it in mid-line, the log waits; when it may, each record is there once."""
    process = start(
        """
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        journal = Journal(Registry())
        journal.add_sink(FileSink(path))
        logger = journal.get_logger()
        n = 0
        for limit in (10_001, 33_333, 100_007):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            for n in range(n, n + limit // 50):
                logger.info("x", n=n)
            n += 1
            assert not journal.flush(0.2)
            data = open(path, "rb").read()
            assert data[-1:] in (b"", b"\\n") and len(data) <= limit, "half a line was left"
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert journal.flush(30)
        print(n)
        """,
        path,
    )
    count = int(finish(process))
    assert numbers(path) == list(range(count))


def test_vanished_folder(journal: Journal, tmp_path: Path) -> None:
    """While the log's folder is away records wait, and nothing is written to the file that went with it."""
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "vault.log"
    sink = FileSink(path)
    journal.add_sink(sink)
    (tmp_path / "logs").rename(tmp_path / "away")
    sink.reopen()
    wait_until(lambda: failures(journal.registry) > 0)
    for n in range(100):
        journal.get_logger().info("x", n=n)
    assert not journal.flush(0.05)
    (tmp_path / "logs").mkdir()
    assert journal.flush(DEADLINE)
    assert numbers(path) == list(range(100))
    assert numbers(tmp_path / "away" / "vault.log") == []


def test_one_fails_the_other_does_not_wait(journal: Journal, path: Path) -> None:
    """A sink on a device that is always full holds up nobody, and ends when it is told to."""
    journal.add_sink(FileSink("/dev/full"))
    journal.add_sink(FileSink(path))
    for n in range(1000):
        journal.get_logger().info("x", n=n)
    wait_until(lambda: numbers(path) == list(range(1000)))
    assert journal.close(0.2) is False


@pytest.mark.parametrize("durability", ["interval", "batch"])
def test_durable(journal: Journal, path: Path, durability: Any) -> None:
    """With each durability all records arrive, and flush returns when they are synced."""
    journal.add_sink(FileSink(path, durability=durability, interval=0.05, max_bytes=20_000, keep_files=0))
    for n in range(1000):
        journal.get_logger().info("x", n=n)
    assert journal.flush(DEADLINE)
    assert numbers(path) == list(range(1000))


def test_reader_of_a_pipe_goes_away(path: Path) -> None:
    """`program | head -1`: the program ends by itself, soon, and well."""
    process = start(
        """
        journal = Journal(Registry())
        journal.add_sink(StreamSink(sys.stdout, name="stdout"))
        for n in range(100):
            journal.get_logger().info("x", n=n)
            journal.flush(10)
        assert journal.close(30)
        os._exit(0)  # the interpreter, too, would write to its standard output
        """,
        path,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["n"] == 0
    process.stdout.close()
    assert process.wait(DEADLINE) == 0
    assert process.stdin is not None
    process.stdin.close()


# -- many processes -----------------------------------------------------------------------------------------


def test_two_processes_rotate_one_file(path: Path) -> None:
    """Two processes write to one file and rotate it: of each, all records are there once and in order."""
    program = """
        journal = Journal(Registry())
        journal.add_sink(FileSink(path, max_bytes=100_000, keep_files=0, compress="gzip"))
        logger = journal.get_logger()
        print("ready", flush=True)
        sys.stdin.read(1)
        for n in range(10_000):
            logger.info("x", n=[os.getpid(), n])
            if n % 500 == 0:
                assert journal.flush(30)
        assert journal.close(30)
        """
    processes = [start(program, path) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        finish(process)
    found = numbers(path)
    assert Counter(map(tuple, found)) == Counter(
        (process.pid, n) for process in processes for n in range(10_000)
    )
    assert len(list(path.parent.glob("vault.log.*"))) >= 10


def test_fork(path: Path) -> None:
    """Parent and child of a fork log to one file: what was logged before is there once, and all of both."""
    process = start(
        """
        journal = Journal(Registry())
        journal.add_sink(FileSink(path, max_bytes=20_000, keep_files=0))
        logger = journal.get_logger()
        for n in range(500):
            logger.info("x", n=n)
        child = os.fork()
        base = 1000 if child == 0 else 2000
        for n in range(500):
            logger.info("x", n=base + n)
        assert journal.close(30)
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        path,
    )
    finish(process)
    assert sorted(numbers(path)) == [*range(500), *range(1000, 1500), *range(2000, 2500)]


@pytest.mark.parametrize("max_bytes", [0, 50_000])
def test_killed_while_it_writes(path: Path, tmp_path: Path, max_bytes: int) -> None:
    """Killed at any moment over an arena in a file: each record is in the files once, and no line is torn."""
    program = f"""
        registry = Registry(arena={str(tmp_path / "arena")!r})
        journal = Journal(registry, policy="block", block_ms=30_000)  # nothing is dropped
        journal.add_sink(FileSink(path, max_bytes={max_bytes}, keep_files=0))
        logger = journal.get_logger()
        turn = int(sys.stdin.readline())
        n = 0
        while True:
            for n in range(n, n + 20):
                logger.info("x", n=[turn, n], padding="p" * 3000)
            n += 1
            os.write(1, b"%d\\n" % n)  # so many were logged
        """
    logged = {}
    chance = random.Random(7)
    turns = 12
    for turn in range(turns):
        process = start(program, path)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"%d\n" % turn)
        process.stdin.flush()
        told = b"".join(process.stdout.readline() for _ in range(chance.randrange(1, 60)))
        process.kill()
        told += process.communicate()[0]
        logged[turn] = int(told[: told.rindex(b"\n")].rpartition(b"\n")[2])
        assert logged[turn] > 0
    journal = Journal(Registry(arena=str(tmp_path / "arena")))
    journal.add_sink(FileSink(path))
    assert journal.flush(DEADLINE)
    assert journal.close()
    found = Counter(map(tuple, numbers(path)))
    assert [number for number, count in found.items() if count > 1] == []
    for turn in range(turns):
        here = {n for each, n in found if each == turn}
        missing = set(range(logged[turn])) - here
        assert not missing, f"turn {turn}: {len(missing)} of {logged[turn]} are lost"


def test_killed_without_an_arena(path: Path) -> None:
    """Killed over memory, what had not been written is lost; no line is torn when the file is next opened."""
    program = """
        journal = Journal(Registry())
        journal.add_sink(FileSink(path))
        logger = journal.get_logger()
        print("ready", flush=True)
        while True:
            logger.info("x", n=0, padding="p" * 3000)
        """
    for _ in range(5):
        process = start(program, path)
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(lambda: path.exists() and path.stat().st_size > 100_000)
        process.kill()
        process.communicate()
        with contextlib.closing(FileSink(path)):
            assert set(numbers(path)) == {0}
        os.truncate(path, 0)
