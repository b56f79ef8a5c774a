"""The four kinds of metric, and their defaults.

The classes themselves live in the extension, since their hot methods are the interpreter's own method
descriptors there; this is the door that the layers above use.
"""

from __future__ import annotations

from vaultscope._native._core import Counter, Gauge, HdrCounts, HdrHistogram, Histogram

__all__ = [
    "DEFAULT_BUCKETS_MS",
    "DEFAULT_QUANTILES",
    "Counter",
    "Gauge",
    "HdrCounts",
    "HdrHistogram",
    "Histogram",
]

# Upper bounds in milliseconds. Source: memo, Histogram Buckets.
DEFAULT_BUCKETS_MS: tuple[float, ...] = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)

# What the summary of an HDR histogram shows.
DEFAULT_QUANTILES: tuple[float, ...] = (0.5, 0.9, 0.99, 0.999)
