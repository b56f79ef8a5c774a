"""A content-addressed store in a directory, instrumented with the memo's catalogue.

    <root>/objects/ab/cdef...   one read-only file per object, named by the SHA-256 of its bytes
    <root>/incoming/<random>    an object being written; renamed into place when it is whole
    <root>/lock                 held shared by every open store

An object is either absent or whole: it is written beside its place and renamed into it, so a writer that
dies leaves at most a file in `incoming`. Such files are removed by the next opener that finds itself alone,
which the kernel's lock tells even after `kill -9`; an opener that is not alone must leave them, since they
may be somebody's work.

Commits, deletions and the two storage gauges share one lock. It is held for a stat and a rename, never while
an object is hashed, written or read. The gauges follow this process's own work from a scan at the door; what
another process does to the same directory shows at the next open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from types import TracebackType

from vaultscope.core.catalogue import Catalogue
from vaultscope.core.metrics import Counter, HdrHistogram, Histogram
from vaultscope.errors import NotFoundError, VaultscopeError

_HASH = re.compile("[0-9a-f]{64}")
_REST = re.compile("[0-9a-f]{62}")
_SHARDS = tuple(f"{i:02x}" for i in range(256))

# The values of errors.total's `type`: few and fixed, whatever the operating system thinks of.
_KINDS = {
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EROFS: "permission",
    errno.EMFILE: "limit",
    errno.ENFILE: "limit",
}


class ObjectNotFoundError(NotFoundError):
    """No object has this hash. Counted as errors.total{type="not_found"}."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"no object {digest}")
        self.digest = digest


