"""Ending a run from outside, by Ctrl-C or by SIGTERM, without losing what it has done so far."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StopSignal:
    """Whether the process was told to stop; called, it answers. `number` is the signal that said so.

    A plain attribute, no event: a handler runs between two bytecodes of whatever the main thread does, and
    one that took a lock there could wait for itself.
    """

    number: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.number is not None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the two signals, in the main thread only. A second one gets the system's default: it ends
        the process at once, should the run be stuck in a read that never returns."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def handle(number: int, frame: FrameType | None) -> None:
            self.number = number
            for each in before:
                signal.signal(each, signal.SIG_DFL)

        for number in before:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
