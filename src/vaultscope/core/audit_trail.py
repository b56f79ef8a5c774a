"""Where the product says what it did by itself: deletions, changes of its configuration.

    set_audit_trail(AuditLog("vault.audit"))

From then on, until it is set to None, what a soup's gc deletes, what is deleted and pinned by hand, how a
soup was opened, and which log levels were set, are entries of that trail.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["AuditTrail", "set_audit_trail", "testify"]

ACTOR = "vaultscope"


class AuditTrail(Protocol):
    """Where what happened is said. `AuditLog` is one."""

    def append(
        self,
        actor: str,
        verb: str,
        object: str,
        parameters: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Says who did what to what. Never raises, never waits."""


_trail: AuditTrail | None = None


def set_audit_trail(trail: AuditTrail | None) -> AuditTrail | None:
    """Makes this the process's trail; None: there is none. Returns the one before."""
    global _trail
    before, _trail = _trail, trail
    return before


def testify(verb: str, object: str, parameters: Mapping[str, Any]) -> None:
    """Says what was done, if there is a trail."""
    trail = _trail
    if trail is not None:
        trail.append(ACTOR, verb, object, parameters, {"pid": os.getpid()})
