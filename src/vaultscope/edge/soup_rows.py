"""What is put as a row, and a row as what was put: packing, checking, expiry. The same in every store."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from vaultscope.core.json_codec import dumps, loads
from vaultscope.core.soup import NewObject, address_of, as_content, check_type
from vaultscope.core.soup_attributes import attributes_of
from vaultscope.errors import DamagedError, DeclarationError

__all__ = ["Retention", "Row", "attributes_from", "content_from", "rows_of"]

_TIME_MAX = 2**63 - 1
_PACK_MIN = 512
_PACK_LEVEL = 1


class Row(NamedTuple):
    """An object as a store keeps it.

    digest: the 32 bytes of its address.
    attributes: JSON, sorted by name; None: there are none.
    """

    digest: bytes
    type: str
    created_ns: int
    expires_ns: int | None
    size: int
    packed: bool
    attributes: str | None
    content: bytes

    @property
    def address(self) -> str:
        """As the soup's users know it."""
        return f"sha256:{self.digest.hex()}"


class Retention:
    """How long objects are kept, by type. Raises DeclarationError.

    by_type: seconds.
    default: of other types.
    """

    def __init__(self, by_type: Mapping[str, float] | None, default: float) -> None:
        self._default = _nanoseconds(default)
        self._by_type = {check_type(name): _nanoseconds(ttl) for name, ttl in (by_type or {}).items()}

    def expires_ns(self, type: str, created_ns: int, ttl: float | None) -> int | None:
        """When an object expires; None: never. Raises DeclarationError for a ttl that is none."""
        wanted = self._by_type.get(type, self._default) if ttl is None else _nanoseconds(ttl)
        return None if wanted is None else min(created_ns + wanted, _TIME_MAX)


def _nanoseconds(ttl: object) -> int | None:
    """None: for ever."""
    if isinstance(ttl, (int, float)) and not isinstance(ttl, bool) and ttl >= 0:
        return None if ttl == math.inf else int(min(ttl, 1e12) * 1e9)
    raise DeclarationError(f"a time to live is a number of seconds or math.inf, not {ttl!r}")


def rows_of(objects: Iterable[NewObject], retention: Retention, clock: Callable[[], int]) -> list[Row]:
    """Rows to be stored. Raises DeclarationError for what is no object."""
    rows = []
    for each in objects:
        if not isinstance(each, NewObject):
            raise DeclarationError(f"put_many takes NewObject, not {each!r:.200}")
        created_ns = clock() if each.created_ns is None else each.created_ns
        if not isinstance(created_ns, int) or not 0 <= created_ns <= _TIME_MAX:
            raise DeclarationError(f"created_ns is nanoseconds since 1970, not {created_ns!r}")
        content = as_content(each.content)
        packed = _packed(content)
        attributes = attributes_of(each.attributes)
        rows.append(
            Row(
                sha256(content).digest(),
                check_type(each.type),
                created_ns,
                retention.expires_ns(each.type, created_ns, each.ttl),
                len(content),
                packed is not None,
                dumps(attributes).decode() if attributes else None,
                content if packed is None else packed,
            )
        )
    return rows


def _packed(content: bytes) -> bytes | None:
    """The content compressed; None if that is not worth it."""
    if len(content) < _PACK_MIN:
        return None
    packed = zlib.compress(content, _PACK_LEVEL)
    return packed if len(packed) <= len(content) * 7 // 8 else None


def content_from(address: str, size: int, packed: bool, stored: bytes) -> bytes:
    """The content of a row. Raises DamagedError if it is not what the address says."""
    if not isinstance(stored, (bytes, memoryview)):
        raise DamagedError(f"{address} is damaged: its content is {stored!r:.50}")
    content = bytes(stored)
    if packed:
        try:
            content = zlib.decompressobj().decompress(content, size + 1)
        except (zlib.error, TypeError, ValueError, OverflowError) as error:  # the size may be damaged, too
            raise DamagedError(f"{address} is damaged: {error}") from error
    if address_of(content) != address:
        raise DamagedError(f"{address} is damaged: its content has another hash")
    return content


def attributes_from(address: str, text: str | bytes | None) -> dict[str, Any]:
    """The attributes of a row. Raises DamagedError."""
    if text is None:
        return {}
    try:
        found = loads(text.encode() if isinstance(text, str) else text)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedError(f"{address} is damaged: its attributes are {text!r:.200}") from error
