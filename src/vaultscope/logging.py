"""Logging through a lock-free ring: a call copies its record and returns, threads of the sinks write it out.

    from vaultscope.logging import FileSink, configure, get_logger

    configure(FileSink("vault.log"), level="info")
    log = get_logger("cas")
    log.info("Object stored", hash=digest, size=len(data))

The names below are public.
"""

from __future__ import annotations

from vaultscope._native import _core
from vaultscope._native._core import LEVELS, Logger, SpanContext, current_span
from vaultscope.core.audit_trail import testify as _testify
from vaultscope.edge.log_capture import capture_exceptions, capture_warnings
from vaultscope.edge.log_file import FileSink, install_sighup
from vaultscope.edge.log_handler import Handler
from vaultscope.edge.log_sinks import CallableSink, MemorySink, RecordStore, SoupSink
from vaultscope.edge.log_stream import StreamSink
from vaultscope.edge.log_structlog import StructlogFactory, structlog_fields
from vaultscope.errors import DeclarationError
from vaultscope.signals.log import Journal, Sink, default_journal, level

__all__ = [
    "LEVELS",
    "CallableSink",
    "FileSink",
    "Handler",
    "Journal",
    "Logger",
    "MemorySink",
    "RecordStore",
    "Sink",
    "SoupSink",
    "SpanContext",
    "StreamSink",
    "StructlogFactory",
    "add_sink",
    "capture_exceptions",
    "capture_warnings",
    "configure",
    "current_span",
    "default_journal",
    "flush",
    "get_logger",
    "install_sighup",
    "level",
    "remove_sink",
    "set_level",
    "set_vault",
    "structlog_fields",
]


def get_logger(name: str = "") -> Logger:
    """The logger of that name, of the default journal. Raises DeclarationError for a name of more than 255
    bytes."""
    return default_journal().get_logger(name)


def configure(*sinks: Sink, level: str | None = None, vault: str | None = None) -> None:
    """Gives the default journal these sinks in place of those that it has; none: it keeps them.

    level: as set_level has it, or several as VAULTSCOPE_LOG_LEVEL has them: "info,cas=debug".
    vault: names the vault in each record.

    Raises DeclarationError.
    """
    if level is not None and _core.configure_log_levels(level):
        raise DeclarationError(f"{level!r} has a part that is no level")
    if level is not None:
        _testify("log.levels", level, {})
    if vault is not None:
        set_vault(vault)
    journal = default_journal()
    if sinks:
        for old in journal.sinks:
            if old not in sinks:
                journal.remove_sink(old)
        for new in sinks:
            if new not in journal.sinks:
                journal.add_sink(new)


def add_sink(sink: Sink) -> None:
    """Adds a sink to the default journal. Raises DeclarationError if there is one of that name."""
    default_journal().add_sink(sink)


def remove_sink(sink: Sink, timeout: float = 5.0) -> bool:
    """Takes a sink out of the default journal, after what is left is written. False: something was left."""
    return default_journal().remove_sink(sink, timeout)


def flush(timeout: float = 5.0) -> bool:
    """Waits until the sinks of the default journal have what was logged before. False: not in that time."""
    return default_journal().flush(timeout)


def set_level(level: str | None, name: str = "") -> None:
    """Sets the level of the loggers of that name and below it; "" is all. None: they follow the name above it
    again.

    Raises DeclarationError for a level that is none. Source: memo, Log Levels.
    """
    if level is None:
        _core.unset_log_level(name)
    else:
        _core.set_log_level(name, level)
    _testify("log.level", name, {"level": level})


def set_vault(name: str) -> None:
    """Names the vault in each record of this process. Raises DeclarationError for more than 255 bytes."""
    _core.set_log_vault(name)
