"""What an audit trail is made of: entries, the seals over them, and their one spelling as lines of JSON.

How they hang together stands in signals/audit.py.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from vaultscope.core.json_codec import canonical, loads
from vaultscope.errors import DecodeError

__all__ = [
    "ACCEPTED", "BEGAN", "CONTINUED", "LINE_BYTES_MAX", "NOTHING", "RECOVERED", "ROTATED", "Anchor", "Draft",
    "Entry", "Seal", "digest", "is_hash", "is_key", "read_line", "timestamp",
]  # fmt: skip

NOTHING = "0" * 128
"""The parent of the first entry, and of the first seal."""

# What a trail says of itself; a caller's verb that begins so gets an underscore.
RESERVED = "audit."
BEGAN, CONTINUED = "audit.began", "audit.continued"
RECOVERED = "audit.recovered"
ROTATED, ACCEPTED = "audit.key-rotated", "audit.key-accepted"

NAME_MAX = 1_000  # characters of an actor, a verb, an object
DETAIL_BYTES_MAX = 16 << 10  # of parameters, and of context, as JSON
LINE_BYTES_MAX = 64 << 10
_DEPTH_MAX = 50
_INTEGER_BITS_MAX = 4096  # an interpreter may refuse to read more digits

_HASH = re.compile("[0-9a-f]{128}")
_KEY = re.compile("[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", re.ASCII)
_ENTRY = {"action", "actor", "context", "id", "parent", "sequence", "timestamp"}
_ACTION = {"verb", "object", "parameters"}
_SEAL = {"id", "key", "parent", "sequence", "signature", "timestamp"}
_SIGNED = b"vaultscope audit seal\n"  # no other message that the key may sign begins so


def digest(data: bytes) -> str:
    """SHA-512, 128 hexadecimal digits."""
    return hashlib.sha512(data).hexdigest()


def timestamp(time_ns: int) -> str:
    """Nanoseconds since 1970 in ISO 8601, UTC, with nine digits: as long and as ordered as the times are."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


@dataclass(frozen=True, slots=True)
class Seal:
    """The signature over a trail up to an entry.

    sequence, id: the entry's. parent: the hash of the seal before. timestamp: when it was sealed.
    key: the public one, 64 hexadecimal digits. signature: Ed25519, 128 of them.
    """

    sequence: int
    id: str
    parent: str
    timestamp: str
    key: str
    signature: str = ""

    def message(self) -> bytes:
        """What is signed: all but the signature."""
        members = self.as_dict()
        del members["signature"]
        return _SIGNED + canonical(members)

    def as_dict(self) -> dict[str, Any]:
        """Its members."""
        return {name: getattr(self, name) for name in self.__slots__}

    def line(self) -> bytes:
        """As it stands in a log, without the newline."""
        return canonical({"seal": self.as_dict()})


@dataclass(frozen=True, slots=True)
class Entry:
    """Who did what to what.

    sequence: from 1 on. id, parent: 128 hexadecimal digits. timestamp: when `append` was called; by the clock
    of then, so an earlier one may follow a later one. verb, object, parameters: the action. seal: the one
    that covers it, once there is one.
    """

    sequence: int
    id: str
    parent: str
    timestamp: str
    actor: str
    verb: str
    object: str
    parameters: Mapping[str, Any]
    context: Mapping[str, Any]
    seal: Seal | None = None

    def as_dict(self) -> dict[str, Any]:
        """Its members, as in a log, and its seal."""
        return {
            "id": self.id,
            "sequence": self.sequence,
            "parent": self.parent,
            "timestamp": self.timestamp,
            "actor": self.actor,
            "action": {"verb": self.verb, "object": self.object, "parameters": self.parameters},
            "context": self.context,
            "seal": None
            if self.seal is None
            else {"sequence": self.seal.sequence, "key": self.seal.key, "signature": self.seal.signature},
        }


class Draft:
    """An entry without its place: all that is known when it is said. Values are taken as they are now.

    What JSON cannot say is represented, the same in every process: NaN and infinities by their names, bytes
    and integers beyond 4,096 bits in hexadecimal digits, lone surrogates as U+FFFD, and other things as
    `json_codec.canonical` has them. Parameters or context longer than 16 KiB become {"omitted": {"bytes",
    "sha512"}}; names are cut at 1,000 characters. A verb that begins with "audit." gets an underscore, unless
    it is the trail's own.

    Raises whatever a mapping of the caller's raises.
    """

    __slots__ = ("_start", "timestamp")

    def __init__(
        self,
        actor: str,
        verb: str,
        object: str,
        parameters: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        time_ns: int,
        own: bool = False,
    ) -> None:
        if not own and isinstance(verb, str) and verb.startswith(RESERVED):
            verb = f"_{verb}"
        self.timestamp = timestamp(time_ns)
        details = [_detail(parameters), _detail(context)]
        names = [_name(verb), _name(object), _name(actor)]
        start = _start(names, details)
        if len(start) > DETAIL_BYTES_MAX:
            start = _start(names, [_shortened(each) for each in details])
        self._start = start

    def line(self, sequence: int, parent: str) -> tuple[str, bytes]:
        """Its id and its line at that place."""
        end = _end(parent, sequence, self.timestamp)
        own = digest(self._start + end)
        return own, b'%b"id":"%b",%b' % (self._start, own.encode(), end)


