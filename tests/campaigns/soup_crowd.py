"""Many threads of many processes in one soup: `soup_crowd.py [ROUNDS] [SEED]` (100).

Four processes of eight threads each put, alone and in batches, get, query, count, delete and run gc, all at
once, ROUNDS times each. Nothing is lost, and nobody hears of a database that is locked.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

from vaultscope import Registry
from vaultscope.core.soup import address_of
from vaultscope.soup import NewObject, SqliteSoup, attr

PROCESSES, THREADS, PATIENCE_S = 4, 8, 600


class Member:
    """What one thread does. kept: addresses of what must be there in the end; gone: of what must not."""

    def __init__(self, soup: SqliteSoup, name: str, rounds: int, seed: int) -> None:
        self._soup, self._name, self._rounds = soup, name, rounds
        self._draw = random.Random(f"{seed} {name}")
        self._count = 0
        self.kept: dict[str, int] = {}
        self.gone: list[str] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        """All rounds; `error` is what was raised."""
        deeds = (self._put, self._put, self._put_many, self._get, self._query, self._delete, self._expire)
        try:
            for _ in range(self._rounds):
                self._draw.choice(deeds)()
            assert self._soup.count(attr("who") == self._name) >= len(self.kept)
        except BaseException as error:
            self.error = error

    def _new(self, ttl: float = 1e6) -> NewObject:
        self._count += 1
        content = f"{self._name} {self._count} ".encode() * self._draw.choice((1, 10, 300))
        return NewObject(content, "crowd", {"who": self._name, "n": self._count}, None, ttl)

    def _keep(self, new: list[NewObject], addresses: list[str]) -> None:
        assert addresses == [address_of(each.content) for each in new]
        self.kept.update({address_of(each.content): len(each.content) for each in new})

    def _put(self) -> None:
        new = self._new()
        self._keep([new], self._soup.put_many([new]))

    def _put_many(self) -> None:
        new = [self._new() for _ in range(self._draw.randrange(2, 20))]
        self._keep(new, self._soup.put_many(new))

    def _get(self) -> None:
        if self.kept:
            address = self._draw.choice(list(self.kept))
            assert len(self._soup.get(address)) == self.kept[address]

    def _query(self) -> None:
        found = {each.address for each in self._soup.query(attr("who") == self._name, order="-created")}
        assert self.kept.keys() <= found, "a query did not find what this thread had put"

    def _delete(self) -> None:
        if self.kept:
            address = self._draw.choice(list(self.kept))
            del self.kept[address]
            self.gone.append(address)
            assert self._soup.delete(address), "what this thread had put was not there"

    def _expire(self) -> None:
        self._soup.put_many([self._new(ttl=0.0)])
        self._soup.gc(max_seconds=0.2)


def live(path: Path, number: int, rounds: int, seed: int, told: Path) -> None:
    """One process."""
    with closing(SqliteSoup(path, busy_seconds=60.0, registry=Registry())) as soup:
        members = [Member(soup, f"{number}-{thread}", rounds, seed) for thread in range(THREADS)]
        threads = [threading.Thread(target=member.run) for member in members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for member in members:
        if member.error is not None:
            raise member.error
    kept = [address for member in members for address in member.kept]
    told.write_text(json.dumps([kept, [address for member in members for address in member.gone]]))


def main(rounds: int = 100, seed: int = 1) -> None:
    start = time.monotonic()
    signal.alarm(PATIENCE_S)
    with tempfile.TemporaryDirectory(prefix="soup-crowd-") as folder:
        path = Path(folder) / "vault.soup"
        children = []
        for number in range(PROCESSES):
            told = Path(folder) / f"told-{number}"
            pid = os.fork()
            if pid == 0:
                try:
                    signal.alarm(PATIENCE_S)
                    live(path, number, rounds, seed, told)
                    os._exit(0)
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                    os._exit(1)
            children.append((pid, told))
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, _ in children]
        assert statuses == [0] * PROCESSES, statuses
        lists = [json.loads(told.read_text()) for _, told in children]
        with closing(SqliteSoup(path, registry=Registry())) as soup:
            there = {each.address for each in soup.query()}
            kept = {address for each, _ in lists for address in each}
            gone = {address for _, each in lists for address in each}
            assert kept <= there, f"{len(kept - there)} objects are lost"
            assert not gone & there, f"{len(gone & there)} objects returned"
            assert list(soup.verify()) == []
    seconds = time.monotonic() - start
    print(
        f"{PROCESSES} processes of {THREADS} threads, {rounds} rounds each: of {len(kept):,} objects lost 0; "
        f"none of {len(gone):,} deleted ones is there; errors 0 ({seconds:.0f} s)"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
