# What becomes of a trace: the rules, the tracer that applies them, and the queues in which those that are kept wait for the sinks.

cdef enum:
    KEPT_NOT
    KEPT_SAMPLED
    KEPT_SLOW
    KEPT_ERROR

SPAN_REASONS = ("", "sampled", "slow", "error")

DEF SAMPLING_BITS = 56  # of a trace's id, its lowest: W3C's random part

cdef extern from *:
    """
    /* The traces that are open: with a GIL, all who count them hold it. */
    static inline uint64_t vs_count_open(vs_word *open, uint64_t n)
    {
    #ifdef Py_GIL_DISABLED
        return vs_add_relaxed(open, n);
    #else
        uint64_t before = vs_load_relaxed(open);
        vs_store_relaxed(open, before + n);
        return before;
    #endif
    }

    static inline int64_t vs_wall_ns(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }

    /* Whether this thread is a sink's: what it does must not come back to it. */
    static _Thread_local int vs_is_sink;
    """
    uint64_t vs_count_open(vs_word *open, uint64_t n)
    int64_t vs_wall_ns()
    bint vs_is_sink


@cython.final
cdef class SpanRule:
    """What applies to the traces of one operation: the share that is kept (0 to 1), and from how long on (ns; 0: never) it is
    kept for being slow."""
    cdef uint64_t threshold
    cdef readonly int64_t slow_ns
    cdef readonly double rate

    def __init__(self, double rate, int64_t slow_ns=0):
        if not 0.0 <= rate <= 1.0 or slow_ns < 0:
            raise DeclarationError(f"a share is from 0 to 1, and a time not negative: got {rate} and {slow_ns} ns")
        self.rate = rate
        # As OpenTelemetry's consistent sampling has it: kept if the lowest 56 bits of the id are at or above this.
        self.threshold = <uint64_t>((1.0 - rate) * <double>(1 << SAMPLING_BITS))
        self.slow_ns = slow_ns


@cython.final
cdef class SpanQueue:
    """What was kept, on its way to one sink. Counted in spans; what finds no room is missed."""
    cdef list waiting  # where traces end, they are added here...
    cdef list leaving  # ...and from here the sink's thread takes them, from `at` on, up to `until`
    cdef Py_ssize_t at, until, taken
    cdef uint64_t room
    cdef readonly uint64_t added, done
    cdef bint shut
    cdef Counter missed

    def __init__(self, uint64_t spans_max, Counter missed not None):
        self.waiting, self.leaving = [], []
        self.room, self.missed = spans_max, missed

    cdef int add(self, object kept, uint64_t size) except -1:
        with cython.critical_section(self):
            if not self.shut and self.added - self.done + size <= self.room:
                self.waiting.append(kept)
                self.added += size
                return 0
        vs_counter_add(self.missed.cell, size)
        return 0

    def take(self, Py_ssize_t spans_max) -> list:
        """The oldest traces, of about so many spans: for kept_records. The same again until done() or drop(). The sink's thread alone."""
        if self.until == self.at:
            self.taken = 0
            if self.at == len(self.leaving):
                with cython.critical_section(self):
                    self.leaving, self.waiting = self.waiting, []
                self.at = self.until = 0
            while self.until < len(self.leaving) and self.taken < spans_max:
                self.taken += kept_size(self.leaving[self.until])
                self.until += 1
        return self.leaving[self.at:self.until]

    def settle(self) -> None:
        """What was taken is written."""
        for i in range(self.at, self.until):
            self.leaving[i] = None
        self.at = self.until
        with cython.critical_section(self):
            self.done += self.taken
        self.taken = 0

    def drop(self) -> None:
        """What was taken is missed."""
        vs_counter_add(self.missed.cell, self.taken)
        self.settle()

    def shut_off(self) -> None:
        """What comes from now on is missed: a trace may end while its sink is taken away."""
        with cython.critical_section(self):
            self.shut = True