def _end(parent: str, sequence: int, time: str) -> bytes:
    return f'"parent":"{parent}","sequence":{sequence},"timestamp":"{time}"}}'.encode()


def _name(value: object) -> str:
    text = value if isinstance(value, str) else canonical(value).decode()
    return text if len(text) <= NAME_MAX else text[: NAME_MAX - 1] + "…"


def _start(names: list[str], details: list[dict[str, Any]]) -> bytes:
    """A line's beginning. Members are sorted: what the place decides comes last."""
    action = {"verb": names[0], "object": names[1], "parameters": details[0]}
    return canonical({"action": action, "actor": names[2], "context": details[1]})[:-1] + b","


def _detail(value: Mapping[str, Any] | None) -> dict[str, Any]:
    plain = {} if value is None else _plain(value, 0)
    return plain if isinstance(plain, dict) else {"value": plain}


def _shortened(value: dict[str, Any]) -> dict[str, Any]:
    data = canonical(value)
    if len(data) <= DETAIL_BYTES_MAX:
        return value
    return {"omitted": {"bytes": len(data), "sha512": digest(data)}}


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS_MAX:
        return hex(value)
    if depth < _DEPTH_MAX:
        if isinstance(value, Mapping):
            return {key: _plain(each, depth + 1) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [_plain(each, depth + 1) for each in value]
    return value


def read_line(line: bytes) -> Entry | Seal:
    """The entry or the seal that a line, without its newline, holds. Raises DecodeError: it is neither, or
    not in the one spelling that it may have."""
    try:
        value = loads(line)
    except (ValueError, RecursionError):
        raise DecodeError("it is no JSON") from None
    if not isinstance(value, dict):
        raise DecodeError("it is neither an entry nor a seal")
    if set(value) == {"seal"}:
        return read_seal(value["seal"], line)
    return _read_entry(value, line)


def read_seal(value: Any, line: bytes | None = None) -> Seal:
    """The seal of these members; `line` must be its line. Raises DecodeError."""
    if (
        not isinstance(value, dict)
        or set(value) != _SEAL
        or not _placed(value, ("id", "parent", "signature"))
    ):
        raise DecodeError("it is no seal")
    if not _is(_KEY, value["key"]):
        raise DecodeError("it is no seal")
    seal = Seal(**value)
    if line is not None and seal.line() != line:
        raise DecodeError("it is a seal that is spelt in another way")
    return seal


def _read_entry(value: dict[str, Any], line: bytes) -> Entry:
    action = value.get("action")
    if set(value) != _ENTRY or not isinstance(action, dict) or set(action) != _ACTION:
        raise DecodeError("it is neither an entry nor a seal")
    names = (value["actor"], action["verb"], action["object"])
    details = (action["parameters"], value["context"])
    if (
        not all(isinstance(name, str) for name in names)
        or not all(isinstance(detail, dict) for detail in details)
        or not _placed(value, ("id", "parent"))
    ):
        raise DecodeError("it is an entry with a member of the wrong kind")
    end = _end(value["parent"], value["sequence"], value["timestamp"])
    tail = f'"id":"{value["id"]}",'.encode() + end
    # The hash is that of the bytes that are there, so no second spelling can hide from it.
    if not line.endswith(tail) or digest(line[: -len(tail)] + end) != value["id"]:
        raise DecodeError("its content is not what its id says")
    return Entry(
        value["sequence"], value["id"], value["parent"], value["timestamp"],
        *names, *details,
    )  # fmt: skip


def _placed(value: dict[str, Any], hashes: tuple[str, ...]) -> bool:
    sequence = value["sequence"]
    is_number = type(sequence) is int and 0 <= sequence < 1 << 63
    return is_number and _is(_TIME, value["timestamp"]) and all(_is(_HASH, value[name]) for name in hashes)


def is_hash(value: object) -> bool:
    """Whether it is 128 hexadecimal digits."""
    return _is(_HASH, value)


def is_key(value: object) -> bool:
    """Whether it is 64 hexadecimal digits."""
    return _is(_KEY, value)


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Anchor:
    """The last seal, and where in the log its line ends: in the file of that number, so many bytes from its
    beginning. Of a log that is about to begin, sequence 0."""

    seal: Seal
    file: int
    offset: int

    def encode(self) -> bytes:
        """One line of canonical JSON."""
        return canonical({"anchor": self.seal.as_dict(), "file": self.file, "offset": self.offset}) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Anchor:
        """Raises DecodeError."""
        try:
            value = loads(data)
            anchor = cls(read_seal(value["anchor"]), value["file"], value["offset"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise DecodeError("the anchor is none: it was damaged") from None
        if type(anchor.file) is not int or type(anchor.offset) is not int or anchor.encode() != data:
            raise DecodeError("the anchor is spelt in another way: it was damaged")
        return anchor
