"""A log whose lines a test reads at once: a journal and a cursor, without a sink or a thread."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NoReturn

from vaultscope import Registry
from vaultscope.logging import Journal, Logger

# What every line has, if there is something to say.
HEAD = ("time", "level", "logger", "message", "vault", "pid", "thread", "trace_id", "span_id")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a name twice: {names}"
    return dict(pairs)


def parse(line: bytes) -> dict[str, Any]:
    """What a line says, if it is strict JSON with no name twice in an object, for every parser there is."""
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    record: dict[str, Any] = json.loads(
        line.decode("utf-8", "strict"), parse_constant=_refuse, object_pairs_hook=_without_twins
    )
    for loads in OTHER_PARSERS:
        loads(line)
    return record


def _other_parsers() -> list[Callable[[bytes], Any]]:
    if find_spec("orjson") is None:  # as where it has no build, on a CPython without a GIL
        return []
    import orjson

    return [orjson.loads]


OTHER_PARSERS = _other_parsers()


class Logbook:
    """A journal over memory, and what was logged since it was last asked."""

    def __init__(self, **options: Any) -> None:
        self.registry = Registry()
        self.journal = Journal(self.registry, **options)
        self._cursor = self.journal.native.cursor("logbook")

    def logger(self, name: str = "test") -> Logger:
        return self.journal.get_logger(name)

    @property
    def lines(self) -> list[bytes]:
        lines: list[bytes] = []
        while (batch := self._cursor.take()) is not None:
            lines += batch.lines.splitlines(keepends=True)
            assert sum(batch.records.values()) == batch.lines.count(b"\n")
            self._cursor.done()
        return lines

    @property
    def records(self) -> list[dict[str, Any]]:
        return [parse(line) for line in self.lines]

    @property
    def record(self) -> dict[str, Any]:
        """The only one."""
        (record,) = self.records
        return record

    @property
    def fields(self) -> dict[str, Any]:
        """Of the only one, what it has beside what every record has."""
        return {name: value for name, value in self.record.items() if name not in HEAD}

    def count(self, what: str, level: str = "info") -> float:
        """What a metric of the log says: "records", "dropped", "suppressed" and so on."""
        return self.registry.snapshot().value(f"vaultscope.log.{what}", level=level)
