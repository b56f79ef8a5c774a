"""Prometheus text: which of its forms a scraper wants, and a snapshot in that form.

The bytes are made in C, without the GIL (`vaultscope._native._core.render_text`). What is left for Python is
the choice: one scraper wants OpenMetrics, another the older text format, a new one takes names with dots in
them. That is read from the ``Accept`` header as RFC 9110 has it (12.5.1), with one rule above all: **a scrape
never fails over its header**. What we cannot read, and what we cannot serve, is answered in text format
0.0.4, which every scraper reads; Prometheus prescribes the same last resort.

Sources: memo 031, "Metric Export"; the Prometheus exposition formats and scrape protocol; OpenMetrics 1.0.0.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vaultscope._native import _core

if TYPE_CHECKING:
    from vaultscope.core.registry import Registry
    from vaultscope.core.snapshot import Snapshot

__all__ = ["TextFormat", "negotiate", "render", "weighted", "write_textfile"]


class TextFormat(NamedTuple):
    """A form of Prometheus text that we can write."""

    openmetrics: bool
    """OpenMetrics 1.0.0 rather than Prometheus text."""
    utf8: bool
    """Names stand in quotes and keep their dots, rather than having underscores in their place."""
    content_type: str
    """The value of the ``Content-Type`` header."""

    @property
    def media_type(self) -> str:
        """Type and subtype: ``text/plain``."""
        return self.content_type.partition(";")[0]

    @property
    def parameters(self) -> dict[str, str]:
        """The media type's parameters: ``{"version": "0.0.4", "charset": "utf-8"}``."""
        pairs = (piece.partition("=") for piece in self.content_type.split("; ")[1:])
        return {name: value for name, _, value in pairs}


TEXT_0_0_4 = TextFormat(False, False, "text/plain; version=0.0.4; charset=utf-8")

_OPENMETRICS_1_0_0 = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_TEXT_1_0_0 = "text/plain; version=1.0.0; charset=utf-8"

# In our own order, which decides between formats that the scraper likes equally: what everyone reads comes
# first, and quoted names last, so that only a scraper that asks for them gets them. Text 1.0.0 with
# underscores is 0.0.4, byte for byte. OpenMetrics 0.0.1 is not offered: it was a draft, and who asks for it
# takes text too.
OFFERS = (
    TEXT_0_0_4,
    TextFormat(True, False, f"{_OPENMETRICS_1_0_0}; escaping=underscores"),
    TextFormat(False, False, f"{_TEXT_1_0_0}; escaping=underscores"),
    TextFormat(True, True, f"{_OPENMETRICS_1_0_0}; escaping=allow-utf-8"),
    TextFormat(False, True, f"{_TEXT_1_0_0}; escaping=allow-utf-8"),
)

# A real Accept header has about 300 characters; the work is bounded before it is begun.
HEADER_CHARACTERS_MAX = 4096

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.?)*)("|\Z)', re.DOTALL)  # unclosed too, so that nothing is read twice
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


class Weighted(NamedTuple):
    """One element of a header that weighs alternatives."""

    name: str
    """A media range or a content coding: ``text/*``, ``gzip``."""
    parameters: dict[str, str]
    """All but ``q``."""
    weight: float
    """``q``, in 0..1; 0 is a refusal."""


def weighted(header: str) -> list[Weighted]:
    """The elements of a header that weighs alternatives (``Accept``, ``Accept-Encoding``), in their order.

    Args:
        header: The value, several lines of it joined with commas. Case does not matter in it: all comes back
        in
            lower case.

    Raises:
        ValueError: It is too long, or not what RFC 9110 (5.6, 12.4.2) allows.
    """
    if len(header) > HEADER_CHARACTERS_MAX:
        raise ValueError(f"a header of {len(header)} characters")
    # With the quotes gone, commas and semicolons do nothing but separate.
    pieces = _QUOTED.sub(_unquoted, header.lower()).split(",")
    return [_element(piece) for piece in pieces if piece.strip(" \t")]


def _unquoted(quoted: re.Match[str]) -> str:
    """A quoted string as a token. One that cannot be a token equals nothing that we offer: any word does."""
    if not quoted[2]:
        raise ValueError("a quote is not closed")
    text = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
    return text if _TOKEN.fullmatch(text) else "~"


def _element(piece: str) -> Weighted:
    name, *pairs = (part.strip(" \t") for part in piece.split(";"))
    parameters: dict[str, str] = {}
    for pair in filter(None, pairs):
        key, _, value = pair.partition("=")
        parameters[_token(key)] = _token(value)
    for part in name.split("/", 1):
        _token(part)
    weight = parameters.pop("q", "1")
    if not _WEIGHT.fullmatch(weight):
        raise ValueError(f"not a weight: {weight!r}")
    return Weighted(name, parameters, float(weight))


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"not a token: {text!r}")
    return text


def negotiate(accept: str | None) -> TextFormat:
    """The format to answer a scraper with.

    Of the ranges that cover a format the most specific one gives its weight, and the format of the greatest
    weight wins. Between equal weights the more specific range wins, then the earlier one in the header, then
    our order.

    Args:
        accept: The ``Accept`` header, or None without one.

    Returns:
        The format: text 0.0.4 if there is no header, if it cannot be read, and if it admits nothing we have.
    """
    try:
        ranges = weighted(accept or "")
    except ValueError:
        return TEXT_0_0_4
    best, chosen = (0.0, 0, 0), TEXT_0_0_4
    for offer in OFFERS:
        covering = [
            (specificity, -place, wanted.weight)
            for place, wanted in enumerate(ranges)
            if (specificity := _specificity(wanted, offer))
        ]
        if covering:
            specificity, place, weight = max(covering)
            if weight > 0 and (weight, specificity, place) > best:
                best, chosen = (weight, specificity, place), offer
    return chosen


def _specificity(wanted: Weighted, offer: TextFormat) -> int:
    """0: the range does not cover the offer; else greater for a range that says more (RFC 9110, 12.5.1)."""
    if any(offer.parameters.get(name) != value for name, value in wanted.parameters.items()):
        return 0
    said = len(wanted.parameters)
    if wanted.name == offer.media_type:
        return 3 + said
    if wanted.name == offer.media_type.partition("/")[0] + "/*":
        return 2
    return 1 if wanted.name == "*/*" else 0


def render(snapshot: Snapshot, accept: str | None = None) -> tuple[bytes, str]:
    """A snapshot as Prometheus text.

    Args:
        snapshot: What `Registry.snapshot` returned.
        accept: The scraper's ``Accept`` header, if there is one (see `negotiate`).

    Returns:
        The text, in UTF-8, and the value for the ``Content-Type`` header.

    Raises:
        MemoryError: The text did not fit in memory.
    """
    form = negotiate(accept)
    return _core.render_text(snapshot.native, form.openmetrics, form.utf8), form.content_type


def write_textfile(path: str | os.PathLike[str], registry: Registry) -> None:
    """Writes a registry's values where node_exporter's textfile collector finds them, in text format 0.0.4.

    The file is replaced whole: a reader sees the old one or the new one, never a part. It gets the
    permissions of any new file, since node_exporter runs as another user.

    Args:
        path: The file, ending in ``.prom`` or the collector passes it over; its directory must exist.
        registry: Whose values to write.

    Raises:
        OSError: The file could not be written; the old one, if there is one, stands as it was.
    """
    target = Path(path)
    text, _ = render(registry.snapshot())
    # In the same directory, which a rename cannot leave; not ending in .prom, or the collector would read it.
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(text)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
