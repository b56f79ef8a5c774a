"""Kills of processes that use a soup: `soup_kills.py KILLS SEED PLACE`.

A child puts objects one by one, in batches and by a background writer, deletes, pins and unpins some, runs gc
and appends to an audit log, and tells its parent before and after each of these, by a pipe. It is killed in
the midst of it by SIGKILL, and the next one, forked from the same parent, opens what it left. Then

- each object that was acknowledged is there, whole, as it was put, and pinned if that was acknowledged;
- of a batch that was not, all are there, or none;
- nothing returns that was deleted, or that a gc took for being expired;
- in a budget, only the oldest are gone, and the file is within it;
- `verify()` and SQLite's integrity_check find nothing, nor does the audit log's `verify`, in which each
  acknowledged entry is.

PLACE: a path in the folder where the files are to lie. Time is a count that the children share, so that what
expires is known to the second.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import select
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from soup_book import SECOND, START_NS, YES, Book, Deed, Found, Item, address, content_of

from vaultscope import NotFoundError, Registry
from vaultscope.edge.soup_writer import SoupWriter
from vaultscope.soup import SoupObject, SqliteSoup

PATIENCE_S = 120
EARLY, EARLY_S, LIFE_S = 0.1, 0.01, 0.01
MANY, PINS_MAX, SMALL = 120, 5, 5_000
BUDGET = 192 << 10
AUDIT_LIVES = 40
DURABLE, VERB = "d", "campaign.append"


@dataclass(frozen=True)
class Cast:
    """Who uses the soup. keeper: a process that has it open, and does nothing, so that SQLite's log and the
    index of it in shared memory are left as they were at the kill."""

    name: str
    slots: int = 1
    max_bytes: int = 1 << 30
    keeper: bool = False
    audits: bool = False


CASTS = (
    Cast("alone"),
    Cast("beside an idle one", keeper=True),
    Cast("in a budget", max_bytes=BUDGET),
    Cast("two at once", slots=2),
    Cast("with an audit log", audits=True),
)


class Clock:
    """Seconds that pass with what is done: one word for each process, in memory that forks share."""

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, 8 * 8)).cast("Q")

    def tick(self, slot: int) -> int:
        self._words[slot] += 1
        return self.now_ns()

    def now_ns(self) -> int:
        return START_NS + sum(self._words) * SECOND


# ---- the child ----


class Child:
    """What a process does until it is killed."""

    def __init__(self, campaign: Campaign, slot: int, life: int, fd: int) -> None:
        self._campaign, self._slot, self._life, self._fd = campaign, slot, life, fd
        self._cast = campaign.cast
        self._draw = random.Random(f"{campaign.seed} {self._cast.name} {life}")
        self._soup = campaign.open()
        self._writer: SoupWriter | None = None
        self._audit = campaign.open_audit() if self._cast.audits else None
        self._count = 0
        self._deleted: list[str] = []
        book = campaign.book.entries.values()
        self._known = [each.items[0].key for each in book if self._is_mine(each.items[0].key)]
        self._pinned = [each.items[0].key for each in book if each.pinned == YES]

    def _is_mine(self, key: str) -> bool:
        return key.startswith(f"{self._slot}-")

    def _tell(self, *what: Any) -> None:
        data = json.dumps(what).encode() + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]

    def report(self) -> None:
        """Tells what is there."""
        found = [_row(each) for each in self._soup.query()]
        with closing(sqlite3.connect(self._campaign.path)) as connection:
            integrity = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            pages, free, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        entries = self._campaign.audit_entries() if self._audit is not None else []
        self._tell("state", found, integrity, list(self._soup.verify()), (pages - free) * size, entries)
        self._known = [each[5] for each in found if self._is_mine(each[5])]
        self._pinned = [each[5] for each in found if each[6] and self._is_mine(each[5])]

    def go_on(self) -> NoReturn:
        """Does one thing after the other."""
        while True:
            self._campaign.clock.tick(self._slot)
            weights = {self._put: 6, self._put_many: 3, self._write: 2, self._pin: 1, self._unpin: 1}
            weights[self._gc] = 1
            weights[self._delete] = 100 if len(self._known) > MANY else 2
            if self._audit is not None:
                weights[self._append] = 4
            (deed,) = self._draw.choices(list(weights), list(weights.values()))
            deed()

    def _do(self, name: str, given: Any, call: Callable[[], Any]) -> Any:
        self._tell("?", name, given)
        result = call()
        self._tell("!", result)
        return result

    def _items(self, count: int) -> list[Item]:
        seconds = self._draw.choice((None, None, self._draw.randrange(1, 40)))
        now_ns = self._campaign.clock.now_ns()
        names = range(self._count, self._count + count)
        keys = [f"{self._slot}-{self._life}-{n}{DURABLE if seconds is None else ''}" for n in names]
        self._count += count
        self._known += keys
        return [Item(key, now_ns, seconds, place) for place, key in enumerate(keys)]

    def _again(self) -> list[Item]:
        """One that is there, or has been deleted."""
        keys = [key for key in self._known[-8:] + self._deleted[-8:] if key.endswith(DURABLE)]
        return [Item(self._draw.choice(keys), self._campaign.clock.now_ns(), None)] if keys else []

    def _put(self) -> None:
        (item,) = (self._again() if self._draw.randrange(4) == 0 else []) or self._items(1)
        new = item.new()
        self._do("put", [_given(item)], lambda: self._soup.put_many([new]) == [address(item.key)])

    def _put_many(self) -> None:
        items = self._items(self._draw.randrange(2, 40))
        new = [item.new() for item in items]
        self._do("put", list(map(_given, items)), lambda: len(self._soup.put_many(new)) == len(new))

    def _write(self) -> None:
        if self._writer is None:
            self._writer = SoupWriter(
                self._soup, flush_seconds=0.0, gc_seconds=None, registry=self._campaign.registry
            )
        items = self._items(self._draw.randrange(1, 20))
        self._do("write", list(map(_given, items)), lambda: self._written(self._writer, items))

    def _written(self, writer: Any, items: list[Item]) -> bool:
        for item in items:
            new = item.new()
            written = writer.put(
                new.content, type=new.type, attributes=new.attributes, ttl=new.ttl, created_ns=new.created_ns
            )
            assert written == address(item.key)
        assert writer.flush(PATIENCE_S)
        return True

    def _delete(self) -> None:
        if self._known:
            key = self._known.pop(self._draw.randrange(len(self._known)))
            self._deleted.append(key)
            self._do("delete", address(key), lambda: self._soup.delete(address(key)))

    def _pin(self) -> None:
        if self._known and len(self._pinned) < PINS_MAX:
            key = self._draw.choice(self._known)
            if len(content_of(key)) < SMALL:
                self._pinned.append(key)
                self._do("pin", address(key), lambda: self._was_pinned(address(key)))

    def _was_pinned(self, where: str) -> bool:
        try:
            self._soup.pin(where, "campaign")
        except NotFoundError:
            return False
        return True

    def _unpin(self) -> None:
        if self._pinned:
            key = self._pinned.pop(self._draw.randrange(len(self._pinned)))
            self._do("unpin", address(key), lambda: self._soup.unpin(address(key), "campaign") is None)

    def _gc(self) -> None:
        def collect() -> tuple[int, int, bool]:
            report = self._soup.gc(max_seconds=1.0)
            return report.expired, report.evicted, report.complete

        self._do("gc", self._campaign.clock.now_ns(), collect)

    def _append(self) -> None:
        name = f"{self._life}-{self._count}"
        self._count += 1
        self._do("append", name, lambda: self._audit.append("campaign", VERB, name, wait=True) is not None)


def _row(each: SoupObject) -> tuple[Any, ...]:
    """As Found has it."""
    key = each.attributes["key"]
    return each.address, each.type, each.created_ns, each.expires_ns, each.size, key, each.pinned


def _given(item: Item) -> tuple[Any, ...]:
    return item.key, item.created_ns, item.seconds, item.place


# ---- the parent ----


@dataclass
class Process:
    """A child, and what it has told so far."""

    pid: int
    slot: int
    fd: int
    deeds: list[Deed] = field(default_factory=list)
    state: list[Any] | None = None
    rest: bytes = b""
    has_ended: bool = False

    def read(self, seconds: float) -> None:
        """Takes what the child tells, until it has nothing to say for so long, or has ended."""
        while not self.has_ended and select.select([self.fd], [], [], max(0.0, seconds))[0]:
            data = os.read(self.fd, 1 << 16)
            self.has_ended = not data
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            return

    def _take(self, told: list[Any]) -> None:
        if told[0] == "state":
            self.state = told[1:]
        elif told[0] == "?":
            self.deeds.append(Deed(told[1], told[2]))
        else:
            self.deeds[-1].result = told[1]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert status == -signal.SIGKILL, f"a process ended with {status}"
        while not self.has_ended:
            self.read(PATIENCE_S)
        os.close(self.fd)


@dataclass
class Figures:
    """What a campaign has seen."""

    kills: int = 0
    acknowledged: int = 0
    in_flight: int = 0
    entries: int = 0
    objects: int = 0
    looks: int = 0


class Campaign:
    """The kills of one cast."""

    def __init__(self, cast: Cast, seed: int, folder: Path) -> None:
        self.cast, self.seed = cast, seed
        self.path = folder / "vault.soup"
        self.audit_path = folder / "vault-0.audit"
        self.registry = Registry()
        self.clock = Clock()
        self.book = Book(cast.max_bytes == BUDGET, cast.slots == 1)
        self.figures = Figures()
        self._draw = random.Random(f"{seed} {cast.name}")
        self._life = 0
        self._appended: set[str] = set()

    def open(self) -> SqliteSoup:
        return SqliteSoup(
            self.path,
            max_bytes=self.cast.max_bytes,
            busy_seconds=PATIENCE_S,
            registry=self.registry,
            clock=self.clock.now_ns,
        )

    def open_audit(self) -> Any:
        from vaultscope.audit import AuditLog

        return AuditLog(self.audit_path, batch_seconds=0.0, registry=self.registry, max_bytes=1 << 15)

    def audit_entries(self) -> list[str]:
        """The names in the audit log. Raises AssertionError if anything is wrong with it."""
        from vaultscope.audit import read_entries, verify

        findings = list(verify(self.audit_path))
        assert not findings, findings
        return [entry.object for entry in read_entries(self.audit_path) if entry.verb == VERB]

    # ---- processes ----

    def run(self, kills: int) -> None:
        keeper = self._keep() if self.cast.keeper else None
        while self.figures.kills < kills:
            self._turn()
        last = self._start(0)
        self._wait_for_state(last)
        last.kill()
        if keeper is not None:
            keeper.kill()
        self.figures.acknowledged += self.book.acknowledged
        self.figures.in_flight += self.book.in_flight

    def _turn(self) -> None:
        """One process lives and is killed, or two."""
        lives = [self._start(0)]
        if self._draw.random() < EARLY:
            _listen(lives, self._draw.random() * EARLY_S)  # perhaps it has hardly begun
        else:
            self._wait_for_state(lives[0])
            lives += [self._start(slot, reports=False) for slot in range(1, self.cast.slots)]
            _listen(lives, self._draw.random() * LIFE_S)
        self._draw.shuffle(lives)
        for life in lives:
            life.kill()
            _listen([each for each in lives if not each.has_ended], self._draw.random() * LIFE_S / 4)
            self.figures.kills += 1
        for life in lives:
            self._compare(life)
        self.book.note([life.deeds for life in lives], self.clock.now_ns())
        for life in lives:
            self._note_audit(life.deeds)

    def _start(self, slot: int, *, reports: bool = True) -> Process:
        self._life += 1
        if self._life % AUDIT_LIVES == 0:
            self.audit_path = self.path.with_name(f"vault-{self._life}.audit")
            self._appended.clear()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            self._live(slot, writer, reports)
        os.close(writer)
        return Process(pid, slot, reader)

    def _live(self, slot: int, fd: int, reports: bool) -> NoReturn:
        try:
            signal.alarm(PATIENCE_S)
            child = Child(self, slot, self._life, fd)
            if reports:
                child.report()
            child.go_on()
        except BrokenPipeError:
            os._exit(1)  # the parent has found something wrong
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)

    def _keep(self) -> Process:
        """A process that has the soup open, and waits."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            soup = self.open()
            soup.count()
            os.write(writer, b'["state"]\n')
            while True:
                signal.pause()
        os.close(writer)
        keeper = Process(pid, 0, reader)
        while keeper.state is None:
            keeper.read(PATIENCE_S)
        return keeper

    # ---- looking ----

    def _wait_for_state(self, life: Process) -> None:
        while life.state is None:
            assert not life.has_ended, f"a process ended by itself: {os.waitpid(life.pid, 0)}"
            life.read(PATIENCE_S)
        self._compare(life)

    def _compare(self, life: Process) -> None:
        """What is there with what must be. Raises AssertionError."""
        if not life.state:
            return
        found, integrity, damaged, used, entries = life.state
        life.state = []
        assert integrity == ["ok"], integrity
        assert damaged == [], damaged
        assert used <= self.cast.max_bytes, f"{used} bytes are used"
        self.book.compare(Found(*each) for each in found)
        self.figures.objects += len(found)
        self.figures.looks += 1
        if self.cast.audits:
            assert len(set(entries)) == len(entries), "an audit entry is there twice"
            assert self._appended <= set(entries), f"{self._appended - set(entries)} are not in the audit log"

    def _note_audit(self, deeds: Sequence[Deed]) -> None:
        names = {deed.given for deed in deeds if deed.name == "append" and deed.result}
        self._appended |= names
        self.figures.entries += len(names)


