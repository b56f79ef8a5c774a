# HdrHistogram: log-linear counts over a wide range.

@cython.final
cdef class HdrHistogram(Metric):
    """Integers counted with a fixed relative error over a wide range: HdrHistogram("cas.get.duration", "Get latency").

    Values are integers in the declared unit (nanoseconds by default); floats are rounded. Above `highest` they are recorded as
    `highest`, below 0 as 0, and counted as clamped; NaN and infinities are counted as invalid and not recorded. Exported
    as a summary with `quantiles`, or as a classic histogram where `buckets` (in the declared unit) are given.
    Declares as Counter does."""
    cdef vs_hdr cell

    def __cinit__(self):
        self.cell.arena = VS_ARENA_NONE

    def __init__(self, str name, str help="", *, labels=(), str unit="ns", lowest=1, highest=3_600_000_000_000, digits=3,
                 quantiles=(0.5, 0.9, 0.99, 0.999), buckets=(), max_series=None, registry=None):
        if registry is None:
            registry = default_registry_hook()
        adopt(self, registry.hdr_histogram(name, help, labels=labels, unit=unit, lowest=lowest, highest=highest,
                                           digits=digits, quantiles=quantiles, buckets=buckets, max_series=max_series))

    def record_times(self, value, times) -> None:
        """Records one value `times` times. A number of times that is negative, no integer or beyond 64 bits is counted
        as invalid."""
        cdef long long integer = 0, n = 0
        cdef double real = 0.0
        bound(self)
        if not read_rounded(self, <PyObject *>value, &integer):
            return
        if read_number(<PyObject *>times, &n, &real) != IS_INTEGER or n < 0:
            lose(self.family, VS_LOSS_INVALID, ValueError, "not a number of times: an integer of 64 bits, not negative")
        elif n > 0:
            vs_hdr_record_times(&self.cell, integer, n)

    def record_corrected(self, value, expected_interval) -> None:
        """Records a value and, where it exceeds the expected interval between two of them, those that were missed
        meanwhile: value - interval, value - 2 * interval, ... (coordinated omission, after Gil Tene)."""
        cdef long long integer = 0, interval = 0
        bound(self)
        if read_rounded(self, <PyObject *>value, &integer) and read_rounded(self, <PyObject *>expected_interval, &interval):
            vs_hdr_record_corrected(&self.cell, integer, interval)

    def observe_many(self, values) -> int:
        """Records every item of a buffer or iterable, as Histogram.observe_many does. Returns how many were in range."""
        cdef double chunk[256]
        cdef int64_t rounded[256]
        cdef size_t done = 0, n, kept, recorded = 0
        cdef _Items items
        bound(self)
        if not PyObject_CheckBuffer(values):
            return sum([self.record_one(value) for value in values])
        items = _Items(values)
        if items.are_int64():
            with nogil:
                recorded = vs_hdr_record_many(&self.cell, <const int64_t *>items.view.buf, items.n, items.stride)
            return recorded
        with nogil:
            while done < items.n:
                n = min(items.n - done, 256)
                read_items(items.code, items.view.itemsize, items.at(done), items.stride, n, chunk)
                kept = 0
                for i in range(n):
                    if isfinite(chunk[i]):
                        rounded[kept] = clip(chunk[i])
                        kept += 1
                if kept != n:
                    vs_loss_add(self.cell.arena, self.cell.losses, VS_LOSS_INVALID, n - kept)
                recorded += vs_hdr_record_many(&self.cell, rounded, kept, sizeof(int64_t))
                done += n
        return recorded

    record_many = observe_many

    cdef bint record_one(self, value):
        cdef long long integer = 0
        return read_rounded(self, <PyObject *>value, &integer) and vs_hdr_record(&self.cell, integer)

    def time(self) -> Timer:
        """`with histogram.time(): ...` records how long the block took. Raises DeclarationError if the unit is not of time."""
        return new_timer(self)

    def timed(self, function):
        """A decorator: records how long each call of a function, coroutine or generator takes (from the first step to the
        last, errors included)."""
        from vaultscope._native.timed import timed
        return timed(self, function)

    def snapshot(self) -> HdrCounts:
        """The counts as they stand, apart from the live histogram. Counts and sum agree."""
        cdef vs_tally_totals totals
        cdef HdrCounts result = HdrCounts(self.lowest, self.highest, self.digits)
        cdef vs_series *series = bound(self)
        cdef vs_status status
        with nogil:  # it may have to wait for a snapshot
            status = vs_series_read(series, result.cells, &totals)
        check(status, self.family.name)
        result.exact_sum = <double>totals.sum_integer
        return result

    def merge(self, other) -> int:
        """Records what another HdrHistogram or HdrCounts holds. Returns how many values lay above this range."""
        if not isinstance(other, (HdrHistogram, HdrCounts)):
            raise TypeError(f"merge() takes an HdrHistogram or HdrCounts, not a {type(other).__name__}")
        cdef HdrCounts counts = other.snapshot() if isinstance(other, HdrHistogram) else other
        cdef uint64_t over = 0
        cdef int64_t value
        bound(self)
        present(counts)
        for i in range(counts.config.counts_len):
            if counts.cells[i] != 0:
                value = vs_hdr_value_at_index(&counts.config, i)
                if not vs_hdr_record_times(&self.cell, value, counts.cells[i]):
                    over += counts.cells[i]
        return over

    @property
    def lowest(self) -> int:
        return declared(self).hdr_range[0]

    @property
    def highest(self) -> int:
        return declared(self).hdr_range[1]

    @property
    def digits(self) -> int:
        return declared(self).hdr_range[2]

    @property
    def bounds(self) -> tuple:
        """The bounds of the exported classic buckets; empty where a summary is exported."""
        return declared(self).bounds

    # Each of these takes a reading of its own: for several figures of one moment, take one snapshot().
    @property
    def count(self) -> int:
        return self.snapshot().count

    @property
    def sum(self) -> float:
        return self.snapshot().sum

    @property
    def min(self) -> int:
        return self.snapshot().min

    @property
    def max(self) -> int:
        return self.snapshot().max

    @property
    def mean(self) -> float:
        return self.snapshot().mean

    @property
    def stddev(self) -> float:
        return self.snapshot().stddev

    def quantile(self, double quantile) -> int:
        """The value at a quantile in 0..1."""
        return self.snapshot().quantile(quantile)

    def quantiles(self, quantiles) -> tuple:
        """The values at several quantiles, all of one reading."""
        return self.snapshot().quantiles(quantiles)

    def count_between(self, low, high) -> int:
        return self.snapshot().count_between(low, high)

    def encode(self) -> bytes:
        """The V2 compressed encoding of a reading, in base64."""
        return self.snapshot().encode()


cdef inline int64_t clip(double value) noexcept nogil:
    """A finite double as the nearest integer of 64 bits."""
    if value >= 9.2e18:
        return INT64_MAX
    if value <= -9.2e18:
        return -INT64_MAX
    return llrint(value)


cdef inline bint read_rounded(HdrHistogram metric, PyObject *value, long long *integer) except -1:
    """A Python number as the nearest integer. False, and counted, if it is none."""
    cdef double real = NAN
    kind = read_number(value, integer, &real)
    if kind == IS_INTEGER:
        return True
    if kind == IS_REAL and isfinite(real):
        integer[0] = clip(real)
        return True
    if kind == IS_HUGE:  # clamped like any value beyond the range
        integer[0] = INT64_MAX if real > 0 else -INT64_MAX
        return True
    lose(metric.family, VS_LOSS_INVALID, TypeError if kind == IS_INVALID else ValueError, "not a finite number")
    return False
