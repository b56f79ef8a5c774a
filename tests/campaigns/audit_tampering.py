"""Tampering with an audit trail in every way that can be listed: what is detected?

    python tests/campaigns/audit_tampering.py [--entries 1000] [--seed 1] [--jobs 1]

A trail is written in batches, over several files and with a rotation of its key. Then, one at a time: every
bit of it and of its anchor is flipped; every entry and every seal is deleted, duplicated, swapped with the
next and with another; every entry is changed and given the id that fits; an entry with a fitting parent is
inserted at every place; the trail is truncated at every byte, and each file by itself is; all seals are
removed; the whole is written anew with another key. Prints for each how many there were and how many were
detected; exits with 1 unless it is all of them.

To verify the whole trail for each of five million bits would take days. It is verified from the line that
changed on: `Chain` is a fold over lines, what it says of a line depends on the lines before only by its
state, and nothing it has said is ever taken back. So its state before a line is kept, and if from there on
one thing is wrong then the whole verification finds that, too. That this holds is checked as well: a sample
of each kind is written to a disk and given to `verify`, which must say the same thing first.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vaultscope import Registry
from vaultscope.audit import AuditLog, verify
from vaultscope.core.audit_entry import CONTINUED, NOTHING, Anchor, Draft, Entry, Seal, digest, read_line
from vaultscope.edge.audit_keys import check_signature, public_key
from vaultscope.edge.audit_reader import log_files
from vaultscope.errors import DecodeError
from vaultscope.signals.audit import Chain, Head

SAMPLE = 60  # of each kind, verified as a whole
BATCH = 20


def write_trail(folder: Path, entries: int) -> Path:
    """A trail of so many entries at least, in files of a third of it each, with a rotation of its key."""
    path = folder / "vault.audit"
    third = max(2_000, entries * 200)
    with AuditLog(path, registry=Registry(), max_bytes=third, batch_entries=BATCH, batch_seconds=5.0) as log:
        for number in range(entries):
            log.append(
                f"user {number % 7}",
                "object.deleted" if number % 3 else "configuration.changed",
                f"sha256:{number:064x}",
                {"reason": "expired", "size": number * 4096, "ratio": number / 7, "name": "é\u2028😀"},
                {"trace_id": f"{number:032x}"},
            )
            if number % BATCH == BATCH - 1:
                assert log.flush(), log.trouble
            if number == entries // 2:
                assert log.flush()
                log.rotate_key()
    return path


@dataclass(frozen=True)
class Change:
    """The lines from `first` up to `last`, which are all of one file, become `data`. rest: what follows in
    the trail stays; else it is gone, of that file or of all."""

    first: int
    last: int
    data: bytes
    rest: str = "all"  # or "files": of this file nothing stays; or "none"


@dataclass(frozen=True)
class Line:
    file: int
    text: bytes


class Trail:
    """A trail in memory, and a verification's state before each of its lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = [Path(name).read_bytes() for _, name in log_files(path)]
        self.lines = [
            Line(number, line)
            for number, content in enumerate(self.files)
            for line in content.splitlines(keepends=True)
        ]
        self.anchor_bytes = path.with_name(path.name + ".anchor").read_bytes()
        self.anchor = Anchor.decode(self.anchor_bytes)
        self.key = public_key(path.with_name(path.name + ".key.pub"))
        self.states: list[Chain] = []
        chain = Chain(check_signature, self.key, self.anchor)
        for place, line in enumerate(self.lines):
            if place and line.file != self.lines[place - 1].file:
                chain.begin_file(line.file, len(self.files[line.file - 1]))
            self.states.append(chain.fork())
            assert chain.feed(line.text[:-1]) is None
        self.end = chain
        assert list(chain.finish()) == []

    @cached_property
    def items(self) -> list[Entry | Seal]:
        return [read_line(line.text[:-1]) for line in self.lines]

    def content(self, change: Change) -> list[bytes]:
        """Each file as it becomes."""
        file = self.lines[change.first].file
        contents = list(self.files)
        before = b"".join(line.text for line in self.lines[: change.first] if line.file == file)
        after = b"".join(line.text for line in self.lines[change.last :] if line.file == file)
        contents[file] = before + change.data + (after if change.rest == "all" else b"")
        return contents[: file + 1] if change.rest == "none" else contents

    def first_finding(self, change: Change) -> str | None:
        """What is wrong first, from the change on."""
        file = self.lines[change.first].file
        chain = self.states[change.first].fork()
        for said in self._findings(chain, change, file):
            return said
        return None

    def _findings(self, chain: Chain, change: Change, file: int) -> Iterator[str]:
        following = self.lines[change.last :]
        data = change.data
        taken = 0
        if change.rest == "all":
            # A line that has lost its end goes on with the next.
            while (
                data and not data.endswith(b"\n") and taken < len(following) and following[taken].file == file
            ):
                data += following[taken].text
                taken += 1
        yield from _fed(chain, data)
        at, size = file, 0
        for line in following[taken:] if change.rest != "none" else ():
            if line.file == file and change.rest == "files":
                continue
            if line.file != at:
                size = len(self.content(change)[at]) if at == file else len(self.files[at])
                at = line.file
                chain.begin_file(at, size)
            yield from _fed(chain, line.text)
        yield from (finding.text for finding in chain.finish())

    def first_finding_in_whole(self, change: Change, folder: Path) -> str | None:
        """What `verify` says first of the changed trail, written to files."""
        for number, content in enumerate(contents := self.content(change)):
            (folder / Path(log_name(number))).write_bytes(content)
        for number in range(len(contents), len(self.files)):
            (folder / log_name(number)).unlink(missing_ok=True)
        (folder / "vault.audit.anchor").write_bytes(self.anchor_bytes)
        finding = next(verify(folder / "vault.audit", public_key=self.key), None)
        return None if finding is None else finding.text


