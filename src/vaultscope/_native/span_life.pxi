# How a span begins and ends.

# How often this process's ancestors have forked: what began before the last time is theirs to end.
cdef uint32_t forks


def spans_after_fork() -> None:
    """In the child of a fork: what is open is the parent's."""
    global forks
    forks += 1


cdef extern from *:
    """
    /* Spans that have ended wait here to be others: they keep what they point to None, as a new one has it, so that it is not set
     * anew each time. Without a GIL there are none. */
    #define VS_SPARE_SPANS_MAX 256

    static PyObject *vs_spare_spans[VS_SPARE_SPANS_MAX];
    static int vs_spare_spans_count;

    static inline PyObject *vs_spare_span(PyTypeObject *type)
    {
        if (vs_spare_spans_count == 0)
            return NULL;
        PyObject *span = vs_spare_spans[--vs_spare_spans_count];
        PyObject_Init(span, type);
        PyObject_GC_Track(span);
        return span;
    }

    /* Takes a span that nobody refers to and that refers to nothing. */
    static inline int vs_spare(PyObject *span)
    {
        if (vs_spare_spans_count == VS_SPARE_SPANS_MAX)
            return 0;
        PyTypeObject *type = Py_TYPE(span);
        vs_spare_spans[vs_spare_spans_count++] = span;
        if (PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
            Py_DECREF(type);
        return 1;
    }

    static destructor vs_free_span; /* what the type came with */

    /* A chain of spans that hold one another may be any length: beyond a depth, CPython lets go of them one after the other. The
     * type's own function would do so, if it still were the type's. */
    static void vs_free_deep_span(PyObject *span)
    {
        PyObject_GC_UnTrack(span);
        Py_TRASHCAN_BEGIN(span, Py_TYPE(span)->tp_dealloc)
        vs_free_span(span);
        Py_TRASHCAN_END
    }

    static void vs_take_over(PyTypeObject *type, inquiry clear, destructor dealloc)
    {
        type->tp_clear = clear;
        vs_free_span = type->tp_dealloc;
    #ifndef Py_GIL_DISABLED
        type->tp_dealloc = dealloc;
    #else
        (void)dealloc;
    #endif
    }
    """
    ctypedef void (*destructor)(PyObject *) noexcept
    ctypedef int (*inquiry)(PyObject *) noexcept
    PyObject *vs_spare_span(type cls)
    bint vs_spare(PyObject *span)
    void vs_free_span(PyObject *span)
    void vs_free_deep_span(PyObject *span)
    void vs_take_over(type cls, inquiry clear, destructor dealloc)
    void PyObject_GC_UnTrack(PyObject *)
    void PyObject_GC_Track(PyObject *)


cdef int clear_span(PyObject *self) noexcept:
    """Breaks the cycles that the collector has found. Not by the tracer: an open span still tells it that it is gone."""
    (<Span>self).root = None
    (<Span>self).tokens = (<Span>self).notes = None
    (<Span>self).keys = (<Span>self).values = None
    (<Span>self).given = None
    (<Span>self).finished = None
    (<Span>self).given_name = None
    return 0


cdef void drop_span(PyObject *self) noexcept:
    """What happens to a span that nobody refers to any more: the usual ones wait to be others."""
    if (<Span>self).tokens is not None or (<Span>self).notes is not None or (<Span>self).finished is not None or \
            (<Span>self).native != NULL or (<Span>self).counted or (<Span>self).tracer is None or \
            type((<Span>self).given_name) is not str:
        vs_free_deep_span(self)
        return
    PyObject_GC_UnTrack(self)
    (<Span>self).tracer = None
    (<Span>self).given_name = None
    if (<Span>self).root is not None:
        (<Span>self).root = None
    if (<Span>self).keys is not None:
        (<Span>self).keys = (<Span>self).values = None
    if (<Span>self).given is not None:
        (<Span>self).given = None
    if not vs_spare(self):
        PyObject_GC_Track(self)
        vs_free_span(self)


vs_take_over(Span, clear_span, drop_span)


cdef Span make_span(NativeTracer tracer, PyObject *name):
    cdef PyObject *spare = vs_spare_span(Span)
    cdef Span span
    if spare == NULL:
        span = Span.__new__(Span)
    else:
        span = <Span>spare
        Py_XDECREF(spare)
        span.state = SPAN_NEW
        span.kind_number = span.status_number = span.kept = 0
        span.failed = span.sampled = span.random = False
        span.high = span.low = span.span = 0
        span.parent_span = span.lost_spans = span.lost_attributes = 0
    span.tracestate = ""
    span.tracer = tracer
    span.given_name = <object>name
    span.recording = True
    return span


