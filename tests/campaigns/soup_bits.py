"""Bits of a soup's file that are flipped: `soup_bits.py [FLIPS] [SEED]` (10,000).

One bit, at a random place in the database or in its log, of a soup that was left by a kill; one in three in
the first bytes of a page, which say what is where. Then everything is asked for: each object, queries,
counts, statistics, `verify`; and something is put, and a gc run. Wrong bytes never come: `get` returns what
was put, or raises DamagedError, NotFoundError or StorageError. Nothing else is raised by anything, nothing
crashes, nothing hangs. Told is how often which came; and how often a query told something else of an object
than what was put with it, which no hash guards.
"""

from __future__ import annotations

import ast
import faulthandler
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vaultscope import Registry
from vaultscope.core.soup import address_of
from vaultscope.errors import DamagedError, NotFoundError, StorageError
from vaultscope.soup import NewObject, SqliteSoup, attr

GROUP, PATIENCE_S = 50, 30
OBJECTS, CREATED_NS, TTL_S = 100, 1_700_000_000_000_000_000, 10**9
SUFFIXES = ("", "-wal")
PAGE_BYTES, HEAD_BYTES = 4096, 64
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
NAMES = {NotFoundError: "not found", DamagedError: "damaged", StorageError: "refused"}


def contents() -> list[bytes]:
    """Some over several pages, some that can be compressed."""
    draw = random.Random(1)
    raw = [draw.randbytes(draw.choice((50, 300, 2_000, 9_000))) for _ in range(OBJECTS // 2)]
    return [
        each for n, one in enumerate(raw) for each in (one, b"packed " * draw.randrange(2_000) + b"%d" % n)
    ]


def opened(path: Path) -> SqliteSoup:
    return SqliteSoup(path, index=("key",), registry=Registry(), busy_seconds=1.0)


def make(path: Path) -> dict[str, bytes]:
    """The bytes of a soup's files after a kill, the second half of the objects in its log."""
    pid = os.fork()
    if pid == 0:
        soup = opened(path)
        for number, content in enumerate(contents()):
            if number == OBJECTS // 2:
                soup._file.checkpoint()
            new = NewObject(content, f"type-{number % 3}", {"key": number}, CREATED_NS + number, TTL_S)
            soup.put_many([new])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    return {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in SUFFIXES}


class Look:
    """All that can be asked of a damaged soup. seen: how often which answer came."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._contents = {address_of(each): each for each in contents()}
        self._places = {address_of(each): number for number, each in enumerate(contents())}
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        """Raises AssertionError for a wrong answer, and what must not be raised."""
        soup = self._try("open", lambda: opened(self._path))
        if soup is None:
            return
        for address, content in self._contents.items():
            found = self._try("get", lambda address=address: soup.get(address))
            assert found in (None, content), f"{address} came with other bytes"
        self._query(soup)
        self._try("other", lambda: list(soup.verify()))
        self._try("other", lambda: soup.count(attr("key").exists()))
        self._try("other", soup.stats)
        self._try("other", lambda: soup.put(b"new", type="new"))
        self._try("other", soup.gc)
        soup.close()

    def _query(self, soup: SqliteSoup) -> None:
        for where in (None, attr("key") < 50):
            for each in self._try("query", lambda where=where: list(soup.query(where))) or []:
                number = self._places.get(each.address, -1)
                facts = (each.type, each.created_ns, each.attributes, each.size)
                content = self._contents.get(each.address, b"")
                known = (f"type-{number % 3}", CREATED_NS + number, {"key": number}, len(content))
                self.seen["facts right" if facts == known else "facts wrong"] += 1

    def _try(self, name: str, call: Callable[[], Any]) -> Any:
        try:
            result = call()
        except tuple(NAMES) as error:
            kind = next(word for kind, word in NAMES.items() if isinstance(error, kind))
            self.seen[f"{name} {kind}"] += 1
            return None
        self.seen[f"{name} right"] += 1
        return result


def flip(sound: dict[str, bytes], path: Path, draw: random.Random) -> str:
    """Writes the files anew, with one bit flipped; returns where."""
    suffix = draw.choice(SUFFIXES)
    at = draw.randrange(8 * len(sound[suffix]))
    if draw.randrange(3) == 0:
        at = min(at - at % (8 * PAGE_BYTES) + draw.randrange(8 * HEAD_BYTES), 8 * len(sound[suffix]) - 1)
    for each, data in sound.items():
        damaged = bytearray(data)
        if each == suffix:
            damaged[at // 8] ^= 1 << at % 8
        Path(f"{path}{each}").write_bytes(damaged)
    Path(f"{path}-shm").unlink(missing_ok=True)
    return f"bit {at % 8} of byte {at // 8} of {suffix or 'the database'}"


def run_group(sound: dict[str, bytes], path: Path, draw: random.Random, flips: int) -> Counter[str]:
    """So many flips in a process of its own, which must not crash, nor take forever."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        where = ""
        try:
            look = Look(path)
            for _ in range(flips):
                where = flip(sound, path, draw)
                faulthandler.dump_traceback_later(PATIENCE_S, exit=True)  # it hangs
                look.run()
            os.write(writer, repr(dict(look.seen)).encode())
            os._exit(0)
        except BaseException:
            print(where, file=sys.stderr)
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"a process ended with {status}"
    return Counter(ast.literal_eval(told.decode()))


def main(flips: int = 10_000, seed: int = 1) -> None:
    start = time.monotonic()
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="soup-bits-", dir=MEMORY) as folder:
        sound = make(Path(folder) / "made.soup")
        for done in range(0, flips, GROUP):
            draw = random.Random(f"{seed} {done}")
            seen += run_group(sound, Path(folder) / "vault.soup", draw, min(GROUP, flips - done))
    gets = ", ".join(f"{seen[f'get {word}']:,} {word}" for word in ("right", *NAMES.values()))
    unopened = seen["open damaged"] + seen["open refused"]
    print(
        f"{flips:,} flips: of the gets {gets}, 0 wrong; {unopened:,} soups "
        f"could not be opened; of {seen['facts right'] + seen['facts wrong']:,} objects that queries found "
        f"{seen['facts wrong']:,} with another type, time, size or attribute; crashes 0, hangs 0 "
        f"({time.monotonic() - start:.0f} s)"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
