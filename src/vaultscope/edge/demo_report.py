"""What a demo tells those who watch it: moments while it runs, a report at its end.

Nothing may get lost on the way: each thing found under the directory ends as exactly one Outcome, so that
`seen` is their sum, and anyone can check the arithmetic.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from vaultscope.core.snapshot import Snapshot

PROBLEMS_KEPT = 100


class Activity(Enum):
    """What a run is at."""

    INGEST = "ingest"
    READ_BACK = "read back"
    READ_ON = "reading on"  # for as long as nobody stops it


class Outcome(Enum):
    """What became of one thing found under the directory."""

    STORED = "stored"
    DEDUPLICATED = "deduplicated"  # its content was in the store already
    UNREADABLE = "unreadable"
    FAILED = "not stored"  # read, but the store could not take it
    SKIPPED = "skipped"  # a link, no regular file, too large, or gone
    INTERRUPTED = "interrupted"  # in work when the run was stopped


@dataclass(frozen=True)
class Phase:
    """One part of a run: its length in seconds, and by how much the store's counters grew in it."""

    seconds: float
    operations: int
    bytes: int  # written or read: content that was in the store already is not written again


@dataclass(frozen=True)
class Progress:
    """A moment of a run. `total` is None until it is known; `elapsed`: seconds since the run began."""

    activity: Activity
    done: int
    total: int | None
    elapsed: float
    snapshot: Snapshot


@dataclass
class Report:
    """What a run has done so far; complete at its end.

    Attributes:
        seen: Things found under the directory; the sum of `outcomes`.
        skips: How many were skipped, by reason.
        problems: Path and reason of what went wrong, the first PROBLEMS_KEPT of `problems_total`.
        ingested, read_back: The two phases; None for one that was not begun.
        verified: Files whose content was read back and had the right hash.
        read_on: Objects read and verified after that, if the run was kept up.
        interrupted: The run was told to stop before it was through.
        snapshot: The metrics at the end of it.
    """

    directory: str
    store: str
    seen: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    problems_total: int = 0
    ingested: Phase | None = None
    read_back: Phase | None = None
    verified: int = 0
    read_on: int = 0
    interrupted: bool = False
    snapshot: Snapshot | None = None

    def skip(self, reason: str) -> Outcome:
        """Notes that something was passed over."""
        self.skips[reason] += 1
        return Outcome.SKIPPED

    def problem(self, path: str, error: Exception) -> None:
        """Notes that something went wrong."""
        self.problems_total += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append((path, getattr(error, "strerror", None) or str(error)))


class View(Protocol):
    """Who watches a run; called by the one thread that runs it."""

    def progress(self, progress: Progress) -> None:
        """Shows a moment."""

    def summary(self, report: Report) -> None:
        """Shows what was done: when the work is over, and again after it was kept up."""
