"""The soup: observability data stored by its content, bounded, and found again.

    from vaultscope.soup import SqliteSoup, attr

    soup = SqliteSoup("vault.soup")
    address = soup.put({"level": "error"}, type="log-entry", attributes={"level": "error"})
    for found in soup.query(attr("level") == "error", type="log-entry", since="24h", order="-created"):
        print(found.created_ns, soup.get(found.address))

The names below are public.
"""

from __future__ import annotations

from vaultscope.core.soup import (
    DAY,
    GcReport,
    NewObject,
    Results,
    Soup,
    SoupObject,
    SoupStats,
    TypeStats,
)
from vaultscope.core.soup_query import Attr, Condition, attr, matches
from vaultscope.core.soup_text import parse_condition
from vaultscope.edge.soup_postgres import PostgresSoup
from vaultscope.edge.soup_sqlite import SqliteSoup
from vaultscope.edge.soup_writer import SoupWriter

__all__ = [
    "DAY",
    "Attr",
    "Condition",
    "GcReport",
    "NewObject",
    "PostgresSoup",
    "Results",
    "Soup",
    "SoupObject",
    "SoupStats",
    "SoupWriter",
    "SqliteSoup",
    "TypeStats",
    "attr",
    "matches",
    "parse_condition",
]
