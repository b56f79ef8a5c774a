# Gauge: one value that goes up and down.

@cython.final
cdef class Gauge(Metric):
    """A value that goes up and down: Gauge("storage.used.bytes", "Total bytes used", unit="bytes").

    One double; NaN and the infinities are values. With `callback`, the value is what it returns at each snapshot (NaN if it
    raises, which is counted). Declares as Counter does."""
    cdef vs_gauge cell

    def __init__(self, str name, str help="", *, labels=(), str unit="", callback=None, max_series=None, registry=None):
        if registry is None:
            registry = default_registry_hook()
        adopt(self, registry.gauge(name, help, labels=labels, unit=unit, callback=callback, max_series=max_series))

    @property
    def value(self) -> float:
        bound(self)
        return vs_gauge_read(self.cell)
