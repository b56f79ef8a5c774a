"""How long to wait before what has failed is tried again: 50 ms at first, then twice as long, 5 s at last."""

from __future__ import annotations

__all__ = ["BACK_OFF_MIN", "longer"]

BACK_OFF_MIN = 0.05
"""Seconds."""
_BACK_OFF_MAX = 5.0


def longer(back_off: float) -> float:
    """The next wait, in seconds, after this one; the first after 0."""
    return min(max(back_off * 2, BACK_OFF_MIN), _BACK_OFF_MAX)