class CorruptObjectError(VaultscopeError):
    """The stored bytes do not have the hash they are filed under. Counted as errors.total{type="corrupt"}."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"object {digest} is corrupt: its bytes have another hash")
        self.digest = digest


def error_kind(error: BaseException) -> str:
    """The value of errors.total's `type` label for a failed operation: "corrupt", "not_found", "no_space",
    "permission", "limit" (of open files) or "io" (any other error of the operating system)."""
    if isinstance(error, CorruptObjectError):
        return "corrupt"
    if isinstance(error, ObjectNotFoundError):
        return "not_found"
    return _KINDS.get(getattr(error, "errno", None) or 0, "io")


class FileCas:
    """A store of immutable byte strings under `root`, found again by their SHA-256.

    Any number of threads may use one store, and any number of processes may open the same root. Each
    operation is counted and timed in `catalogue` whether it succeeds or not, and a failure also in
    errors.total{type}; a malformed hash is the caller's mistake and is only raised. One catalogue describes
    one store.

    Args:
        root: The directory; made if missing, with its parents.
        catalogue: Where to count.
        durable: Sync each object and its directory entry to the disk before `put` returns. Without it an
            object survives a killed process but perhaps not a power cut.

    Raises:
        OSError: The root cannot be made or scanned.
    """

    def __init__(self, root: str | os.PathLike[str], catalogue: Catalogue, *, durable: bool = True) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self.durable = durable
        self._catalogue = catalogue
        self._objects_dir = os.path.join(self.root, "objects")
        self._incoming_dir = os.path.join(self.root, "incoming")
        for directory in (self.root, self._objects_dir, self._incoming_dir):
            os.makedirs(directory, exist_ok=True)
        self._presence = os.open(
            os.path.join(self.root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666
        )
        self._closed = False
        self._mutex = threading.Lock()  # guards the two figures below and every change under objects/
        self._used_bytes = 0
        self._count = 0
        try:
            self._take_presence()
            self._scan()
        except BaseException:
            os.close(self._presence)
            raise
        self._show_storage()
        catalogue.registry.add_collector(self._show_available)

    # -- operations -----------------------------------------------------------------------------------------

    def put(self, data: bytes | bytearray | memoryview) -> str:
        """Stores `data` and returns its hash, 64 lower-case hexadecimal digits; again changes nothing.

        cas.put.bytes grows by what is written, so not for an object that was already there. One that is
        there with another length (cut short by a power failure, say) is replaced; damage that keeps the
        length is found by `get`.

        Raises:
            OSError: It cannot be stored, and there is no trace of it; or all went well but the sync of its
                directory, and it is there.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"an object is bytes, not {type(data).__name__}")
        with self._operation(self._catalogue.cas_put_count, self._catalogue.cas_put_duration):
            content = bytes(data)  # our own, should the caller's buffer change under us
            digest = hashlib.sha256(content).hexdigest()
            path = self._path(digest)
            if _size(path) != len(content):
                self._write(path, content)
            if self.durable:  # also when another thread made the entry: its own sync may still be to come
                _sync_directory(os.path.dirname(path))
        return digest

    def get(self, digest: str) -> bytes:
        """Returns the bytes with this hash, verified.

        Raises:
            ValueError: Not 64 lower-case hexadecimal digits; the disk was not touched.
            ObjectNotFoundError: Nothing is filed under it.
            CorruptObjectError: What is filed under it has another hash.
            OSError: It cannot be read.
        """
        path = self._path(digest)
        with self._operation(self._catalogue.cas_get_count, self._catalogue.cas_get_duration):
            try:
                with open(path, "rb", buffering=0) as file:
                    content = file.readall()
            except FileNotFoundError:
                raise ObjectNotFoundError(digest) from None
            if hashlib.sha256(content).hexdigest() != digest:
                raise CorruptObjectError(digest)
            self._catalogue.cas_get_bytes.inc(len(content))
        return content

    def delete(self, digest: str) -> None:
        """Removes an object without looking at its bytes, so also a corrupt one. Raises as `get` does."""
        path = self._path(digest)
        with self._failures_counted(), self._mutex:
            size = _size(path)
            if size is None:
                raise ObjectNotFoundError(digest)
            os.unlink(path)
            self._account(-size, -1)

    def __contains__(self, digest: str) -> bool:
        """Whether anything is filed under this hash; it is not read. Raises ValueError as `get` does."""
        return _size(self._path(digest)) is not None

    def __iter__(self) -> Iterator[str]:
        """The hashes on the disk, in order. Objects put or deleted meanwhile may or may not appear."""
        for digest, _ in self._entries():
            yield digest

    def __len__(self) -> int:
        """The number of objects, as storage.objects.count has it: kept, not counted anew."""
        with self._mutex:
            return self._count

    def close(self) -> None:
        """Leaves the store: operations raise ValueError from here on. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._catalogue.registry.remove_collector(self._show_available)
        os.close(self._presence)

    def __enter__(self) -> FileCas:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- the way in -----------------------------------------------------------------------------------------

    def _path(self, digest: str) -> str:
        """Where an object lies. The one place where a caller's text becomes a path, and only hexadecimal
        gets through."""
        if not isinstance(digest, str) or not _HASH.fullmatch(digest):
            raise ValueError(f"not a SHA-256 in 64 lower-case hexadecimal digits: {digest!r:.80}")
        return os.path.join(self._objects_dir, digest[:2], digest[2:])

    def _write(self, path: str, content: bytes) -> None:
        incoming = os.path.join(self._incoming_dir, uuid.uuid4().hex)
        try:
            # Read-only from birth: the descriptor may write, nobody else may.
            descriptor = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
            with open(descriptor, "wb", buffering=0) as file:
                view = memoryview(content)
                while view:  # one write may take less than all: 2 GiB, or what a nearly full disk has left
                    view = view[file.write(view) :]
                if self.durable:
                    os.fsync(descriptor)
            self._commit(incoming, path, len(content))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(incoming)
            raise

    def _commit(self, incoming: str, path: str, size: int) -> None:
        with self._mutex:
            before = _size(path)
            if before == size:  # another thread was first
                os.unlink(incoming)
                return
            os.replace(incoming, path)
            self._account(size - (before or 0), 1 if before is None else 0)
        self._catalogue.cas_put_bytes.inc(size)

    # -- instruments ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _operation(self, count: Counter, duration: Histogram | HdrHistogram) -> Iterator[None]:
        count.inc()
        with duration.time(), self._failures_counted():
            yield

    @contextlib.contextmanager
    def _failures_counted(self) -> Iterator[None]:
        """The one funnel: every failure of an operation passes here and is counted by kind, once."""
        if self._closed:
            raise ValueError("the store is closed")
        try:
            yield
        except (OSError, VaultscopeError) as error:
            self._catalogue.errors_total.labels(error_kind(error)).inc()
            raise

    def _account(self, more_bytes: int, more_objects: int) -> None:
        """Under the mutex, so that the gauges are set in the order of the changes."""
        self._used_bytes += more_bytes
        self._count += more_objects
        self._show_storage()

    def _show_storage(self) -> None:
        self._catalogue.storage_used_bytes.set(self._used_bytes)
        self._catalogue.storage_objects_count.set(self._count)

    def _show_available(self) -> None:
        """A collector: run before each snapshot, since others fill the disk too."""
        self._catalogue.storage_available_bytes.set(shutil.disk_usage(self.root).free)

    # -- opening --------------------------------------------------------------------------------------------

    def _take_presence(self) -> None:
        """Says that the store is in use and, if nobody else said so, clears what killed writers left."""
        try:
            fcntl.flock(self._presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            for entry in os.scandir(self._incoming_dir):
                os.unlink(entry.path)
        # Not atomic when it steps down from exclusive, which is harmless: we have nothing in `incoming` yet.
        fcntl.flock(self._presence, fcntl.LOCK_SH)

    def _scan(self) -> None:
        for shard in _SHARDS:  # all made here, so that no put has to sync a directory's parent
            os.makedirs(os.path.join(self._objects_dir, shard), exist_ok=True)
        if self.durable:
            _sync_directory(self._objects_dir)
            _sync_directory(self.root)
        for _, size in self._entries():
            self._used_bytes += size
            self._count += 1

    def _entries(self) -> Iterator[tuple[str, int]]:
        """(hash, bytes) of each object, in order of hash. Files that are no objects, and shards that went,
        are passed over."""
        for shard in _SHARDS:
            with contextlib.suppress(FileNotFoundError):
                names = sorted(os.listdir(os.path.join(self._objects_dir, shard)))
                for name in filter(_REST.fullmatch, names):
                    size = _size(os.path.join(self._objects_dir, shard, name))
                    if size is not None:
                        yield shard + name, size


def _size(path: str) -> int | None:
    """The length of the file itself, not of what it may point to; None if there is none."""
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return None


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
