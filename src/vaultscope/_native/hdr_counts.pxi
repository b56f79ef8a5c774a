# HdrCounts: the counts of a high dynamic range histogram as a value of their own.

# The cookie of HdrHistogram's V2 compressed form. Bits 4 to 7 were a word size in V1: V2 writes 1 there and reads anything.
DEF V2_COMPRESSED = 0x1c849314
DEF V2_WORD_SIZE = 0xf0


cdef int32_t hdr_config(vs_hdr_config *config, lowest, highest, digits) except -1:
    if not (1 <= lowest <= INT64_MAX and 1 <= highest <= INT64_MAX and 0 <= digits <= 99) or \
            vs_hdr_config_init(config, lowest, highest, digits) != VS_OK:
        raise DeclarationError(f"HDR range: wanted 1 <= lowest, 2 * lowest <= highest < 2**63 and 1 to 5 digits, "
                               f"got lowest={lowest}, highest={highest}, digits={digits}")
    return config.counts_len


@cython.final
cdef class HdrCounts:
    """HDR counts apart from any registry: what a reading of an HdrHistogram gives, what decodes from bytes, what merges.

    Values are integers; each is kept to `digits` significant decimal digits. Statistics follow Gil Tene's HdrHistogram: a
    quantile is the highest value equivalent to the one found. An empty one answers 0 to all of them. Not thread-safe for
    writing (record, merge); reading is. Raises DeclarationError for an impossible range."""
    cdef vs_hdr_config config
    cdef uint64_t *cells
    cdef Py_ssize_t shape[1]
    cdef double exact_sum  # NaN: not known (decoded or merged); then the mean stands in

    def __init__(self, lowest=1, highest=3_600_000_000_000, digits=3):
        allocate(self, lowest, highest, digits)

    def __dealloc__(self):
        PyMem_Free(self.cells)

    @property
    def lowest(self) -> int:
        return self.config.lowest

    @property
    def highest(self) -> int:
        return self.config.highest

    @property
    def digits(self) -> int:
        return self.config.digits

    @property
    def counts(self):
        """The counts as a read-only numpy array of uint64 that shares this object's memory; index by bucket."""
        import numpy
        return numpy.asarray(self)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        present(self)
        fill_buffer(buffer, self, self.cells, self.shape, UINT64_ITEM, flags)

    def bucket(self, index) -> tuple:
        """The lowest and highest value of the count at an index. Raises IndexError."""
        if not 0 <= index < self.config.counts_len:
            raise IndexError(index)
        low = vs_hdr_value_at_index(&self.config, index)
        return low, vs_hdr_highest_equivalent(&self.config, low)

    @property
    def count(self) -> int:
        present(self)
        return vs_hdr_total(&self.config, self.cells)

    def __len__(self):
        return self.config.counts_len

    @property
    def sum(self) -> float:
        """The sum of the recorded values: exact where this was read from a live histogram, else mean times count."""
        return self.exact_sum if self.exact_sum == self.exact_sum else self.mean * self.count

    @property
    def min(self) -> int:
        present(self)
        return vs_hdr_min(&self.config, self.cells)

    @property
    def max(self) -> int:
        present(self)
        return vs_hdr_max(&self.config, self.cells)

    @property
    def mean(self) -> float:
        present(self)
        return vs_hdr_mean(&self.config, self.cells)

    @property
    def stddev(self) -> float:
        present(self)
        return vs_hdr_stddev(&self.config, self.cells)

    def quantile(self, double quantile) -> int:
        """The value at a quantile in 0..1. Raises ValueError outside of that range."""
        present(self)
        if not 0.0 <= quantile <= 1.0:
            raise ValueError(f"a quantile lies in 0..1, not {quantile}")
        return vs_hdr_quantile(&self.config, self.cells, quantile)

    def quantiles(self, quantiles) -> tuple:
        """The values at several quantiles, in the order given."""
        return tuple([self.quantile(q) for q in quantiles])

    def count_between(self, low, high) -> int:
        """How many values lie between the equivalents of low and high, both included."""
        present(self)
        low, high = max(low, 0), min(high, INT64_MAX)
        return vs_hdr_count_between(&self.config, self.cells, low, high) if low <= high else 0

    def record(self, value, times=1) -> bool:
        """Adds a value, rounded to an integer. False if it was clamped to the range. Raises ValueError for a negative
        number of times, or what cannot be rounded."""
        present(self)
        if not 0 <= times < 2**64:
            raise ValueError("times is not negative, and of 64 bits")
        rounded = round(value)
        clamped = min(max(rounded, 0), self.config.highest)
        cell = &self.cells[vs_hdr_index(&self.config, clamped)]
        cell[0] = vs_hdr_count_add(cell[0], times)
        self.exact_sum += <double>clamped * <double>times
        return clamped == rounded

    def merge(self, HdrCounts other not None) -> int:
        """Adds another's counts: lossless where both have the same digits and lowest value. Returns how many values lay
        above this range and were clamped."""
        present(self)
        present(other)
        clamped = vs_hdr_merge(&self.config, self.cells, &other.config, other.cells)
        self.exact_sum = self.exact_sum + other.exact_sum if clamped == 0 else NAN
        return clamped

    def minus(self, HdrCounts other not None) -> HdrCounts:
        """What was recorded here and not yet there: the difference of two readings of one histogram, count by count, never
        below 0. Raises ValueError if the ranges differ."""
        if (self.config.lowest, self.config.highest, self.config.digits) != \
                (other.config.lowest, other.config.highest, other.config.digits):
            raise ValueError("a difference wants two readings of the same range")
        cdef HdrCounts result = HdrCounts(self.config.lowest, self.config.highest, self.config.digits)
        present(self)
        present(other)
        for i in range(self.config.counts_len):
            if self.cells[i] > other.cells[i]:
                result.cells[i] = self.cells[i] - other.cells[i]
        result.exact_sum = max(self.exact_sum - other.exact_sum, 0.0)
        return result

    def copy(self) -> HdrCounts:
        cdef HdrCounts result = HdrCounts(self.config.lowest, self.config.highest, self.config.digits)
        present(self)
        memcpy(result.cells, self.cells, self.config.counts_len * sizeof(uint64_t))
        result.exact_sum = self.exact_sum
        return result

    def encode(self) -> bytes:
        """HdrHistogram's V2 compressed encoding in base64, as the hdrhistogram package and the HTTP tools take it."""
        import base64
        import zlib
        present(self)
        cdef size_t capacity = vs_hdr_encoded_size_max(&self.config)
        cdef uint8_t *out = <uint8_t *>PyMem_Malloc(capacity)
        if out == NULL:
            raise MemoryError
        try:
            size = vs_hdr_encode(&self.config, self.cells, out, capacity)
            if size == 0:
                raise OverflowError("the encoding has no room for a count of 2**63 or more")
            payload = zlib.compress(PyBytes_FromStringAndSize(<char *>out, size))
        finally:
            PyMem_Free(out)
        return base64.b64encode(V2_COMPRESSED.to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload)

    @classmethod
    def decode(cls, data) -> HdrCounts:
        """The reverse of encode. Raises DecodeError for anything that is not a whole, sane V2 compressed encoding."""
        cdef HdrCounts result = HdrCounts.__new__(HdrCounts)
        cdef bytes plain = inflate(data)
        cdef vs_hdr_config config
        cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(plain)
        check(vs_hdr_decode_config(at, len(plain), &config), "HDR encoding")
        allocate(result, config.lowest, config.highest, config.digits)
        check(vs_hdr_decode_counts(at, len(plain), &config, result.cells), "HDR encoding")
        if len(plain) > 0:
            result.exact_sum = NAN
        return result

    def __eq__(self, other):
        if not isinstance(other, HdrCounts):
            return NotImplemented
        return (self.lowest, self.highest, self.digits) == (other.lowest, other.highest, other.digits) \
            and bytes(memoryview(self)) == bytes(memoryview(other))

    __hash__ = None

    def __reduce__(self):
        return HdrCounts.decode, (self.encode(),)

    def __repr__(self):
        if self.cells == NULL:
            return "<HdrCounts uninitialised>"
        return f"<HdrCounts {self.count} values in 0..{self.highest}, {self.digits} digits>"


