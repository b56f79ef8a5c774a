"""Making room in a soup in PostgreSQL: what has expired goes first, then what is oldest, until the rows are
within the budget.

Any number of vaults may do it at once. A row that one has locked is passed over by the others; and what is
too old for the budget is worked out as a moment in time, which is the same for all of them, so that two who
evict do not evict twice as much.

The budget is of rows, not of files: PostgreSQL keeps the room that deleted rows leave, for new ones, once its
autovacuum has been there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from vaultscope.core.soup import GcReport
from vaultscope.edge.soup_postgres_pool import PostgresPool

__all__ = ["PostgresGc"]

STEP_ROWS = 512
LOW_WATER = 0.9

_SIZE = """
SELECT count(*), coalesce(sum(stored), 0)::bigint, coalesce(sum(stored) FILTER (WHERE is_pinned), 0)::bigint
FROM objects
"""
# Newest first: how much there is from the newest one down to each. What is pinned counts before all.
_CUT = """
WITH pinned AS (SELECT coalesce(sum(stored), 0) AS bytes FROM objects WHERE is_pinned)
SELECT created_ns, id FROM (
  SELECT created_ns, id, sum(stored) OVER (ORDER BY created_ns DESC, id DESC) AS bytes
  FROM objects WHERE NOT is_pinned
) AS newest
WHERE bytes + (SELECT bytes FROM pinned) > %s::bigint
ORDER BY created_ns DESC, id DESC LIMIT 1
"""
_DELETE = """
WITH gone AS (
  DELETE FROM objects WHERE address = ANY(ARRAY(
    SELECT address FROM objects WHERE {condition} AND NOT is_pinned
    ORDER BY {key} LIMIT %s FOR UPDATE SKIP LOCKED
  )) RETURNING stored, {key}
)
SELECT count(*), coalesce(sum(stored), 0)::bigint, max({place})::bigint FROM gone
"""
_EXPIRED = _DELETE.format(
    condition="expires_ns >= %s::bigint AND expires_ns <= %s::bigint", key="expires_ns", place="expires_ns"
)
_OLDEST = _DELETE.format(
    condition="created_ns >= %s::bigint AND (created_ns, id) <= (%s::bigint, %s::bigint)",
    key="created_ns, id",
    place="created_ns",
)
_TIME_MIN = -(2**63)


class PostgresGc:
    """Makes room in a soup.

    max_bytes: its budget.
    clock: nanoseconds since 1970.
    counted: told how many objects were deleted, and why: "expired" or "budget".
    sized: told how many objects and bytes there are, when it was looked.
    """

    def __init__(
        self,
        pool: PostgresPool,
        *,
        max_bytes: int,
        clock: Callable[[], int],
        counted: Callable[[str, int], None],
        sized: Callable[[int, int], None],
    ) -> None:
        self._pool = pool
        self._max_bytes = max_bytes
        self.pinned_bytes = 0
        """Of what is pinned, when it was last looked."""
        self._clock = clock
        self._counted = counted
        self._sized = sized

    def run(self, max_seconds: float | None = None, *, more_bytes: int = 0) -> GcReport:
        """Makes room until there is enough, or for so many seconds. Raises StorageError.

        more_bytes: that are to come.
        """
        deadline = None if max_seconds is None else time.monotonic() + max_seconds
        now_ns = self._clock()
        expired, expired_bytes, is_done = self._delete("expired", _EXPIRED, (now_ns,), deadline)
        evicted, evicted_bytes, is_within = self._evict(deadline, more_bytes)
        return GcReport(expired, evicted, expired_bytes + evicted_bytes, is_done and is_within)

    def _evict(self, deadline: float | None, more_bytes: int) -> tuple[int, int, bool]:
        """Objects, their bytes, and whether all is done: what others have locked, they delete. Once begun it
        goes on to the low-water mark, so that not the next put has to do it again."""
        objects, total, self.pinned_bytes = self._pool.rows(_SIZE)[0]
        evicted = evicted_bytes = 0
        is_done = True
        if total + more_bytes > self._max_bytes:
            room = max(0, int(self._max_bytes * LOW_WATER) - more_bytes)
            cut = self._pool.rows(_CUT, [room])
            if cut:
                evicted, evicted_bytes, is_done = self._delete("budget", _OLDEST, cut[0], deadline)
        self._sized(objects - evicted, total - evicted_bytes)
        return evicted, evicted_bytes, is_done and self.pinned_bytes + more_bytes <= self._max_bytes

    def _delete(
        self, reason: str, sql: str, until: tuple[int, ...], deadline: float | None
    ) -> tuple[int, int, bool]:
        """Objects, their bytes, and whether none is left; one batch, however late it is. Each begins where
        the one before it ended: the places of what was deleted need not be looked at again."""
        objects = total = 0
        place = _TIME_MIN
        while objects == 0 or deadline is None or time.monotonic() < deadline:
            count, freed, last = self._pool.rows(sql, [place, *until, STEP_ROWS])[0]
            if count == 0:
                return objects, total, True
            self._counted(reason, count)
            objects, total, place = objects + count, total + freed, last
        return objects, total, False
