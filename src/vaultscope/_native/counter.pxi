# Counter: exact integers and a float path beside them.

@cython.final
cdef class Counter(Metric):
    """A count that only goes up: Counter("cas.put.count", "CAS put operations").

    Declares the metric in `registry` (or the default one), or finds it if it is declared with the same shape.
    Raises DeclarationConflictError, DeclarationError."""
    cdef vs_counter cell

    def __cinit__(self):
        self.cell = NOWHERE

    def __init__(self, str name, str help="", *, labels=(), str unit="", max_series=None, registry=None):
        if registry is None:
            registry = default_registry_hook()
        adopt(self, registry.counter(name, help, labels=labels, unit=unit, max_series=max_series))

    @property
    def value(self) -> int | float:
        """The total: an int while only integers were added, else a float."""
        cdef uint64_t integer = 0
        cdef double real = 0.0
        bound(self)
        vs_counter_read(self.cell, &integer, &real)
        return integer if real == 0.0 else integer + real

    def mirror(self, total) -> None:
        """Sets the total, for a counter that is kept elsewhere (CPU seconds of the process). Cold; only for a series
        that nobody increments. In a shared arena the total only rises, whoever mirrors it. Raises ValueError for a total that is negative or not finite."""
        cdef long long integer = 0
        cdef double real = 0.0
        bound(self)
        kind = read_number(<PyObject *>total, &integer, &real)
        if kind in (IS_INVALID, IS_HUGE) or integer < 0 or not (real >= 0.0 and isfinite(real)):
            raise ValueError(f"{self.family.name}: a total is a finite number that is not negative")
        vs_counter_mirror(self.cell, <uint64_t>integer, real)
