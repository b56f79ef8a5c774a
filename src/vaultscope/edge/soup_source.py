"""A soup as a source of lines: the records of logs, or the spans of traces, that sinks have put there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vaultscope.core.json_codec import dumps, loads
from vaultscope.core.soup import Soup
from vaultscope.core.soup_query import Condition
from vaultscope.edge.log_source import SourceError
from vaultscope.edge.soup_open import open_soup, public_name
from vaultscope.errors import DamagedError, NotFoundError, StorageError

__all__ = ["LOG_TYPE", "TRACE_TYPE", "SoupPart", "SoupSource"]

LOG_TYPE = "log-entry"
TRACE_TYPE = "trace"


@dataclass(frozen=True, slots=True)
class SoupPart:
    """Which objects of a soup are read. since_ns, until_ns: when they were created; the second is not in."""

    type: str = LOG_TYPE
    where: Condition | None = None
    since_ns: int | None = None
    until_ns: int | None = None


class SoupSource:
    """The objects of a part of a soup, by when they were created; of a trace, a line for each span. What was
    deleted since it was found is passed over.

    Read on, it gives what was created later than what it gave before: a record that comes late, from another
    process, may be missed.

    Raises OSError, StorageError, DeclarationError, ModuleNotFoundError.
    """

    ended = False

    def __init__(self, name: str, part: SoupPart, *, notice: Callable[[str], None]) -> None:
        self.name = public_name(name)
        self._part = part
        self._notice = notice
        self._soup: Soup = open_soup(name)
        self._since_ns = part.since_ns
        self._after: str | None = None

    def lines(self) -> Iterator[bytes]:
        """The lines up to the present end. Raises SourceError."""
        part = self._part
        try:
            found = self._soup.query(
                part.where, type=part.type, since=self._since_ns, until=part.until_ns, after=self._after
            )
            for each in found:
                yield from self._lines_of(each.address)
                self._after = found.after
        except StorageError as error:
            raise SourceError(str(error)) from None

    def _lines_of(self, address: str) -> Iterator[bytes]:
        try:
            content = self._soup.get(address)
        except NotFoundError:
            return
        except DamagedError as error:
            self._notice(f"{self.name}: {error}")
            return
        if self._part.type == TRACE_TYPE:
            yield from _spans(content)
        else:
            yield from content.split(b"\n")

    def rest(self) -> bytes:
        """Nothing: an object is whole or not there."""
        return b""

    def rewind(self, size: int) -> bool:
        """Goes to about the first object of the last `size` bytes. True: it is the first of all."""
        part = self._part
        self._since_ns, self._after = part.since_ns, None
        if size == sys.maxsize:
            return True
        total = 0
        try:
            latest = self._soup.query(
                part.where, type=part.type, since=part.since_ns, until=part.until_ns, order="-created"
            )
            for each in latest:
                total += each.size
                if total >= size:
                    self._since_ns = each.created_ns
                    return False
        except StorageError:  # `lines` will tell
            pass
        return True

    def close(self) -> None:
        """Lets the soup go."""
        self._soup.close()


def _spans(content: bytes) -> Iterator[bytes]:
    """What is no trace is given as it is: the reader counts it."""
    try:
        spans = loads(content)["spans"]
        lines = [dumps(span) for span in spans]
    except (ValueError, TypeError, LookupError):
        lines = [content.replace(b"\n", b" ")]
    yield from lines
