"""The process's audit trail: what the product does by itself is said there, whichever store it does it to."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from soups import SECOND, Place

from vaultscope import DeclarationError, Registry, logging
from vaultscope.audit import AuditLog, read_entries, set_audit_trail
from vaultscope.soup import NewObject

Said = tuple[str, str, Mapping[str, Any]]


class Trail:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[Said] = []

    def append(
        self,
        actor: str,
        verb: str,
        object: str,
        parameters: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        assert actor == "vaultscope" and context is not None and context["pid"]
        self.said.append((verb, object, dict(parameters or {})))


@pytest.fixture
def trail() -> Iterator[Trail]:
    trail = Trail()
    before = set_audit_trail(trail)
    yield trail
    set_audit_trail(before)


def old(count: int) -> list[NewObject]:
    """Objects that expire after a second."""
    return [NewObject(b"old %d" % n, "old", ttl=1.0) for n in range(count)]


def test_opened(place: Place, trail: Trail) -> None:
    """How a soup was opened: its budget, and how long what is kept."""
    place.open(max_bytes=1 << 20, retention={"log-entry": 60.0})
    ((verb, _, parameters),) = trail.said
    assert verb == "soup.opened"
    assert parameters == {
        "max_bytes": 1 << 20,
        "retention": {"log-entry": 60.0},
        "default_retention": 30 * 86_400.0,
    }


def test_gc_is_one_entry(place: Place, trail: Trail) -> None:
    """A gc says once how many it has deleted; one that deletes nothing says nothing."""
    soup = place.open()
    soup.put_many(old(700))
    trail.said.clear()
    soup.gc()
    assert trail.said == []
    place.clock.pass_by(2.0)
    soup.gc()
    soup.gc()
    assert [(verb, parameters) for verb, _, parameters in trail.said] == [
        ("soup.collected", {"expired": 700})
    ]


def test_what_makes_room(place: Place, trail: Trail) -> None:
    """What was deleted to make room for a put is said as well, all of it."""
    soup = place.open(max_bytes=1 << 18)
    for n in range(200):
        soup.put(random.Random(n).randbytes(4000), type="big", created_ns=place.clock() + n)
    soup.gc()
    collected = [parameters for verb, _, parameters in trail.said if verb == "soup.collected"]
    assert sum(sum(each.values()) for each in collected) == 200 - soup.stats().objects
    assert collected


def test_by_hand(place: Place, trail: Trail) -> None:
    """What is deleted, pinned and unpinned by hand is named by its address; what was not there is not."""
    soup = place.open()
    address = soup.put(b"a", type="a")
    trail.said.clear()
    soup.pin(address, "ada")
    soup.unpin(address, "ada")
    assert soup.delete(address) and not soup.delete(address)
    assert [(verb, parameters) for verb, _, parameters in trail.said] == [
        ("soup.pinned", {"address": address, "by": "ada"}),
        ("soup.unpinned", {"address": address, "by": "ada"}),
        ("soup.deleted", {"address": address}),
    ]


def test_levels(trail: Trail) -> None:
    """Which levels of the log were set; one that was refused was not."""
    try:
        logging.set_level("debug", "cas")
        with pytest.raises(DeclarationError):
            logging.set_level("loud", "cas")
        logging.configure(level="info,cas=warn")
    finally:
        logging.set_level(None, "cas")
        logging.set_level("info")
    assert trail.said[:3] == [
        ("log.level", "cas", {"level": "debug"}),
        ("log.levels", "info,cas=warn", {}),
        ("log.level", "cas", {"level": None}),
    ]


def test_in_an_audit_log(place: Place, tmp_path: Path) -> None:
    """With an AuditLog, a gc is an entry of its chain."""
    registry = Registry()
    with AuditLog(tmp_path / "a.audit", registry=registry) as audit:
        before = set_audit_trail(audit)
        try:
            soup = place.open()
            soup.put_many(old(3))
            place.clock.now_ns += 2 * SECOND
            soup.gc()
        finally:
            set_audit_trail(before)
    entries = [(entry.actor, entry.verb) for entry in read_entries(tmp_path / "a.audit")]
    assert entries == [("vaultscope", verb) for verb in ("audit.began", "soup.opened", "soup.collected")]