def log_name(number: int) -> str:
    return "vault.audit" if number == 0 else f"vault.audit.{number:06}"


def _fed(chain: Chain, data: bytes) -> Iterator[str]:
    for line in data.splitlines(keepends=True) if b"\r" not in data else _split(data):
        if not line.endswith(b"\n"):
            yield f"the line is torn: {len(line):,} bytes without an end"
            continue
        finding = chain.feed(line[:-1])
        if finding is not None:
            yield finding.text


def _split(data: bytes) -> list[bytes]:
    """By newlines only, as files are read; `bytes.splitlines` splits at carriage returns, too."""
    parts = [line + b"\n" for line in data.split(b"\n")]
    last = parts.pop()[:-1]
    return [*parts, last] if last else parts


# ---- the ways to tamper


def flips(trail: Trail, first: int, last: int) -> Iterator[Change]:
    """Every bit of these lines."""
    for place in range(first, last):
        line = trail.lines[place].text
        for at in range(len(line)):
            for bit in range(8):
                changed = bytearray(line)
                changed[at] ^= 1 << bit
                yield Change(place, place + 1, bytes(changed))


def truncations(trail: Trail, first: int, last: int) -> Iterator[Change]:
    """At every byte: nothing behind it stays."""
    for place in range(first, last):
        line = trail.lines[place].text
        for at in range(len(line)):
            yield Change(place, place + 1, line[:at], rest="none")


def file_truncations(trail: Trail, first: int, last: int) -> Iterator[Change]:
    """At every line, and within it, of one file: the others stay."""
    for place in range(first, last):
        line = trail.lines[place].text
        for at in (0, 1, len(line) - 1):
            yield Change(place, place + 1, line[:at], rest="files")


def deletions(trail: Trail, first: int, last: int) -> Iterator[Change]:
    """Every entry and every seal."""
    for place in range(first, last):
        yield Change(place, place + 1, b"")


def duplications(trail: Trail, first: int, last: int) -> Iterator[Change]:
    """Every entry and every seal, behind itself, and a copy of the one before."""
    for place in range(first, last):
        line = trail.lines[place].text
        yield Change(place, place + 1, line * 2)
        if place:
            yield Change(place, place + 1, line + trail.lines[place - 1].text)


def swaps(trail: Trail, first: int, last: int) -> Iterator[Change]:
    """Every line with the next one of its file, and with another one."""
    draw = random.Random(first)
    for place in range(first, last):
        here = trail.lines[place]
        for other in (place + 1, draw.randrange(place, len(trail.lines))):
            if place < other < len(trail.lines) and trail.lines[other].file == here.file:
                between = b"".join(line.text for line in trail.lines[place + 1 : other])
                yield Change(place, other + 1, trail.lines[other].text + between + here.text)


