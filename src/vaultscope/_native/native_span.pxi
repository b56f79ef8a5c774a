# Spans that C ends below one of Python's (native/include/vaultscope/span.h).

@cython.final
cdef class EndedSpan:
    """A span that C ended below one of Python's."""
    cdef vs_ended_span *span
    cdef uint64_t high, low

    def __init__(self):
        raise TypeError("a span that C ended comes from its trace")

    def __dealloc__(self):
        free(self.span)

    def as_dict(self, int64_t anchor_ns) -> dict:
        """As Span.as_dict. An attribute that is named as a log record's own member has an underscore at its end."""
        cdef vs_buffer line
        from json import loads  # kept traces only, and in a sink's thread
        memset(&line, 0, sizeof(line))
        try:
            vs_log_render_json(self.span.record, self.span.size, &line)
            if line.failed:
                raise MemoryError
            attributes = loads(line.data[:line.size])
        finally:
            vs_buffer_free(&line)
        name = attributes.pop("message")
        for member in ("time", "level", "logger", "vault", "pid", "thread", "trace_id", "span_id", "truncated"):
            attributes.pop(member, None)
        omitted = attributes.pop("omitted", 0)
        record = {"trace_id": f"{self.high:016x}{self.low:016x}", "span_id": f"{self.span.span:016x}",
                  "parent_span_id": f"{self.span.parent:016x}", "name": name, "kind": SPAN_KINDS[self.span.kind],
                  "start_ns": self.span.start_ns + anchor_ns, "duration_ns": self.span.end_ns - self.span.start_ns,
                  "status": SPAN_STATUSES[self.span.status]}
        if attributes:
            record["attributes"] = attributes
        if omitted:
            record["omitted"] = omitted
        return record


cdef list native_spans(Span root):
    """Takes what C ended below this local root, closes its trace, and counts its spans, unless they are those of the process that was
    forked."""
    cdef bint failed_below = False
    cdef vs_bool failed = False
    cdef uint64_t lost = 0
    cdef vs_ended_span *first = vs_trace_take(root.native, &failed, &lost)
    cdef EndedSpan ended
    cdef list spans = []
    failed_below = failed
    root.failed = root.failed or failed_below
    if root.recording:
        root.lost_spans += <uint32_t>lost
    while first != NULL:
        ended = EndedSpan.__new__(EndedSpan)
        ended.span, ended.high, ended.low = first, root.high, root.low
        first = first.next
        spans.append(ended)
    if root.process == forks:
        vs_counter_add(root.tracer.spans.cell, lost + <uint64_t>len(spans))
        if root.recording:
            vs_counter_add(root.tracer.lost.cell, lost)
    vs_trace_release(root.native)
    root.native = NULL
    return spans


cdef void free_scope(object capsule) noexcept:
    cdef vs_span_scope *scope = <vs_span_scope *>PyCapsule_GetPointer(capsule, b"vs_span_scope")
    vs_trace_release(scope.trace)
    PyMem_Free(scope)


cdef object scope_capsule(Span span):
    """A PyCapsule named vs_span_scope: where C's spans below this one belong. It holds the trace: what begins below it after the
    local root has ended is lost, and no more than that. Of a trace that is not recorded it is only known whether they fail."""
    cdef vs_span_scope *scope = <vs_span_scope *>PyMem_Calloc(1, sizeof(vs_span_scope))
    cdef Span root
    if scope == NULL:
        raise MemoryError
    capsule = PyCapsule_New(scope, b"vs_span_scope", free_scope)
    if span is None:
        return capsule
    scope.trace_high, scope.trace_low, scope.span, scope.sampled = span.high, span.low, span.span, span.sampled
    root = span.root if span.root is not None else span
    with cython.critical_section(root):
        if root.state == SPAN_OPEN and root.process == forks:
            if root.native == NULL:
                root.native = vs_trace_open(<uint32_t>root.tracer.spans_max if root.recording else 0)
            if root.native != NULL:
                vs_trace_hold(root.native)
            scope.trace = root.native
    return capsule
