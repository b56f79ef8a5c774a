"""What Python itself would only print goes into the log, too: warnings, and exceptions that nobody caught.

Each hook logs, then does what the one before it did: nothing that was printed is printed no more.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import Any

from vaultscope._native._core import Logger
from vaultscope.signals.log import Journal, default_journal, in_sink_thread

__all__ = ["Capture", "capture_exceptions", "capture_warnings"]


class _Hook:
    """Stands at a place where Python looks for a function: logs, then calls the one that stood there before.

    Who took the place after it may have kept it to call it, so that it cannot always be taken out. Undone, it
    only passes on.
    """

    def __init__(self, log: Callable[..., None], logger: Logger, previous: Callable[..., Any]) -> None:
        self.log = log
        self.logger = logger
        self.previous = previous
        self.active = True

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        if self.active and not in_sink_thread():
            with suppress(Exception):  # called in a way that Python never does
                self.log(self.logger, *args, **kwargs)
        self.previous(*args, **kwargs)


# The module, its attribute, our logger, how it logs.
_Place = tuple[ModuleType, str, str, Callable[..., None]]

_lock = threading.Lock()
_active: dict[tuple[ModuleType, str, Journal], _Hook] = {}


class Capture:
    """What a journal captures, until `undo()`, or the end of a `with` block."""

    def __init__(self, journal: Journal, places: tuple[_Place, ...]) -> None:
        self._journal = journal
        self._places = places
        with _lock:
            for module, attribute, name, log in places:
                standing = _active.get((module, attribute, journal))
                previous = getattr(module, attribute)
                if standing is not None and standing is previous:
                    continue
                if standing is not None:
                    standing.active = False  # somebody came before it: perhaps it is called, perhaps not
                hook = _Hook(log, journal.get_logger(name), previous)
                _active[module, attribute, journal] = hook
                setattr(module, attribute, hook)

    def undo(self) -> None:
        """Ends it, for all who asked for the same. Does nothing if it has ended."""
        with _lock:
            for module, attribute, _, _ in self._places:
                hook = _active.pop((module, attribute, self._journal), None)
                if hook is None:
                    continue
                hook.active = False
                if getattr(module, attribute) is hook:
                    setattr(module, attribute, hook.previous)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *error: object) -> None:
        self.undo()


def capture_warnings(journal: Journal | None = None) -> Capture:
    """Logs each warning that is shown: level warn, logger `py.warnings`, fields `category`, `file`, `line`.

    Asked for again, it goes on as it is. The filters of `warnings` decide what is shown.

    journal: the default one if not given.
    """
    return Capture(default_journal() if journal is None else journal, _WARNINGS)


def capture_exceptions(journal: Journal | None = None) -> Capture:
    """Logs exceptions that nobody caught, by the logger `py.exceptions`: one that ends the process is fatal,
    one that ends a thread or that Python can only ignore (in `__del__`, say) is an error.

    KeyboardInterrupt and, in a thread, SystemExit are no failures, and not logged. Asked for again, it goes
    on as it is.

    journal: the default one if not given.
    """
    return Capture(default_journal() if journal is None else journal, _EXCEPTIONS)


def _log_warning(
    logger: Logger,
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    if file is None:  # else it is meant for that file alone
        logger.warn(_text(message), category=category.__name__, file=filename, line=lineno)


def _log_uncaught(
    logger: Logger, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        logger.fatal("Uncaught exception", exc_info=(kind, error, traceback))


def _log_thread(logger: Logger, args: threading.ExceptHookArgs) -> None:
    if not issubclass(args.exc_type, SystemExit):
        logger.error(
            "Uncaught exception in a thread",
            thread_name=None if args.thread is None else args.thread.name,
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )


def _log_unraisable(logger: Logger, args: sys.UnraisableHookArgs) -> None:
    logger.error(
        args.err_msg or "Exception ignored",
        object=_text(args.object, repr),  # not itself: it may be on its way out
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )


def _text(value: object, how: Callable[[object], str] = str) -> str:
    try:
        return how(value)
    except Exception:
        return f"<{type(value).__name__}>"


_WARNINGS: tuple[_Place, ...] = ((warnings, "showwarning", "py.warnings", _log_warning),)
_EXCEPTIONS: tuple[_Place, ...] = (
    (sys, "excepthook", "py.exceptions", _log_uncaught),
    (threading, "excepthook", "py.exceptions", _log_thread),
    (sys, "unraisablehook", "py.exceptions", _log_unraisable),
)
