"""The soup: objects stored by their content, found by type, time and attributes, and forgotten in time.

An object is bytes; its address is the hash of them, so that the same bytes are stored once and nobody can
change them unseen. What is known of it beside, its type, when it was created and a few attributes, is the
first one's who put it. Here are the values and the protocol; the stores are in `edge`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from vaultscope.core.json_codec import canonical
from vaultscope.core.moment import parse_moment
from vaultscope.errors import DamagedError, DeclarationError

if TYPE_CHECKING:
    from vaultscope.core.soup_query import Condition

__all__ = [
    "DAY",
    "GcReport",
    "Moment",
    "NewObject",
    "Results",
    "Scalar",
    "Soup",
    "SoupObject",
    "SoupStats",
    "TypeStats",
    "address_of",
    "as_content",
    "check_address",
    "check_pinner",
    "check_type",
    "check_types",
    "moment_ns",
]

DAY = 86_400.0
"""Seconds."""
CONTENT_BYTES_MAX = 16 << 20

Scalar = str | int | float | bool | None
Attribute = Scalar | Sequence[Scalar]
Moment = int | datetime | str
"""Nanoseconds since 1970, a datetime with its timezone, or text as `--since` has it: "24h", "2026-01-31"."""

_ADDRESS = re.compile(r"sha256:[0-9a-f]{64}")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIME_MAX = 2**63 - 1
_PAGE_MIN, _PAGE_MAX = 64, 1024


# ---- values ----


@dataclass(frozen=True, slots=True)
class SoupObject:
    """What is known of a stored object, without its content.

    address: "sha256:" and 64 hexadecimal digits, of the content.
    created_ns, expires_ns: since 1970. expires_ns None: it never does. It is there until a `gc` after that.
    size: bytes of the content, as it was put.
    attributes: text, numbers, booleans, None, or tuples of them.
    pinned: whether anybody wants it kept, whatever its age.
    """

    address: str
    type: str
    created_ns: int
    expires_ns: int | None
    size: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class NewObject:
    """An object to be put.

    created_ns: since 1970; None: now.
    ttl: seconds from `created_ns` on; None: what its type has; math.inf: for ever.
    """

    content: bytes
    type: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    created_ns: int | None = None
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class GcReport:
    """What one `gc` has done.

    expired, evicted: objects that were deleted for their age, and for the budget.
    freed_bytes: by which the store has shrunk.
    complete: whether nothing is left to be deleted; False: its time was over, or all that is left is pinned.
    """

    expired: int = 0
    evicted: int = 0
    freed_bytes: int = 0
    complete: bool = True


@dataclass(frozen=True, slots=True)
class TypeStats:
    """How many objects a type has, and the bytes of their contents as they were put."""

    objects: int
    content_bytes: int


@dataclass(frozen=True, slots=True)
class SoupStats:
    """What is in a soup.

    bytes: that the store takes; content_bytes: of the contents as they were put.
    oldest_ns, newest_ns: when objects were created; None: there is none.
    max_bytes: the budget, None if there is none.
    """

    objects: int
    bytes: int
    content_bytes: int
    by_type: Mapping[str, TypeStats]
    oldest_ns: int | None
    newest_ns: int | None
    pinned: int
    max_bytes: int | None


class Results(Iterator[SoupObject]):
    """The objects that a query finds, one after the other. They are read in pages, and nothing is held open
    between those: it may be dropped at any time.

    fetch: reads a page: given the last key (None: from the start) and how many, pairs of key and object.
    token: makes the text of a key.
    """

    def __init__(
        self,
        fetch: Callable[[Any, int], Sequence[tuple[Any, SoupObject]]],
        token: Callable[[Any], str],
        *,
        start: Any = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> None:
        self._after = after
        self._last: Any = None
        self._fetch, self._token = fetch, token
        self._key = start
        self._left = limit
        self._size = _PAGE_MIN
        self._page: Iterator[tuple[Any, SoupObject]] = iter(())
        self._is_last = False
        self._keys: set[Any] = set()

    def __next__(self) -> SoupObject:
        entry = next(self._page, None)
        if entry is None:
            self._turn()
            entry = next(self._page)
        self._last, found = entry
        return found

    @property
    def after(self) -> str | None:
        """The token of the last object that came; a query that is given it goes on behind it, also later,
        with what has been added meanwhile. None: none has come."""
        return self._after if self._last is None else self._token(self._last)

    def _turn(self) -> None:
        """The next page. Raises StopIteration."""
        wanted = self._size if self._left is None else min(self._size, self._left)
        if self._is_last or wanted == 0:
            raise StopIteration
        rows = self._fetch(self._key, wanted)
        if len(rows) < wanted:
            self._is_last = True
        if rows:
            self._key = rows[-1][0]
            if self._key in self._keys:  # it would go on for ever
                raise DamagedError("the order in which the objects are found is damaged")
            self._keys.add(self._key)
        if self._left is not None:
            self._left -= len(rows)
        self._size = min(self._size * 2, _PAGE_MAX)
        self._page = iter(rows)


# ---- the protocol ----


@runtime_checkable
class Soup(Protocol):
    """Where observability data is kept. Every method may be called by any thread, and raises DeclarationError
    for what is wrong in the call, StorageError for what is wrong with the store."""

    def put(
        self,
        content: bytes | Mapping[str, Any] | Sequence[Any],
        *,
        type: str,
        attributes: Mapping[str, Attribute] | None = None,
        ttl: float | None = None,
        created_ns: int | None = None,
    ) -> str:
        """Stores the content, which is durable when this returns, and returns its address. What is not bytes
        becomes canonical JSON. Of what is there already, only the expiry changes, to the later one."""

    def put_many(self, objects: Iterable[NewObject]) -> list[str]:
        """Stores all of them or none, and returns their addresses."""

    def get(self, address: str) -> bytes:
        """The content, which was compared with the address. Raises NotFoundError, DamagedError."""

    def head(self, address: str) -> SoupObject:
        """What is known of an object. Raises NotFoundError."""

    def query(
        self,
        where: Condition | None = None,
        *,
        type: str | Sequence[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        order: str = "created",
        limit: int | None = None,
        after: str | None = None,
    ) -> Results:
        """The objects of these types (None: of any), created at `since` or later and before `until`, for
        which the condition holds.

        order: "created", or a name as `attr` takes it: only objects come that have a number or text there,
            numbers first. With a "-" before it, backwards. Objects that are level: as they were put.
        after: a token of `Results.after`, of a query in the same order.
        """

    def count(
        self,
        where: Condition | None = None,
        *,
        type: str | Sequence[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> int:
        """How many objects `query` would find."""

    def delete(self, address: str) -> bool:
        """Deletes an object, and its pins. False: it was not there."""

    def pin(self, address: str, by: str) -> None:
        """Keeps an object, whatever its age and the budget, until everybody who pinned it has unpinned it.
        `by` names who wants it. Raises NotFoundError."""

    def unpin(self, address: str, by: str) -> None:
        """Takes a pin away; if it is not there, nothing happens."""

    def gc(self, *, max_seconds: float | None = None) -> GcReport:
        """Deletes what has expired, then the oldest until the store is within its budget, in short
        transactions. Pinned objects stay."""

    def stats(self) -> SoupStats:
        """What is in it. This reads all of the index: not for a hot path."""

    def verify(self) -> Iterator[str]:
        """Reads everything, and yields the addresses of objects that are damaged."""

    def close(self) -> None:
        """Lets go of the store. What was put is durable without it."""


# ---- what callers give ----


def as_content(content: object) -> bytes:
    """The bytes of what is put. Raises DeclarationError if they are too many."""
    if type(content) is bytes:
        data = content
    else:
        data = bytes(content) if isinstance(content, (bytes, bytearray, memoryview)) else canonical(content)
    if len(data) > CONTENT_BYTES_MAX:
        raise DeclarationError(f"an object has at most {CONTENT_BYTES_MAX} bytes, not {len(data)}")
    return data


def address_of(content: bytes) -> str:
    """The name of these bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def check_address(address: object) -> str:
    """Raises DeclarationError for what is no address."""
    if isinstance(address, str) and _ADDRESS.fullmatch(address):
        return address
    raise DeclarationError(f"an address is sha256: and 64 hexadecimal digits, not {address!r}")


