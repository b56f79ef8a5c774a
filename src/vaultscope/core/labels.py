"""Names of metrics and labels: what is legal, and what is taken."""

from __future__ import annotations

from vaultscope.errors import DeclarationError

TYPE_CHECKING = False  # typing, collections and re together cost more at import than all of vaultscope
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_labels", "check_name"]

# The library's own metrics, as they are declared and as they are exported.
_RESERVED = ("vaultscope.", "vaultscope_")

# Labels that the text format gives a meaning of its own.
_TAKEN = {"counter": (), "gauge": (), "histogram": ("le",), "hdr": ("le", "quantile")}


def _is_word(text: object) -> bool:
    """ASCII letters, digits and underscores, not starting with a digit."""
    return isinstance(text, str) and text.isascii() and text.isidentifier()


def _is_dotted(text: object) -> bool:
    """Words with dots between, as the memo writes names; all map to legal Prometheus names. The first word
    does not start with a digit; none is empty."""
    if not isinstance(text, str):
        return False
    first, *others = text.split(".")
    return _is_word(first) and all(word and _is_word("_" + word) for word in others)


def check_name(name: str, *, internal: bool = False) -> None:
    """Raises DeclarationError unless `name` is dotted words of letters, digits and underscores."""
    if not _is_dotted(name):
        raise DeclarationError(
            f"metric name {name!r}: wanted dotted words of letters, digits and _, e.g. cas.put.count"
        )
    if name.startswith(_RESERVED) and not internal:
        raise DeclarationError(f"metric name {name!r}: names that start so are the library's own")


def check_labels(name: str, kind: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The label names as a tuple. Raises DeclarationError for one that is not legal, taken or there twice."""
    if isinstance(labels, str):
        raise DeclarationError(f"{name}: labels is a sequence of names, not the string {labels!r}")
    try:
        names = tuple(labels)
    except TypeError:
        raise DeclarationError(f"{name}: labels is a sequence of names, not {labels!r}") from None
    for label in names:
        if not _is_word(label):
            raise DeclarationError(
                f"{name}: label {label!r}: wanted letters, digits and _, not starting with a digit"
            )
        if label.startswith("__"):
            raise DeclarationError(f"{name}: label {label!r}: names that start with __ belong to Prometheus")
        if label in _TAKEN[kind]:
            raise DeclarationError(f"{name}: label {label!r} is the {kind}'s own")
    if len(set(names)) != len(names):
        raise DeclarationError(f"{name}: a label stands twice in {names}")
    return names
