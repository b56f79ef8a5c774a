/* Spans in C: what a trace takes, what a tracer keeps, and what it says of it in the log. */
#define _GNU_SOURCE
#include "fixture.h"

static const vs_text NAME = {"disk.write", 10};

static vs_span_scope scope_of(vs_trace *trace) { return (vs_span_scope){.trace = trace, .trace_high = 1, .trace_low = 2, .span = 3, .sampled = true}; }

static size_t count_and_free(vs_ended_span *list)
{
    size_t n = 0;
    while (list != NULL) {
        vs_ended_span *next = list->next;
        free(list);
        list = next;
        n++;
    }
    return n;
}

static void what_ends_below_a_root_is_taken_in_order(void)
{
    vs_trace *trace = vs_trace_open(8);
    vs_span_scope scope = scope_of(trace);
    vs_span one, two;
    vs_span_start(&one, &scope, NAME);
    vs_span_start(&two, vs_span_scope_of(&one), NAME);
    vs_span_add(&two, vs_field_u64("bytes", 7));
    uint64_t outer = one.scope.span, inner = two.scope.span;
    vs_span_end(&two, VS_SPAN_PENDING);
    vs_span_end(&one, VS_SPAN_OK);
    bool failed;
    uint64_t lost;
    vs_ended_span *list = vs_trace_take(trace, &failed, &lost);
    CHECK(!failed && lost == 0 && list != NULL && list->next != NULL && list->next->next == NULL);
    CHECK_EQ(list->span, inner);
    CHECK_EQ(list->parent, outer);
    CHECK_EQ(list->status, VS_SPAN_OK);
    CHECK_EQ(list->next->parent, 3);
    CHECK(list->end_ns >= list->start_ns && list->start_ns >= list->next->start_ns);
    count_and_free(list);
    vs_trace_release(trace);
}

static void a_trace_that_is_held_outlives_its_root(void)
{
    vs_trace *trace = vs_trace_open(8);
    vs_trace_hold(trace);
    vs_span_scope scope = scope_of(trace);
    bool failed;
    uint64_t lost;
    CHECK(vs_trace_take(trace, &failed, &lost) == NULL);
    vs_trace_release(trace);
    vs_span span;
    vs_span_start(&span, &scope, NAME);
    vs_span_end(&span, VS_SPAN_OK);
    CHECK(vs_trace_take(trace, &failed, &lost) == NULL);
    CHECK_EQ(lost, 1);
    vs_trace_release(trace);
}

static void a_span_without_a_trace_is_nowhere(void)
{
    vs_span_scope nowhere = {0};
    vs_span span, below;
    vs_span_start(&span, &nowhere, NAME);
    vs_span_start(&below, vs_span_scope_of(&span), NAME);
    vs_span_add(&below, vs_field_bool("x", true));
    vs_span_end(&below, VS_SPAN_ERROR);
    vs_span_end(&span, VS_SPAN_ERROR);
    CHECK(span.scope.trace == NULL);
}

static void spans_beyond_the_limit_are_counted(void)
{
    vs_trace *trace = vs_trace_open(3);
    vs_span_scope scope = scope_of(trace);
    for (int i = 0; i < 10; i++) {
        vs_span span;
        vs_span_start(&span, &scope, NAME);
        vs_span_end(&span, i == 9 ? VS_SPAN_ERROR : VS_SPAN_OK);
    }
    bool failed;
    uint64_t lost;
    vs_ended_span *list = vs_trace_take(trace, &failed, &lost);
    CHECK(failed); /* of one that had no room, too */
    CHECK_EQ(lost, 7);
    CHECK_EQ(count_and_free(list), 3);
    vs_trace_release(trace);
}

static void what_ends_after_its_root_is_lost_and_harms_nothing(void)
{
    vs_trace *trace = vs_trace_open(8);
    vs_span_scope scope = scope_of(trace);
    vs_span late;
    vs_span_start(&late, &scope, NAME);
    bool failed;
    uint64_t lost;
    CHECK(vs_trace_take(trace, &failed, &lost) == NULL);
    vs_trace_release(trace);
    vs_span_end(&late, VS_SPAN_OK); /* holds the last reference */
}

