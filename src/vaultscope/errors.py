"""The exceptions of vaultscope.

    VaultscopeError
    ├── DeclarationError (ValueError)        a declaration or binding that breaks a rule
    │   └── DeclarationConflictError         the name is taken by another shape
    ├── NotFoundError (KeyError)             no such metric or series
    ├── LimitError                           a declared limit is reached: the arena is full
    ├── ArenaError                           a file cannot be an arena: foreign, corrupt, locked, absent
    ├── BusyError                            another process does what only one may do
    ├── DecodeError (ValueError)             bytes from outside do not decode
    └── NativeError                          the C core answered something unforeseen

They are raised where it is cold: declaration, binding, configuration, decoding. A hot call on a bound handle
(inc, set, observe, record) raises nothing: what it cannot take is counted.
"""

from __future__ import annotations

__all__ = [
    "ArenaError",
    "BusyError",
    "DeclarationConflictError",
    "DeclarationError",
    "DecodeError",
    "LimitError",
    "NativeError",
    "NotFoundError",
    "VaultscopeError",
]


class VaultscopeError(Exception):
    """The root: whatever vaultscope raises by itself."""


class DeclarationError(VaultscopeError, ValueError):
    """A metric, a label or a setting is declared in a way that breaks a documented rule."""


class DeclarationConflictError(DeclarationError):
    """The name is declared already with another shape, or its exported samples would clash with another's."""


class NotFoundError(VaultscopeError, KeyError):
    """There is no metric, or no series, of that name or with those labels."""

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


class NativeError(VaultscopeError):
    """The C core answered with a status that this binding does not know."""
