"""Recording: every minute, what grew is put into a soup, so that yesterday's p99 can be asked for.

    recorder = MetricRecorder(registry, SqliteSoup("vault.soup"))
    recorder.start()
    ...
    recorder.close()

A snapshot is taken at every full minute of the clock, and what grew since the one before is an object of type
"metrics". What cannot be put is kept and comes with the next, the same bytes again: a store that names what
it holds by its content cannot count them twice, even if it had them and failed to say so.

Not recorded is what came before the start, and up to a minute before a kill -9. A process that ends by itself
closes its recorders.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

from vaultscope.core.arena import ArenaReader
from vaultscope.core.history_codec import HDR_BYTES_MAX, encode
from vaultscope.core.history_interval import Interval, growth
from vaultscope.core.lifetime import Living
from vaultscope.core.metrics import Counter
from vaultscope.core.registry import Registry
from vaultscope.core.snapshot import Snapshot
from vaultscope.core.soup import NewObject
from vaultscope.errors import DeclarationError

__all__ = ["TYPE", "MetricRecorder", "ObjectStore"]

TYPE = "metrics"
EVERY_MAX = 3600.0  # a reader looks no further for an interval that reaches into its range
PENDING_BYTES_MAX = 4 << 20
EXIT_SECONDS = 2.0
BATCH = 64  # intervals at once: a store's transactions are short


class ObjectStore(Protocol):
    """Where a MetricRecorder puts intervals: a Soup, or what has this of one."""

    def put_many(self, objects: Iterable[NewObject]) -> list[str]:
        """Stores all of them or none, and returns their addresses. Raises if it cannot."""


class MetricRecorder:
    """Records the metrics of a registry, or of an arena that is read, in a thread of its own.

    Where processes share an arena in a file, each may have a recorder: one of them records for all, and when
    it ends another takes its place. (Who it is says a lock on a file beside the arena's.)

    After a fork the child's copy is stopped; it may be started, and records from then on.

    Args:
        registry: Whose metrics.
        soup: Where to.
        every: Seconds between snapshots, up to 3,600; they are taken at multiples of it since 1970.
        vault: Named in each interval, to tell vaults that share a soup.
        ttl: Seconds that an interval is kept; None: what the soup has for its type.
        hdr_bytes_max: About how many bytes of an interval one HDR series may take. Above, its values are
            kept to fewer digits: see core/history_codec.py. None: always to all.
        pending_bytes_max: How much is kept while the soup fails; beyond that the oldest is lost, and counted.
        clock_ns: Nanoseconds since 1970.
        monotonic_ns: Nanoseconds of a clock that is never set.

    Thread-safe. Never raises once it is started: failures are counted, in `failed` and, with a Registry, in
    vaultscope.history.errors. Raises DeclarationError for arguments that make no sense.
    """

    recorded: int
    """Intervals that the soup has."""
    failed: int
    """Snapshots and puts that failed."""
    lost: int
    """Intervals that were given up."""

    def __init__(
        self,
        registry: Registry | ArenaReader,
        soup: ObjectStore,
        *,
        every: float = 60.0,
        vault: str = "",
        ttl: float | None = None,
        hdr_bytes_max: int | None = HDR_BYTES_MAX,
        pending_bytes_max: int = PENDING_BYTES_MAX,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not 0.001 <= every <= EVERY_MAX:
            raise DeclarationError(f"a snapshot every {every} s: wanted 0.001 to {EVERY_MAX:.0f}")
        self._registry = registry
        self._soup = soup
        self._every_ns = round(every * 1e9)
        self._vault = vault
        self._ttl = ttl
        self._hdr_bytes_max = hdr_bytes_max
        self._pending_bytes_max = pending_bytes_max
        self._clock_ns = clock_ns
        self._monotonic_ns = monotonic_ns
        path = registry.path if isinstance(registry, ArenaReader) else registry.arena
        self._turn = None if path is None else _Turn(f"{path}.recorder")
        self._counters = _declare(registry) if isinstance(registry, Registry) else {}
        self.recorded = self.failed = self.lost = 0
        self._renew()
        _recorders.add(self)

    def _renew(self) -> None:
        self._mutex = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pending: deque[NewObject] = deque()
        self._base: tuple[Snapshot, int, int] | None = None  # where the interval begins
        self._started_ns = 0

    def start(self) -> None:
        """Takes the first snapshot, and starts the thread. Nothing if it runs. Raises what a snapshot of the
        registry raises."""
        with self._mutex:
            if self._thread is not None:
                return
            if self._base is None:
                self._base = self._look()
                self._started_ns = self._base[1]
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="vaultscope-history", daemon=True)
            self._thread.start()

    def record(self) -> bool:
        """Ends the interval now, and puts it and what is pending. True: nothing is pending any more."""
        with self._mutex:
            try:
                self._end_interval()
                self._put()
            except Exception:
                self._count("failed")
        return not self._pending

    def close(self, timeout: float = 5.0) -> bool:
        """Records what there is since the last snapshot, and ends the thread. False: it was not done in time;
        a soup that hangs is left behind."""
        thread = self._thread
        if thread is not None:
            self._stopping.set()
            thread.join(timeout)
            if thread.is_alive():
                return False
            with self._mutex:
                self._thread = self._base = None
        if self._turn is not None:
            self._turn.give_up()
        return not self._pending

    def __enter__(self) -> MetricRecorder:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stopping.wait(self._seconds_left())
            try:
                self.record()
            except BaseException:  # SystemExit, too: nobody would come for the next interval
                self._count("failed")

    def _seconds_left(self) -> float:
        left = self._every_ns - self._clock_ns() % self._every_ns
        if left < self._every_ns // 20:  # woken a little early: this moment's interval is done
            left += self._every_ns
        return left / 1e9

    def _look(self) -> tuple[Snapshot, int, int]:
        return self._registry.snapshot(), self._clock_ns(), self._monotonic_ns()

    def _end_interval(self) -> None:
        now = self._look()
        before, self._base = self._base, now
        if before is None:
            self._started_ns = now[1]
            return
        if self._turn is not None and not self._turn.take():
            return  # another process records the arena
        try:
            interval = Interval(
                before[1], now[1], max(0, now[2] - before[2]),
                os.getpid(), self._started_ns, self._vault, growth(before[0], now[0]),
            )  # fmt: skip
            content = encode(interval, hdr_bytes_max=self._hdr_bytes_max)
        except BaseException:
            self._base = before  # the next interval has it
            raise
        attributes = {"vault": self._vault} if self._vault else {}
        self._pending.append(NewObject(content, TYPE, attributes, now[1], self._ttl))

    def _put(self) -> None:
        try:
            while self._pending:
                batch = list(islice(self._pending, BATCH))
                self._soup.put_many(batch)
                for _ in batch:
                    self._pending.popleft()
                self._count("recorded", len(batch))
        except BaseException:
            while sum(len(each.content) for each in self._pending) > self._pending_bytes_max:
                self._pending.popleft()
                self._count("lost")
            raise

    def _count(self, what: str, n: int = 1) -> None:
        setattr(self, what, getattr(self, what) + n)
        if what in self._counters:
            self._counters[what].inc(n)

    def _after_fork(self) -> None:
        """What grew, and what is pending, is the parent's to put."""
        if self._turn is not None:
            self._turn.give_up()
        self._renew()


class _Turn:
    """Which of the processes that share an arena records it: who holds the lock on a file, which the kernel
    takes from the dead."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> bool:
        """Whether it is this one, now. Raises OSError if the file cannot be had."""
        if self._file is not None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True

    def give_up(self) -> None:
        """Lets another have it. In the child of a fork the lock is the parent's, and stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _declare(registry: Registry) -> dict[str, Counter]:
    def counter(name: str, help: str) -> Counter:
        return registry._declare(
            Counter, "counter", f"vaultscope.history.{name}", help, (), "", None, internal=True
        )

    return {
        "recorded": counter("intervals", "Intervals of metrics that were recorded"),
        "failed": counter("errors", "Snapshots that failed, or could not be put into the soup"),
        "lost": counter("dropped", "Intervals that were lost because the soup failed for too long"),
    }


_recorders: Living[MetricRecorder] = Living(
    lambda recorder: recorder.close(EXIT_SECONDS), MetricRecorder._after_fork
)
