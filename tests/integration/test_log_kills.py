"""`kill -9` of a process that logs, one fact at a time; tests/campaigns has it a thousand times at random."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultscope import Registry
from vaultscope.logging import FileSink, Journal

DEADLINE_S = 60.0
HEAD = """
import os, signal, sys, threading
from vaultscope import Registry
from vaultscope.logging import FileSink, Journal, MemorySink, Sink
arena, path = sys.argv[1:]
signal.alarm(120)
journal = Journal(Registry(arena=arena), policy="block")
log = journal.get_logger("cas")
def say(word):
    print(word, flush=True)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Process:
    """A script that says words and obeys: it reads a line when it waits."""

    def __init__(self, script: str, arena: Path, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HEAD + textwrap.dedent(script), arena, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hears(self, word: str) -> None:
        """Waits until it says that word."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{word}\n"

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self.ended(-signal.SIGKILL)

    def ended(self, code: int = 0) -> None:
        with self._process:
            assert self._process.wait(DEADLINE_S) == code


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    return tmp_path / "vault.arena"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.log"


def drain(arena: Path, path: Path) -> None:
    """What the next start does."""
    journal = Journal(Registry(arena=arena))
    journal.add_sink(FileSink(path))
    assert journal.flush(DEADLINE_S)
    assert journal.close(DEADLINE_S)


def numbers(path: Path) -> list[int]:
    """The field `n` of each record in the file, in order."""
    return [json.loads(line)["n"] for line in path.read_bytes().split(b"\n")[:-1]]


def recorded(arena: Path) -> Iterator[int]:
    """The field `n` of each record in the ring, drained or not."""
    native = Journal(Registry(arena=arena)).native
    kind, position, line = native.look()
    while kind in ("record", "void"):
        if kind == "record":
            yield json.loads(line)["n"]
        kind, position, line = native.look(position)


def test_nobody_drained(arena: Path, path: Path) -> None:
    """What was logged without a sink is in the ring after the kill, and in the file after the next start."""
    Process("for n in range(1_000): log.info('Object stored', n=n)\ndie()", arena, path).ended(
        -signal.SIGKILL
    )
    assert list(recorded(arena)) == list(range(1_000))
    drain(arena, path)
    assert numbers(path) == list(range(1_000))
    drain(arena, path)
    assert numbers(path) == list(range(1_000)), "each record once"


def test_while_another_process_drains(arena: Path, path: Path) -> None:
    """A writer is killed: the drainer goes on, with what the dead one left and with what others write."""
    drainer = Process(
        """
        journal.add_sink(FileSink(path)); say("drains"); sys.stdin.readline()
        assert journal.flush(60.0); assert journal.close(60.0)
        """,
        arena,
        path,
    )
    drainer.hears("drains")
    script = "for n in range({0}, {1}): log.info('Object stored', n=n)\ndie()"
    for n in range(0, 5_000, 1_000):
        Process(script.format(n, n + 1_000), arena, path).ended(-signal.SIGKILL)
    drainer.go_on()
    drainer.ended()
    assert numbers(path) == list(range(5_000))


def test_another_takes_the_drainers_place(arena: Path, path: Path) -> None:
    """Whose sink had to wait drains when the one that drains is killed, and no record is missing or twice."""
    script = """
    journal.add_sink(FileSink(path)); say("there"); sys.stdin.readline()
    for n in range({0}, {0} + 1_000): log.info("Object stored", n=n)
    say("logged"); sys.stdin.readline()
    assert journal.flush(60.0); say("drained"); sys.stdin.readline()
    """
    processes = [Process(script.format(1_000 * place), arena, path) for place in range(3)]
    for process in processes:
        process.hears("there")
    for process in processes:
        process.go_on()
        process.hears("logged")
    processes[0].kill()
    processes[1].kill()
    processes[2].go_on()
    processes[2].hears("drained")
    assert sorted(numbers(path)) == list(range(3_000))
    processes[2].kill()
    drain(arena, path)
    assert sorted(numbers(path)) == list(range(3_000))


def test_within_a_write(arena: Path, tmp_path: Path) -> None:
    """The drainer is killed while its write waits, here for a pipe that is full. The next one writes the
    batch again, as nobody can say how much of it the reader had."""
    fifo, path = tmp_path / "pipe", tmp_path / "vault.log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    drainer = Process(
        """
        for n in range(1_000): log.info("Object stored", n=n, text="x" * 200)
        journal.add_sink(FileSink(path)); say("drains"); sys.stdin.readline()
        """,
        arena,
        fifo,
    )
    drainer.hears("drains")
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b"{"  # it writes, and waits: the pipe holds a part of it
    drainer.kill()
    os.close(reader)
    drain(arena, path)
    assert numbers(path) == list(range(1_000))


def test_a_sink_that_did_not_say_done(arena: Path, path: Path) -> None:
    """What a sink had taken, but not acknowledged when it was killed, the next one of its name gets again."""
    script = """
    class Mine(Sink):
        name = "mine"
        def write(self, lines, records):
            if sys.argv[2].endswith("again"):
                open(path, "ab").write(lines)
            else:
                die()
    for n in range(10): log.info("Object stored", n=n)
    journal.add_sink(Mine()); sys.stdin.readline()
    """
    Process(script, arena, path).ended(-signal.SIGKILL)
    again = path.with_name("again")
    last = Process(script.replace("range(10)", "range(10, 11)") + "\n    journal.close(60.0)", arena, again)
    last.go_on()
    last.ended()
    assert numbers(again) == list(range(11))
