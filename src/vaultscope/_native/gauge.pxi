# Gauge: one value that goes up and down.

@cython.final
cdef class Gauge(Metric):
    """A value that goes up and down: Gauge("storage.used.bytes", "Total bytes used", unit="bytes").

    One double; NaN and the infinities are values. With `callback`, the value is what it returns at each snapshot (NaN if it
    raises, which is counted). `mode` says what is shown where several processes share an arena: "last" (written, by whomever),
    the "sum", "min" or "max" of the processes that live, or "all", each with a label `pid`. Declares as Counter does."""
    cdef vs_gauge cell

    def __init__(self, str name, str help="", *, labels=(), str unit="", callback=None, str mode="last", max_series=None,
                 registry=None):
        if registry is None:
            registry = default_registry_hook()
        adopt(self, registry.gauge(name, help, labels=labels, unit=unit, callback=callback, mode=mode, max_series=max_series))

    @property
    def value(self) -> float:
        """As this process sees it: what it wrote itself, unless the mode is "last"."""
        bound(self)
        return vs_gauge_read(self.cell)
