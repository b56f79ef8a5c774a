"""Kills of Python processes that log to a file: `python_logs.py KILLS SEED ARENA`.

As log_kills.c does it, but through the journal, its file sink and the threads of Python; the file is
rotated every 200 KB, and compressed. Threads number their records, and note on a page that the processes
share how many of their calls have returned. A process is killed, another takes its place; after each stretch
a last one drains what is left. Then each of these records is in the files once, each line is strict JSON, and
for each thread that was killed there is at most one record more: the one that was not noted yet.
"""

from __future__ import annotations

import gzip
import json
import mmap
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from vaultscope import Registry
from vaultscope.logging import FileSink, Journal

THREADS, STRETCH, PARTS = 2, 10, 2
RETURNS_MAX, MOMENT_S_MAX, PATIENCE_S = 1_500, 0.02, 900
ROTATED_BYTES, RING_BYTES = 200_000, 1 << 18
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")


@dataclass(frozen=True)
class Part:
    """What a process does."""

    logs: bool
    drains: bool


CASTS = {
    "one process that logs and drains": (Part(True, True),),
    "one that logs and one that drains": (Part(True, False), Part(False, True)),
    "two of which either drains": (Part(True, True), Part(True, True)),
}


class Page:
    """How many calls of each thread in each life have returned. Shared with the children of later forks."""

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, 8 * (STRETCH + PARTS) * THREADS)).cast("Q")

    def note(self, life: int, thread: int, returned: int) -> None:
        self._words[life * THREADS + thread] = returned

    def returned(self, life: int, thread: int) -> int:
        return self._words[life * THREADS + thread]

    def total(self) -> int:
        return sum(self._words)

    def clear(self) -> None:
        for place in range(len(self._words)):
            self._words[place] = 0


def text(life: int, thread: int, n: int) -> str:
    """A record's field `text`, by its numbers: mostly short, now and then long, and not all ASCII."""
    draw = random.Random(f"{life} {thread} {n}")
    return draw.choice('x"\\\n\0é\u2028😀') * (draw.randrange(2_000) if n % 32 == 0 else draw.randrange(40))


def log_on(journal: Journal, page: Page, life: int, thread: int) -> None:
    log = journal.get_logger("cas")
    n = 0
    while True:
        log.log(LEVELS[n % 6], "Object stored", life=life, worker=thread, n=n, text=text(life, thread, n))
        n += 1
        page.note(life, thread, n)


def open_journal(arena: Path) -> Journal:
    """A call waits for room as long as it takes, so that one that has returned is in the ring."""
    return Journal(Registry(arena=arena), policy="block", block_ms=PATIENCE_S * 1_000.0)


def sink_of(arena: Path) -> FileSink:
    return FileSink(arena.with_name("vault.log"), max_bytes=ROTATED_BYTES, keep_files=0, compress="gzip")


