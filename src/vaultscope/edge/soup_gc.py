"""Making room in a soup's file: what has expired goes first, then what is oldest, until it is in its budget.

A transaction of it is short, and between two of them is a pause in which every writer that waits comes in:
they look once a millisecond.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from vaultscope.core.soup import GcReport
from vaultscope.edge.soup_file import SoupFile
from vaultscope.errors import DamagedError

__all__ = ["SoupGc"]

STEP_S = 0.006
PAUSE_S = 0.003
STEP_ROWS = 256
STEP_BYTES = 2 << 20
LOW_WATER = 0.9
_CREDIT = 16
ROW_BYTES = 300  # of a row and its entries in the indexes, beside its content

_BATCH = """
SELECT {key}, id, ifnull(length(content), 0) FROM objects
WHERE ({key}, id) > (?, ?) AND {key} <= ?
  AND NOT EXISTS (SELECT 1 FROM pins WHERE pins.address = objects.address)
ORDER BY {key}, id LIMIT ?
"""
_EXPIRED, _OLDEST = _BATCH.format(key="expires_ns"), _BATCH.format(key="created_ns")
_Found = tuple[int, int, int]  # the key, the id, and the bytes that are stored
_START = (-1, 0)
_TIME_MAX = 2**63 - 1


class SoupGc:
    """Makes room in a file.

    max_bytes: its budget.
    clock: nanoseconds since 1970.
    counted: told how many objects were deleted, and why: "expired" or "budget".
    """

    def __init__(
        self,
        file: SoupFile,
        *,
        max_bytes: int,
        clock: Callable[[], int],
        counted: Callable[[str, int], None],
    ) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._clock = clock
        self._counted = counted
        self._credit = 0
        # Up to where everything is pinned, or gone: so that a step does not look at it again and again.
        self._places = {"expired": _START, "budget": _START}

    # ---- for a writer ----

    def is_near(self, more_bytes: int) -> bool:
        """Whether the budget may be near, and so the file is to be asked: not as long as a small part of the
        room that was there is used up. (A small one: other processes write, too.)"""
        self._credit -= more_bytes
        return self._credit < 0

    def has_room(self, connection: sqlite3.Connection, more_bytes: int = 0) -> bool:
        """Whether the file is within its budget, with so much more in it."""
        pages, free, page_bytes = _pages(connection)
        room = self._max_bytes - (pages - free) * page_bytes - more_bytes
        self._credit = room // _CREDIT
        return room >= 0

    def make_room(self, more_bytes: int) -> bool:
        """One short transaction, towards room for so much more. False: nothing can be deleted. Raises
        StorageError."""
        return bool(self._delete("expired") or self._delete("budget", more_bytes))

    # ---- for all ----

    def run(self, max_seconds: float | None) -> GcReport:
        """Makes room until there is enough, or for so many seconds, and gives it back to the file system.
        Raises StorageError."""
        deadline = None if max_seconds is None else time.monotonic() + max_seconds
        self._places = {"expired": _START, "budget": _START}
        with self._file.write() as connection:
            before = _file_bytes(connection)
        expired, is_expired_done = self._repeat(lambda: self._delete("expired"), deadline)
        evicted, is_evicted_done = self._repeat(self._evict, deadline)
        _, is_shrunk = self._repeat(self._shrink, deadline)
        with self._file.write() as connection:
            after = _file_bytes(connection)
            is_within = self.has_room(connection)
        self._file.checkpoint()
        is_complete = is_expired_done and is_evicted_done and is_shrunk and is_within
        return GcReport(expired, evicted, max(0, before - after), is_complete)

    def _repeat(self, step: Callable[[], int], deadline: float | None) -> tuple[int, bool]:
        """The sum of what the steps say until one says 0, and whether one did in time."""
        total = 0
        while deadline is None or time.monotonic() < deadline:
            done = step()
            if done == 0:
                return total, True
            total += done
            time.sleep(PAUSE_S)
        return total, False

    def _evict(self) -> int:
        """The oldest ones, unless the file is well within its budget. Once begun it goes on to the low-water
        mark, so that not the next put has to do it again."""
        with self._file.write() as connection:
            pages, free, page_bytes = _pages(connection)
        used = (pages - free) * page_bytes
        is_begun = self._places["budget"] != _START
        if used <= self._max_bytes * (LOW_WATER if is_begun else 1.0):
            return 0
        return self._delete("budget")

    def _delete(self, reason: str, more_bytes: int = 0) -> int:
        """Deletes the next objects in one transaction, for the budget no more than lead to its low-water mark
        with so much more in the file, and returns how many. 0: there is none."""
        select, until = (_EXPIRED, self._clock()) if reason == "expired" else (_OLDEST, _TIME_MAX)
        done = 0
        with self._file.write() as connection:
            end = time.monotonic() + STEP_S
            found = self._find(connection, select, reason, until)
            if reason == "budget":
                pages, free, page_bytes = _pages(connection)
                excess = (pages - free) * page_bytes + more_bytes - int(self._max_bytes * LOW_WATER)
                found = _at_least(found, max(excess, self._max_bytes >> 6))
            for _, row_id, _ in found:
                if not connection.execute("DELETE FROM objects WHERE id = ?", (row_id,)).rowcount:
                    raise DamagedError(f"{self._file.path}: an index has objects that are not there")
                done += 1
                if time.monotonic() >= end:
                    break
        if done:
            self._places[reason] = found[done - 1][:2]
            self._counted(reason, done)
        return done

    def _find(self, connection: sqlite3.Connection, select: str, reason: str, until: int) -> list[_Found]:
        found = connection.execute(select, (*self._places[reason], until, STEP_ROWS)).fetchall()
        if not found and self._places[reason] != _START:  # older ones may have come, or been unpinned, since
            self._places[reason] = _START
            found = connection.execute(select, (*_START, until, STEP_ROWS)).fetchall()
        return _at_most(found, STEP_BYTES)

    def _shrink(self) -> int:
        """Gives free pages back to the file system; how many."""
        until = time.monotonic() + STEP_S
        with self._file.write() as connection:
            before = _pages(connection)[0]
            # One page at a time: Python's module runs a statement without columns for one step only, which is
            # what this one does a page in, however many it is asked for.
            while _pages(connection)[1] and time.monotonic() < until:
                connection.execute("PRAGMA incremental_vacuum(1)")
            return before - _pages(connection)[0]


def _at_most(rows: list[_Found], size: int) -> list[_Found]:
    """As many as have no more than so many bytes, but at least one."""
    for count, row in enumerate(rows):
        size -= row[2] + ROW_BYTES
        if size < 0 and count:
            return rows[:count]
    return rows


def _at_least(rows: list[_Found], size: int) -> list[_Found]:
    """As many as have so many bytes together."""
    for count, row in enumerate(rows, 1):
        size -= row[2] + ROW_BYTES
        if size <= 0:
            return rows[:count]
    return rows


def _pages(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """How many pages the file has, how many of them are free, and how large one is."""
    pages, free, page_bytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return pages, free, page_bytes


def _file_bytes(connection: sqlite3.Connection) -> int:
    pages, _, page_bytes = _pages(connection)
    return pages * page_bytes
