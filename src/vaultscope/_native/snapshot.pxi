# A native snapshot: columns in C memory, read by index. core/snapshot.py gives it names.

cdef vs_snapshot NOTHING
memset(&NOTHING, 0, sizeof(NOTHING))


@cython.final
cdef class NativeSnapshot:
    """The values of a registry at one moment, in columns. Immutable. Made by NativeRegistry.snapshot(); one that is made
    by hand is empty."""
    cdef vs_snapshot *s

    def __cinit__(self):
        self.s = &NOTHING

    def __dealloc__(self):
        cdef vs_snapshot *s = self.s
        if s != &NOTHING:
            with nogil:  # a large one takes milliseconds
                vs_snapshot_free(s)

    @property
    def metric_count(self) -> int:
        return self.s.metric_count

    @property
    def series_count(self) -> int:
        return self.s.series_count

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""
        return vs_snapshot_bytes(self.s) if self.s != &NOTHING else 0

    def arena(self) -> dict:
        """The arena as it stood: bytes used and limit a stripe, stripes held and in all, readings that did not settle, processes
        that share it, and how many it refused."""
        return {"used_bytes": self.s.arena_used, "limit_bytes": self.s.arena_limit, "stripes_held": self.s.stripes_held,
                "stripes_total": self.s.stripes_total, "unsettled": self.s.unsettled,
                "processes": self.s.processes, "processes_refused": self.s.processes_refused}

    def metric(self, size_t i) -> tuple:
        """(name, kind, help, unit, label names, bounds, quantiles, HDR range or None, first series, series, losses)
        of the i-th metric."""
        if i >= self.s.metric_count:
            raise IndexError(i)
        cdef const vs_snapshot_metric *m = &self.s.metrics[i]
        hdr = (m.hdr.lowest, m.hdr.highest, m.hdr.digits) if m.kind == VS_HDR else None
        return (text_at(self.s, m.name), KIND_NAMES[m.kind], text_at(self.s, m.help), text_at(self.s, m.unit),
                tuple([text_at(self.s, self.s.label_names[m.label_names + k]) for k in range(m.label_count)]),
                reals(self.s, m.bounds, m.bound_count), reals(self.s, m.quantiles, m.quantile_count), hdr,
                m.series, m.series_count, {name: m.losses[k] for k, name in enumerate(LOSSES)})

    def label_values(self, size_t series) -> tuple:
        """The label values of a series, in the order of the metric's label names."""
        cdef vs_span32 span = self.s.labels[self.row(series)]
        return label_values(self.s.text + span.at, span.size)

    def integer(self, size_t series) -> int:
        """Counter: the exact part. Histograms: the count."""
        return self.s.integers[self.row(series)]

    def number(self, size_t series) -> float:
        """Counter: the float part. Gauge: the value. Histograms: the sum."""
        return self.s.numbers[self.row(series)]

    def counts(self, size_t series) -> tuple:
        """The counts of a fixed-bucket series, not cumulated."""
        cdef const uint64_t *at = self.s.counts + self.s.counts_at[self.row(series)]
        return tuple([at[k] for k in range(self.s.counts_len[series])])

    def exemplars(self, size_t series) -> tuple:
        """The exemplars of a series, from the lowest bucket up: (bucket, value, trace's id, span's id, ns since 1970)."""
        cdef size_t n = 0
        cdef const vs_exemplar *at = vs_snapshot_exemplars(self.s, self.row(series), &n)
        return tuple([(at[k].bucket, at[k].value, f"{at[k].trace_high:016x}{at[k].trace_low:016x}", f"{at[k].span:016x}", at[k].time_ns)
                      for k in range(n)])

    def hdr(self, size_t series, hdr_range) -> HdrCounts:
        """The counts of an HDR series. `hdr_range` is the one of its metric."""
        cdef HdrCounts result = HdrCounts(*hdr_range)
        self.row(series)
        if self.s.counts_len[series] != 0:
            if self.s.counts_first[series] + self.s.counts_len[series] > <uint64_t>result.config.counts_len:
                raise ValueError("the range is not that of the series' metric")
            memcpy(result.cells + self.s.counts_first[series], self.s.counts + self.s.counts_at[series],
                   self.s.counts_len[series] * sizeof(uint64_t))
        result.exact_sum = self.s.numbers[series]
        return result

    cdef size_t row(self, size_t series) except? -1:
        if series >= self.s.series_count:
            raise IndexError(series)
        return series

    def integers(self) -> Column:
        """The whole column `integer`, as a buffer of uint64 (numpy.asarray does not copy it)."""
        return new_column(self, self.s.integers, UINT64_ITEM)

    def numbers(self) -> Column:
        """The whole column `number`, as a buffer of float64."""
        return new_column(self, self.s.numbers, DOUBLE_ITEM)


KIND_NAMES = {kind: name for name, kind in KINDS.items()}


cdef str text_at(const vs_snapshot *s, vs_span32 span):
    return PyUnicode_DecodeUTF8(s.text + span.at, span.size, "replace")


cdef tuple reals(const vs_snapshot *s, size_t first, size_t n):
    return tuple([s.reals[first + k] for k in range(n)])


@cython.final
cdef class Column:
    """A column of a snapshot: eight-byte items, read-only, alive as long as somebody looks at it."""
    cdef NativeSnapshot owner
    cdef const void *items
    cdef const char *form
    cdef Py_ssize_t shape[1]

    def __len__(self):
        return self.shape[0]

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        fill_buffer(buffer, self, <void *>self.items, self.shape, self.form, flags)


cdef Column new_column(NativeSnapshot owner, const void *items, const char *form):
    cdef Column column = Column.__new__(Column)
    column.owner = owner
    column.items = items if owner.s.series_count != 0 else <const void *>owner.s
    column.form = form
    column.shape[0] = owner.s.series_count
    return column


def render_text(NativeSnapshot snapshot not None, bint openmetrics=False, bint utf8=False) -> bytes:
    """The snapshot as Prometheus text 0.0.4 or OpenMetrics 1.0.0; `utf8` keeps dotted names, quoted. The GIL is released."""
    cdef vs_buffer out
    cdef vs_render_options options
    cdef vs_status status
    cdef char *copy
    memset(&out, 0, sizeof(out))
    options.format = VS_OPENMETRICS_1_0_0 if openmetrics else VS_PROMETHEUS_0_0_4
    options.names = VS_NAMES_UTF8 if utf8 else VS_NAMES_UNDERSCORES
    try:
        with nogil:
            status = vs_render_text(snapshot.s, &options, &out)
        check(status, "render")
        text = PyBytes_FromStringAndSize(NULL, out.size)
        copy = PyBytes_AS_STRING(text)
        with nogil:
            memcpy(copy, out.data, out.size)
        return text
    finally:
        vs_buffer_free(&out)
