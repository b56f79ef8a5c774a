/* The registry: shapes, clashes, limits, and that cells are used again only when nobody can write to them. */
#include "fixture.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { ROUNDS = 2000 };
#else
enum { ROUNDS = 20000 };
#endif

static vs_metric *declare_labelled(vs_registry *registry, vs_kind kind, const char *name, uint64_t series_max)
{
    static const vs_text labels[] = {{"op", 2}};
    vs_metric_spec spec = spec_of(kind, name);
    spec.label_names = labels;
    spec.label_count = 1;
    spec.series_max = series_max;
    vs_metric *metric = NULL;
    CHECK(vs_registry_declare(registry, &spec, &metric) == VS_OK);
    return metric;
}

static vs_series *bind(vs_metric *metric, const char *value)
{
    vs_text text = text_of(value);
    vs_series *series = NULL;
    CHECK(vs_metric_bind(metric, &text, 1, &series) == VS_OK);
    return series;
}

static vs_status declare(vs_registry *registry, vs_kind kind, const char *name, const char *unit)
{
    vs_metric_spec spec = spec_of(kind, name);
    spec.unit = text_of(unit);
    vs_metric *metric = NULL;
    vs_status status = vs_registry_declare(registry, &spec, &metric);
    if (status == VS_OK)
        vs_metric_release(metric);
    return status;
}

