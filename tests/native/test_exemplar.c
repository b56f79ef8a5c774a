/* Exemplars: what a bucket remembers, what it refuses, and that nothing of it is ever torn. */
#define _GNU_SOURCE
#include "exemplar_fixture.h"

#include <math.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { ROUNDS = 20000, FORKS = 20 };
#else
enum { ROUNDS = 500000, FORKS = 200 };
#endif

/* The exemplar of the only series that has just one. */
static vs_exemplar the_one(void)
{
    vs_snapshot *snapshot = look();
    vs_exemplar found = {0};
    if (CHECK_EQ(snapshot->exemplar_count, 1))
        found = snapshot->exemplars[0];
    vs_snapshot_free(snapshot);
    return found;
}

/* ---- what is remembered ---- */

static void a_bucket_remembers_value_span_and_time(void)
{
    begin();
    vs_series *series = series_of(registry, VS_HISTOGRAM, "h");
    CHECK_EQ(exemplars_in_all(), 0);
    CHECK(vs_series_exemplar_at(series, 37.5, UINT64_MAX, 2, UINT64_C(0xfedcba9876543210), NOON));
    vs_exemplar found = the_one();
    CHECK(found.value == 37.5);
    CHECK_EQ(found.bucket, 4); /* 25 < 37.5 <= 50 */
    CHECK(found.trace_high == UINT64_MAX && found.trace_low == 2 && found.span == UINT64_C(0xfedcba9876543210));
    CHECK_EQ(found.time_ns, NOON);
    vs_series_release(series);
    end();
}

static void a_value_goes_to_the_bucket_that_counts_it(void)
{
    begin();
    vs_series *series = series_of(registry, VS_HISTOGRAM, "h");
    const double values[] = {-5, 1, 1.0000001, 10000, 10001};
    const uint32_t buckets[] = {0, 0, 1, 11, 12};
    for (size_t i = 0; i < 5; i++) {
        CHECK(put(series, values[i], NOON + (int64_t)i * GAP));
        vs_snapshot *snapshot = look();
        size_t n = 0;
        const vs_exemplar *found = vs_snapshot_exemplars(snapshot, 0, &n);
        bool there = false;
        for (size_t k = 0; k < n; k++)
            there = there || (found[k].bucket == buckets[i] && found[k].value == values[i]);
        CHECK(there);
        vs_snapshot_free(snapshot);
    }
    CHECK_EQ(exemplars_in_all(), 4);
    vs_series_release(series);
    end();
}

static void the_newest_replaces_one_that_is_old_enough(void)
{
    begin();
    vs_series *series = series_of(registry, VS_HISTOGRAM, "h");
    CHECK(put(series, 1, NOON));
    CHECK(!put(series, 2e-1, NOON));
    CHECK(!put(series, 3e-1, NOON + GAP - 1));
    CHECK(put(series, 2, NOON + 1)); /* another bucket */
    CHECK(put(series, 4e-1, NOON + GAP));
    vs_snapshot *snapshot = look();
    CHECK(snapshot->exemplars[0].value == 4e-1 && snapshot->exemplars[0].time_ns == NOON + GAP);
    vs_snapshot_free(snapshot);
    vs_series_release(series);
    end();
}

static void a_clock_that_is_set_back_stops_nothing(void)
{
    begin();
    vs_series *series = series_of(registry, VS_HISTOGRAM, "h");
    CHECK(put(series, 1, NOON));
    CHECK(!put(series, 1, NOON - GAP + 1));
    CHECK(put(series, 1, NOON - GAP));
    CHECK(put(series, 1, 1));
    CHECK(put(series, 1, INT64_MAX));
    vs_series_release(series);
    end();
}

static void the_time_is_the_systems(void)
{
    begin();
    vs_series *series = series_of(registry, VS_HISTOGRAM, "h");
    struct timespec before, after;
    clock_gettime(CLOCK_REALTIME, &before);
    CHECK(vs_series_exemplar(series, 7, 1, 2, 3));
    clock_gettime(CLOCK_REALTIME, &after);
    int64_t time_ns = the_one().time_ns;
    CHECK(time_ns >= before.tv_sec * INT64_C(1000000000) + before.tv_nsec);
    CHECK(time_ns <= after.tv_sec * INT64_C(1000000000) + after.tv_nsec);
    vs_series_release(series);
    end();
}