static void attributes_that_have_no_room_are_counted(void)
{
    vs_trace *trace = vs_trace_open(8);
    vs_span_scope scope = scope_of(trace);
    vs_span span;
    vs_span_start(&span, &scope, NAME);
    for (int i = 0; i < 100; i++)
        vs_span_add(&span, vs_field_text("attribute", "0123456789012345678901234567890123456789"));
    vs_span_end(&span, VS_SPAN_OK);
    bool failed;
    uint64_t lost;
    vs_ended_span *list = vs_trace_take(trace, &failed, &lost);
    vs_log_head head;
    memcpy(&head, list->record, sizeof head);
    CHECK_EQ(head.field_count + head.omitted, 100);
    CHECK(head.omitted > 50 && list->size <= VS_SPAN_BYTES);
    count_and_free(list);
    vs_trace_release(trace);
}

enum { THREADS = 8, SPANS = 2000 };

static void *end_many(void *scope)
{
    for (int i = 0; i < SPANS; i++) {
        vs_span span;
        vs_span_start(&span, scope, NAME);
        vs_span_end(&span, VS_SPAN_OK);
    }
    return NULL;
}

static void many_threads_end_spans_of_one_trace(void)
{
    vs_trace *trace = vs_trace_open(THREADS * SPANS - 100);
    vs_span_scope scope = scope_of(trace);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, end_many, &scope), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    bool failed;
    uint64_t lost;
    vs_ended_span *list = vs_trace_take(trace, &failed, &lost);
    CHECK_EQ(lost, 100);
    CHECK_EQ(count_and_free(list), THREADS * SPANS - 100);
    vs_trace_release(trace);
}

/* ---- a tracer ---- */

static size_t lines_of(vs_cursor *cursor, const char *needle)
{
    vs_batch batch;
    size_t n = 0;
    while (vs_cursor_take(cursor, 1 << 20, &batch)) {
        for (const char *at = batch.data, *end = at + batch.size; at < end; at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1) {
            const char *newline = memchr(at, '\n', (size_t)(end - at));
            n += memmem(at, (size_t)(newline - at), needle, strlen(needle)) != NULL;
        }
        vs_cursor_done(cursor);
    }
    return n;
}

typedef struct bench {
    vs_registry *registry;
    vs_journal *journal;
    vs_cursor *cursor;
    vs_tracer *tracer;
} bench;

static bench set_up(double rate, int64_t slow_ns)
{
    bench b;
    vs_arena *arena;
    b.registry = registry_with_stripes(4, &arena);
    CHECK_EQ(vs_journal_open(b.registry, NULL, &b.journal), VS_OK);
    CHECK_EQ(vs_cursor_open(b.journal, (vs_text){"c", 1}, &b.cursor), VS_OK);
    CHECK_EQ(vs_tracer_open(b.journal, &(vs_tracer_options){.rate = rate, .slow_ns = slow_ns}, &b.tracer), VS_OK);
    return b;
}

static void tear_down(const bench *b)
{
    vs_tracer_close(b->tracer);
    vs_cursor_close(b->cursor, false);
    vs_journal_close(b->journal);
    vs_registry_release(b->registry);
}

static void trace_once(const bench *b, vs_span_status inner)
{
    vs_span root, below;
    vs_span_start_root(&root, b->tracer, NULL, (vs_text){"cas.put", 7});
    vs_span_start(&below, vs_span_scope_of(&root), NAME);
    vs_span_add(&below, vs_field_u64("bytes", 4096));
    vs_span_end(&below, inner);
    vs_span_end(&root, VS_SPAN_OK);
}

static void what_is_not_kept_leaves_nothing(void)
{
    bench b = set_up(0.0, 0);
    for (int i = 0; i < 100; i++)
        trace_once(&b, VS_SPAN_OK);
    CHECK_EQ(lines_of(b.cursor, "vaultscope.trace"), 0);
    tear_down(&b);
}