cdef Py_ssize_t kept_size(object kept):
    return 1 + len(<list>(<tuple>kept)[1]) if type(kept) is tuple else 1


def kept_records(kept) -> list:
    """What sinks are given of one trace: its local root first."""
    cdef Span root = <Span>(kept[0] if type(kept) is tuple else kept)
    cdef list records = [root.as_dict(root.anchor_ns)]
    if type(kept) is tuple:
        for span in <list>(<tuple>kept)[1]:
            records.append((<Span>span).as_dict(root.anchor_ns) if type(span) is Span else (<EndedSpan?>span).as_dict(root.anchor_ns))
    return records


def enter_sink_thread() -> None:
    """Says that this thread is a sink's: of the traces that begin in it none is kept."""
    global vs_is_sink
    vs_is_sink = True


@cython.no_gc_clear  # spans count in it until they are gone; what leads back to it is cleared
cdef class NativeTracer:
    """Makes spans. counters: (spans, traces kept by reason, thrown away, begun beyond the limit, spans beyond theirs, never ended)."""
    cdef public bint enabled
    cdef SpanRule rule
    cdef dict rules
    cdef tuple queues
    cdef uint64_t traces_max
    cdef Py_ssize_t spans_max, attributes_max
    cdef vs_word open
    cdef Counter spans, thrown, evicted, lost, abandoned
    cdef tuple kept

    def __init__(self, SpanRule rule not None, dict rules, tuple counters, uint64_t traces_max, Py_ssize_t spans_max,
                 Py_ssize_t attributes_max):
        self.rule, self.rules, self.queues = rule, dict(rules), ()
        self.traces_max, self.spans_max, self.attributes_max = traces_max, spans_max, attributes_max
        self.spans, self.kept, self.thrown, self.evicted, self.lost, self.abandoned = counters
        self.enabled = True
        vs_store_relaxed(&spans_in_use, 1)

    @property
    def open_traces(self) -> int:
        """Traces whose local root has begun and not ended."""
        return <int64_t>vs_load_relaxed(&self.open)

    def send_to(self, tuple queues not None) -> None:
        """What is kept from now on goes to these queues."""
        with cython.critical_section(self):
            self.queues = queues

    def renew(self) -> None:
        """In the child of a fork: the traces that are open are the parent's."""
        vs_store_relaxed(&self.open, 0)


cdef inline bint is_sampled(Span span) noexcept:
    """By the trace's id: so all vaults decide alike."""
    return (span.low & ((<uint64_t>1 << SAMPLING_BITS) - 1)) >= span.threshold


cdef inline int find_rule(Span root) except -1:
    """By the operation that the local root is."""
    cdef SpanRule rule = root.tracer.rule
    if len(root.tracer.rules) != 0 and type(root.given_name) is str:
        rule = root.tracer.rules.get(root.given_name, rule)
    root.threshold, root.slow_ns = rule.threshold, rule.slow_ns
    return 0


cdef inline int decide(Span root) noexcept:
    """Why the trace of this local root is kept. In its critical section."""
    if vs_is_sink:
        return KEPT_NOT
    if root.failed or root.status_number == STATUS_ERROR:
        return KEPT_ERROR
    if root.slow_ns != 0 and root.end_ns - root.start_ns >= root.slow_ns:
        return KEPT_SLOW
    return KEPT_SAMPLED if root.sampled and root.recording else KEPT_NOT


cdef int keep(Span root, list others) except -1:
    cdef NativeTracer tracer = root.tracer
    cdef tuple queues
    with cython.critical_section(tracer):
        queues = tracer.queues
    if not queues:
        return 0
    root.anchor_ns = vs_wall_ns() - vs_clock_monotonic_ns()
    kept = root if others is None else (root, others)
    for queue in queues:
        (<SpanQueue>queue).add(kept, 1 if others is None else 1 + len(others))
    return 0