cdef inline bint is_context(PyObject *value) noexcept:
    return vs_type_of(value) == <PyObject *>Span or vs_type_of(value) == <PyObject *>SpanContext


cdef int span_start(Span span, PyObject *parent) except -1:
    """`parent`: the current span, or NULL; one that was asked for goes before it."""
    if span.tracer is None:
        raise TypeError("a span comes from a tracer")
    with cython.critical_section(span):
        if span.state == SPAN_NEW:  # and not begun by another thread meanwhile
            begin_span(span, parent)
    return 0


cdef int begin_span(Span span, PyObject *parent) except -1:
    """In the span's critical section."""
    cdef SpanContext above = None
    if span.notes is not None and (span.notes.is_alone or span.notes.asked_parent is not None):
        above = span.notes.asked_parent
        span.notes.asked_parent = None
    elif parent != NULL and is_context(parent):
        above = <SpanContext>parent
    span.span = vs_id_next()
    span.process = forks
    span.state = SPAN_OPEN
    if above is None or (above.high | above.low) == 0:  # a span that has not begun is nobody's parent
        span.high, span.low = vs_id_next(), vs_id_next()
        span.random = True
        begin_trace(span)
        span.sampled = is_sampled(span)
    else:
        span.high, span.low, span.parent_span = above.high, above.low, above.span
        span.sampled, span.random, span.tracestate = above.sampled, above.random, above.tracestate
        if type(above) is Span and (<Span>above).tracer is span.tracer and (<Span>above).process == forks:
            span.root = (<Span>above).root if (<Span>above).root is not None else <Span>above
            span.recording = span.root.recording
        else:
            begin_trace(span)
            if above.deferred:
                span.sampled = is_sampled(span)
    span.start_ns = vs_clock_monotonic_ns()
    return 0


cdef int begin_trace(Span root) except -1:
    cdef NativeTracer tracer = root.tracer
    find_rule(root)
    root.counted = True
    if vs_count_open(&tracer.open, 1) >= tracer.traces_max:
        root.recording = False
        vs_counter_inc(tracer.evicted.cell)
    return 0


cdef int span_end(Span span) except -1:
    cdef int64_t now = vs_clock_monotonic_ns()
    cdef list finished = None
    cdef bint is_trace = span.root is None
    with cython.critical_section(span):
        if span.state != SPAN_OPEN:
            return 0
        span.end_ns = now
        span.state = SPAN_ENDED
        if span.status_number == STATUS_PENDING:
            span.status_number = STATUS_OK
        if is_trace:
            finished, span.finished = span.finished, None
            if span.native != NULL:
                finished = (finished or []) + native_spans(span)
            if span.process == forks:
                span.kept = decide(span)
    vs_counter_inc(span.tracer.spans.cell)
    return end_trace(span, finished) if is_trace else end_below(span, span.root)


cdef int end_below(Span span, Span root) except -1:
    cdef NativeTracer tracer = span.tracer
    cdef list finished
    with cython.critical_section(root):
        if span.status_number == STATUS_ERROR:
            root.failed = True
        if root.state == SPAN_OPEN:
            if root.recording:
                if root.finished is None:
                    finished = [span]  # which may run the collector, and that may end spans
                    if root.finished is None:
                        root.finished = finished
                        return 0
                if len(root.finished) < tracer.spans_max:
                    root.finished.append(span)
                else:
                    root.lost_spans += 1
                    vs_counter_inc(tracer.lost.cell)
            return 0
        span.kept = root.kept
    # It outlived its local root, about which was decided: it goes where that went, or on its own if it failed.
    if span.kept == KEPT_NOT and not vs_is_sink and span.status_number == STATUS_ERROR:
        span.kept = KEPT_ERROR
    if span.kept != KEPT_NOT and span.process == forks:
        keep(span, None)
    return 0


cdef int end_trace(Span root, list finished) except -1:
    cdef NativeTracer tracer = root.tracer
    if root.process != forks:
        return 0  # the parent's process ends it, too, and it is the one that says so
    root.counted = False
    vs_count_open(&tracer.open, <uint64_t>-1)
    if root.kept == KEPT_NOT:
        vs_counter_inc(tracer.thrown.cell)
        return 0
    vs_counter_inc((<Counter>tracer.kept[root.kept - 1]).cell)
    return keep(root, finished)
