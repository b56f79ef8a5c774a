"""The exceptions of vaultscope.

    VaultscopeError
    ├── DeclarationError (ValueError)        a declaration or binding that breaks a rule
    │   └── DeclarationConflictError         the name is taken by another shape
    ├── NotFoundError (KeyError)             no such metric or series
    ├── LimitError                           a declared limit is reached: the arena is full
    ├── ArenaError                           a file cannot be an arena: foreign, corrupt, locked, absent
    ├── BusyError                            another process does what only one may do
    ├── DecodeError (ValueError)             bytes from outside do not decode
    ├── StorageError                         a store cannot do it now: the disk is full, the database is gone
    │   └── DamagedError                     what is stored is not what was put there
    ├── AuditError                           an audit trail is not what its anchor, seals or key say
    │   └── AuditKeyError                    the key that seals it is lost, another, or open to others
    └── NativeError                          the C core answered something unforeseen

They are raised where it is cold: declaration, binding, configuration, decoding. A hot call on a bound handle
(inc, set, observe, record) raises nothing: what it cannot take is counted.
"""

from __future__ import annotations

__all__ = [
    "ArenaError",
    "AuditError",
    "AuditKeyError",
    "BusyError",
    "DamagedError",
    "DeclarationConflictError",
    "DeclarationError",
    "DecodeError",
    "LimitError",
    "NativeError",
    "NotFoundError",
    "StorageError",
    "VaultscopeError",
]


class VaultscopeError(Exception):
    """The root: whatever vaultscope raises by itself."""


class DeclarationError(VaultscopeError, ValueError):
    """A metric, a label or a setting is declared in a way that breaks a documented rule."""


class DeclarationConflictError(DeclarationError):
    """The name is declared already with another shape, or its exported samples would clash with another's."""


class NotFoundError(VaultscopeError, KeyError):
    """There is no metric, no series or no stored object of that name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "not found"  # KeyError would show the repr


class LimitError(VaultscopeError):
    """A declared limit is reached."""


class ArenaError(VaultscopeError):
    """A file cannot be opened as an arena; the message names it and says why."""


class BusyError(VaultscopeError):
    """Another process, or another sink of that name, does what only one may do at a time."""


class DecodeError(VaultscopeError, ValueError):
    """Bytes from outside are not what they claim to be."""


class StorageError(VaultscopeError):
    """A store cannot do what it is asked for, and may be able to later: the disk is full, the database is
    gone or another one's. `__cause__` is what the system said."""


class DamagedError(StorageError):
    """What is stored is not what was put there."""


class AuditError(VaultscopeError):
    """An audit trail cannot be gone on with: it was changed, or its anchor is gone."""


class AuditKeyError(AuditError):
    """The key of an audit trail is lost, is another one, or may be read by others. Reading goes on."""


class NativeError(VaultscopeError):
    """The C core answered with a status that this binding does not know."""
