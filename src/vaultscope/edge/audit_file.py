"""The files of an audit log: whole batches behind the last seal, by one process at a time.

    vault.audit, vault.audit.000001, ...   lines of canonical JSON: entries, and after each batch a seal
    vault.audit.anchor                     the last seal once more; anywhere else is better
    vault.audit.key, vault.audit.key.pub   what signs, and what proves it
    vault.audit.lock                       held while somebody appends

A batch is entries and their seal in one write, then synced; then the anchor is replaced; then it counts as
written. So whatever a kill leaves lies behind the anchor: either a whole batch, which is kept, or less than
one, which nobody was told of. That is overwritten, and an entry says how much it was and what its hash is.
What the anchor covers is never mended.

What is found behind the anchor could be anybody's. Hence it is kept only if the log's key sealed it. And if
there are seals of that key behind what is not whole, but for the one of that batch (a power cut may keep its
end and lose its beginning), somebody has changed it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from vaultscope.core.audit_entry import (
    ACCEPTED,
    BEGAN,
    CONTINUED,
    NOTHING,
    RECOVERED,
    ROTATED,
    Anchor,
    Draft,
    Entry,
    Seal,
    digest,
    read_line,
    timestamp,
)
from vaultscope.edge.audit_keys import (
    PUBLIC_SUFFIX,
    SigningKey,
    check_signature,
    create_key,
    load_key,
    sync_folder,
)
from vaultscope.edge.audit_lock import AuditLock
from vaultscope.edge.audit_reader import AnchorStore, file_name, is_begun, read_lines
from vaultscope.errors import AuditError, AuditKeyError, DecodeError
from vaultscope.signals.audit import Chain, Head

__all__ = ["AuditFile", "Batch"]

NEW_SUFFIX = ".new"
_ACTOR = "vaultscope"
_SEAL_LINE_MAX = 2048


@dataclass(slots=True)
class Batch:
    """What is to be written together. lines, seal: as it was, once it is on the disk."""

    drafts: Sequence[Draft]
    lines: list[bytes] = field(default_factory=list)
    seal: Seal | None = None

    def entry(self, place: int) -> Entry:
        """The entry that became of a draft."""
        entry = read_line(self.lines[place])
        assert isinstance(entry, Entry)
        return replace(entry, seal=self.seal)


@dataclass(frozen=True, slots=True)
class _Place:
    """The end of a seal's line, and how far the trail goes there."""

    file: int
    offset: int
    head: Head
    seal: Seal | None = None


