"""The audit trail: who did what to what, in a chain that cannot be changed unseen.

    from vaultscope.audit import AuditLog, set_audit_trail, verify

    audit = AuditLog("vault.audit")
    audit.append("ada", "object.deleted", digest, {"reason": "expired"})
    set_audit_trail(audit)  # and what vaultscope does by itself is said there, too
    ...
    assert not list(verify("vault.audit"))

What it proves, and what not, stands in signals/audit.py. The names below are public.
"""

from __future__ import annotations

from vaultscope.core.audit_entry import Anchor, Entry, Seal
from vaultscope.core.audit_trail import AuditTrail, set_audit_trail
from vaultscope.edge.audit_keys import create_key
from vaultscope.edge.audit_log import AuditLog
from vaultscope.edge.audit_reader import AnchorStore, FileAnchor, Verification, read_entries, verify
from vaultscope.signals.audit import Finding

__all__ = [
    "Anchor",
    "AnchorStore",
    "AuditLog",
    "AuditTrail",
    "Entry",
    "FileAnchor",
    "Finding",
    "Seal",
    "Verification",
    "create_key",
    "read_entries",
    "set_audit_trail",
    "verify",
]
