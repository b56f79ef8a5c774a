"""Reading an audit log: its files, its lines, its entries, and whether all of it is what was written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vaultscope.core.audit_entry import LINE_BYTES_MAX, Anchor, Entry, Seal, read_line
from vaultscope.edge.audit_keys import check_signature, public_key, write_whole
from vaultscope.edge.audit_lock import nobody_appends
from vaultscope.errors import DecodeError
from vaultscope.signals.audit import Chain, Finding

__all__ = ["AnchorStore", "FileAnchor", "Verification", "log_files", "read_entries", "read_lines", "verify"]

ANCHOR_SUFFIX, KEY_SUFFIX = ".anchor", ".key"
_ANCHOR_BYTES_MAX = 4096
_UNSEALED_MAX = 10_000  # entries that wait for their seal; batches are smaller


class AnchorStore(Protocol):
    """Where the anchor of a log is kept, outside of it."""

    def read(self) -> bytes | None:
        """The anchor that was written last; None: there never was one. Raises OSError."""

    def write(self, data: bytes) -> object:
        """Replaces it, as a whole or not at all, and returns when it is durable. Raises OSError."""


class FileAnchor:
    """An anchor in a file, best on another disk than the log's: mode 0600, replaced by renaming."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))

    def read(self) -> bytes | None:
        """The file; None if there is none. Raises OSError."""
        try:
            with open(self.path, "rb") as file:
                return file.read(_ANCHOR_BYTES_MAX)
        except FileNotFoundError:
            return None

    def write(self, data: bytes) -> None:
        """Replaces the file. Raises OSError."""
        write_whole(self.path, data, 0o600, replace=True)


def file_name(path: str, number: int) -> str:
    """Of a log's file: the first has the log's name, those after it a number more."""
    return path if number == 0 else f"{path}.{number:06}"


