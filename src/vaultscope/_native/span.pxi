# Spans: begun and ended in C, and most of them thrown away there.
#
# The first span of a trace in this process, its local root, collects those that end below it. When it ends itself, the tracer decides:
# a trace with an error, a slow one, or one of the share that is sampled goes to the sinks, and of the others nothing is left.

cdef enum:
    SPAN_NEW
    SPAN_OPEN
    SPAN_ENDED

cdef enum:
    STATUS_PENDING
    STATUS_OK
    STATUS_ERROR

SPAN_KINDS = ("internal", "server", "client", "producer", "consumer")
SPAN_STATUSES = ("pending", "ok", "error")


@cython.final
cdef class SpanNotes:
    """What few spans have."""
    cdef SpanContext asked_parent
    cdef bint is_alone  # it was asked for a parent that is none
    cdef list happened, linked
    cdef str because


@cython.final
@cython.trashcan(True)
cdef class Span(SpanContext):
    """A span: `with tracer.span("cas.get", hash=digest) as span: ...`, or span.start() and span.end(). While its block runs it is the
    current span. Its methods never raise, but for those that a programmer calls wrongly."""
    cdef NativeTracer tracer
    cdef Span root  # None: it is the local root itself, or has not begun
    cdef object tokens  # of the contexts in which it is the current span: None, one, or a list of them
    cdef object given_name
    cdef tuple keys, values  # attributes as they came, until someone wants the dict of them
    cdef dict given
    cdef SpanNotes notes
    cdef list finished  # of a local root: what has ended below it
    cdef vs_trace *native  # of a local root below which C made spans
    cdef int64_t start_ns, end_ns
    cdef int64_t anchor_ns, slow_ns  # of a local root: when the monotonic clock began, and from when on it is slow
    cdef uint64_t parent_span, threshold
    cdef uint32_t lost_spans, lost_attributes
    cdef uint32_t process  # in which it began: see forks
    cdef uint8_t kind_number, status_number, state, kept
    cdef bint failed, counted, recording

    def __init__(self):
        raise TypeError("a span comes from a tracer")

    def __dealloc__(self):
        if self.counted and self.process == forks:  # a local root that was never ended
            vs_count_open(&self.tracer.open, <uint64_t>-1)
            vs_counter_inc(self.tracer.abandoned.cell)
        vs_trace_release(self.native)

    # ---- what it is ----

    @property
    def name(self) -> str:
        return text_of(self.given_name)

    @property
    def parent_id(self) -> int:
        """The parent's span_id; 0: it begins a trace."""
        return self.parent_span

    @property
    def kind(self) -> str:
        return SPAN_KINDS[self.kind_number]

    @property
    def status(self) -> str:
        """"pending", "ok" or "error"."""
        return SPAN_STATUSES[self.status_number]

    @property
    def attributes(self) -> dict:
        """A copy."""
        with cython.critical_section(self):
            return dict(attributes_of(self))

    @property
    def duration_ns(self) -> int:
        """From its start to its end, or to now."""
        if self.state == SPAN_NEW:
            return 0
        return (self.end_ns if self.state == SPAN_ENDED else vs_clock_monotonic_ns()) - self.start_ns

    @property
    def is_recording(self) -> bool:
        """Whether what is set on it can still be seen by anyone."""
        return is_recording(self)

    @property
    def context(self) -> SpanContext:
        """Who it is, without the rest: to be handed to other threads, and kept."""
        cdef SpanContext context = SpanContext.__new__(SpanContext)
        context.high, context.low, context.span = self.high, self.low, self.span
        context.sampled, context.random, context.tracestate = self.sampled, self.random, self.tracestate
        return context

    # ---- what happens in it ----

    def set(self, **attributes) -> Span:
        """Sets attributes."""
        for key, value in attributes.items():
            self.set_attribute(key, value)
        return self

    def set_attribute(self, key, value) -> None:
        """Sets one, whatever its name. Beyond the limit it is counted and left out."""
        cdef dict given
        key = text_of(key)
        with cython.critical_section(self):
            if not is_recording(self):
                return
            given = attributes_of(self)
            if len(given) < self.tracer.attributes_max or key in given:
                given[key] = value
            else:
                self.lost_attributes += 1

    def event(self, name, **attributes) -> None:
        """Something that happens now."""
        cdef SpanNotes notes
        with cython.critical_section(self):
            if is_recording(self):
                notes = notes_of(self)
                if notes.happened is None:
                    notes.happened = []
                if len(notes.happened) < self.tracer.attributes_max:
                    notes.happened.append((vs_clock_monotonic_ns(), name, within_limit(self, attributes)))
                else:
                    self.lost_attributes += 1

    def link(self, context, **attributes) -> None:
        """Another span that this one has to do with."""
        if isinstance(context, NoSpan):
            return
        if not isinstance(context, SpanContext):
            raise TypeError(f"a link leads to a span or a SpanContext, not to {type(context).__name__}")
        if ((<SpanContext>context).high | (<SpanContext>context).low) == 0:  # a span that has not begun is nobody's
            return
        cdef SpanNotes notes
        with cython.critical_section(self):
            if is_recording(self):
                notes = notes_of(self)
                if notes.linked is None:
                    notes.linked = []
                if len(notes.linked) < self.tracer.attributes_max:
                    notes.linked.append((context.context if type(context) is Span else context, within_limit(self, attributes)))
                else:
                    self.lost_attributes += 1

    def ok(self) -> None:
        """It went well, whatever is raised from now on."""
        with cython.critical_section(self):
            if self.state != SPAN_ENDED:
                self.status_number = STATUS_OK
                if self.notes is not None:
                    self.notes.because = None

    def error(self, because="") -> None:
        """It failed: `because` is an exception, which becomes an event, or a text. Its trace is kept."""
        if self.state != SPAN_ENDED:
            span_fail(self, because)

    # ---- begin and end by hand ----

    def start(self) -> Span:
        """Begins it, without making it the current span."""
        cdef PyObject *current = NULL
        if self.state == SPAN_NEW:
            if vs_context_get(<PyObject *>span_variable, &current) == 0:
                try:
                    span_start(self, current)
                finally:
                    Py_XDECREF(current)
        return self

    def end(self) -> None:
        """Ends it. A second time does nothing."""
        span_end(self)

    def capsule(self) -> object:
        """A PyCapsule named vs_span_scope, for C: spans that it makes below this one belong to the same trace, as long as that one's
        local root is open; later ones are lost."""
        return scope_capsule(self)

    def __repr__(self):
        return f"<Span {self.name!r} {self.trace_hex} {self.span_hex} {self.status}>"

    def as_dict(self, int64_t anchor_ns) -> dict:
        """What sinks are given, of plain values: times in ns since 1970, ids in hexadecimal digits. `anchor_ns`: the time since 1970 at
        which the monotonic clock began."""
        cdef dict record = {"trace_id": self.trace_hex, "span_id": self.span_hex,
                            "parent_span_id": f"{self.parent_span:016x}" if self.parent_span else "",
                            "name": self.name, "kind": self.kind, "start_ns": self.start_ns + anchor_ns,
                            "duration_ns": self.duration_ns, "status": self.status}
        cdef SpanNotes notes = self.notes
        attributes = self.attributes
        if notes is not None and notes.because:
            record["status_message"] = notes.because
        if attributes:
            record["attributes"] = attributes
        if notes is not None and notes.happened:
            record["events"] = [{"time_ns": at + anchor_ns, "name": text_of(name), "attributes": dict(given)}
                                for at, name, given in notes.happened]
        if notes is not None and notes.linked:
            record["links"] = [{"trace_id": (<SpanContext>other).trace_hex, "span_id": (<SpanContext>other).span_hex,
                                "attributes": dict(given)} for other, given in notes.linked]
        if self.tracestate:
            record["tracestate"] = self.tracestate
        if self.lost_attributes:
            record["omitted"] = self.lost_attributes
        if self.kept != KEPT_NOT:
            record["reason"] = SPAN_REASONS[self.kept]
        if self.lost_spans:
            record["lost_spans"] = self.lost_spans
        return record


