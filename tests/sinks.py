"""What tests of journals share: a sink that can be told to fail or to hang, and ways to wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from logbook import parse

from vaultscope import NotFoundError, Registry
from vaultscope.core.log_sink import SinkThread, in_sink_thread
from vaultscope.logging import Sink

DEADLINE = 30.0  # seconds, for what should take milliseconds


def until(condition: Callable[[], object]) -> None:
    """Waits for what another thread does."""
    deadline = time.monotonic() + DEADLINE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        pause.wait(0.001)


class Kept(Sink):
    """Keeps what it is given. It fails with `error` as long as there is one, and waits for `gate`."""

    def __init__(self, name: str = "kept") -> None:
        self.name = name
        self.batches: list[tuple[bytes, dict[str, int]]] = []
        self.tries: list[bytes] = []
        self.error: BaseException | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.waits = threading.Event()
        self.threads: set[threading.Thread] = set()
        self.closed: list[bool] = []

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        self.threads.add(threading.current_thread())
        self.tries.append(lines)
        self.waits.set()
        assert self.gate.wait(DEADLINE)
        if self.error is not None:
            raise self.error
        self.batches.append((lines, dict(records)))

    def close(self) -> None:
        self.closed.append(in_sink_thread())

    @property
    def records(self) -> list[dict[str, Any]]:
        return [parse(line) for lines, _ in list(self.batches) for line in lines.splitlines(keepends=True)]

    @property
    def messages(self) -> list[str]:
        return [record["message"] for record in self.records if record.get("logger") != "vaultscope.log"]

    @property
    def own(self) -> list[dict[str, Any]]:
        """What the log says of itself."""
        return [record for record in self.records if record.get("logger") == "vaultscope.log"]


def sink_threads() -> list[threading.Thread]:
    """Threads of sinks that live."""
    return [thread for thread in threading.enumerate() if isinstance(thread, SinkThread)]


def value(registry: Registry, name: str, **labels: str) -> float:
    """What a metric of the log says; 0: there is no such series."""
    try:
        return registry.snapshot().value(f"vaultscope.log.{name}", **labels)
    except NotFoundError:
        return 0