def log_files(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """The files of a log that are there, in order: numbers and names. Raises OSError."""
    base = os.path.abspath(os.fspath(path))
    pattern = re.compile(re.escape(os.path.basename(base)) + r"(?:\.(\d{6,}))?", re.ASCII)
    found = [match for name in os.listdir(os.path.dirname(base)) if (match := pattern.fullmatch(name))]
    numbers = sorted({int(match[1] or 0) for match in found})
    return [(number, file_name(base, number)) for number in numbers]


def read_lines(name: str, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """The lines of a part of a file, each with where it ends; the last one may lack its newline. One that is
    too long for an entry comes in pieces. Raises OSError."""
    with open(name, "rb") as file:
        file.seek(start)
        while start < end:
            line = file.readline(min(end - start, LINE_BYTES_MAX))
            if not line:
                return
            start += len(line)
            yield line, start


@dataclass(frozen=True, slots=True)
class _Extent:
    """A file of a log, as far as it went when it was looked at."""

    number: int
    name: str
    size: int


def _look(path: str, anchor: Any) -> tuple[bytes | None, list[_Extent]]:
    """The anchor, and how far each file goes, of one moment."""
    with nobody_appends(path):
        data = _anchor_bytes(path, anchor)
        return data, [_Extent(number, name, os.stat(name).st_size) for number, name in log_files(path)]


def _anchor_bytes(path: str, anchor: Any) -> bytes | None:
    if isinstance(anchor, bytes):
        return anchor
    store = FileAnchor(path + ANCHOR_SUFFIX) if anchor is None else anchor
    if isinstance(store, (str, os.PathLike)):
        store = FileAnchor(store)
    data: bytes | None = store.read()
    return data


class Verification(Iterator[Finding]):
    """An iterator over what is wrong with a log; it reads on as it is asked, in little memory.

    entries, seals, files: how many were read so far. last: the last entry's sequence.
    """

    entries = 0
    seals = 0
    files = 0
    last = 0

    def __init__(self, path: str | os.PathLike[str], anchor: Any, key: str | os.PathLike[str] | None) -> None:
        self._path = os.path.abspath(os.fspath(path))
        self._findings = self._verify(anchor, key)

    def __next__(self) -> Finding:
        return next(self._findings)

    def _verify(self, where: Any, key: str | os.PathLike[str] | None) -> Iterator[Finding]:
        data, extents = _look(self._path, where)
        anchor = None
        if data is None:
            yield Finding("anchor", "there is no anchor: a truncation could not be seen")
        else:
            try:
                anchor = Anchor.decode(data)
            except DecodeError as error:
                yield Finding("anchor", str(error))
        if not any(extent.size for extent in extents) and (anchor is None or anchor.seal.sequence == 0):
            yield Finding("missing", "there is no entry", file=os.path.basename(self._path))
        trusted = self._trusted(key)
        chain = Chain(check_signature, trusted, anchor)
        yield from self._files(extents, chain, anchor)
        yield from chain.finish()
        if not trusted:
            yield Finding("unproven", "no public key was given: the seals may be anybody's")

    def _trusted(self, key: str | os.PathLike[str] | None) -> str:
        if key is not None:
            return public_key(key)
        beside = self._path + KEY_SUFFIX + ".pub"
        return public_key(beside) if os.path.exists(beside) else ""

    def _files(self, extents: list[_Extent], chain: Chain, anchor: Anchor | None) -> Iterator[Finding]:
        expected, size = 0, 0
        for extent in extents:
            if extent.number != expected:
                yield Finding("missing", "a file before it is not there", file=os.path.basename(extent.name))
            if extent.number:
                chain.begin_file(extent.number, size, is_first=extent.number != expected)
            yield from self._lines(extent, chain, anchor)
            self.files += 1
            expected, size = extent.number + 1, extent.size

    def _lines(self, extent: _Extent, chain: Chain, anchor: Anchor | None) -> Iterator[Finding]:
        name = os.path.basename(extent.name)
        number = 0
        for number, (line, end) in enumerate(read_lines(extent.name, 0, extent.size), 1):
            if not line.endswith(b"\n"):
                text = f"the line is torn: {len(line):,} bytes without an end"
                yield Finding("torn", text, file=name, line=number)
                continue
            before = chain.head
            finding = chain.feed(line[:-1])
            if finding is not None:
                yield replace(finding, file=name, line=number)
            sealed = chain.head.seal != before.seal
            self.seals += sealed
            self.entries += chain.head.sequence != before.sequence
            self.last = chain.head.sequence
            if (
                sealed
                and anchor is not None
                and chain.head.sequence == anchor.seal.sequence
                and (extent.number, end) != (anchor.file, anchor.offset)
            ):
                text = f"the anchor says that it is in file {anchor.file} at {anchor.offset:,}"
                yield Finding("anchor", text, chain.head.sequence, name, number)


def verify(
    path: str | os.PathLike[str],
    *,
    anchor: bytes | str | os.PathLike[str] | AnchorStore | None = None,
    public_key: str | os.PathLike[str] | None = None,
) -> Verification:
    """Reads a whole log and tells what is wrong with it: nothing, if nothing is.

    Found is each bit that is not as it was written, each entry and seal that was deleted, swapped, duplicated
    or inserted, a log that was written anew without the key, and, by the anchor, each truncation. Not found
    is a log that was put back together with its anchor: give it an anchor that you kept elsewhere; any one
    will do that is not older than what must be there. See signals/audit.py.

    After a kill the log may end with a line or a batch that is torn: that is a finding, too, until the log is
    opened again, which cuts it off and says so in an entry.

    Args:
        path: The log, or a copy of its files. It may be in use, by who lets this user read <path>.lock;
            without that a batch that is just being written looks torn.
        anchor: An anchor, or where to read it. None: <path>.anchor.
        public_key: One that has sealed this log, now or earlier; the newest is best. In a file, or as 64
            hexadecimal digits. None: <path>.key.pub, if it is there; else nothing shows by whom the seals
            are, which is a finding of the kind "unproven".

    Raises:
        AuditKeyError: It is no public key.
        OSError: Something cannot be read.
        ModuleNotFoundError: `cryptography` is missing.
    """
    return Verification(path, anchor, public_key)


def read_entries(
    path: str | os.PathLike[str], *, on_bad: Callable[[Finding], object] | None = None
) -> Iterator[Entry]:
    """The entries of a log, oldest first, each with the seal that covers it, None if it has none. Nothing is
    verified beyond that what an entry says is what its id says; it takes no key.

    Args:
        path: The log. It may be in use.
        on_bad: Called with each line that is no entry and no seal; it is left out.

    Raises:
        OSError: Something cannot be read.
    """
    waiting: list[Entry] = []
    _, extents = _look(os.path.abspath(os.fspath(path)), b"")
    for extent in extents:
        for number, (line, _) in enumerate(read_lines(extent.name, 0, extent.size), 1):
            try:
                item = read_line(line.removesuffix(b"\n"))
            except DecodeError as error:
                if on_bad is not None:
                    on_bad(Finding("line", str(error), file=os.path.basename(extent.name), line=number))
                continue
            if isinstance(item, Entry):
                waiting.append(item)
            if isinstance(item, Seal) or len(waiting) > _UNSEALED_MAX:
                seal = item if isinstance(item, Seal) else None
                yield from (replace(entry, seal=seal) for entry in waiting)
                waiting.clear()
    yield from waiting


def is_begun(path: str) -> bool:
    """Whether a log has files that are not empty. Raises OSError."""
    with suppress(FileNotFoundError):
        return any(os.stat(name).st_size for _, name in log_files(path))
    return False
