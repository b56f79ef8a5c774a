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

cdef enum:
    KEPT_NOT
    KEPT_SAMPLED
    KEPT_SLOW
    KEPT_ERROR

SPAN_KINDS = ("internal", "server", "client", "producer", "consumer")
SPAN_STATUSES = ("pending", "ok", "error")
SPAN_REASONS = ("", "sampled", "slow", "error")

DEF SAMPLING_BITS = 56  # of a trace's id, its lowest: W3C's random part
cdef object RESERVED = frozenset(("kind", "parent", "links", "attributes"))


@cython.final
cdef class SpanRule:
    """What applies to the traces of one operation: the share that is kept (0 to 1), and from how long on (ns; 0: never) it is
    kept for being slow."""
    cdef uint64_t threshold
    cdef int64_t slow_ns
    cdef readonly double rate

    def __init__(self, double rate, int64_t slow_ns=0):
        if not 0.0 <= rate <= 1.0 or slow_ns < 0:
            raise DeclarationError(f"a share is from 0 to 1, and a time not negative: got {rate} and {slow_ns} ns")
        self.rate = rate
        # As OpenTelemetry's consistent sampling has it: kept if the lowest 56 bits of the id are at or above this.
        self.threshold = <uint64_t>((1.0 - rate) * <double>(1 << SAMPLING_BITS))
        self.slow_ns = slow_ns

    @property
    def slow_ms(self) -> float:
        return self.slow_ns / 1e6


@cython.final
cdef class NativeTracer:
    """Makes spans. `keep(root, spans, lost, reason)` is called with each trace that is kept; counters is (spans, traces kept by reason,
    thrown away, begun beyond the limit, spans beyond theirs, never ended)."""
    cdef public bint enabled
    cdef readonly SpanRule rule
    cdef readonly dict rules
    cdef object keep
    cdef uint64_t traces_max
    cdef Py_ssize_t spans_max, attributes_max
    cdef vs_word open
    cdef Counter spans, thrown, evicted, lost, abandoned
    cdef tuple kept

    def __init__(self, SpanRule rule not None, dict rules, keep, tuple counters, uint64_t traces_max, Py_ssize_t spans_max,
                 Py_ssize_t attributes_max):
        self.rule, self.rules, self.keep = rule, rules, keep
        self.traces_max, self.spans_max, self.attributes_max = traces_max, spans_max, attributes_max
        self.spans, self.kept, self.thrown, self.evicted, self.lost, self.abandoned = counters
        self.enabled = True
        vs_store_relaxed(&spans_in_use, 1)

    @property
    def open_traces(self) -> int:
        """Traces whose local root has begun and not ended."""
        return <int64_t>vs_load_relaxed(&self.open)


