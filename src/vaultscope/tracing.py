"""Tracing: spans that cost little enough to be everywhere.

    from vaultscope.tracing import configure, tracer

    with tracer().span("cas.get", hash=digest) as span:
        span.event("cache miss")

The names below are public.
"""