def forgeries(trail: Trail, first: int, last: int) -> Iterator[Change]:
    """Every entry, changed and with the id that fits."""
    for place in range(first, last):
        item = trail.items[place]
        if isinstance(item, Entry):
            yield Change(place, place + 1, _entry_like(item, item.sequence, item.parent))


def insertions(trail: Trail, first: int, last: int) -> Iterator[Change]:
    """Before every line, an entry with a fitting parent and sequence."""
    for place in range(first, last):
        head = trail.states[place].head
        like = next(item for item in trail.items if isinstance(item, Entry))
        forged = _entry_like(like, head.sequence + 1, head.id)
        yield Change(place, place + 1, forged + trail.lines[place].text)
        yield Change(place, place + 1, trail.lines[place].text + forged)


def _entry_like(entry: Entry, sequence: int, parent: str) -> bytes:
    draft = Draft("mallory", entry.verb, entry.object, entry.parameters, entry.context, time_ns=1, own=True)
    return draft.line(sequence, parent)[1] + b"\n"


KINDS = {
    "bits flipped": flips,
    "truncated at a byte": truncations,
    "one file truncated": file_truncations,
    "lines deleted": deletions,
    "lines duplicated": duplications,
    "lines swapped": swaps,
    "entries forged, with ids that fit": forgeries,
    "entries inserted, with parents that fit": insertions,
}


@dataclass
class Result:
    """Of one kind: how many changes there were, what was not seen, and where the two verifications differ."""

    kind: str
    tried: int = 0
    undetected: int = 0
    compared: int = 0
    different: int = 0

    def __str__(self) -> str:
        share = 100 * (self.tried - self.undetected) / max(1, self.tried)
        return (
            f"{self.kind:42}{self.tried:>10,}  {share:.6g} % detected"
            f"  {self.compared} verified as a whole{'' if not self.different else ': DIFFERENT'}"
        )


def sampled(changes: Iterable[Change], draw: random.Random, result: Result, trail: Trail) -> list[Change]:
    """Tries each change, from where it is on; returns a few of them."""
    kept: list[Change] = []
    for change in changes:
        result.tried += 1
        result.undetected += trail.first_finding(change) is None
        if len(kept) < SAMPLE:
            kept.append(change)
        elif (place := draw.randrange(result.tried)) < SAMPLE:
            kept[place] = change
    return kept


def compare(kept: list[Change], result: Result, trail: Trail, folder: Path) -> None:
    """A sample, verified as a whole: it must say the same."""
    for change in kept:
        result.compared += 1
        result.different += trail.first_finding_in_whole(change, folder) != trail.first_finding(change)


_trail: Trail | None = None  # of the forked workers


def _part(arguments: tuple[str, int, int, int]) -> tuple[Result, list[Change]]:
    kind, first, last, seed = arguments
    assert _trail is not None
    result = Result(kind)
    return result, sampled(KINDS[kind](_trail, first, last), random.Random(seed), result, _trail)


