/* Spans in C. A trace is a stack of ended spans that any thread pushes to, and that is taken once, whole. */
#include "vaultscope/span.h"

#include <stdlib.h>

enum { SPANS_MAX_DEFAULT = 512, SAMPLING_BITS = 56 };

struct vs_trace {
    vs_word references;
    vs_word ended; /* vs_ended_span *, the last first; or CLOSED */
    vs_word count, lost, failed;
    uint32_t spans_max;
};

struct vs_tracer {
    vs_logger *logger;
    uint64_t threshold;
    int64_t slow_ns;
    uint32_t spans_max;
};

static const uint64_t CLOSED = 1;

/* ---- traces ---- */

vs_trace *vs_trace_open(uint32_t spans_max)
{
    vs_trace *trace = calloc(1, sizeof *trace);
    if (trace != NULL) {
        trace->spans_max = spans_max;
        vs_store_relaxed(&trace->references, 1);
    }
    return trace;
}

void vs_trace_hold(vs_trace *trace) { vs_add_relaxed(&trace->references, 1u); } /* relaxed: who calls has one */

static vs_ended_span *first_of(uint64_t list) { return list == CLOSED ? NULL : (vs_ended_span *)(uintptr_t)list; }

void vs_trace_release(vs_trace *trace)
{
    /* N3: acquire and release: who frees it does so after all others are through with it. */
    if (trace == NULL || vs_add_acq_rel(&trace->references, UINT64_MAX) != 1)
        return;
    for (vs_ended_span *span = first_of(vs_load_relaxed(&trace->ended)); span != NULL;) {
        vs_ended_span *next = span->next;
        free(span);
        span = next;
    }
    free(trace);
}

vs_ended_span *vs_trace_take(vs_trace *trace, bool *failed, uint64_t *lost)
{
    /* N2: acquire; pairs with N1 in push: the spans are seen whole, and that one of them had failed. */
    vs_ended_span *last = first_of(vs_exchange_acquire(&trace->ended, CLOSED)), *first = NULL;
    *failed = vs_load_relaxed(&trace->failed) != 0;
    *lost = vs_load_relaxed(&trace->lost);
    while (last != NULL) {
        vs_ended_span *next = last->next;
        last->next = first;
        first = last;
        last = next;
    }
    return first;
}

static void push(vs_trace *trace, vs_ended_span *span)
{
    uint64_t seen = vs_load_relaxed(&trace->ended);
    do {
        if (seen == CLOSED) {
            vs_add_relaxed(&trace->lost, 1u);
            free(span);
            return;
        }
        span->next = first_of(seen);
    } while (!vs_cas_weak_release(&trace->ended, &seen, (uint64_t)(uintptr_t)span)); /* N1: release; pairs with N2 */
}

/* ---- spans ---- */

static void begin(vs_span *span, const vs_span_scope *above, vs_text name)
{
    span->scope = *above;
    span->parent = above->span;
    span->scope.span = vs_id_next();
    span->tracer = NULL;
    span->kind = VS_SPAN_INTERNAL;
    vs_log_begin(&span->writer, (char *)span->data, sizeof span->data, (vs_text){"", 0}, (vs_text){"", 0}, name);
    span->start_ns = vs_clock_monotonic_ns();
}

void vs_span_start(vs_span *span, const vs_span_scope *scope, vs_text name)
{
    if (scope->trace == NULL) {
        span->scope = *scope;
        return;
    }
    vs_trace_hold(scope->trace); /* the scope is valid, so somebody holds it */
    begin(span, scope, name);
}

void vs_span_add(vs_span *span, vs_field attribute)
{
    const vs_field fields[] = {attribute, VS_LOG_END_};
    if (span->scope.trace != NULL)
        vs_log_add_array(&span->writer, fields);
}

static vs_ended_span *ended_of(vs_span *span, vs_span_status status)
{
    int64_t now = vs_clock_monotonic_ns();
    vs_log_end(&span->writer, status == VS_SPAN_ERROR ? VS_ERROR : VS_INFO, span->scope.trace_high, span->scope.trace_low, span->scope.span);
    vs_ended_span *ended = malloc(sizeof *ended + span->writer.size);
    if (ended == NULL)
        return NULL;
    *ended = (vs_ended_span){.span = span->scope.span, .parent = span->parent, .start_ns = span->start_ns, .end_ns = now, .kind = span->kind,
                             .status = (uint8_t)(status == VS_SPAN_ERROR ? VS_SPAN_ERROR : VS_SPAN_OK), .size = (uint32_t)span->writer.size};
    memcpy(ended->record, span->data, span->writer.size);
    return ended;
}

static void end_root(vs_span *root, vs_ended_span *ended);

void vs_span_end(vs_span *span, vs_span_status status)
{
    vs_trace *trace = span->scope.trace;
    if (trace == NULL)
        return;
    if (status == VS_SPAN_ERROR)
        vs_store_relaxed(&trace->failed, 1u); /* carried by N1 */
    bool has_room = span->tracer != NULL || vs_add_relaxed(&trace->count, 1u) < trace->spans_max;
    vs_ended_span *ended = has_room ? ended_of(span, status) : NULL;
    if (span->tracer != NULL)
        end_root(span, ended);
    else if (ended != NULL)
        push(trace, ended);
    else
        vs_add_relaxed(&trace->lost, 1u);
    span->scope.trace = NULL;
    vs_trace_release(trace);
}

