# Histogram: fixed upper bounds.

@cython.final
cdef class Histogram(Metric):
    """Values counted by fixed upper bounds: Histogram("soup.queries.duration", "Query latency", unit="ms").

    A value belongs to the first bucket whose bound is not below it (the memo's rule, Histogram Buckets). Default
    bounds: 1 5 10 25 50 100 250 500 1000 2500 5000 10000. NaN and the infinities are not recorded but counted as invalid.
    Counts, total and sum of a reading always agree. Declares as Counter does."""
    cdef vs_histogram cell

    def __cinit__(self):
        self.cell.arena = VS_ARENA_NONE

    def __init__(self, str name, str help="", *, labels=(), str unit="ms", buckets=None, max_series=None, registry=None):
        if registry is None:
            registry = default_registry_hook()
        adopt(self, registry.histogram(name, help, labels=labels, unit=unit, buckets=buckets, max_series=max_series))

    def observe_many(self, values) -> int:
        """Records every item of a buffer (numpy array, array.array, bytes; any integers or floats in native byte
        order; strided and read-only ones too) or, item by item, of any other iterable. Returns how many were recorded;
        the rest (NaN, infinities) are counted as invalid. Buffers are not copied and the GIL is released.
        Raises TypeError for a buffer of something else."""
        cdef double chunk[256]
        cdef size_t done = 0, n, recorded = 0
        cdef _Items items
        bound(self)
        if not PyObject_CheckBuffer(values):
            return sum([self.observe_one(value) for value in values])
        items = _Items(values)
        with nogil:
            if items.code == c'd':
                recorded = vs_histogram_observe_many(&self.cell, <const double *>items.view.buf, items.n, items.stride)
            else:
                while done < items.n:
                    n = min(items.n - done, 256)
                    read_items(items.code, items.view.itemsize, items.at(done), items.stride, n, chunk)
                    recorded += vs_histogram_observe_many(&self.cell, chunk, n, sizeof(double))
                    done += n
        return recorded

    cdef bint observe_one(self, value):
        cdef double real = NAN
        if not read_double(<PyObject *>value, &real):
            lose(self.family, VS_LOSS_INVALID, TypeError, "not a number")
            return False
        return vs_histogram_observe(&self.cell, real)

    def time(self) -> Timer:
        """`with histogram.time(): ...` records how long the block took. Raises DeclarationError if the unit is not of time."""
        return new_timer(self)

    def timed(self, function):
        """A decorator: records how long each call of a function, coroutine or generator takes (from the first step to the
        last, errors included)."""
        from vaultscope._native.timed import timed
        return timed(self, function)

    @property
    def bounds(self) -> tuple:
        """The finite upper bounds, in the declared unit."""
        return declared(self).bounds

    cdef tuple read(self):
        cdef vs_tally_totals totals
        cdef size_t n = len(declared(self).bounds) + 1
        cdef vs_series *series = bound(self)
        cdef vs_status status
        cdef uint64_t *counts = <uint64_t *>PyMem_Calloc(n, sizeof(uint64_t))
        if counts == NULL:
            raise MemoryError
        try:
            with nogil:  # it may have to wait for a snapshot
                status = vs_series_read(series, counts, &totals)
            check(status, self.family.name)
            return tuple([counts[i] for i in range(n)]), totals.count, totals.sum_double
        finally:
            PyMem_Free(counts)

    @property
    def counts(self) -> tuple:
        """Values in each bucket, not cumulated; the last bucket is above all bounds."""
        return self.read()[0]

    @property
    def count(self) -> int:
        return self.read()[1]

    @property
    def sum(self) -> float:
        return self.read()[2]


# ---- exemplars ----

cdef inline void after_observation(Metric metric, double value) noexcept:
    if vs_load_relaxed(&spans_in_use) != 0:
        OBSERVED(metric, value)


cdef PyObject *observed(Metric metric, double value) noexcept:
    """One value was recorded: if the current span is of a trace that is sampled, and not beyond max_traces, the value's bucket remembers
    both. None."""
    cdef PyObject *current = NULL
    # A summary's quantiles take no exemplars.
    if vs_tuple_size(<PyObject *>metric.family.bounds) != 0 and \
            vs_context_get(<PyObject *>span_variable, &current) == 0 and current != NULL:
        if is_context(current) and (<SpanContext>current).sampled and \
                (vs_type_of(current) != <PyObject *>Span or (<Span>current).recording):
            vs_series_exemplar(metric.series, value, (<SpanContext>current).high, (<SpanContext>current).low,
                               (<SpanContext>current).span)
        Py_DECREF(current)
    return vs_none()