def run_kind(kind: str, trail: Trail, seed: int, jobs: int, folder: Path) -> Result:
    global _trail
    _trail = trail
    step = max(1, len(trail.lines) // (8 * jobs)) if jobs > 1 else len(trail.lines)
    bounds = range(0, len(trail.lines), step)
    parts = [(kind, first, min(first + step, len(trail.lines)), seed + first) for first in bounds]
    if jobs > 1:
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
            done = pool.map(_part, parts, chunksize=1)
    else:
        done = [_part(part) for part in parts]
    total = Result(kind)
    kept = [change for _, changes in done for change in changes]
    for result, _ in done:
        total.tried += result.tried
        total.undetected += result.undetected
    random.Random(seed).shuffle(kept)
    compare(kept[:SAMPLE], total, trail, folder)
    return total


def run_anchor(trail: Trail) -> Result:
    """Every bit of the anchor."""
    result = Result("bits of the anchor flipped")
    for at in range(len(trail.anchor_bytes) * 8):
        changed = bytearray(trail.anchor_bytes)
        changed[at // 8] ^= 1 << at % 8
        result.tried += 1
        try:
            anchor = Anchor.decode(bytes(changed))
        except DecodeError:
            continue  # `verify` says so
        place = (anchor.file, anchor.offset) != (trail.anchor.file, trail.anchor.offset)
        chain = trail.states[-1].fork()
        chain.anchor = anchor
        found = chain.feed(trail.lines[-1].text[:-1]) or next(chain.finish(), None) or place
        result.undetected += not found
        if result.compared < SAMPLE:
            result.compared += 1
            whole = list(verify(trail.path, anchor=bytes(changed), public_key=trail.key))
            result.different += bool(whole) != bool(found)
    return result


def run_wholes(trail: Trail, folder: Path) -> Result:
    """What is done to the whole: all seals removed, a file removed, written anew with another key."""
    result = Result("seals removed, files removed, written anew")

    def is_found(path: Path, anchor: bytes) -> None:
        result.tried += 1
        result.compared += 1
        result.undetected += not list(verify(path, anchor=anchor, public_key=trail.key))

    for number in range(len(trail.files)):
        copy = _copied(trail, folder / f"without {number}")
        (copy.parent / log_name(number)).unlink()
        is_found(copy, trail.anchor_bytes)
    copy = _copied(trail, folder / "unsealed")
    for number in range(len(trail.files)):
        lines = [
            line.text for line in trail.lines if line.file == number and b'{"seal":' not in line.text[:9]
        ]
        (copy.parent / log_name(number)).write_bytes(b"".join(lines))
    is_found(copy, trail.anchor_bytes)
    forged = write_trail(_made(folder / "forged"), 50)
    own_anchor = forged.with_name("vault.audit.anchor").read_bytes()
    is_found(forged, trail.anchor_bytes)
    is_found(forged, own_anchor)
    contents, anchor = rechained(trail)
    fitting = _copied(trail, folder / "fitting")
    for number, content in enumerate(contents):
        (fitting.parent / log_name(number)).write_bytes(content)
    is_found(fitting, trail.anchor_bytes)
    is_found(fitting, anchor.encode())
    for number in range(1, len(trail.files) + 1):  # it goes on where the true one ends, or stands before it
        extra = _copied(trail, folder / f"extra {number}")
        shutil.copy(forged, extra.parent / log_name(number))
        is_found(extra, trail.anchor_bytes)
    return result


def rechained(trail: Trail) -> tuple[list[bytes], Anchor]:
    """The trail at other times, with ids, parents, hashes and an anchor that fit: all but the signatures."""
    contents = [b""] * len(trail.files)
    sequence, parent, sealed = 0, NOTHING, NOTHING
    for line, item in zip(trail.lines, trail.items, strict=True):
        if isinstance(item, Entry):
            parameters = item.parameters
            if item.verb == CONTINUED:
                head = Head(sequence, parent, sequence, sealed, parameters["key"])
                parameters = head.continuation(line.file - 1, len(contents[line.file - 1]))
            sequence += 1
            draft = Draft(item.actor, item.verb, item.object, parameters, item.context, time_ns=1, own=True)
            parent, text = draft.line(sequence, parent)
        else:
            last = Seal(sequence, parent, sealed, item.timestamp, item.key, "ab" * 64)
            text = last.line()
            sealed = digest(text)
        contents[line.file] += text + b"\n"
    return contents, Anchor(last, len(contents) - 1, len(contents[-1]))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _copied(trail: Trail, folder: Path) -> Path:
    folder.mkdir()
    for number, content in enumerate(trail.files):
        (folder / log_name(number)).write_bytes(content)
    return folder / "vault.audit"


def run(entries: int, seed: int, jobs: int, folder: Path) -> Iterator[Result]:
    """All of it, in a folder that is there."""
    trail = Trail(write_trail(_made(folder / "true"), entries))
    assert list(verify(trail.path, public_key=trail.key)) == []
    whole = _made(folder / "whole")
    for kind in KINDS:
        yield run_kind(kind, trail, seed, jobs, whole)
    yield run_anchor(trail)
    yield run_wholes(trail, folder)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Tamper with an audit trail in every listed way.")
    parser.add_argument("--entries", type=int, default=1_000, help="of the trail (1,000)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    failed = tried = 0
    with tempfile.TemporaryDirectory() as folder:
        for result in run(options.entries, options.seed, options.jobs, Path(folder)):
            print(result, flush=True)
            failed += result.undetected + result.different
            tried += result.tried
    share = "100 %" if not failed else f"{failed:,} NOT"
    print(f"{tried:,} changes to a trail of {options.entries:,} entries: {share} detected")
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
