"""What is done for living objects that have threads, or files, of their own: after a fork, and at the end."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

__all__ = ["Living"]

T = TypeVar("T")


class Living(WeakSet[T]):
    """Objects of one kind, as long as anybody has them. Made once, by the module of their class.

    end: called for each at the end of the process, also of one of multiprocessing's children.
    renew: called for each in the child of a fork.
    forked: called there before.
    """

    def __init__(
        self,
        end: Callable[[T], object],
        renew: Callable[[T], object],
        *,
        forked: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__()
        self._end, self._renew, self._forked = end, renew, forked
        atexit.register(self._end_all)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)
        self._end_with_multiprocessing()

    def _end_all(self) -> None:
        for each in list(self):
            self._end(each)

    def _after_fork(self) -> None:
        self._forked()
        for each in list(self):
            self._renew(each)
        self._end_with_multiprocessing()

    def _end_with_multiprocessing(self) -> None:
        """The children of multiprocessing leave without atexit. What they are to do at their end is to be
        said once they have forgotten what their parent was to do, which is early on; or now, if they have."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.register_after_fork(self, Living._finalize)
            if sys.modules["multiprocessing.process"].parent_process() is not None:
                self._finalize()

    def _finalize(self) -> None:
        sys.modules["multiprocessing.util"].Finalize(None, self._end_all, exitpriority=-100)
