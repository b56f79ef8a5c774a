"""structlog into our log: its processors, bound loggers and context stay, our ring takes the place of its
renderer and its output.

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, vaultscope.logging.structlog_fields],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=vaultscope.logging.StructlogFactory(),
    )
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

from vaultscope._native._core import Logger
from vaultscope.signals.log import Journal, default_journal

__all__ = ["StructlogFactory", "structlog_fields"]

# Methods whose records structlog's add_log_level names otherwise.
LEVEL_NAMES = {"warn": "warning", "exception": "error", "fatal": "critical"}


def structlog_fields(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> tuple[tuple[object], dict[str, Any]]:
    """The last processor of a chain: the event becomes the message, the rest become fields.

    `exc_info` becomes the field `exception`, unless a processor has made one already. What `add_log_level`
    and `add_logger_name` add is left out, since every record says its level and its logger.
    """
    fields = dict(event_dict)
    message = fields.pop("event", "")
    if fields.get("level") == LEVEL_NAMES.get(method_name, method_name):
        del fields["level"]
    if "logger" in fields and fields["logger"] == getattr(logger, "name", None):
        del fields["logger"]
    if not fields.get("exc_info", True):
        del fields["exc_info"]
    return (message,), fields


class StructlogFactory:
    """Makes the loggers that structlog's bound loggers end in: `structlog.get_logger("cas")` logs as `cas`,
    and without a name as the module that asks.

    journal: the default one if not given.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = default_journal() if journal is None else journal

    def __call__(self, *args: object) -> Logger:
        """A logger of the name that was given to `structlog.get_logger`."""
        return self._journal.get_logger(str(args[0]) if args else _calling_module())


def _calling_module() -> str:
    """The name of the nearest module that is not structlog's."""
    frame = sys._getframe(1)
    while (name := frame.f_globals.get("__name__", "")).partition(".")[0] == "structlog" or name == __name__:
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    return str(name)