def _listen(lives: Sequence[Process], seconds: float) -> None:
    """Takes what they tell for so long."""
    end = time.monotonic() + seconds
    while lives and (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([each.fd for each in lives if not each.has_ended], [], [], left)
        for life in lives:
            if life.fd in ready:
                life.read(0.0)
        if all(life.has_ended for life in lives):
            return


def main(kills: int, seed: int, place: str) -> None:
    signal.alarm(PATIENCE_S * 30)  # a deadlock ends the process
    start = time.monotonic()
    total = 0
    for number, cast in enumerate(CASTS):
        folder = Path(place).parent / f"soup-{number}"
        folder.mkdir()
        campaign = Campaign(cast, seed, folder)
        campaign.run(-(-kills // len(CASTS)))
        figures, total = campaign.figures, total + campaign.figures.kills
        audit = f" and {figures.entries:,} audit entries" if cast.audits else ""
        print(
            f"{figures.kills:,} kills, {cast.name}: of {figures.acknowledged:,} objects{audit} that were "
            f"acknowledged lost 0, corrupt 0; {figures.in_flight:,} calls were cut short; at each look "
            f"{figures.objects / figures.looks:.0f} were there",
            flush=True,
        )
    print(f"{total / (time.monotonic() - start):.0f} kills a second")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
