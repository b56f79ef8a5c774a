"""The audit trail as a chain: how entries and seals hang together, and what is wrong with a trail.

An entry's id is the SHA-512 of its line without the id; the line holds the id of the entry before it. So an
id stands for all that came before, and a *seal*, which signs the id and sequence of the last entry, for each
of them. A seal holds the hash of the seal before it: none can be taken out. The *anchor* is the last seal
once more, and is kept elsewhere, so that the end of a trail cannot be cut off unseen.

    entry 1 <- entry 2 <- entry 3 <- entry 4 ...      parent: the id before it
                  |                    |
                seal  <-------------- seal ...        parent: the hash of the seal before it

Whoever can write all files, but has not the key, can

- destroy the trail: it is seen, not prevented;
- put the trail *and* its anchor back to what both were earlier, to nothing at last: any seal of the trail
  makes an anchor. That is seen only by one who remembers a later anchor, or by a process that has the trail
  open: keep anchors where the vault cannot reach them (`witness`), and verify with them;
- keep what is not sealed yet from being sealed, by killing the process: at most a batch, of which nobody was
  told that it was written.

Whoever has the key can write what they like from then on, and anew what was before, unless there are anchors
elsewhere. A trail proves that it was not changed; not that what it says is so, nor that clocks were right.

No files here, no keys and no clock: signatures are checked by a function that is given.

Source: the memo, Alert Evaluation (audit-append) and its reference Memo-003.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from vaultscope.core.audit_entry import (
    BEGAN,
    CONTINUED,
    NOTHING,
    ROTATED,
    Anchor,
    Entry,
    Seal,
    digest,
    is_hash,
    is_key,
    read_line,
)
from vaultscope.errors import DecodeError

__all__ = ["Chain", "Finding", "Head"]

Check = Callable[[str, bytes, bytes], bool]
"""Whether, by a public key (64 hexadecimal digits), a signature is that of a message."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a trail.

    kind: "line", "chain", "seal", "unsealed", "torn", "missing", "anchor", "key" or "unproven".
    text: what is wrong. sequence: of the entry or seal; -1: it is none. file, line: where; line from 1 on.
    """

    kind: str
    text: str
    sequence: int = -1
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{place}{f'entry {self.sequence}: ' if self.sequence > 0 else ''}{self.text}"


@dataclass(frozen=True, slots=True)
class Head:
    """How far a trail goes: the last entry, the last seal's sequence and hash, and the key of the next."""

    sequence: int = 0
    id: str = NOTHING
    sealed: int = 0
    seal: str = NOTHING
    key: str = ""

    def continuation(self, file: int, size: int) -> dict[str, Any]:
        """What the first entry of a file says of the one before."""
        return {
            "file": file,
            "bytes": size,
            "sequence": self.sequence,
            "id": self.id,
            "seal": self.seal,
            "key": self.key,
        }