@cython.final
@cython.freelist(256)
cdef class Span(SpanContext):
    """A span: `with tracer.span("cas.get", hash=digest) as span: ...`, or span.start() and span.end(). While its block runs it is the
    current span. Its methods never raise, but for those that a programmer calls wrongly."""
    cdef NativeTracer tracer
    cdef SpanRule rule
    cdef Span root
    cdef object asked_parent
    cdef object previous
    cdef object given_name
    cdef dict given
    cdef list happened, linked, finished
    cdef object because
    cdef int64_t start_ns, end_ns
    cdef uint64_t parent_span
    cdef uint32_t lost_spans, lost_attributes
    cdef uint8_t kind_number, status_number, state, kept, failed
    cdef bint is_current, counted, recording
    cdef vs_trace *native  # of a local root below which C made spans

    def __init__(self):
        raise TypeError("a span comes from a tracer")

    def __dealloc__(self):
        if self.counted and self.tracer is not None:  # a local root that was never ended
            vs_add_relaxed(&self.tracer.open, <uint64_t>-1)
            vs_counter_inc(self.tracer.abandoned.cell)
        vs_trace_release(self.native)

    # ---- what it is ----

    @property
    def name(self) -> str:
        return self.given_name if isinstance(self.given_name, str) else log_text(self.given_name).decode()

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
        return dict(self.given) if self.given is not None else {}

    @property
    def duration_ns(self) -> int:
        """From its start to its end, or to now."""
        if self.state == SPAN_NEW:
            return 0
        return (self.end_ns if self.state == SPAN_ENDED else vs_clock_monotonic_ns()) - self.start_ns

    @property
    def is_recording(self) -> bool:
        """Whether what is set on it can still be seen by anyone."""
        return self.recording and self.state != SPAN_ENDED

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
        if not self.recording or self.state == SPAN_ENDED:
            return
        if self.given is None:
            self.given = {}
        if len(self.given) < self.tracer.attributes_max or key in self.given:
            self.given[key] = value
        else:
            self.lost_attributes += 1

    def event(self, name, **attributes) -> None:
        """Something that happens now."""
        if not self.recording or self.state == SPAN_ENDED:
            return
        if self.happened is None:
            self.happened = []
        if len(self.happened) < self.tracer.attributes_max:
            self.happened.append((vs_clock_monotonic_ns(), name, attributes))
        else:
            self.lost_attributes += 1

    def link(self, SpanContext context not None, **attributes) -> None:
        """Another span that this one has to do with."""
        if not self.recording or self.state == SPAN_ENDED:
            return
        if self.linked is None:
            self.linked = []
        if len(self.linked) < self.tracer.attributes_max:
            self.linked.append((context.context if isinstance(context, Span) else context, attributes))
        else:
            self.lost_attributes += 1

    def ok(self) -> None:
        """It went well, whatever is raised from now on."""
        if self.state != SPAN_ENDED:
            self.status_number = STATUS_OK

    def error(self, because="") -> None:
        """It failed: `because` is an exception, which becomes an event, or a text. Its trace is kept."""
        if self.state != SPAN_ENDED:
            span_fail(self, because)

    # ---- begin and end by hand ----

    def start(self) -> Span:
        """Begins it, below the current span, without becoming that itself."""
        cdef PyObject *current = NULL
        if self.state == SPAN_NEW:
            vs_context_get(<PyObject *>current_span, &current)
            try:
                span_start(self, current)
            finally:
                Py_XDECREF(current)
        return self

    def end(self) -> None:
        """Ends it. A second time does nothing."""
        if self.state == SPAN_OPEN:
            span_end(self)

    def capsule(self) -> object:
        """A PyCapsule named vs_span_scope, for C: spans that it makes below this one belong to the same trace, as long as this one is
        open."""
        return scope_capsule(self)

    def __repr__(self):
        return f"<Span {self.name!r} {self.trace_hex} {self.span_hex} {self.status}>"

    def as_dict(self, int64_t anchor_ns) -> dict:
        """What sinks are given, of plain values: times in ns since 1970, ids in hexadecimal digits. `anchor_ns`: the time since 1970 at
        which the monotonic clock began."""
        cdef dict record = {"trace_id": self.trace_hex, "span_id": self.span_hex,
                            "parent_span_id": f"{self.parent_span:016x}" if self.parent_span else "",
                            "name": self.name, "kind": self.kind, "start_ns": self.start_ns + anchor_ns,
                            "duration_ns": self.end_ns - self.start_ns, "status": self.status}
        if self.because:
            record["status_message"] = self.because
        if self.given:
            record["attributes"] = dict(self.given)
        if self.happened:
            record["events"] = [{"time_ns": at + anchor_ns, "name": log_text(name).decode(), "attributes": dict(given)}
                                for at, name, given in self.happened]
        if self.linked:
            record["links"] = [{"trace_id": (<SpanContext>other).trace_hex, "span_id": (<SpanContext>other).span_hex,
                                "attributes": dict(given)} for other, given in self.linked]
        if self.tracestate:
            record["tracestate"] = self.tracestate
        if self.lost_attributes:
            record["omitted"] = self.lost_attributes
        return record


# ---- in C, as far as that goes ----

cdef inline bint is_context(PyObject *value) noexcept:
    return vs_type_of(value) == <PyObject *>Span or vs_type_of(value) == <PyObject *>SpanContext


cdef int span_start(Span span, PyObject *parent) except -1:
    """`parent`: the current span, or NULL; one that was asked for goes before it."""
    cdef NativeTracer tracer = span.tracer
    cdef SpanContext above = None
    cdef Span local
    if span.asked_parent is not None:
        above = span.asked_parent if isinstance(span.asked_parent, SpanContext) else None
    elif parent != NULL and is_context(parent):
        above = <SpanContext>parent
    span.asked_parent = None
    span.span = vs_id_next()
    span.state = SPAN_OPEN
    if above is None:
        span.high, span.low = vs_id_next(), vs_id_next()
        span.random = True
        span_begin_trace(span)
        span.sampled = is_sampled(span)
    else:
        span.high, span.low, span.parent_span = above.high, above.low, above.span
        span.sampled, span.random, span.tracestate = above.sampled, above.random, above.tracestate
        if type(above) is Span and (<Span>above).tracer is tracer and (<Span>above).state != SPAN_NEW:
            local = <Span>above
            span.root = local.root if local.root is not None else local
            span.recording = span.root.recording
        else:
            span_begin_trace(span)
            if above.deferred:
                span.sampled = is_sampled(span)
    span.start_ns = vs_clock_monotonic_ns()
    return 0


cdef inline bint is_sampled(Span span) noexcept:
    """By the trace's id: so all vaults decide alike."""
    return (span.low & ((<uint64_t>1 << SAMPLING_BITS) - 1)) >= span.rule.threshold