/* ---- what is refused ---- */

static void what_is_no_observation_in_a_trace_is_refused(void)
{
    begin();
    vs_series *series = series_of(registry, VS_HISTOGRAM, "h");
    CHECK(!put(series, (double)NAN, NOON));
    CHECK(!put(series, (double)INFINITY, NOON));
    CHECK(!put(series, -(double)INFINITY, NOON));
    CHECK(!vs_series_exemplar_at(series, 1, 0, 0, 3, NOON));
    CHECK(!vs_series_exemplar_at(series, 1, 1, 2, 0, NOON));
    CHECK(!vs_series_exemplar(series, 1, 0, 0, 3));
    CHECK(!vs_series_exemplar(series, 1, 1, 2, 0));
    CHECK(!put(series, 1, 0));
    CHECK(!put(series, 1, -1));
    CHECK_EQ(exemplars_in_all(), 0);
    CHECK(vs_series_exemplar_at(series, 1, 0, 1, 1, 1)); /* half of a trace's id may be 0 */
    CHECK(vs_series_exemplar_at(series, 2, 1, 0, 1, 1));
    vs_series_release(series);
    end();
}

static void what_has_no_buckets_takes_none(void)
{
    begin();
    const vs_kind kinds[] = {VS_COUNTER, VS_GAUGE, VS_HDR};
    const char *names[] = {"c", "g", "r"};
    for (size_t i = 0; i < 3; i++) {
        vs_series *series = series_of(registry, kinds[i], names[i]);
        CHECK(!put(series, 1, NOON));
        vs_series_release(series);
    }
    CHECK_EQ(exemplars_in_all(), 0);
    end();
}

/* ---- HDR ---- */

static vs_series *hdr_with_buckets(void)
{
    static const double bounds[] = {100, 1000, 5e9};
    vs_metric_spec spec = spec_of(VS_HDR, "r");
    spec.bounds = bounds;
    spec.bound_count = 3;
    spec.unit = text_of("ns");
    vs_metric *metric = NULL;
    vs_series *series = NULL;
    if (vs_registry_declare(registry, &spec, &metric) != VS_OK || vs_metric_bind(metric, NULL, 0, &series) != VS_OK)
        abort();
    vs_metric_release(metric);
    return series;
}

static void hdr_remembers_what_it_recorded(void)
{
    begin();
    vs_series *series = hdr_with_buckets();
    CHECK(put(series, 1e12, NOON)); /* the highest is 3.6e9 */
    vs_exemplar found = the_one();
    CHECK(found.value == 3.6e9);
    CHECK_EQ(found.bucket, 2);
    CHECK(put(series, -7, NOON));
    vs_snapshot *snapshot = look();
    CHECK(snapshot->exemplars[0].value == 0);
    CHECK_EQ(snapshot->exemplars[0].bucket, 0);
    vs_snapshot_free(snapshot);
    vs_series_release(series);
    end();
}

static void a_value_above_a_bound_is_never_shown_below_it(void)
{
    begin();
    vs_series *series = hdr_with_buckets();
    vs_hdr hdr = vs_series_hdr(series);
    CHECK_EQ(vs_hdr_index(&hdr.config, 1000), vs_hdr_index(&hdr.config, 1001)); /* counted together, in the bucket up to 1000 */
    CHECK(put(series, 1001, NOON));
    CHECK_EQ(the_one().bucket, 2);
    vs_series_release(series);
    end();
}

/* ---- series that come and go ---- */

static vs_metric *labelled(uint64_t series_max)
{
    static const vs_text labels[] = {{"op", 2}};
    vs_metric_spec spec = spec_of(VS_HISTOGRAM, "h");
    spec.label_names = labels;
    spec.label_count = 1;
    spec.series_max = series_max;
    vs_metric *metric = NULL;
    if (vs_registry_declare(registry, &spec, &metric) != VS_OK)
        abort();
    return metric;
}

static vs_series *bind(vs_metric *metric, const char *value)
{
    vs_text text = text_of(value);
    vs_series *series = NULL;
    if (vs_metric_bind(metric, &text, 1, &series) != VS_OK)
        abort();
    return series;
}

