"""Audit entries as text: for people, and as S-expressions, which is how the memo writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vaultscope.core.audit_entry import Entry
from vaultscope.core.json_codec import dumps

__all__ = ["as_lines", "as_s_expression"]

_SYMBOL = re.compile(r"[a-z][a-z0-9_.\-]*", re.ASCII)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u2028\u2029]')
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def as_s_expression(entry: Entry) -> str:
    """The entry as one line: (audit-entry (id . "...") (sequence . 1) ...), an association list.

    Objects are association lists, arrays vectors, true and false #t and #f, null the symbol null. Keys are
    symbols if they are of small letters, digits, dots, hyphens and underscores, else strings; strings are
    escaped as R7RS has them.
    """
    pairs = " ".join(f"({name} . {_datum(value)})" for name, value in entry.as_dict().items())
    return f"(audit-entry {pairs})"


def _datum(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "#t" if value else "#f"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return f"({' '.join(f'({_key(key)} . {_datum(each)})' for key, each in value.items())})"
    if isinstance(value, (list, tuple)):
        return f"#({' '.join(map(_datum, value))})"
    return _string(str(value))


def _key(key: str) -> str:
    return key if _SYMBOL.fullmatch(key) and key != "null" else _string(key)


def _string(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\x{ord(match[0]):x};"


def as_lines(entry: Entry) -> str:
    """The entry for people, as one line: when, its number, who, what, to what, and the rest as JSON. Nothing
    in it can move a terminal's cursor."""
    details = [
        f"{name}={dumps(value).decode()}"
        for name, value in (("parameters", entry.parameters), ("context", entry.context))
        if value
    ]
    unsealed = [] if entry.seal else ["(not sealed)"]
    when = entry.timestamp[:23].replace("T", " ")
    words = [when, f"#{entry.sequence}", entry.actor, entry.verb, entry.object, *details, *unsealed]
    return _CONTROLS.sub(lambda match: repr(match[0])[1:-1], " ".join(words))