def live(arena: Path, page: Page, life: int, part: Part) -> NoReturn:
    """A child's life, which only a kill ends."""
    try:
        signal.alarm(PATIENCE_S)
        journal = open_journal(arena)
        if part.drains:
            journal.add_sink(sink_of(arena))
        for thread in range(THREADS if part.logs else 0):
            threading.Thread(target=log_on, args=(journal, page, life, thread), daemon=True).start()
        while True:
            signal.pause()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def drain_the_rest(arena: Path) -> NoReturn:
    """Ends without closing the journal: a sink that is closed when nothing is left is forgotten, and what is
    logged before it is opened again would be kept for nobody."""
    try:
        signal.alarm(PATIENCE_S)
        journal = open_journal(arena)
        journal.add_sink(sink_of(arena))
        assert journal.flush(60.0), "the rest could not be drained"
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def content_of(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def take_files(arena: Path) -> Iterator[list[dict[str, Any]]]:
    """The records of each file. Removes rotated files and empties the current one."""
    current = arena.with_name("vault.log")
    for path in (*sorted(arena.parent.glob("vault.log.*")), current):
        if not path.exists():
            continue
        if path.suffix == ".part":
            path.unlink()  # half compressed: the whole one is there still
            continue
        content, packed = content_of(path), path.with_name(path.name + ".gz")
        if packed.exists():  # killed before it could remove the one that it had just compressed
            assert content_of(packed) == content
            packed.unlink()
        assert content.endswith(b"\n") or not content, f"{path}: the last line is torn"
        lines = content.decode("utf-8").split("\n")[:-1]
        yield [json.loads(line, parse_constant=no_constant) for line in lines]
        if path == current:
            os.truncate(path, 0)
        else:
            path.unlink()


def check(arena: Path, page: Page) -> tuple[int, int]:
    """Drains what is left and looks whether all is there. Returns how many records there are, and how many of
    them had not been noted."""
    pid = os.fork()
    if pid == 0:
        drain_the_rest(arena)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    numbers: dict[tuple[int, int], list[int]] = {}
    for records in take_files(arena):
        note(records, numbers)
    more = 0
    for life in range(STRETCH + PARTS):
        for thread in range(THREADS):
            returned, there = page.returned(life, thread), sorted(numbers.get((life, thread), []))
            assert there == list(range(len(there))), f"{life, thread}: a record is missing, or there twice"
            assert returned <= len(there) <= returned + 1, (
                f"{life, thread}: {len(there)} of {returned} are there"
            )
            more += len(there) - returned
    page.clear()
    return sum(map(len, numbers.values())), more


def note(records: list[dict[str, Any]], numbers: dict[tuple[int, int], list[int]]) -> None:
    """Looks at the records of one file and notes their numbers, by life and thread.

    They are in order within a file, but not from file to file: who takes over writes for a moment to the one
    that it knows, though the drainer before it may just have rotated that."""
    last: dict[tuple[int, int], int] = {}
    for record in records:
        if record.get("logger") == "vaultscope.log":
            continue  # the journal's own
        who, n = (record["life"], record["worker"]), record["n"]
        assert n > last.get(who, -1), f"{who}: record {n} after {last[who]}"
        assert record["text"] == text(*who, n) and record["level"] == LEVELS[n % 6], record
        last[who] = n
        numbers.setdefault(who, []).append(n)


def wait_for_a_moment(draw: random.Random, page: Page) -> None:
    if draw.random() < 0.25:
        moment = time.monotonic() + draw.random() * MOMENT_S_MAX  # perhaps it has hardly begun
        while time.monotonic() < moment:
            os.sched_yield()
        return
    until = page.total() + draw.randrange(1, RETURNS_MAX)
    while page.total() < until:
        os.sched_yield()


def start(arena: Path, page: Page, life: int, part: Part) -> int:
    pid = os.fork()
    if pid == 0:
        live(arena, page, life, part)
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == -signal.SIGKILL, f"a process ended with {status}"


def kill_many(cast: tuple[Part, ...], kills: int, draw: random.Random, arena: Path) -> tuple[int, int]:
    """Kills so many processes; returns how many records they left, and how many of them were in flight."""
    page, records, more = Page(), 0, 0
    while kills > 0:
        check(arena, page)  # from now on what is logged is kept
        parts = {place: start(arena, page, place, part) for place, part in enumerate(cast)}
        for life in range(len(cast), len(cast) + min(kills, STRETCH)):
            place = draw.randrange(len(cast))
            wait_for_a_moment(draw, page)
            end(parts[place])
            parts[place] = start(arena, page, life, cast[place])
            kills -= 1
        for pid in parts.values():
            end(pid)
        there, in_flight = check(arena, page)
        records, more = records + there, more + in_flight
    return records, more


def main(kills: int, seed: int, arena: str) -> None:
    os.environ["VAULTSCOPE_LOG_BYTES"] = str(RING_BYTES)
    os.environ["VAULTSCOPE_LOG_LEVEL"] = "trace"
    draw = random.Random(seed)
    signal.alarm(PATIENCE_S * 2)  # a deadlock ends the process
    for name, cast in CASTS.items():
        records, more = kill_many(cast, kills, draw, Path(arena))
        print(
            f"{kills} kills, {name}: each of {records:,} records is there once, {more} of them were in flight"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
