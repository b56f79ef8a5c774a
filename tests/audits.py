"""What tests of audit trails share: a trail in a folder, and its lines as bytes to tamper with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from vaultscope import Registry
from vaultscope.audit import AuditLog, Entry, Finding, read_entries, verify
from vaultscope.edge.audit_reader import log_files

DEADLINE = 60.0
START_NS = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z


def ticking(start_ns: int = START_NS, step_ns: int = 1_000_000) -> Any:
    """A clock that goes on by a step each time it is read."""
    ticks = count(start_ns, step_ns)
    return lambda: next(ticks)


def open_log(path: Path, **options: Any) -> AuditLog:
    """A log with metrics of its own, which waits for nothing."""
    return AuditLog(path, **{"registry": Registry(), "batch_seconds": 0.0, "clock_ns": ticking(), **options})


def say(log: AuditLog, *objects: str, **options: Any) -> list[Entry]:
    """An entry for each, written when this returns, each with a seal of its own."""
    entries = [
        log.append("ada", "object.deleted", each, wait=True, timeout=DEADLINE, **options) for each in objects
    ]
    assert None not in entries, log.trouble
    return [entry for entry in entries if entry is not None]


def write_log(path: Path, *objects: str, **options: Any) -> list[Entry]:
    """A log that has these entries, and is closed."""
    with open_log(path, **options) as log:
        return say(log, *objects)


def entries(path: Path) -> list[Entry]:
    return list(read_entries(path))


def verbs(path: Path) -> list[str]:
    return [entry.verb for entry in entries(path)]


def objects(path: Path) -> list[str]:
    """Of what callers said."""
    return [entry.object for entry in entries(path) if not entry.verb.startswith("audit.")]


def lines(path: Path) -> list[bytes]:
    """Of the first file, with their newlines."""
    return path.read_bytes().splitlines(keepends=True)


def findings(path: Path, **options: Any) -> list[Finding]:
    return list(verify(path, **options))


def kinds(path: Path, **options: Any) -> list[str]:
    return [finding.kind for finding in verify(path, **options)]


def files(path: Path) -> Iterator[Path]:
    for _, name in log_files(path):
        yield Path(name)


def value(registry: Registry, name: str, **labels: str) -> float:
    """What a metric of the audit says; 0: there is no such series."""
    from vaultscope import NotFoundError

    try:
        return registry.snapshot().value(f"vaultscope.audit.{name}", **labels)
    except NotFoundError:
        return 0