/* ---- traces without Python ---- */

vs_status vs_tracer_open(const vs_journal *journal, const vs_tracer_options *options, vs_tracer **out)
{
    if (!(options->rate >= 0.0 && options->rate <= 1.0) || options->slow_ns < 0)
        return VS_E_INVALID;
    vs_tracer *tracer = calloc(1, sizeof *tracer);
    if (tracer == NULL)
        return VS_E_NO_MEMORY;
    tracer->threshold = (uint64_t)((1.0 - options->rate) * (double)(UINT64_C(1) << SAMPLING_BITS));
    tracer->slow_ns = options->slow_ns;
    tracer->spans_max = options->spans_max != 0 ? options->spans_max : SPANS_MAX_DEFAULT;
    vs_status status = vs_logger_open(journal, (vs_text){"vaultscope.trace", 16}, &tracer->logger);
    if (status != VS_OK) {
        free(tracer);
        return status;
    }
    *out = tracer;
    return VS_OK;
}

void vs_tracer_close(vs_tracer *tracer)
{
    vs_logger_close(tracer->logger);
    free(tracer);
}

void vs_span_start_root(vs_span *span, const vs_tracer *tracer, const vs_span_scope *remote, vs_text name)
{
    vs_span_scope above = {.trace = vs_trace_open(tracer->spans_max)};
    if (remote != NULL) {
        above.trace_high = remote->trace_high;
        above.trace_low = remote->trace_low;
        above.span = remote->span;
        above.sampled = remote->sampled;
    } else {
        above.trace_high = vs_id_next();
        above.trace_low = vs_id_next();
        above.sampled = (above.trace_low & ((UINT64_C(1) << SAMPLING_BITS) - 1)) >= tracer->threshold;
    }
    begin(span, &above, name);
    span->tracer = tracer;
}

static void hex(char to[16], uint64_t id)
{
    for (int i = 0; i < 16; i++)
        to[i] = "0123456789abcdef"[id >> (60 - 4 * i) & 15];
}

/* One record of the log: what every span has, then its attributes as they were encoded. */
static void log_span(const vs_span *root, const vs_ended_span *span, int64_t anchor_ns, const char *reason, uint64_t lost)
{
    static const char *const KINDS[] = {"internal", "server", "client", "producer", "consumer"};
    vs_log_head head;
    memcpy(&head, span->record, sizeof head);
    const char *name = span->record + sizeof head + head.logger_size + head.vault_size, *attributes = name + head.message_size;
    char parent[16];
    hex(parent, span->parent);
    const vs_logger *logger = root->tracer->logger;
    uint64_t data[VS_LOG_BYTES_SMALL / 8];
    vs_log_writer writer;
    vs_log_begin(&writer, (char *)data, sizeof data, (vs_text){logger->name, logger->name_size}, vs_log_vault(), (vs_text){name, head.message_size});
    const vs_field fields[] = {
        span->parent != 0 ? vs_field_text_of("parent_span_id", (vs_text){parent, 16}) : vs_field_text("parent_span_id", ""),
        vs_field_text("kind", KINDS[span->kind <= VS_SPAN_CONSUMER ? span->kind : 0]),
        vs_field_i64("start_ns", span->start_ns + anchor_ns),
        vs_field_i64("duration_ns", span->end_ns - span->start_ns),
        vs_field_text("status", span->status == VS_SPAN_ERROR ? "error" : "ok"),
        reason != NULL ? vs_field_text("reason", reason) : VS_LOG_END_,
        lost != 0 ? vs_field_u64("lost_spans", lost) : VS_LOG_END_,
        VS_LOG_END_,
    };
    vs_log_add_array(&writer, fields);
    vs_log_add_all(&writer, attributes, span->size - (size_t)(attributes - span->record), head.field_count);
    vs_log_end(&writer, VS_INFO, root->scope.trace_high, root->scope.trace_low, span->span);
    vs_journal_put(logger->journal, VS_INFO, data, writer.size);
}

static void end_root(vs_span *root, vs_ended_span *ended)
{
    bool failed;
    uint64_t lost;
    vs_ended_span *below = vs_trace_take(root->scope.trace, &failed, &lost);
    bool may_keep = ended != NULL && vs_log_enabled(root->tracer->logger, VS_INFO);
    const char *reason = NULL;
    if (may_keep && failed)
        reason = "error";
    else if (may_keep && root->tracer->slow_ns != 0 && ended->end_ns - ended->start_ns >= root->tracer->slow_ns)
        reason = "slow";
    else if (may_keep && root->scope.sampled)
        reason = "sampled";
    vs_log_head head;
    int64_t anchor_ns = 0;
    if (reason != NULL) { /* the record says when it was written, which is when the span ended */
        memcpy(&head, ended->record, sizeof head);
        anchor_ns = (int64_t)head.time_ns - ended->end_ns;
        log_span(root, ended, anchor_ns, reason, lost);
    }
    while (below != NULL) {
        vs_ended_span *next = below->next;
        if (reason != NULL)
            log_span(root, below, anchor_ns, NULL, 0);
        free(below);
        below = next;
    }
    free(ended);
}
