"""`vaultscope logs --json --follow` at work in a process of its own, record by record."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-c", "from vaultscope.edge.cli import main; main()", "logs", "--json", "-f")
DEADLINE = 60.0  # seconds for one record; a follower that takes longer is killed, and the test fails


class LogFollower:
    """A context manager.

        with LogFollower(path) as log:
            assert log.next() == "Stored"

    arguments: to the command, beside --json and --follow.
    stdin: as subprocess has it.
    """

    def __init__(self, *arguments: str | Path, stdin: int = subprocess.DEVNULL) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out, self.errors = self.process.stdout, self.process.stderr

    def next_record(self) -> dict[str, Any]:
        """The next record that it shows."""
        guard = threading.Timer(DEADLINE, self.process.kill)
        guard.start()
        try:
            line = self.out.readline()
        finally:
            guard.cancel()
        assert line, f"the follower is gone: {self.errors.read()!r}"
        record: dict[str, Any] = json.loads(line)
        return record

    def next(self) -> Any:
        """The message of the next record."""
        return self.next_record()["message"]

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, bytes, bytes]:
        """What it ends with after a signal: the status, the rest of its output, what it said on stderr."""
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, out, errors

    def __enter__(self) -> LogFollower:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.out, self.errors):
            if stream is not None:
                stream.close()