static void each_series_has_its_own(void)
{
    begin();
    vs_metric *metric = labelled(2);
    const char *values[] = {"a", "b", "c", "d"}; /* the last two are the overflow series */
    vs_series *series[4];
    for (size_t i = 0; i < 4; i++)
        series[i] = bind(metric, values[i]);
    CHECK(put(series[1], 7, NOON));
    CHECK(put(series[3], 8, NOON));
    vs_snapshot *snapshot = look();
    CHECK_EQ(snapshot->exemplar_count, 2);
    for (size_t row = 0; row < snapshot->series_count; row++) {
        size_t n = 7;
        const vs_exemplar *found = vs_snapshot_exemplars(snapshot, row, &n);
        char text[32] = "";
        memcpy(text, snapshot->text + snapshot->labels[row].at, snapshot->labels[row].size);
        double value = strcmp(text, "op=\"b\"") == 0 ? 7 : strcmp(text, "op=\"_overflow\"") == 0 ? 8 : 0;
        CHECK_EQ(n, value != 0);
        CHECK((found != NULL) == (value != 0) && (found == NULL || found->value == value));
    }
    vs_snapshot_free(snapshot);
    for (size_t i = 0; i < 4; i++)
        vs_series_release(series[i]);
    vs_metric_release(metric);
    end();
}

static void a_removed_series_takes_its_exemplars_along(void)
{
    begin();
    vs_metric *metric = labelled(0);
    vs_series *gone = bind(metric, "a");
    CHECK(put(gone, 7, NOON));
    vs_text value = text_of("a");
    CHECK_EQ(vs_metric_remove(metric, &value, 1), VS_OK);
    CHECK(put(gone, 8, NOON + GAP)); /* the handle is valid, and unseen */
    vs_series *again = bind(metric, "a");
    CHECK_EQ(exemplars_in_all(), 0);
    CHECK(put(again, 9, NOON));
    CHECK(the_one().value == 9);
    vs_series_release(gone);
    vs_series_release(again);
    vs_metric_release(metric);
    end();
}

static void an_unregistered_metric_takes_them_unseen(void)
{
    begin();
    vs_series *series = series_of(registry, VS_HISTOGRAM, "h");
    CHECK_EQ(vs_registry_unregister(registry, text_of("h")), VS_OK);
    CHECK(put(series, 7, NOON));
    CHECK_EQ(exemplars_in_all(), 0);
    vs_series_release(series);
    end();
}

/* ---- threads ---- */

static vs_series *common;
static vs_word turn; /* from 1 on */
static vs_word32 stop;

/* Every word of the exemplar follows from one number, which no two have. */
static bool put_number(uint64_t k)
{
    return vs_series_exemplar_at(common, (double)k, k * 3, ~k, k + 7, (int64_t)k * GAP);
}

static bool is_whole(const vs_exemplar *e)
{
    uint64_t k = (uint64_t)e->value;
    return k != 0 && e->trace_high == k * 3 && e->trace_low == ~k && e->span == k + 7 && e->time_ns == (int64_t)k * GAP;
}

static void *put_numbers(void *unused)
{
    for (int i = 0; i < ROUNDS; i++)
        put_number(vs_add_relaxed(&turn, 1) + 1);
    return unused;
}

static void *put_until_stopped(void *unused)
{
    while (vs_load_relaxed(&stop) == 0)
        put_number(vs_add_relaxed(&turn, 1) + 1);
    return unused;
}

static void *put_and_look(void *is_reader)
{
    static vs_word32 roles;
    if (vs_add_relaxed(&roles, 1) % 4 != 0)
        return put_numbers(is_reader);
    for (int i = 0; i < ROUNDS / 50; i++) {
        vs_snapshot *snapshot = look();
        bool whole = true;
        for (size_t k = 0; k < snapshot->exemplar_count; k++)
            whole = whole && is_whole(&snapshot->exemplars[k]);
        if (!whole)
            abort(); /* CHECK is for one thread */
        vs_snapshot_free(snapshot);
    }
    return is_reader;
}

static void no_exemplar_is_torn(void)
{
    begin();
    common = series_of(registry, VS_HISTOGRAM, "h");
    vs_store_relaxed(&turn, 0);
    run_threads(4, put_and_look, NULL);
    vs_snapshot *snapshot = look();
    CHECK(snapshot->exemplar_count > 0);
    for (size_t i = 0; i < snapshot->exemplar_count; i++)
        CHECK(is_whole(&snapshot->exemplars[i]));
    vs_snapshot_free(snapshot);
    vs_series_release(common);
    end();
}

