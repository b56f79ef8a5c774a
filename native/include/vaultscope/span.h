/* Spans in C: those below a span of Python's, and whole traces of programs without it.
 *
 * Below one of Python's, whose scope it hands over (Cython: vs_scope_of(span); else the PyCapsule "vs_span_scope" of span.capsule()):
 *
 *   vs_span span;
 *   vs_span_start(&span, &scope, (vs_text){"disk.write", 10});     below it: vs_span_start(&inner, vs_span_scope_of(&span), ...)
 *   vs_span_add(&span, vs_field_u64("bytes", size));
 *   vs_span_end(&span, failed ? VS_SPAN_ERROR : VS_SPAN_OK);
 *
 * A trace of its own, which is kept in the log (examples/c does it):
 *
 *   vs_tracer *tracer;                                             once
 *   vs_tracer_open(journal, &(vs_tracer_options){.rate = 0.1, .slow_ns = 100000000}, &tracer);
 *   vs_span_start_root(&span, tracer, NULL, (vs_text){"cas.put", 7});
 *   vs_log_set_span(span.scope.trace_high, span.scope.trace_low, span.scope.span);     what this thread logs has its ids (log.h)
 *   ...
 *   vs_span_end(&span, VS_SPAN_OK);
 *
 * A span lies in the caller's memory, about a KiB, and is one thread's at a time; other threads may begin spans below it meanwhile. When it
 * ends, a copy goes to its trace, which the local root takes when it ends itself. What ends after its root is lost, and counted nowhere: the
 * root, which says how many were lost, is gone by then. No lock; ending allocates. A span without a trace costs nothing and is nowhere. */
#ifndef VAULTSCOPE_SPAN_H
#define VAULTSCOPE_SPAN_H

#include "id.h"
#include "log.h"

enum { VS_SPAN_BYTES = 1024 }; /* of a span's name and attributes; what has no room is left out, and counted */

typedef enum vs_span_status { VS_SPAN_PENDING = 0, VS_SPAN_OK = 1, VS_SPAN_ERROR = 2 } vs_span_status;
typedef enum vs_span_kind {
    VS_SPAN_INTERNAL = 0,
    VS_SPAN_SERVER = 1,
    VS_SPAN_CLIENT = 2,
    VS_SPAN_PRODUCER = 3,
    VS_SPAN_CONSUMER = 4
} vs_span_kind;

/* Collects the spans that end below a local root. Counted references. */
typedef struct vs_trace vs_trace;

/* Where a span belongs: a trace, and the span above it; trace NULL: nowhere. Copied freely, valid as long as the span above is open. */
typedef struct vs_span_scope {
    vs_trace *trace;
    uint64_t trace_high, trace_low, span;
    bool sampled;
} vs_span_scope;

typedef struct vs_tracer vs_tracer;

typedef struct vs_span {
    vs_span_scope scope; /* its own: what spans below it are given */
    uint64_t parent;
    int64_t start_ns;
    const vs_tracer *tracer; /* of a local root */
    uint8_t kind; /* vs_span_kind; to be set between start and end, if it is another than VS_SPAN_INTERNAL */
    vs_log_writer writer;
    uint64_t data[VS_SPAN_BYTES / 8];
} vs_span;

/* Begins a span below `scope`. The name is copied. */
VS_API void vs_span_start(vs_span *span, const vs_span_scope *scope, vs_text name);
static inline const vs_span_scope *vs_span_scope_of(const vs_span *span) { return &span->scope; }
/* Adds an attribute, which is copied: before the end, and one for each key. */
VS_API void vs_span_add(vs_span *span, vs_field attribute);
/* Ends it; VS_SPAN_PENDING is VS_SPAN_OK. Once, and once for each that was begun: else its trace is never freed. */
VS_API void vs_span_end(vs_span *span, vs_span_status status);

/* ---- traces without Python: those that are kept go to a log, a record for each span ---- */

typedef struct vs_tracer_options {
    double rate;        /* the share that is kept though nothing was wrong: 0 to 1; by the trace's id, as Python's tracers decide */
    int64_t slow_ns;    /* from how long on it is kept for being slow; 0: never */
    uint32_t spans_max; /* inner spans a trace; 0: 512 */
} vs_tracer_options;

/* A kept trace's spans become records of the logger "vaultscope.trace", level info: the message is the name, and the fields parent_span_id,
 * kind, start_ns, duration_ns, status and, of the local root, reason go before the attributes. The root says in lost_spans
 * how many had no room. `vaultscope trace` reads them in the log, or in an arena's file. They are lost as records are: counted in
 * vaultscope.log.dropped. Where the level of that logger is above info, nothing is kept. VS_E_INVALID, VS_E_NO_MEMORY. */
VS_API vs_status vs_tracer_open(const vs_journal *journal, const vs_tracer_options *options, vs_tracer **out);
/* Only when no span that it began is open; the caller vouches. */
VS_API void vs_tracer_close(vs_tracer *tracer);
/* Begins a local root. `remote`: the span above it, in another process, with trace NULL, the ids and the decision that came from there; or
 * NULL: it begins a trace. */
VS_API void vs_span_start_root(vs_span *span, const vs_tracer *tracer, const vs_span_scope *remote, vs_text name);

/* ---- for who owns a trace ---- */

/* A span that has ended, as its trace keeps it. */
typedef struct vs_ended_span {
    struct vs_ended_span *next;
    uint64_t span, parent;
    int64_t start_ns, end_ns; /* of vs_clock_monotonic_ns */
    uint8_t kind, status;
    uint32_t size; /* of the record */
    char record[];  /* record.h: the message is the name, the fields are the attributes */
} vs_ended_span;

/* With one reference. NULL: no memory. spans_max 0: only whether one failed is known of its spans. */
VS_API vs_trace *vs_trace_open(uint32_t spans_max);
/* One reference more: for who keeps a scope longer than the span above it is open. */
VS_API void vs_trace_hold(vs_trace *trace);
VS_API void vs_trace_release(vs_trace *trace);
/* Takes what has ended, first to last, and closes the trace: what ends later is lost, and not counted. *failed: one of them had an error;
 * *lost: how many had no room, or no memory. Free each by free(). */
VS_API vs_ended_span *vs_trace_take(vs_trace *trace, bool *failed, uint64_t *lost);

#endif
