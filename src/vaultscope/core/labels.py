"""Names of metrics and labels: what is legal, and what is taken."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vaultscope.errors import DeclarationError

__all__ = ["RESERVED_PREFIX", "check_labels", "check_name"]

# The library's own metrics.
RESERVED_PREFIX = "vaultscope."

# Dotted words, as the memo writes them; everything maps to a legal Prometheus name. No leading digit, no empty word.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Labels that the text format gives a meaning of its own.
_TAKEN = {"counter": (), "gauge": (), "histogram": ("le",), "hdr": ("le", "quantile")}


def check_name(name: str, *, internal: bool = False) -> None:
    """Raises DeclarationError unless `name` is dotted words of letters, digits and underscores."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DeclarationError(f"metric name {name!r}: wanted dotted words of letters, digits and _, e.g. cas.put.count")
    if name.startswith(RESERVED_PREFIX) and not internal:
        raise DeclarationError(f"metric name {name!r}: names that start with {RESERVED_PREFIX!r} are the library's own")


def check_labels(name: str, kind: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The label names as a tuple. Raises DeclarationError for one that is not legal, taken or there twice."""
    if isinstance(labels, str):
        raise DeclarationError(f"{name}: labels is a sequence of names, not the string {labels!r}")
    names = tuple(labels)
    for label in names:
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            raise DeclarationError(f"{name}: label {label!r}: wanted letters, digits and _, not starting with a digit")
        if label.startswith("__"):
            raise DeclarationError(f"{name}: label {label!r}: names that start with __ belong to Prometheus")
        if label in _TAKEN[kind]:
            raise DeclarationError(f"{name}: label {label!r} is the {kind}'s own")
    if len(set(names)) != len(names):
        raise DeclarationError(f"{name}: a label stands twice in {names}")
    return names