cdef int span_begin_trace(Span span) except -1:
    cdef NativeTracer tracer = span.tracer
    span.rule = tracer.rule
    if tracer.rules:
        span.rule = tracer.rules.get(span.given_name, tracer.rule)
    span.recording = vs_add_relaxed(&tracer.open, 1) < tracer.traces_max
    span.counted = True
    if not span.recording:
        vs_counter_inc(tracer.evicted.cell)
    return 0


cdef int span_fail(Span span, object because) except -1:
    span.status_number = STATUS_ERROR
    if isinstance(because, BaseException):
        span.because = f"{type(because).__qualname__}: {log_text(because).decode()}"
        span.event("exception", exception=because)
    elif because:
        span.because = log_text(because).decode()
    return 0


cdef int span_end(Span span) except -1:
    cdef NativeTracer tracer = span.tracer
    cdef Span root = span.root
    span.end_ns = vs_clock_monotonic_ns()
    span.state = SPAN_ENDED
    if span.status_number == STATUS_PENDING:
        span.status_number = STATUS_OK
    vs_counter_inc(tracer.spans.cell)
    if root is None:
        return trace_end(span)
    with cython.critical_section(root):
        if span.status_number == STATUS_ERROR:
            root.failed = True
        if root.state == SPAN_OPEN:
            if not root.recording:
                pass
            elif root.finished is not None and len(root.finished) >= tracer.spans_max:
                root.lost_spans += 1
                vs_counter_inc(tracer.lost.cell)
            elif root.finished is None:
                root.finished = [span]
            else:
                root.finished.append(span)
            return 0
    # It outlived its local root, which was decided about: it goes where that went, or on its own if it failed.
    if root.kept != KEPT_NOT or span.status_number == STATUS_ERROR:
        tracer.keep(span, (), 0, SPAN_REASONS[root.kept if root.kept != KEPT_NOT else KEPT_ERROR])
    return 0


cdef int trace_end(Span root) except -1:
    cdef NativeTracer tracer = root.tracer
    cdef list finished
    root.counted = False
    vs_add_relaxed(&tracer.open, <uint64_t>-1)
    with cython.critical_section(root):
        finished, root.finished = root.finished, None
        if root.native != NULL:
            finished = (finished or []) + native_spans(root)
        if root.failed or root.status_number == STATUS_ERROR:
            root.kept = KEPT_ERROR
        elif root.rule.slow_ns != 0 and root.end_ns - root.start_ns >= root.rule.slow_ns:
            root.kept = KEPT_SLOW
        elif root.sampled and root.recording:
            root.kept = KEPT_SAMPLED
    if root.kept == KEPT_NOT:
        vs_counter_inc(tracer.thrown.cell)
        return 0
    vs_counter_inc((<Counter>tracer.kept[root.kept - 1]).cell)
    tracer.keep(root, finished if finished is not None else (), root.lost_spans, SPAN_REASONS[root.kept])
    return 0


@cython.final
cdef class use_span:
    """Makes a span, or what is known of one, the current one within a block, without beginning or ending it: to hand it to another
    thread, or to a step of a generator. None: there is no current span within."""
    cdef object span
    cdef object previous

    def __init__(self, span):
        if not (span is None or isinstance(span, (SpanContext, NoSpan))):
            raise TypeError(f"not a span: {span!r}")
        self.span = None if isinstance(span, NoSpan) else span

    def __enter__(self):
        cdef PyObject *current = NULL
        vs_context_get(<PyObject *>current_span, &current)
        self.previous = <object>current if current != NULL else None
        Py_XDECREF(current)
        PyContextVar_Set(current_span, self.span)
        return self.span

    def __exit__(self, kind, error, traceback):
        cdef PyObject *current = NULL
        vs_context_get(<PyObject *>current_span, &current)
        if current == <PyObject *>self.span:  # else this is another context, where it never was
            PyContextVar_Set(current_span, self.previous)
        Py_XDECREF(current)
        self.previous = None
        return False


# ---- the hot methods ----

@cython.final
cdef class NoSpan:
    """What a tracer that is switched off gives: it does nothing, and takes everything."""

    def set(self, **attributes) -> NoSpan:
        return self

    def set_attribute(self, key, value) -> None:
        pass

    def event(self, name, **attributes) -> None:
        pass

    def link(self, context, **attributes) -> None:
        pass

    def ok(self) -> None:
        pass

    def error(self, because="") -> None:
        pass

    def start(self) -> NoSpan:
        return self

    def end(self) -> None:
        pass

    def capsule(self) -> object:
        return scope_capsule(None)

    @property
    def is_recording(self) -> bool:
        return False

    @property
    def context(self) -> None:
        return None


cdef NoSpan NO_SPAN = NoSpan()