static void an_error_within_keeps_the_trace(void)
{
    bench b = set_up(0.0, 0);
    for (int i = 0; i < 100; i++)
        trace_once(&b, i % 10 == 0 ? VS_SPAN_ERROR : VS_SPAN_OK);
    CHECK_EQ(lines_of(b.cursor, "\"message\":\"disk.write\""), 10);
    tear_down(&b);
}

static void a_slow_trace_is_kept_and_says_so(void)
{
    bench b = set_up(0.0, 1);
    trace_once(&b, VS_SPAN_OK);
    CHECK_EQ(lines_of(b.cursor, "\"reason\":\"slow\""), 1);
    tear_down(&b);
}

static void the_rest_is_kept_by_the_share_of_ids(void)
{
    bench b = set_up(0.25, 0);
    size_t kept = 0;
    for (int i = 0; i < 4000; i++) {
        trace_once(&b, VS_SPAN_OK);
        kept += lines_of(b.cursor, "\"reason\":\"sampled\"");
    }
    CHECK(kept > 1000 - 165 && kept < 1000 + 165); /* six standard deviations */
    tear_down(&b);
}

static void a_remote_parent_says_whose_trace_it_is_and_whether_it_is_sampled(void)
{
    bench b = set_up(0.0, 0);
    vs_span_scope remote = {.trace_high = 0xabc, .trace_low = 0xdef, .span = 0x123, .sampled = true};
    vs_span root;
    vs_span_start_root(&root, b.tracer, &remote, NAME);
    vs_span_end(&root, VS_SPAN_OK);
    CHECK_EQ(lines_of(b.cursor, "\"trace_id\":\"0000000000000abc0000000000000def\""), 1);
    vs_span_start_root(&root, b.tracer, &remote, NAME);
    vs_span_end(&root, VS_SPAN_OK);
    CHECK_EQ(lines_of(b.cursor, "\"parent_span_id\":\"0000000000000123\""), 1);
    tear_down(&b);
}

static void a_root_says_how_many_spans_had_no_room(void)
{
    bench b = set_up(1.0, 0);
    vs_span root;
    vs_span_start_root(&root, b.tracer, NULL, (vs_text){"cas.put", 7});
    for (int i = 0; i < 515; i++) {
        vs_span below;
        vs_span_start(&below, vs_span_scope_of(&root), NAME);
        vs_span_end(&below, VS_SPAN_OK);
    }
    vs_span_end(&root, VS_SPAN_OK);
    trace_once(&b, VS_SPAN_OK);
    CHECK_EQ(lines_of(b.cursor, "\"reason\":\"sampled\",\"lost_spans\":3"), 1);
    tear_down(&b);
}

static void a_share_that_is_none_is_refused(void)
{
    bench b = set_up(1.0, 0);
    vs_tracer *tracer;
    CHECK_EQ(vs_tracer_open(b.journal, &(vs_tracer_options){.rate = 1.5}, &tracer), VS_E_INVALID);
    CHECK_EQ(vs_tracer_open(b.journal, &(vs_tracer_options){.rate = -0.5}, &tracer), VS_E_INVALID);
    CHECK_EQ(vs_tracer_open(b.journal, &(vs_tracer_options){.slow_ns = -1}, &tracer), VS_E_INVALID);
    tear_down(&b);
}

int main(void)
{
    what_ends_below_a_root_is_taken_in_order();
    a_trace_that_is_held_outlives_its_root();
    a_span_without_a_trace_is_nowhere();
    spans_beyond_the_limit_are_counted();
    what_ends_after_its_root_is_lost_and_harms_nothing();
    attributes_that_have_no_room_are_counted();
    many_threads_end_spans_of_one_trace();
    what_is_not_kept_leaves_nothing();
    an_error_within_keeps_the_trace();
    a_slow_trace_is_kept_and_says_so();
    the_rest_is_kept_by_the_share_of_ids();
    a_remote_parent_says_whose_trace_it_is_and_whether_it_is_sampled();
    a_root_says_how_many_spans_had_no_room();
    a_share_that_is_none_is_refused();
    return check_report();
}
