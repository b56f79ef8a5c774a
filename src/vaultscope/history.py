"""History: what metrics were, an hour or a month ago.

    from vaultscope.history import MetricRecorder, history
    from vaultscope.soup import SqliteSoup

    soup = SqliteSoup("vault.soup")
    MetricRecorder(registry, soup).start()       # an object a minute
    ...
    p99 = history(soup, "cas.put.duration", quantile=0.99, last="24h", step="5m")

The names below are public. `history` needs numpy, from the extra `history`; recording needs nothing.
"""

from __future__ import annotations

from vaultscope.edge.history import History, history
from vaultscope.edge.history_recorder import MetricRecorder

__all__ = ["History", "MetricRecorder", "history"]
