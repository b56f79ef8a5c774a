"""Putting into a soup from where nothing may wait or fail: a queue, and a thread that stores the objects."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from vaultscope.core.back_off import BACK_OFF_MIN, longer
from vaultscope.core.lifetime import Living
from vaultscope.core.metrics import Counter
from vaultscope.core.registry import Registry, default_registry
from vaultscope.core.soup import Attribute, NewObject, Soup, address_of, as_content, check_type
from vaultscope.core.soup_attributes import attributes_of
from vaultscope.errors import DeclarationError

__all__ = ["SoupWriter"]

_OBJECT_BYTES = 500  # that an object takes in the queue, beside its content
_GC_SECONDS = 1.0
_EXIT_SECONDS = 5.0
_PATIENCE_S = 1.0  # beyond a deadline, with a store that is at work


class SoupWriter:
    """Takes objects from any thread, and stores them from one of its own, many at a time.

    What cannot be taken is dropped and counted in vaultscope.soup.dropped, by reason: "full", the queue is,
    since the store has stalled or is too slow; "invalid", it is no object; "refused", the store says so;
    "closed"; "nested", put by a signal handler, or a finalizer, that interrupted a put.

    A child of a fork has a queue and a thread of its own, at its first put; what was queued is the parent's.

    soup: where to.
    queue_bytes: that may wait.
    batch_bytes, batch_objects: that are stored at once, at most.
    flush_seconds: that an object waits for others.
    gc_seconds: how often the thread has the soup make room; None: somebody else does.
    name: the label `soup` of what is counted; the soup's file if it is left out.
    """

    def __init__(
        self,
        soup: Soup,
        *,
        queue_bytes: int = 8 << 20,
        batch_bytes: int = 1 << 20,
        batch_objects: int = 1000,
        flush_seconds: float = 0.25,
        gc_seconds: float | None = 60.0,
        registry: Registry | None = None,
        name: str = "",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if min(queue_bytes, batch_bytes, batch_objects) < 1 or flush_seconds < 0:
            raise DeclarationError("a queue and a batch have room for something, and time is not negative")
        self._soup = soup
        self._queue_bytes, self._batch_bytes = queue_bytes, min(batch_bytes, queue_bytes)
        self._batch_objects = batch_objects
        self._flush_seconds, self._gc_seconds = flush_seconds, gc_seconds
        self._clock = clock
        self._name = name or os.path.basename(str(getattr(soup, "path", "soup")))
        registry = default_registry() if registry is None else registry
        words = "Objects that were not put into a soup"
        self._dropped = registry._declare(
            Counter, "counter", "vaultscope.soup.dropped", words, ("soup", "reason"), "", 1000, internal=True
        )
        self._is_closed = False
        self._begin()
        _open_writers.add(self)

    def _begin(self) -> None:
        """As if nothing had been put."""
        self._changed = threading.Condition(threading.RLock())
        self._queue: deque[NewObject] = deque()
        self._bytes = 0  # of what is queued, or being stored
        self._taken = self._done = 0  # objects, ever
        self._is_putting = False
        self._is_urgent = False
        self._has_lost = False
        self._deadline: float | None = None
        self._thread: threading.Thread | None = None

    # ---- for all threads ----

    def put(
        self,
        content: bytes | Mapping[str, Any] | Sequence[Any],
        *,
        type: str,
        attributes: Mapping[str, Attribute] | None = None,
        ttl: float | None = None,
        created_ns: int | None = None,
    ) -> str:
        """Has the object stored soon, and returns its address; "": it was dropped, which is counted. Takes
        what Soup.put does; never waits, never raises."""
        try:
            data = as_content(content)
            created_ns = self._clock() if created_ns is None else created_ns
            new = NewObject(data, check_type(type), attributes_of(attributes), created_ns, ttl)
            address = address_of(data)
        except Exception:
            return self._drop("invalid")
        with self._changed:
            if self._is_closed:
                return self._drop("closed")
            if self._is_putting:
                return self._drop("nested")
            if self._bytes + _weight(new) > self._queue_bytes:
                return self._drop("full")
            self._is_putting = True
            try:
                self._take(new)
            finally:
                self._is_putting = False
        return address

    def _take(self, new: NewObject) -> None:
        self._queue.append(new)
        self._bytes += _weight(new)
        self._taken += 1
        if self._thread is None:
            self._start()
        elif len(self._queue) == 1 or self._is_batch():
            self._changed.notify_all()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"vaultscope-soup {self._name}", daemon=True)
        with suppress(
            RuntimeError
        ):  # there are too many threads, or the interpreter ends: the next put tries
            thread.start()
            self._thread = thread

    def _is_batch(self) -> bool:
        return self._bytes >= self._batch_bytes or len(self._queue) >= self._batch_objects

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until what was put before is stored, or was refused. False: not in that many seconds."""
        with self._changed:
            end = self._taken
            self._is_urgent = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= end, timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Stores what is left, for that many seconds at most, and ends; what is left then is dropped. False:
        something was, or the store hangs. Once closed, it stays so."""
        with self._changed:
            self._is_closed = True
            if self._deadline is None:
                self._deadline = time.monotonic() + timeout
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            self._give_up()
        elif thread is not threading.current_thread():
            thread.join(timeout + _PATIENCE_S)
            if thread.is_alive():
                return False  # it counts what it loses when it comes back
        return not self._has_lost

    def _drop(self, reason: str, count: int = 1) -> str:
        self._dropped.labels(self._name, reason).inc(count)
        return ""

    # ---- the thread ----

    def _run(self) -> None:
        next_gc = None if self._gc_seconds is None else time.monotonic() + self._gc_seconds
        while self._wait(next_gc):
            batch = self._next_batch()
            if batch:
                self._store(batch)
                self._finish(batch)
            if next_gc is not None and time.monotonic() >= next_gc:
                with suppress(Exception):  # the store counts it, and there is a next time
                    self._soup.gc(max_seconds=_GC_SECONDS)
                next_gc = time.monotonic() + (self._gc_seconds or 0.0)
        self._give_up()

    def _wait(self, next_gc: float | None) -> bool:
        """Until there is something to do. False: it is to end."""
        with self._changed:
            idle = None if next_gc is None else max(0.0, next_gc - time.monotonic())
            self._changed.wait_for(lambda: self._queue or self._is_closed, idle)
            if self._queue:
                self._changed.wait_for(
                    lambda: self._is_batch() or self._is_urgent or self._is_closed, self._flush_seconds
                )
            return not self._is_closed or (bool(self._queue) and not self._is_late())

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _next_batch(self) -> list[NewObject]:
        batch: list[NewObject] = []
        size = 0
        with self._changed:
            while self._queue and len(batch) < self._batch_objects and size < self._batch_bytes:
                batch.append(self._queue.popleft())
                size += _weight(batch[-1])
            if not self._queue:
                self._is_urgent = False
        return batch

    def _store(self, batch: list[NewObject]) -> None:
        """Stores a batch, however often it has to try. What the store refuses, or there is no more time for,
        is dropped."""
        back_off = 0.0
        while True:
            try:
                self._soup.put_many(batch)
                return
            except DeclarationError:
                if len(batch) == 1:
                    self._drop("refused")
                    return
                for each in batch:  # one of them spoils the others
                    self._store([each])
                return
            except Exception:
                if self._is_late():
                    self._has_lost = True
                    self._drop("closed", len(batch))
                    return
            back_off = longer(back_off)
            self._pause(back_off)

    def _pause(self, seconds: float) -> None:
        """After a failure. Who flushes, or closes, has it tried again at once; while it is closing, soon."""
        with self._changed:
            if self._is_closed:
                self._changed.wait(BACK_OFF_MIN)
            else:
                self._is_urgent = False
                self._changed.wait_for(lambda: self._is_urgent or self._is_closed, seconds)

    def _finish(self, batch: list[NewObject]) -> None:
        with self._changed:
            self._bytes -= sum(map(_weight, batch))
            self._done += len(batch)
            self._changed.notify_all()

    def _give_up(self) -> None:
        """Drops what is left."""
        with self._changed:
            if self._queue:
                self._has_lost = True
                self._drop("closed", len(self._queue))
                self._queue.clear()
            self._done = self._taken
            self._changed.notify_all()


def _weight(new: NewObject) -> int:
    return len(new.content) + _OBJECT_BYTES


_open_writers: Living[SoupWriter] = Living(lambda writer: writer.close(_EXIT_SECONDS), SoupWriter._begin)
