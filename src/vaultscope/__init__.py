"""vaultscope: the observability core of a content-addressed store.

    from vaultscope import Counter, HdrHistogram

    puts = Counter("cas.put.count", "CAS put operations")
    puts.inc()

The public names are these; everything else may change.
"""

from vaultscope._native._core import library_version as _library_version
from vaultscope._native.paths import get_include, get_library_dirs
from vaultscope.core.arena import ArenaProcess, ArenaReader
from vaultscope.core.metrics import Counter, Gauge, HdrCounts, HdrHistogram, Histogram
from vaultscope.core.registry import Registry, default_registry
from vaultscope.core.snapshot import MetricSnapshot, SeriesSnapshot, Snapshot
from vaultscope.errors import (
    ArenaError,
    AuditError,
    AuditKeyError,
    BusyError,
    DamagedError,
    DeclarationConflictError,
    DeclarationError,
    DecodeError,
    LimitError,
    NativeError,
    NotFoundError,
    StorageError,
    VaultscopeError,
)

__version__ = _library_version()

__all__ = [
    "ArenaError",
    "ArenaProcess",
    "ArenaReader",
    "AuditError",
    "AuditKeyError",
    "BusyError",
    "Counter",
    "DamagedError",
    "DeclarationConflictError",
    "DeclarationError",
    "DecodeError",
    "Gauge",
    "HdrCounts",
    "HdrHistogram",
    "Histogram",
    "LimitError",
    "MetricSnapshot",
    "NativeError",
    "NotFoundError",
    "Registry",
    "SeriesSnapshot",
    "Snapshot",
    "StorageError",
    "VaultscopeError",
    "__version__",
    "default_registry",
    "get_include",
    "get_library_dirs",
]
