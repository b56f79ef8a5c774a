"""An audit log: `append` queues, a thread of the log's own writes, seals and anchors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from vaultscope._native._core import Counter, Logger
from vaultscope.core.audit_entry import Anchor, Draft, Entry
from vaultscope.core.back_off import BACK_OFF_MIN, longer
from vaultscope.core.lifetime import Living
from vaultscope.core.registry import Registry, default_registry
from vaultscope.edge.audit_file import AuditFile, Batch
from vaultscope.edge.audit_reader import ANCHOR_SUFFIX, KEY_SUFFIX, AnchorStore, FileAnchor
from vaultscope.errors import AuditError, DeclarationError
from vaultscope.signals.log import default_journal

__all__ = ["AuditLog"]

_PATIENCE = 5.0


class _Waiting:
    """An append that is under way. The lock is let go when it has ended."""

    __slots__ = ("draft", "entry", "is_hurried", "lock")

    def __init__(self, draft: Draft | None, *, waits: bool, hurries: bool) -> None:
        self.draft = draft  # None: a flush
        self.is_hurried = hurries
        self.entry: Entry | None = None
        self.lock = threading.Lock() if waits else None
        if self.lock is not None:
            self.lock.acquire()

    def end(self) -> None:
        """Lets the caller go."""
        if self.lock is not None:
            self.lock.release()


class AuditLog:
    """An audit trail in a file, appended to and never changed. An AuditTrail.

    Opening it makes the file, its key and its anchor, if there are none; finds out whether its end is what
    the anchor says; and has an entry say what a kill has left unfinished. Any number of processes may have it
    open; a forked child may go on with the same object.

    What `append` was given is queued, and at the latest `batch_seconds` later written, sealed, synced and
    anchored, together with what else was said meanwhile. If the disk is full, say, that is tried again until
    it works; `trouble` says what is wrong, as does the log `vaultscope.audit`. What the queue cannot take is
    dropped, and counted in vaultscope.audit.dropped. A kill loses what is queued: who must not lose an entry
    waits for it.

    It is used with `with`, or closed at the end of the program.

    Args:
        path: The log. Its folder must exist. More files have its name and a number.
        key: The key's file, mode 0600. None: <path>.key.
        anchor: Where the last seal is kept outside the log: a file, best on another disk, or an object with
            `read` and `write`. None: <path>.anchor.
        witness: Called with each new anchor, bytes, in the log's thread, to keep it where this machine cannot
            take it back: `lambda anchor: soup.put(anchor, type="audit-anchor")`. What it raises is counted.
        max_bytes: A file that has as much is followed by another one.
        queue_entries: As many may wait; each has at most 64 KiB.
        batch_entries: A seal is over so many, and what the trail has to say itself, at most.
        batch_seconds: So long an entry waits for others to be sealed with.
        lock_seconds: How long to wait for another process that appends.
        registry: For its metrics; None: the default one.
        logger: None: `vaultscope.audit`, of the default journal.
        clock_ns: Nanoseconds since 1970.

    Raises:
        DeclarationError: An argument makes no sense.
        AuditError: The log is not what its anchor says.
        AuditKeyError: The key is lost, another one, or open to others.
        BusyError: Others append all the time.
        OSError: A file cannot be read or written.
        ModuleNotFoundError: `cryptography` is missing: the extra `audit` has it.
    """

    trouble: str
    """Why the last attempt to write failed; "": it did not."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key: str | os.PathLike[str] | None = None,
        anchor: str | os.PathLike[str] | AnchorStore | None = None,
        witness: Callable[[bytes], object] | None = None,
        max_bytes: int = 64 << 20,
        queue_entries: int = 4096,
        batch_entries: int = 256,
        batch_seconds: float = 0.05,
        lock_seconds: float = 10.0,
        registry: Registry | None = None,
        logger: Logger | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if max_bytes < 1 or queue_entries < 1 or not 1 <= batch_entries <= 4096:
            raise DeclarationError("a size is positive, and a batch has at most 4,096 entries")
        if not 0 <= batch_seconds <= 3600 or not 0 <= lock_seconds <= 3600:
            raise DeclarationError("a time is from 0 to 3,600 seconds")
        self.path = os.path.abspath(os.fspath(path))
        self.trouble = ""
        self._witness = witness
        self._queue_entries, self._batch_entries = queue_entries, batch_entries
        self._batch_seconds = batch_seconds
        self._logger = logger
        self._clock_ns = clock_ns
        registry = default_registry() if registry is None else registry
        self._counted: dict[Counter, int] = {}
        self._entries = _counter(registry, "entries", "Audit entries sealed and anchored")
        self._seals = _counter(registry, "seals", "Seals of audit logs")
        self._dropped = _counter(registry, "dropped", "Audit entries dropped", "reason")
        self._errors = _counter(registry, "errors", "Failures of audit logs", "kind")
        if anchor is None or isinstance(anchor, (str, os.PathLike)):
            anchor = FileAnchor(self.path + ANCHOR_SUFFIX if anchor is None else anchor)
        self._file = AuditFile(
            self.path,
            self.path + KEY_SUFFIX if key is None else os.path.abspath(os.fspath(key)),
            anchor,
            max_bytes=max_bytes,
            lock_seconds=lock_seconds,
            clock_ns=clock_ns,
        )
        self._renew()
        self._testify(self._file.open())
        _open_logs.add(self)

    def _renew(self) -> None:
        """What a process has for itself."""
        self._queue: SimpleQueue[_Waiting] = SimpleQueue()  # of C: a signal handler may append, too
        self._mutex = threading.Lock()  # guards the file; `append` never takes it
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._deadline = 0.0

    # -- appending ------------------------------------------------------------------------------------------

    def append(
        self,
        actor: str,
        verb: str,
        object: str,
        parameters: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        wait: bool = False,
        timeout: float = 30.0,
    ) -> Entry | None:
        """Says who did what to what. Never raises; what cannot be taken is dropped, and counted.

        Values are taken as they are now, and represented as `Draft` says.

        Args:
            actor: Who: a user, a job, "vaultscope.gc".
            verb: What they did: "object.deleted".
            object: What to.
            parameters: Of the action.
            context: Where and why: a trace's id, a request's.
            wait: For the entry to be sealed, synced and anchored.
            timeout: Seconds, after which there is no more waiting; the entry may be written later.

        Returns:
            The entry with its seal, if it was waited for and is on the disk; else None.
        """
        try:
            waits = wait and threading.current_thread() is not self._thread  # a witness: it waits for itself
            draft = self._draft(actor, verb, object, parameters, context)
            if self._is_closed or self._queue.qsize() >= self._queue_entries:
                self._dropped.labels("closed" if self._is_closed else "full").inc()
                return None
            waiting = _Waiting(draft, waits=waits, hurries=wait)
            self._put(waiting)
            if waiting.lock is not None and waiting.lock.acquire(timeout=max(0.0, min(timeout, 86_400.0))):
                return waiting.entry
        except Exception:
            self._dropped.labels("error").inc()
        return None

    def _draft(self, actor: Any, verb: Any, object: Any, parameters: Any, context: Any) -> Draft:
        now = self._clock_ns()
        try:
            return Draft(actor, verb, object, parameters, context, time_ns=now)
        except Exception as error:  # a mapping that fails, or is changed meanwhile: that it was done is said
            self._errors.labels("value").inc()
            kind = type(error).__qualname__
            return Draft(actor, verb, object, {"unreadable": kind}, {"unreadable": kind}, time_ns=now)

    def _put(self, waiting: _Waiting) -> None:
        self._queue.put(waiting)
        if self._thread is None:
            try:
                self._start()
            except RuntimeError:  # no more threads; it stays queued, and the next one tries again
                self._errors.labels("thread").inc()
        if self._is_closed:
            self._drop_rest()

    def _drop_rest(self) -> None:
        """Counts what came when the thread had ended already."""
        if self._thread is not None and self._thread.is_alive():
            return
        with suppress(Empty):
            while True:
                waiting = self._queue.get_nowait()
                if waiting.draft is not None:
                    self._dropped.labels("closed").inc()
                waiting.end()

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # another thread does, or this one, below a signal handler
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"vaultscope-audit {self.path}", daemon=True)
                thread.start()
                self._thread = thread
        finally:
            self._starting.release()

    # -- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        queue = self._queue
        while not (self._is_closed and queue.empty()):
            group = self._gather(queue)
            try:
                self._commit(group)
            except BaseException as error:  # nobody would come for the next ones
                self._fail(error)
            for each in group:
                each.end()

    def _gather(self, queue: SimpleQueue[_Waiting]) -> list[_Waiting]:
        """What goes under one seal: what comes within the time, or what there is if somebody waits."""
        group = [queue.get()]
        end = time.monotonic() + self._batch_seconds
        while len(group) < self._batch_entries:
            if group[-1].is_hurried or self._is_closed:
                end = 0.0
            seconds = end - time.monotonic()
            try:
                group.append(queue.get(timeout=seconds) if seconds > 0 else queue.get_nowait())
            except Empty:
                break
        return group

    def _commit(self, group: list[_Waiting]) -> None:
        """Writes until it is written, or the log is closed and the time is up."""
        said = [each for each in group if each.draft is not None]
        batch = Batch([each.draft for each in said if each.draft is not None])
        back_off = 0.0
        while said:
            try:
                with self._mutex:
                    anchor = self._file.commit(batch)
                break
            except BaseException as error:
                self._fail(error)
            back_off = longer(back_off)
            if not self._pause(back_off):
                self._dropped.labels("closed").inc(len(said))
                return
        if said:
            self._succeed(anchor)
        for place, each in enumerate(said):
            if each.lock is not None:
                each.entry = batch.entry(place)

    def _pause(self, seconds: float) -> bool:
        """Waits until it is to be tried again. False: it is not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._is_closed and time.monotonic() >= self._deadline:
                return False
            time.sleep(min(BACK_OFF_MIN, seconds))
        return True

    def _fail(self, error: BaseException) -> None:
        self._errors.labels("tampered" if isinstance(error, AuditError) else "write").inc()
        text = f"{type(error).__qualname__}: {error}"
        if text != self.trouble:
            self.trouble = text
            with suppress(Exception):
                self._own().error("Audit log cannot be written", path=self.path, error=text)

    def _succeed(self, anchor: Anchor) -> None:
        self._testify(anchor)
        if self.trouble:
            self.trouble = ""
            with suppress(Exception):
                self._own().info("Audit log works again", path=self.path)

    def _testify(self, anchor: Anchor) -> None:
        for counter, total in ((self._entries, self._file.entries), (self._seals, self._file.seals)):
            counter.inc(total - self._counted.get(counter, 0))
            self._counted[counter] = total
        if self._witness is not None:
            try:
                self._witness(anchor.encode())
            except Exception:
                self._errors.labels("witness").inc()

    def _own(self) -> Logger:
        if self._logger is None:
            self._logger = default_journal().get_logger("vaultscope.audit")
        return self._logger

    # -- the log as a whole ---------------------------------------------------------------------------------

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until what was said before is on the disk. False: not in that time."""
        if self._is_closed:
            return False
        waiting = _Waiting(None, waits=True, hurries=True)
        self._put(waiting)
        assert waiting.lock is not None
        return waiting.lock.acquire(timeout=timeout) and not self.trouble

    def rotate_key(self) -> str:
        """Makes a new key, has the old one say so, and forgets the old one. Returns the new public key, 64
        hexadecimal digits. Other processes find the new one in the key's file. Raises what making the log
        does."""
        with self._mutex:
            anchor = self._file.rotate_key()
        self._testify(anchor)
        return anchor.seal.key

    def close(self, timeout: float = _PATIENCE) -> bool:
        """Writes what is queued, for so many seconds if it does not work. False: some of it was dropped, and
        counted, or is still being tried."""
        _open_logs.discard(self)
        self._deadline = time.monotonic() + timeout
        self._is_closed = True
        thread = self._thread
        if thread is not None:
            self._queue.put(_Waiting(None, waits=False, hurries=True))
            thread.join(timeout + BACK_OFF_MIN * 4)
            self._drop_rest()
            return not thread.is_alive() and not self.trouble
        return True

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _after_fork(self) -> None:
        """In the child: what is queued is the parent's to write."""
        was_closed = self._is_closed
        self._renew()
        self._is_closed = was_closed
        self._file.after_fork()


def _counter(registry: Registry, name: str, help: str, *labels: str) -> Counter:
    return registry._declare(
        Counter, "counter", f"vaultscope.audit.{name}", help, labels, "", 1000, internal=True
    )


_open_logs: Living[AuditLog] = Living(AuditLog.close, AuditLog._after_fork)