cdef PyObject *hot_span(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    if not (<NativeTracer>self).enabled:
        Py_INCREF(NO_SPAN)
        return <PyObject *>NO_SPAN
    return NEW_SPAN(self, args, n, names)


cdef PyObject *new_span(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) except NULL:
    cdef Span span = Span.__new__(Span)
    cdef dict given
    if n != 1:
        raise TypeError("span() takes the operation's name, and the rest by name")
    span.tracer = <NativeTracer>self
    span.given_name = <object>args[0]
    span.tracestate = ""
    if names != NULL:
        given = keywords(args, n, names)
        if not RESERVED.isdisjoint(given):
            span_options(span, given)
        if given:
            span.given = given
    Py_INCREF(span)
    return <PyObject *>span


cdef int span_options(Span span, dict given) except -1:
    kind = given.pop("kind", None)
    if kind is not None:
        if kind not in SPAN_KINDS:
            raise DeclarationError(f"a span's kind is one of {', '.join(SPAN_KINDS)}, not {kind!r}")
        span.kind_number = SPAN_KINDS.index(kind)
    span.asked_parent = given.pop("parent", None)
    links = given.pop("links", ())
    more = given.pop("attributes", None)
    if more:
        for key, value in more.items():
            given.setdefault(key, value)
    span.recording = True
    for context in links:
        span.link(context)
    return 0


cdef PyObject *hot_enter(PyObject *self, PyObject *unused) noexcept:
    return ENTER(self)


cdef PyObject *enter(PyObject *self) except NULL:
    cdef Span span = <Span>self
    cdef PyObject *current = NULL
    vs_context_get(<PyObject *>current_span, &current)
    try:
        if span.state == SPAN_NEW:
            span_start(span, current)
        span.previous = <object>current if current != NULL else None
        PyContextVar_Set(current_span, span)
        span.is_current = True
    finally:
        Py_XDECREF(current)
    Py_INCREF(span)
    return self


cdef PyObject *hot_exit(PyObject *self, PyObject *const *args, Py_ssize_t n) noexcept:
    return LEAVE(self, args, n)


cdef PyObject *leave(PyObject *self, PyObject *const *args, Py_ssize_t n) except NULL:
    cdef Span span = <Span>self
    if n == 3 and not vs_is_none(args[1]) and span.state == SPAN_OPEN:
        error = <object>args[1]
        if span.status_number != STATUS_OK and not isinstance(error, (GeneratorExit, StopIteration, StopAsyncIteration)):
            span_fail(span, error)
    if span.is_current:
        span_let_go(span)
    if span.state == SPAN_OPEN:
        span_end(span)
    return vs_none()


cdef int span_let_go(Span span) except -1:
    """Makes the span before it the current one; unless this is another context, where it never was."""
    cdef PyObject *current = NULL
    vs_context_get(<PyObject *>current_span, &current)
    if current == <PyObject *>span:
        PyContextVar_Set(current_span, span.previous)
    Py_XDECREF(current)
    span.previous = None
    span.is_current = False
    return 0


cdef PyObject *hot_no_enter(PyObject *self, PyObject *unused) noexcept:
    Py_INCREF(NO_SPAN)
    return self


cdef PyObject *hot_no_exit(PyObject *self, PyObject *const *args, Py_ssize_t n) noexcept:
    return vs_none()


cdef FastCall NEW_SPAN = <FastCall>new_span
ctypedef PyObject *(*OneObject)(PyObject *) noexcept
ctypedef PyObject *(*PositionalCall)(PyObject *, PyObject *const *, Py_ssize_t) noexcept
cdef OneObject ENTER = <OneObject>enter
cdef PositionalCall LEAVE = <PositionalCall>leave


cdef void install_span_methods() except *:
    vs_install(NativeTracer, b"span", VS_FAST(<void *>hot_span), METH_FASTCALL | METH_KEYWORDS,
               b"span($self, name, /, *, kind='internal', parent=None, links=(), attributes=None, **more)\n--\n\n"
               b"A span of that operation, to be entered. Its parent is the current span, unless another is given.")
    vs_install(Span, b"__enter__", VS_FAST(<void *>hot_enter), METH_NOARGS, b"__enter__($self, /)\n--\n\nBegins it, as the current span.")
    vs_install(Span, b"__exit__", VS_FAST(<void *>hot_exit), METH_FASTCALL, b"Ends it, with an error if one was raised.")
    vs_install(NoSpan, b"__enter__", VS_FAST(<void *>hot_no_enter), METH_NOARGS, b"__enter__($self, /)\n--\n\nDoes nothing.")
    vs_install(NoSpan, b"__exit__", VS_FAST(<void *>hot_no_exit), METH_FASTCALL, b"Does nothing.")


install_span_methods()
