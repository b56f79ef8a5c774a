"""What tests of history share: a soup in memory that can be told to fail, clocks that are set, recorders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from vaultscope import Registry
from vaultscope.core.history_codec import decode
from vaultscope.core.history_interval import Interval
from vaultscope.core.soup import NewObject, SoupObject
from vaultscope.errors import NotFoundError
from vaultscope.history import MetricRecorder

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NOON = 1_790_000_000 // 86_400 * 86_400 * SECOND + 12 * HOUR


class MemorySoup:
    """Keeps objects by their address. It fails with `error` as long as there is one; with `after`, only when
    it has them already."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[SoupObject, bytes]] = {}
        self.error: BaseException | None = None
        self.after = False
        self.reads: list[str] = []

    def put_many(self, objects: Iterable[NewObject]) -> list[str]:
        if self.error is not None and not self.after:
            raise self.error
        addresses = []
        for each in objects:
            address = f"sha256:{hashlib.sha256(each.content).hexdigest()}"
            found = SoupObject(
                address, each.type, each.created_ns or 0, None, len(each.content), each.attributes
            )
            self.objects.setdefault(address, (found, each.content))
            addresses.append(address)
        if self.error is not None:
            raise self.error
        return addresses

    def query(self, *, type: str, since: int, until: int) -> Iterator[SoupObject]:
        found = [each for each, _ in self.objects.values() if each.type == type]
        found = [each for each in found if since <= each.created_ns < until]
        return iter(sorted(found, key=lambda each: each.created_ns))

    def get(self, address: str) -> bytes:
        self.reads.append(address)
        if address not in self.objects:
            raise NotFoundError(address)
        return self.objects[address][1]

    @property
    def intervals(self) -> list[Interval]:
        """What is in it, decoded, in the order in which it was put."""
        return [decode(content) for _, content in self.objects.values()]


class Clock:
    """A clock of the wall and a monotonic one, in ns. `pass_` moves both."""

    def __init__(self, wall: int = NOON) -> None:
        self.wall = wall
        self.monotonic = 5_000_000

    def pass_(self, ns: int = MINUTE) -> None:
        self.wall += ns
        self.monotonic += ns


def recorder(registry: Registry, soup: MemorySoup, clock: Clock, **options: object) -> MetricRecorder:
    """One whose first snapshot is taken, without a thread."""
    made = MetricRecorder(
        registry, soup, clock_ns=lambda: clock.wall, monotonic_ns=lambda: clock.monotonic, **options
    )  # type: ignore[arg-type]
    made.record()
    return made
