"""The standard library's logging into our log: one line, and code that exists already gains the ring.

    logging.basicConfig(handlers=[vaultscope.logging.Handler()], level=logging.INFO)

A record's logger, message, `extra` attributes, exception and stack become those of a record of ours. Time,
process and thread are taken when it is emitted, which is at once.
"""

from __future__ import annotations

import logging

from vaultscope._native._core import LEVELS, Logger
from vaultscope.signals.log import Journal, default_journal, in_sink_thread

__all__ = ["Handler"]

# What a record has without `extra`: what the constructor sets, what a formatter adds, what Python 3.12 added.
STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "asctime",
    "message",
    "taskName",
}
NAME_BYTES_MAX = 255
KNOWN_MAX = 4096  # pairs of name and level; names may come from anywhere (logging.makeLogRecord)


class Handler(logging.Handler):
    """Gives the records of `logging` to a journal.

    Levels go by tens: below 10 is trace, then debug, info, warn, error, and from 50 on fatal. A record passes
    the thresholds of `logging` first, then ours for the logger of that name (VAULTSCOPE_LOG_LEVEL,
    `set_level`), which is info unless it was set.

    Of a message that cannot be formatted the template is logged, with the field `args`. Nothing is formatted
    here: a formatter is not asked. A record that a sink's own thread makes (a sink that sends over HTTP,
    whose library logs) would be its own cause for ever: it is not logged, and from warning on it goes to
    stderr.

    level: of `logging`, below which this handler takes nothing.
    journal: the default one if not given.
    source: adds the fields `file`, `line` and `function`.

    Needs no lock, so neither a fork nor a signal can find it taken.
    """

    def __init__(
        self, level: int | str = logging.NOTSET, *, journal: Journal | None = None, source: bool = False
    ) -> None:
        super().__init__(level)
        self.source = source
        self._journal = default_journal() if journal is None else journal
        self._known: dict[tuple[str, int], tuple[Logger, str]] = {}

    def createLock(self) -> None:  # noqa: N802
        """Makes none."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emits the record if the filters let it through; the base class would take a lock."""
        passed: object = self.filter(record)
        if isinstance(passed, logging.LogRecord):  # since Python 3.12 a filter may give another one
            record = passed
        if passed:
            self.emit(record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Logs the record. Never raises: what goes wrong is reported as handlers do (handleError)."""
        try:
            logger, level = self._known.get((record.name, record.levelno)) or self._learn(record)
            if not logger.enabled(level):
                return
            if in_sink_thread():
                if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                    logging.lastResort.handle(record)
                return
            fields = self._fields(record)
            try:
                message = record.getMessage()
            except Exception:
                message = record.msg
                if record.args:
                    fields["args"] = record.args
            getattr(logger, level)(message, **fields)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Waits until the sinks have what was logged so far, five seconds at most."""
        self._journal.flush()

    def _learn(self, record: logging.LogRecord) -> tuple[Logger, str]:
        name = str(record.name or "").encode("utf-8", "replace")[:NAME_BYTES_MAX].decode("utf-8", "ignore")
        level = LEVELS[min(max(record.levelno // 10, 0), len(LEVELS) - 1)]
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        known = self._known[record.name, record.levelno] = self._journal.get_logger(name), level
        return known

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        fields: dict[str, object] = {}
        if self.source:
            fields |= {"file": record.pathname, "line": record.lineno, "function": record.funcName}
        attributes = record.__dict__
        if not STANDARD.issuperset(attributes):
            fields |= {str(name): value for name, value in attributes.items() if name not in STANDARD}
        if record.exc_info and record.exc_info != (None, None, None):
            fields["exc_info"] = record.exc_info
        elif record.exc_text:  # the record has travelled, and its exception became text
            fields["exception"] = {"traceback": record.exc_text}
        if record.stack_info:
            fields["stack"] = record.stack_info
        return fields