cdef inline bint is_recording(Span span) noexcept:
    return span.recording and span.state != SPAN_ENDED


cdef str text_of(object value):
    """What is a text, or should have been one."""
    if type(value) is str:
        return value
    try:
        return log_text(value).decode()
    except Exception:  # even what it is cannot be asked
        return object.__repr__(value)
    except BaseException:
        if not vs_is_sink:  # else it is no signal: the sink would be given it again and again
            raise
        return object.__repr__(value)


cdef inline SpanNotes notes_of(Span span):
    cdef SpanNotes notes
    if span.notes is None:
        notes = SpanNotes.__new__(SpanNotes)  # which may run the collector, and that may note something
        if span.notes is None:
            span.notes = notes
    return span.notes


cdef dict attributes_of(Span span):
    """In the span's critical section."""
    cdef dict given
    if span.given is None:
        given = {}
        if span.keys is not None:
            for key, value in zip(span.keys, span.values):
                given[text_of(key)] = value  # of a subclass of str not even the hash is asked
        if span.given is None:  # the collector may have run, and set something
            span.given = given
            span.keys = span.values = None
    return span.given


cdef dict within_limit(Span span, dict given):
    """In the span's critical section."""
    if len(given) > span.tracer.attributes_max:
        span.lost_attributes += <uint32_t>(len(given) - span.tracer.attributes_max)
        given = dict(list(given.items())[:span.tracer.attributes_max])
    return given


cdef int span_fail(Span span, object because) except -1:
    cdef str text
    with cython.critical_section(span):
        if span.state == SPAN_ENDED:
            return 0
        span.status_number = STATUS_ERROR  # first: what follows asks an object of someone else's, and may be interrupted
    try:
        if isinstance(because, BaseException):
            text = f"{type(because).__qualname__}: {text_of(because)}"
            span.event("exception", exception=because)
        else:
            text = text_of(because)
    except Exception:  # its class is not what a class should be
        text = object.__repr__(because)
    with cython.critical_section(span):
        if text and span.state != SPAN_ENDED and span.status_number == STATUS_ERROR:
            notes_of(span).because = text
    return 0
