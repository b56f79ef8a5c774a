# Who a span is: what goes across processes, into log records and into exemplars.
from cpython.contextvars cimport PyContextVar_Get, PyContextVar_New

DEF BITS_64 = 0xFFFFFFFFFFFFFFFF


cdef class SpanContext:
    """The identity of a span: trace_id (128 bits) and span_id (64 bits), as integers that are not 0; whether the trace is sampled, or
    that is deferred (sampled=None): to be decided where it goes on; whether its id is random, so that shares of all traces can be
    taken by it; and, of one that came from another process, its tracestate as it came. Never changes. One that came as a trace's id
    alone (X-Trace-Id) has the span_id 0: what goes on from it has no parent."""
    cdef uint64_t high, low, span
    cdef readonly bint sampled
    cdef readonly bint deferred
    cdef readonly bint random
    cdef readonly bint remote
    cdef readonly str tracestate

    def __init__(self, trace_id, span_id, *, sampled=False, random=False, remote=False, str tracestate=""):
        if not (isinstance(trace_id, int) and 0 < trace_id < 1 << 128 and isinstance(span_id, int) and 0 < span_id < 1 << 64):
            raise DeclarationError(f"a trace has an id of 128 bits and a span one of 64, none of them 0: got {trace_id!r} and {span_id!r}")
        self.high = trace_id >> 64
        self.low = trace_id & BITS_64
        self.span = span_id
        self.deferred = sampled is None
        self.sampled = sampled is not None and sampled
        self.random, self.remote, self.tracestate = random, remote, tracestate
        vs_store_relaxed(&spans_in_use, 1)

    @property
    def trace_id(self) -> int:
        return (<object>self.high << 64) | <object>self.low

    @property
    def span_id(self) -> int:
        return self.span

    @property
    def trace_hex(self) -> str:
        """The trace's id as it is written: 32 hexadecimal digits."""
        return f"{self.high:016x}{self.low:016x}"

    @property
    def span_hex(self) -> str:
        """The span's id as it is written: 16 hexadecimal digits."""
        return f"{self.span:016x}"

    def __reduce__(self):
        """Goes to other processes: a span as its context. Raises DeclarationError for one that has not begun."""
        if (self.high | self.low) == 0:
            raise DeclarationError("a span that has not begun has no ids yet: nothing of it can be copied")
        return restored_context, (self.trace_id, self.span_id, None if self.deferred else self.sampled, self.random,
                                  self.remote or isinstance(self, Span), self.tracestate)

    def __repr__(self):
        return f"{type(self).__name__}({self.trace_id:#034x}, {self.span_id:#018x})"

    def __eq__(self, other):
        if not isinstance(other, SpanContext):
            return NotImplemented
        return self.high == (<SpanContext>other).high and self.low == (<SpanContext>other).low and self.span == (<SpanContext>other).span

    def __hash__(self):
        return hash((self.high, self.low, self.span))


def restored_context(trace_id, span_id, sampled, random, remote, str tracestate) -> SpanContext:
    """A context as it was pickled."""
    cdef SpanContext context = SpanContext(trace_id, span_id or 1, sampled=sampled, random=random, remote=remote, tracestate=tracestate)
    context.span = span_id
    return context


# While there is no span anywhere, no call of a logger looks for one.
cdef vs_word spans_in_use
cdef object span_variable = PyContextVar_New(b"vaultscope.span", NULL)
current_span = span_variable