class _Text:
    """Lines that are about to be appended."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.data = b""

    def add(self, drafts: Sequence[Draft], key: SigningKey, time_ns: int, next_key: str = "") -> Seal:
        """Entries and the seal over them; the next seal is of `next_key`. Returns the seal."""
        lines = []
        sequence, parent = self.head.sequence, self.head.id
        for draft in drafts:
            sequence += 1
            parent, line = draft.line(sequence, parent)
            lines.append(line)
        seal = Seal(sequence, parent, self.head.seal, timestamp(time_ns), key.public)
        seal = replace(seal, signature=key.sign(seal.message()).hex())
        lines.append(seal.line())
        self.data += b"\n".join(lines) + b"\n"
        self.head = Head(sequence, parent, sequence, digest(lines[-1]), next_key or key.public)
        return seal


class AuditFile:
    """A log that is appended to. Not for several threads at once; for several processes.

    Args:
        path: The first file.
        key: The key's file; it is made with a new log.
        anchor: Where the head is kept.
        max_bytes: A file that has as much is followed by another one.
        lock_seconds: How long to wait for another process that appends.
        clock_ns: Nanoseconds since 1970.
    """

    def __init__(
        self,
        path: str,
        key: str,
        anchor: AnchorStore,
        *,
        max_bytes: int,
        lock_seconds: float,
        clock_ns: Callable[[], int],
    ) -> None:
        self._path, self._key_path = path, key
        self._anchor_store = anchor
        self._max_bytes = max_bytes
        self._lock = AuditLock(path, lock_seconds)
        self._clock_ns = clock_ns
        self._key: SigningKey | None = None
        self._place: _Place | None = None
        self._anchored: Anchor | None = None
        self.entries = self.seals = 0  # that were appended
        self._left: dict[str, Any] | None = None  # by a kill: it is gone, and no entry says so yet
        self._attempt: tuple[_Place, int, bytes, Batch] | None = None  # that failed and could not be undone

    # -- what is asked of it --------------------------------------------------------------------------------

    def open(self) -> Anchor:
        """Begins the log if there is none; else finds its end, and has what a kill has left there said.
        Returns the anchor.

        Raises:
            AuditError: The log is not what the anchor says.
            AuditKeyError: The key is not to be had.
            BusyError: Others append all the time.
            OSError: Something cannot be read or written.
        """
        with self._lock.held():
            place = self._catch_up()
            if self._left is not None or place.head.sequence == 0:
                self._write(place, Batch(()))
            return self._anchor_head()

    def commit(self, batch: Batch) -> Anchor:
        """Appends the batch, unless an earlier call did so before it failed, and anchors the log's head.
        Returns the anchor. Raises as `open`; then it may be called again with the same batch."""
        with self._lock.held():
            place = self._catch_up()
            if batch.seal is None:
                self._write(place, batch)
            return self._anchor_head()

    def rotate_key(self) -> Anchor:
        """Makes a new key and puts it into the old one's place. The old one seals an entry that names it, as
        its last; the new one seals the next, in the same write: there is no time when the trail's last seal
        is of a key that is gone. Returns the anchor. Raises as `open`."""
        new_path = self._key_path + NEW_SUFFIX
        with self._lock.held():
            place = self._catch_up()
            new = create_key(new_path, replace=True)
            self._write(place, Batch(()), new)
            self.seals += 1  # the old key's
            anchor = self._anchor_head()
            self._promote(new_path)
            return anchor

    def after_fork(self) -> None:
        """In the child: what the parent's thread was at is the parent's."""
        self._lock.after_fork()
        self._place, self._left, self._attempt = None, None, None

    # -- the end of the log ---------------------------------------------------------------------------------

    def _catch_up(self) -> _Place:
        """The end of the log, after what others have appended since."""
        anchor = self._read_anchor()
        place = self._place
        if place is None:
            self._have_key(anchor.seal.key)
            if not check_signature(
                anchor.seal.key, bytes.fromhex(anchor.seal.signature), anchor.seal.message()
            ):
                raise AuditError(f"{self._path}: the anchor's signature is wrong: it was changed")
            head = Head(key=anchor.seal.key)
            if anchor.seal.sequence:
                seal = anchor.seal
                head = Head(seal.sequence, seal.id, seal.sequence, digest(seal.line()), seal.key)
            place = _Place(anchor.file, anchor.offset, head, anchor.seal)
        if place.offset and digest(self._line_before(place)) != place.head.seal:
            raise AuditError(
                f"{self._path} was truncated or changed: the seal of entry {place.head.sealed} is not where "
                "it was; nothing is appended to it"
            )
        place = self._adopted(place)
        place = self._read_on(place, anchor)
        if anchor.seal.sequence > place.head.sealed:
            raise AuditError(
                f"{self._path} was truncated: it ends with entry {place.head.sealed}, the anchor is of "
                f"{anchor.seal.sequence}; nothing is appended to it"
            )
        self._have_key(place.head.key)
        self._place, self._anchored = place, anchor
        return place

    def _read_anchor(self) -> Anchor:
        data = self._anchor_store.read()
        if data is None:
            if self._anchored is not None or is_begun(self._path):
                raise AuditError(f"{self._path}: its anchor is gone; nothing is appended without it")
            return self._begin_log()
        try:
            anchor = Anchor.decode(data)
        except DecodeError as error:
            raise AuditError(f"{self._path}: {error}") from None
        if self._anchored is not None and anchor.seal.sequence < self._anchored.seal.sequence:
            raise AuditError(
                f"{self._path}: the anchor was put back, from entry {self._anchored.seal.sequence} to "
                f"{anchor.seal.sequence}; nothing is appended to it"
            )
        return anchor

    def _begin_log(self) -> Anchor:
        """Before there is an entry there is an anchor, so that a log without one is no new one."""
        if self._key is None:
            with suppress(FileExistsError):
                self._key = create_key(self._key_path)
        key = self._signing()
        seal = Seal(0, NOTHING, NOTHING, timestamp(self._clock_ns()), key.public)
        anchor = Anchor(replace(seal, signature=key.sign(seal.message()).hex()), 0, 0)
        self._anchor_store.write(anchor.encode())
        return anchor

    def _line_before(self, place: _Place) -> bytes:
        start = max(0, place.offset - _SEAL_LINE_MAX)
        with suppress(FileNotFoundError), open(file_name(self._path, place.file), "rb") as file:
            file.seek(start)
            data = file.read(place.offset - start)
            if len(data) == place.offset - start and data.endswith(b"\n"):
                return data[:-1].rpartition(b"\n")[2]
        return b""

    def _adopted(self, place: _Place) -> _Place:
        """An attempt that failed after all was written, and could not be undone: it has succeeded."""
        if self._attempt is None:
            return place
        end, start, data, batch = self._attempt
        with suppress(FileNotFoundError), open(file_name(self._path, end.file), "rb+") as file:
            file.seek(start)
            if file.read(len(data)) == data:
                os.fsync(file.fileno())  # if this fails, it is looked at again
                self._attempt = None
                self._has_written(place, end, batch)
                return end
        self._attempt = None
        return place

    def _read_on(self, place: _Place, anchor: Anchor) -> _Place:
        """The last seal behind a place. What lies behind that is noted as left by a kill. Raises AuditError:
        it cannot be."""
        chain = Chain(check_signature, anchor=anchor, head=place.head)
        end, size, wrong = place, 0, ""
        left: list[tuple[str, int, int]] = []  # behind the last seal: file, from, to
        for number in count(place.file):
            name = file_name(self._path, number)
            try:
                start, before, size = 0, size, os.stat(name).st_size
            except FileNotFoundError:
                break
            if number == place.file:
                start = place.offset
            elif not wrong:
                chain.begin_file(number, before)
            for line, at in read_lines(name, start, size):
                seal = chain.head.seal
                finding = None if wrong else chain.feed(line[:-1])
                if wrong or finding is not None or not line.endswith(b"\n"):
                    wrong = wrong or str(finding or "a line is torn")
                    later = chain.genuine_seal(line.rstrip(b"\n"), (end.head.key, place.head.key))
                    if later is not None and later.parent != end.head.seal:
                        raise AuditError(f"{self._path} was changed behind its anchor: {wrong}")
                elif chain.head.seal != seal:
                    item = read_line(line[:-1])
                    end = _Place(number, at, chain.head, item if isinstance(item, Seal) else None)
                    left.clear()
                    start = at
            if start < size:
                left.append((name, start, size))
        if left:
            self._left = self._left or _account(left)
        return end

    # -- the key --------------------------------------------------------------------------------------------

    def _have_key(self, public: str) -> None:
        """Makes sure that this process has the private key of a public one: another may have rotated it, or
        have been killed meanwhile. Raises AuditKeyError."""
        if self._key is not None and self._key.public == public:
            return
        self._key = None
        new_path = self._key_path + NEW_SUFFIX
        with suppress(AuditKeyError):
            if self._signing().public == public:
                return
        with suppress(AuditKeyError):
            if load_key(new_path).public == public:
                self._promote(new_path)
                return
        self._key = None
        found = self._signing().public
        self._key = None
        raise AuditKeyError(
            f"{self._path} is sealed by another key ({public[:16]}...) than {self._key_path} "
            f"({found[:16]}...); it can be read and verified, not appended to"
        )

    def _signing(self) -> SigningKey:
        if self._key is None:
            if is_begun(self._path) and not os.path.lexists(self._key_path):
                raise AuditKeyError(
                    f"the key of {self._path} is lost: there is no {self._key_path}; the log can be read and "
                    "verified, not appended to: move it away to begin another one"
                )
            self._key = load_key(self._key_path)
        return self._key

    def _promote(self, new_path: str) -> None:
        os.replace(new_path, self._key_path)
        sync_folder(self._key_path)
        with suppress(OSError):
            os.unlink(new_path + PUBLIC_SUFFIX)
        self._key = load_key(self._key_path)  # which writes the public half

    # -- appending ------------------------------------------------------------------------------------------

    def _own(self, verb: str, object: str, parameters: dict[str, Any]) -> Draft:
        context = {"pid": os.getpid()}
        return Draft(_ACTOR, verb, object, parameters, context, time_ns=self._clock_ns(), own=True)

    def _write(self, place: _Place, batch: Batch, new_key: SigningKey | None = None) -> None:
        """Appends the batch and syncs it. Raises OSError; then nothing was appended, or `_attempt` knows."""
        number, start = place.file, place.offset
        key = self._signing()
        drafts = []
        if place.head.sequence == 0:
            drafts.append(self._own(BEGAN, "log", {"key": key.public, "log": os.urandom(16).hex()}))
        elif start >= self._max_bytes:
            drafts.append(self._own(CONTINUED, "log", place.head.continuation(number, start)))
            number, start = number + 1, 0
        if self._left is not None:
            drafts.append(self._own(RECOVERED, "log", self._left))
        text = _Text(place.head)
        if new_key is not None:
            drafts.append(self._own(ROTATED, "key", {"key": new_key.public}))
            text.add(drafts, key, self._clock_ns(), new_key.public)
            drafts, key = [self._own(ACCEPTED, "key", {"key": new_key.public})], new_key
        seal = text.add([*drafts, *batch.drafts], key, self._clock_ns())
        end = _Place(number, start + len(text.data), text.head, seal)
        self._cut_behind(place, number)
        batch.lines = text.data.split(b"\n")[-2 - len(batch.drafts) : -2]
        self._put(end, start, text.data, batch)
        self._key = key
        self._has_written(place, end, batch)

    def _has_written(self, before: _Place, end: _Place, batch: Batch) -> None:
        batch.seal = end.seal
        self._place, self._left = end, None
        self.entries += end.head.sequence - before.head.sequence
        self.seals += 1

    def _put(self, end: _Place, start: int, data: bytes, batch: Batch) -> None:
        name = file_name(self._path, end.file)
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                _write_at(fd, data, start)
                os.ftruncate(fd, end.offset)
                os.fsync(fd)
                if start == 0:
                    sync_folder(name)
            except BaseException:
                try:
                    os.ftruncate(fd, start)
                except OSError:
                    self._attempt = (end, start, data, batch)
                raise
        finally:
            os.close(fd)

    def _cut_behind(self, place: _Place, number: int) -> None:
        """Takes away what a kill has left, but for what lies where file `number` is written now."""
        if number != place.file:
            _cut(file_name(self._path, place.file), place.offset)
        for later in count(number + 1):
            name = file_name(self._path, later)
            if not os.path.lexists(name):
                return
            _cut(name, 0)

    def _anchor_head(self) -> Anchor:
        place = self._place
        assert place is not None and place.seal is not None
        anchor = Anchor(place.seal, place.file, place.offset)
        if anchor != self._anchored:
            self._anchor_store.write(anchor.encode())
            self._anchored = anchor
        return anchor


def _account(left: list[tuple[str, int, int]]) -> dict[str, Any]:
    """What an entry says of what it replaces."""
    content = hashlib.sha512()
    lines = 0
    for name, start, end in left:
        for line, _ in read_lines(name, start, end):
            content.update(line)
            lines += line.endswith(b"\n")
    size = sum(end - start for _, start, end in left)
    return {"bytes": size, "lines": lines, "sha512": content.hexdigest()}


def _cut(name: str, size: int) -> None:
    """Cuts a file down, if it is longer, and syncs it."""
    if os.stat(name).st_size > size:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_at(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
