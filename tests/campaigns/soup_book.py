"""What a campaign puts into a soup, by name, and what must be there afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from vaultscope.core.soup import address_of
from vaultscope.soup import NewObject

KINDS = ("durable", "fleeting")
SECOND = 1_000_000_000
START_NS = 1_700_000_000 * SECOND

# Of an object or a pin: it is there, it is not, or it may be either, since a kill came in between.
YES, NO, MAYBE = "yes", "no", "maybe"


def content_of(key: str) -> bytes:
    """Bytes by their name: mostly short, now and then over several pages, and not all can be compressed."""
    draw = random.Random(key)
    size = draw.choice((0, 40, 200, 200, 600, 3_000) if draw.randrange(64) else (10_000, 30_000))
    filling = draw.randbytes(size) if draw.randrange(2) else b"filling " * (size // 8)
    return key.encode() + b"\n" + filling


@lru_cache(100_000)
def named(key: str) -> tuple[str, int]:
    """The address of a content, and its size."""
    content = content_of(key)
    return address_of(content), len(content)


def address(key: str) -> str:
    return named(key)[0]


@dataclass(frozen=True)
class Item:
    """An object that is put. seconds: until it expires; None: never. place: among those put with it."""

    key: str
    created_ns: int
    seconds: int | None
    place: int = 0

    @property
    def kind(self) -> str:
        return KINDS[self.seconds is not None]

    @property
    def expires_ns(self) -> int | None:
        return None if self.seconds is None else self.created_ns + self.seconds * SECOND

    @property
    def order(self) -> tuple[int, int]:
        return self.created_ns, self.place

    def new(self) -> NewObject:
        ttl = float("inf") if self.seconds is None else float(self.seconds)
        return NewObject(content_of(self.key), self.kind, {"key": self.key}, self.created_ns, ttl)


@dataclass(frozen=True)
class Found:
    """An object as a soup has it."""

    address: str
    kind: str
    created_ns: int
    expires_ns: int | None
    size: int
    key: str
    pinned: bool


@dataclass
class Deed:
    """What a process does. result None: it was killed, so that it may have been done or not."""

    name: str
    given: Any
    result: Any = None


@dataclass
class Entry:
    """What is known of an object: whether it is there, is pinned, and which ones of its name it may be."""

    items: list[Item]
    there: str
    pinned: str = NO
    was_pinned: bool = False


@dataclass
class Book:
    """What must be in a soup, by what its processes were told. has_budget: it may evict the oldest.
    is_alone: one process at a time uses it."""

    has_budget: bool
    is_alone: bool
    entries: dict[str, Entry] = field(default_factory=dict)
    together: list[list[str]] = field(default_factory=list)
    has_gc: bool = False
    now_ns: int = START_NS
    acknowledged: int = 0
    in_flight: int = 0

    # ---- what was done ----

    def note(self, lives: Iterable[Sequence[Deed]], now_ns: int) -> None:
        """What each process did since the last look, until now."""
        self.now_ns = now_ns
        deeds = [deed for life in lives for deed in life]
        self.has_gc |= any(deed.name == "gc" for deed in deeds)  # which took what the others had put, too
        for deed in deeds:
            self.in_flight += deed.result is None
            if deed.name != "append":  # to the audit log, which is another book
                getattr(self, f"_{deed.name}")(deed.given, deed.result)

    def _put(self, given: Sequence[Sequence[Any]], result: bool | None) -> None:
        items = [Item(*each) for each in given]
        for item in items:
            entry = self.entries.setdefault(address(item.key), Entry([], NO))
            if entry.there != YES:
                entry.items.append(item)
                entry.there = YES if result else MAYBE
        if result is None:
            self.together.append([address(item.key) for item in items])
        else:
            self.acknowledged += len(items)

    def _write(self, given: Sequence[Sequence[Any]], result: bool | None) -> None:
        """By a background writer: what was not flushed is there one by one, in batches."""
        for each in given:
            self._put([each], result)

    def _delete(self, where: str, result: bool | None) -> None:
        entry = self.entries[where]
        assert result is not True or entry.there != NO, f"{where} was deleted, and had not been there"
        assert result is not False or entry.there != YES or self._may_go(entry), f"{where} was lost"
        entry.there = NO if result is not None else MAYBE if entry.there != NO else NO
        entry.pinned = NO if result is not None else MAYBE if entry.pinned != NO else NO

    def _pin(self, where: str, result: bool | None) -> None:
        entry = self.entries[where]
        entry.was_pinned = True
        if result:
            assert entry.there != NO, f"{where} was pinned, and had not been there"
            entry.there = entry.pinned = YES
        elif result is None:
            entry.pinned = YES if entry.pinned == YES else MAYBE
        else:
            assert entry.there != YES or self._may_go(entry), f"{where} was lost"
            entry.there = NO

    def _unpin(self, where: str, result: bool | None) -> None:
        entry = self.entries[where]
        entry.pinned = NO if result else MAYBE if entry.pinned != NO else NO

    def _gc(self, now_ns: int, result: Sequence[int] | None) -> None:
        if self.is_alone and result and result[2]:  # complete
            for entry in self.entries.values():
                if entry.pinned == NO and entry.there != NO and self._has_expired(entry, now_ns):
                    entry.there = NO

    def _has_expired(self, entry: Entry, now_ns: int) -> bool:
        return all(each.expires_ns is not None and each.expires_ns <= now_ns for each in entry.items)

    def _may_go(self, entry: Entry) -> bool:
        """Whether the soup itself may have deleted it."""
        if entry.pinned == YES:
            return False
        return self.has_budget or (self.has_gc and self._has_expired(entry, self.now_ns))

    # ---- what is there ----

    def compare(self, found: Iterable[Found]) -> None:
        """Looks whether what is there is what must be, and goes on from it. Raises AssertionError."""
        there = {each.address: each for each in found}
        for where, each in there.items():
            entry = self.entries.get(where)
            assert entry is not None and entry.there != NO, f"{each.key} returned, or was never put"
            self._compare(entry, each)
        evicted = []
        for where, entry in self.entries.items():
            if where in there or entry.there != YES:
                continue
            # A put that makes room takes what has expired, too.
            expired = (self.has_gc or self.has_budget) and self._has_expired(entry, self.now_ns)
            assert entry.pinned != YES and (expired or self.has_budget), f"{entry.items} is lost"
            if not expired:
                evicted.append(entry)
        self._compare_evicted(evicted, there)
        for group in self.together:
            count = sum(where in there for where in group)
            assert self.has_budget or count in (0, len(group)), f"{count} of {len(group)} are there"
        self._go_on(there)

    def _compare(self, entry: Entry, each: Found) -> None:
        assert (each.address, each.size) == named(each.key), each
        seen = each.kind, each.created_ns, each.expires_ns
        assert seen in [(item.kind, item.created_ns, item.expires_ns) for item in entry.items], each
        assert entry.pinned in (MAYBE, YES if each.pinned else NO), f"pinned: {entry.pinned}; {each}"

    def _compare_evicted(self, evicted: list[Entry], there: dict[str, Found]) -> None:
        """The oldest went first."""
        if evicted:
            newest = max(entry.items[-1].order for entry in evicted)
            for where in there:
                entry = self.entries[where]
                assert entry.was_pinned or entry.items[-1].order > newest, f"{entry.items} outlived {newest}"

    def _go_on(self, there: dict[str, Found]) -> None:
        left = {}
        for where, each in there.items():
            entry = self.entries[where]
            (item, *_) = [item for item in entry.items if item.created_ns == each.created_ns]
            left[where] = Entry([item], YES, YES if each.pinned else NO, entry.was_pinned)
        self.entries = left
        self.together.clear()
        self.has_gc = False