def check_type(name: object) -> str:
    """Raises DeclarationError for what is no type."""
    if isinstance(name, str) and _is_type(name):
        return name
    raise DeclarationError(
        f"a type is up to 64 letters, digits and any of ._:/- between them, such as log-entry, not {name!r}"
    )


def check_types(type: str | Sequence[str] | None) -> tuple[str, ...]:
    """The types that a query is given, each once; empty: any. Raises DeclarationError."""
    if type is None:
        return ()
    names = (type,) if isinstance(type, str) else tuple(type)
    if not 1 <= len(names) <= 32:
        raise DeclarationError(f"a query is of 1 to 32 types, not {len(names)}")
    return tuple(dict.fromkeys(map(check_type, names)))


def check_pinner(by: object) -> str:
    """Raises DeclarationError for what names nobody."""
    if isinstance(by, str) and 1 <= len(by) <= 256 and by.isprintable():
        return by
    raise DeclarationError(f"who pins is named by 1 to 256 printable characters, not {by!r:.300}")


@lru_cache(256)  # there are few
def _is_type(name: str) -> bool:
    return _TYPE.fullmatch(name) is not None


def moment_ns(moment: Moment, now_ns: int) -> int:
    """Nanoseconds since 1970, within 64 bits. Raises DeclarationError."""
    if isinstance(moment, str):
        try:
            at_ns = parse_moment(moment, now_ns)
        except ValueError as error:
            raise DeclarationError(str(error)) from None
    elif isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise DeclarationError(f"{moment} has no timezone")
        at_ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
    elif isinstance(moment, int) and not isinstance(moment, bool):
        at_ns = moment
    else:
        raise DeclarationError(f"a moment is a number of nanoseconds, a datetime or text, not {moment!r}")
    return max(-_TIME_MAX, min(at_ns, _TIME_MAX))