/* One of the threads that are the first, at once, finds its exemplar in the series; and only one block stays (AddressSanitizer). */
static void *put_first(void *unused)
{
    put_number(vs_add_relaxed(&turn, 1) + 1);
    return unused;
}

static void many_may_be_first(void)
{
    begin();
    vs_metric *metric = labelled(0);
    for (int i = 0; i < 50; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        common = bind(metric, value);
        vs_store_relaxed(&turn, 0);
        run_threads(4, put_first, NULL);
        vs_series_release(common);
    }
    size_t seen = 0;
    vs_snapshot *snapshot = look();
    for (size_t row = 0; row < snapshot->series_count; row++) {
        size_t n;
        vs_snapshot_exemplars(snapshot, row, &n);
        seen += n != 0;
    }
    CHECK_EQ(seen, 50);
    vs_snapshot_free(snapshot);
    vs_metric_release(metric);
    end();
}

static void *observe_and_put(void *unused)
{
    vs_histogram histogram = vs_series_histogram(common);
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        vs_histogram_observe(&histogram, 1e6);
        vs_series_exemplar_at(common, 1e6, 1, i, 1, (int64_t)i * GAP);
    }
    vs_store_relaxed(&stop, 1);
    return unused;
}

/* The i-th exemplar tells of the i-th observation. */
static void what_an_exemplar_tells_of_is_counted(void)
{
    begin();
    common = series_of(registry, VS_HISTOGRAM, "h");
    vs_store_relaxed(&stop, 0);
    pthread_t writer;
    if (pthread_create(&writer, NULL, observe_and_put, NULL) != 0)
        abort();
    bool counted = true;
    while (vs_load_relaxed(&stop) == 0) {
        vs_snapshot *snapshot = look();
        counted = counted && (snapshot->exemplar_count == 0 || snapshot->exemplars[0].trace_low <= snapshot->integers[0]);
        vs_snapshot_free(snapshot);
    }
    pthread_join(writer, NULL);
    CHECK(counted);
    CHECK_EQ(the_one().trace_low, ROUNDS);
    vs_series_release(common);
    end();
}

/* Another thread may have been writing when the process forked; in the child it never ends that. */
static void the_child_of_a_fork_takes_them_everywhere(void)
{
    begin();
    common = series_of(registry, VS_HISTOGRAM, "h");
    vs_store_relaxed(&stop, 0);
    vs_store_relaxed(&turn, 0);
    put_number(vs_add_relaxed(&turn, 1) + 1);
    pthread_t writer;
    if (pthread_create(&writer, NULL, put_until_stopped, NULL) != 0)
        abort();
    int bad = 0;
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0) {
            vs_snapshot *snapshot = look();
            bool good = true;
            for (size_t k = 0; k < snapshot->exemplar_count; k++)
                good = good && is_whole(&snapshot->exemplars[k]);
            for (uint64_t k = 1; k < 14; k++)
                good = good && put(common, k < 13 ? (double)(k * k * k * k) : 1e9, INT64_MAX / 2 + (int64_t)k * GAP);
            _exit(good ? 0 : 1);
        }
        int status = 0;
        waitpid(child, &status, 0);
        bad += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }
    vs_store_relaxed(&stop, 1);
    pthread_join(writer, NULL);
    CHECK_EQ(bad, 0);
    vs_series_release(common);
    end();
}

int main(void)
{
    a_bucket_remembers_value_span_and_time();
    a_value_goes_to_the_bucket_that_counts_it();
    the_newest_replaces_one_that_is_old_enough();
    a_clock_that_is_set_back_stops_nothing();
    the_time_is_the_systems();
    what_is_no_observation_in_a_trace_is_refused();
    what_has_no_buckets_takes_none();
    hdr_remembers_what_it_recorded();
    a_value_above_a_bound_is_never_shown_below_it();
    each_series_has_its_own();
    a_removed_series_takes_its_exemplars_along();
    an_unregistered_metric_takes_them_unseen();
    no_exemplar_is_torn();
    many_may_be_first();
    what_an_exemplar_tells_of_is_counted();
    the_child_of_a_fork_takes_them_everywhere();
    return check_report();
}