class Chain:
    """Follows a trail line by line, and tells what is wrong with it.

    What it says of a line depends on that line and on what is kept from those before, nothing else; `fork`
    makes a second one that goes on from here by itself. After a finding it goes on from what the line claims,
    so that each break is told once.

    Args:
        check: Of signatures; None: they are not checked.
        trusted: The public key that must have sealed; "": any will do.
        anchor: What the trail must hold.
        head: Where to go on.
    """

    def __init__(
        self, check: Check | None, trusted: str = "", anchor: Anchor | None = None, head: Head | None = None
    ) -> None:
        self.head = Head() if head is None else head
        self.anchor = anchor
        self._check, self._trusted = check, trusted
        self._is_vouched = False
        self._is_anchored = anchor is None or anchor.seal.sequence == 0
        self._next_key = ""  # that a rotation named; the seal over it is the old key's last
        self._continuation: dict[str, Any] | None = None
        self._adopts = False

    def fork(self) -> Chain:
        """Another one, in the same state."""
        return copy.copy(self)  # all that is kept is never changed, only replaced

    def begin_file(self, number: int, size_before: int, *, is_first: bool = False) -> None:
        """What follows begins another file, number 1 or later; the one before has that many bytes. is_first:
        the one before is not at hand, and is believed to have been what the first entry says."""
        self._continuation = self.head.continuation(number - 1, size_before)
        self._adopts = is_first

    def feed(self, line: bytes) -> Finding | None:
        """The next line, without its newline. Returns what is wrong with it, without a place."""
        try:
            item = read_line(line)
        except DecodeError as error:
            return Finding("line", str(error))
        found = self._seal(item, line) if isinstance(item, Seal) else self._entry(item)
        return Finding(found[0], found[1], item.sequence) if found else None

    def _entry(self, entry: Entry) -> tuple[str, str] | None:
        wrong = self._continues(entry)
        head = self.head
        if wrong:
            pass
        elif self._next_key:
            wrong = "it follows the rotation of a key that was not sealed"
        elif entry.sequence != head.sequence + 1:
            wrong = f"it follows {f'entry {head.sequence}' if head.sequence else 'nothing'}"
        elif entry.parent != head.id:
            wrong = "its parent is not the entry before it"
        elif (entry.verb == BEGAN) != (entry.sequence == 1):
            wrong = "a trail begins with its first entry, and only there"
        elif self.anchor is not None and self._contradicts(entry, self.anchor.seal):
            wrong = "the anchor has another entry of that sequence"
        key = head.key
        if entry.verb in (BEGAN, ROTATED):
            named = entry.parameters.get("key")
            if not is_key(named):
                wrong = wrong or "it names no key"
            elif entry.verb == ROTATED:
                self._next_key = str(named)
            elif head.key and head.key != named:
                wrong = wrong or "it names another key than the trail's"
            else:
                key = str(named)
        self.head = Head(entry.sequence, entry.id, head.sealed, head.seal, key)
        return ("chain", wrong) if wrong else None

    def _contradicts(self, entry: Entry, anchored: Seal) -> bool:
        return entry.sequence == anchored.sequence and entry.id != anchored.id

    def _continues(self, entry: Entry) -> str:
        """What is wrong with it as the first entry of a file, or as another one."""
        expected, self._continuation = self._continuation, None
        if expected is None:
            return "it says that it begins a file" if entry.verb == CONTINUED else ""
        said = dict(entry.parameters)
        if entry.verb != CONTINUED:
            return "it does not name the file before, as the first one of a file does"
        if self._adopts:
            self._adopts = False
            hashes = (said.get("seal"), said.get("key"))
            if not is_hash(hashes[0]) or not is_key(hashes[1]):
                return "it names no seal and no key"
            self.head = Head(entry.sequence - 1, entry.parent, entry.sequence - 1, *map(str, hashes))
            return ""
        return "" if said == expected else "the file before is not the one it names"

    def _seal(self, seal: Seal, line: bytes) -> tuple[str, str] | None:
        head = self.head
        wrong = ""
        if self._continuation is not None:
            wrong = "it begins a file, which an entry must"
        elif seal.sequence != head.sequence or seal.id != head.id:
            wrong = "the seal is not of the entry before it"
        elif seal.sequence <= head.sealed:
            wrong = "the seal is of what was sealed before"
        elif seal.parent != head.seal:
            wrong = "the seal does not follow the seal before it"
        elif seal.key != head.key:
            wrong = "the seal is of a key that is not the trail's"
        elif not self._is_signed(seal):
            wrong = "the seal's signature is wrong"
        else:
            self._is_vouched = self._is_vouched or seal.key == self._trusted
        if self.anchor is not None and seal.sequence == self.anchor.seal.sequence:
            if seal == self.anchor.seal:
                self._is_anchored = True
            else:
                wrong = wrong or "the anchor has another seal of that entry"
        key, self._next_key = self._next_key or head.key, ""
        self.head = Head(head.sequence, head.id, max(seal.sequence, head.sealed), digest(line), key)
        return ("seal", wrong) if wrong else None

    def _is_signed(self, seal: Seal) -> bool:
        return self._check is None or self._check(seal.key, bytes.fromhex(seal.signature), seal.message())

    def genuine_seal(self, line: bytes, keys: Collection[str]) -> Seal | None:
        """The seal that the line holds, if one of these keys signed it, wherever it should stand."""
        try:
            seal = read_line(line)
        except DecodeError:
            return None
        return seal if isinstance(seal, Seal) and seal.key in keys and self._is_signed(seal) else None

    def finish(self) -> Iterator[Finding]:
        """What is wrong at the end."""
        head = self.head
        if head.sequence > head.sealed:
            text = f"entries {head.sealed + 1} to {head.sequence} have no seal"
            yield Finding("unsealed", text, head.sealed + 1)
        if self.anchor is not None and not self._is_anchored:
            yield Finding("anchor", self._lost(self.anchor.seal))
        if self.anchor is not None and not self._is_signed(self.anchor.seal):
            yield Finding("anchor", "the anchor's signature is wrong")
        if self._trusted and head.sequence and not self._is_vouched:
            yield Finding("key", f"no seal is of the key {self._trusted}")

    def _lost(self, anchored: Seal) -> str:
        if anchored.sequence > self.head.sequence:
            return f"truncated: it ends with entry {self.head.sequence}, the anchor is of {anchored.sequence}"
        return f"the seal of entry {anchored.sequence}, which the anchor is of, is not there"