cdef int present(HdrCounts counts) except -1:
    if counts.cells == NULL:
        raise DeclarationError("HdrCounts was never initialised")
    return 0


cdef int allocate(HdrCounts counts, lowest, highest, digits) except -1:
    cdef vs_hdr_config config
    hdr_config(&config, lowest, highest, digits)
    cdef uint64_t *cells = <uint64_t *>PyMem_Calloc(config.counts_len, sizeof(uint64_t))
    if cells == NULL:
        raise MemoryError
    with cython.critical_section(counts):
        if counts.cells != NULL:  # a view may look at them, and a reader be at work
            PyMem_Free(cells)
            raise DeclarationError("HdrCounts was initialised already")
        counts.config = config
        counts.shape[0] = config.counts_len
        counts.exact_sum = 0.0
        counts.cells = cells
    return 0


# The largest range at five digits encodes into less; a bomb ends here.
DEF INFLATED_MAX = 128 << 20


cdef bytes inflate(data):
    import base64
    import binascii
    import zlib
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise DecodeError(f"HDR encoding: no base64: {error}") from None
    if len(raw) < 8 or (int.from_bytes(raw[:4], "big") | V2_WORD_SIZE) != (V2_COMPRESSED | V2_WORD_SIZE) or \
            int.from_bytes(raw[4:8], "big") != len(raw) - 8:
        raise DecodeError("HDR encoding: not the V2 compressed form, or not whole")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(raw[8:], INFLATED_MAX)
    except zlib.error as error:
        raise DecodeError(f"HDR encoding: {error}") from None
    if not inflater.eof or inflater.unused_data:
        raise DecodeError("HDR encoding: the compressed part is cut, too large, or not the end")
    return plain