static void check_shapes(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(2, &arena);
    CHECK(declare(registry, VS_COUNTER, "cas.put.count", "") == VS_OK);
    CHECK(declare(registry, VS_COUNTER, "cas.put.count", "") == VS_OK);
    CHECK(declare(registry, VS_GAUGE, "cas.put.count", "") == VS_E_CONFLICT);
    CHECK(declare(registry, VS_COUNTER, "cas.put.count", "bytes") == VS_E_CONFLICT);
    CHECK(declare(registry, VS_COUNTER, "cas_put.count", "") == VS_E_CONFLICT); /* the same exported name */
    CHECK(declare(registry, VS_HISTOGRAM, "lag", "seconds") == VS_OK);
    CHECK(declare(registry, VS_GAUGE, "lag.seconds.count", "") == VS_E_CONFLICT); /* lag_seconds_count is the histogram's */
    CHECK(declare(registry, VS_GAUGE, "lag.seconds.max", "") == VS_OK);
    CHECK(declare(registry, VS_COUNTER, "", "") == VS_E_INVALID);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_bounds_must_ascend(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(2, &arena);
    const double bad[] = {1, 3, 2};
    vs_metric_spec spec = spec_of(VS_HISTOGRAM, "h");
    spec.bounds = bad;
    spec.bound_count = 3;
    vs_metric *metric = NULL;
    CHECK(vs_registry_declare(registry, &spec, &metric) == VS_E_INVALID);
    spec.bound_count = 0;
    CHECK(vs_registry_declare(registry, &spec, &metric) == VS_E_INVALID);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_beyond_the_limit_is_the_overflow_series(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(2, &arena);
    vs_metric *metric = declare_labelled(registry, VS_COUNTER, "c", 2);
    vs_series *a = bind(metric, "a"), *b = bind(metric, "b"), *c = bind(metric, "c"), *d = bind(metric, "d");
    CHECK(a != b && c == d && c != a);
    vs_text labels = vs_series_labels(c);
    CHECK(labels.size == 14 && memcmp(labels.data, "op=\"_overflow\"", 14) == 0);
    CHECK(vs_metric_loss_read(metric, VS_LOSS_OVERFLOWED) == 2);
    CHECK(vs_metric_series_count(metric) == 2);
    vs_series *asked_for = bind(metric, "_overflow"); /* by name it is the same one, and no loss */
    CHECK(asked_for == c && vs_metric_loss_read(metric, VS_LOSS_OVERFLOWED) == 2);
    vs_series *all[] = {a, b, c, d, asked_for};
    for (int i = 0; i < 5; i++)
        vs_series_release(all[i]);
    vs_metric_release(metric);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_a_full_arena_overflows_and_goes_on(void)
{
    vs_arena *arena = NULL;
    vs_registry *registry = NULL;
    vs_arena_options options = {.stripe_count = 1, .stripe_bytes = 64 << 10};
    CHECK(vs_arena_open(&options, &arena) == VS_OK && vs_registry_open(arena, &registry) == VS_OK);
    vs_metric *metric = declare_labelled(registry, VS_COUNTER, "c", 0);
    uint64_t adds = 10000;
    for (uint64_t i = 0; i < adds; i++) {
        char value[32];
        snprintf(value, sizeof value, "%u", (unsigned)i);
        vs_series *series = bind(metric, value);
        vs_counter_inc(vs_series_counter(series));
        vs_series_release(series);
    }
    vs_snapshot *snapshot = NULL;
    CHECK(vs_snapshot_take(registry, NULL, &snapshot) == VS_OK);
    uint64_t total = 0;
    for (size_t i = 0; i < snapshot->series_count; i++)
        total += snapshot->integers[i];
    CHECK(total == adds);
    CHECK(snapshot->metrics[0].losses[VS_LOSS_OVERFLOWED] + snapshot->series_count - 1 == adds);
    CHECK(declare(registry, VS_HISTOGRAM, "h", "") == VS_E_FULL);
    vs_snapshot_free(snapshot);
    vs_metric_release(metric);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_cells_of_a_removed_series_wait_for_its_handle(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(2, &arena);
    vs_metric *metric = declare_labelled(registry, VS_COUNTER, "c", 0);
    vs_series *held = bind(metric, "held");
    uint64_t offset = vs_series_counter(held).offset;
    vs_counter_add(vs_series_counter(held), 41);
    vs_text name = text_of("held");
    CHECK(vs_metric_remove(metric, &name, 1) == VS_OK);
    CHECK(vs_metric_remove(metric, &name, 1) == VS_E_NOT_FOUND);
    vs_series *other = bind(metric, "other");
    CHECK(vs_series_counter(other).offset != offset);
    vs_series_release(held);
    vs_series *next = bind(metric, "next");
    CHECK(vs_series_counter(next).offset == offset); /* used again ... */
    CHECK(counter_total(vs_series_counter(next)) == 0); /* ... and empty */
    vs_series_release(other);
    vs_series_release(next);
    vs_metric_release(metric);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_handles_outlive_their_metric_and_registry(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(2, &arena);
    vs_series *series = series_of(registry, VS_COUNTER, "c");
    CHECK(vs_registry_unregister(registry, text_of("c")) == VS_OK);
    CHECK(vs_registry_unregister(registry, text_of("c")) == VS_E_NOT_FOUND);
    CHECK(declare(registry, VS_GAUGE, "c", "") == VS_OK); /* the name is free */
    vs_registry_release(registry);
    vs_counter_inc(vs_series_counter(series));
    CHECK(counter_total(vs_series_counter(series)) == 1);
    vs_series_release(series);
    vs_arena_close(arena);
}

static void check_long_values_are_cut_at_a_character(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(2, &arena);
    vs_metric *metric = declare_labelled(registry, VS_COUNTER, "c", 0);
    char value[VS_LABEL_VALUE_BYTES_MAX + 2];
    memset(value, 'x', sizeof value);
    memcpy(value + VS_LABEL_VALUE_BYTES_MAX - 1, "\xc3\xa9", 3); /* a two-byte character across the limit */
    vs_series *series = bind(metric, value);
    CHECK(vs_series_labels(series).size == strlen("op=\"\"") + VS_LABEL_VALUE_BYTES_MAX - 1);
    CHECK(vs_metric_loss_read(metric, VS_LOSS_TRUNCATED) == 1);
    vs_series_release(series);
    vs_metric_release(metric);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

/* Snapshots walk the lists without a lock while series come and go. */
typedef struct churn {
    vs_registry *registry;
    vs_metric *metric;
    vs_word stop;
} churn;

static void *come_and_go(void *argument)
{
    churn *c = argument;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char value[32];
        snprintf(value, sizeof value, "%u", i % 97);
        vs_text name = text_of(value);
        vs_series *series = NULL;
        if (vs_metric_bind(c->metric, &name, 1, &series) != VS_OK)
            abort(); /* CHECK is for one thread */
        vs_counter_inc(vs_series_counter(series));
        if (i % 3 == 0)
            vs_metric_remove(c->metric, &name, 1);
        vs_series_release(series);
        if (i % 1000 == 999)
            vs_metric_clear(c->metric);
    }
    vs_store_relaxed(&c->stop, 1);
    return NULL;
}

static void check_snapshots_while_series_come_and_go(void)
{
    vs_arena *arena;
    churn c = {.registry = registry_with_stripes(4, &arena)};
    c.metric = declare_labelled(c.registry, VS_COUNTER, "c", 0);
    vs_series *kept = bind(c.metric, "kept");
    vs_counter_add(vs_series_counter(kept), 3);
    pthread_t thread;
    pthread_create(&thread, NULL, come_and_go, &c);
    while (vs_load_relaxed(&c.stop) == 0) {
        vs_snapshot *snapshot = NULL;
        if (vs_snapshot_take(c.registry, NULL, &snapshot) != VS_OK)
            abort();
        CHECK(snapshot->series_count <= 98);
        vs_snapshot_free(snapshot);
    }
    pthread_join(thread, NULL);
    vs_series_release(kept);
    vs_metric_release(c.metric);
    vs_registry_release(c.registry);
    vs_arena_close(arena);
}

static void check_a_snapshot_of_one_metric(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(2, &arena);
    vs_series *a = series_of(registry, VS_COUNTER, "a"), *b = series_of(registry, VS_GAUGE, "b");
    vs_gauge_set(vs_series_gauge(b), 2.5);
    vs_text name = text_of("b");
    vs_snapshot *snapshot = NULL;
    CHECK(vs_snapshot_take(registry, &name, &snapshot) == VS_OK);
    CHECK(snapshot->metric_count == 1 && snapshot->series_count == 1 && snapshot->numbers[0] == 2.5);
    vs_snapshot_free(snapshot);
    vs_series_release(a);
    vs_series_release(b);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_a_program_of_another_interface_is_refused(void)
{
    vs_arena *arena = NULL;
    vs_registry *registry = NULL;
    vs_arena_options options = {.stripe_count = 1, .stripe_bytes = 64 << 10};
    CHECK_EQ(vs_arena_open(&options, &arena), VS_OK);
    CHECK_EQ(vs_registry_open_as(arena, VS_ABI + 1, &registry), VS_E_ABI);
    CHECK(registry == NULL && vs_abi() == VS_ABI);
    vs_arena_close(arena);
}

int main(void)
{
    check_a_program_of_another_interface_is_refused();
    check_shapes();
    check_bounds_must_ascend();
    check_beyond_the_limit_is_the_overflow_series();
    check_a_full_arena_overflows_and_goes_on();
    check_cells_of_a_removed_series_wait_for_its_handle();
    check_handles_outlive_their_metric_and_registry();
    check_long_values_are_cut_at_a_character();
    check_snapshots_while_series_come_and_go();
    check_a_snapshot_of_one_metric();
    return check_report();
}
